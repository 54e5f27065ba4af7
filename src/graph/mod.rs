//! The one graph: a straight list of nodes in SSA form, read from a model file.
//!
//! Owns nodes, values, parameters, the module tree, the schemas of operators, the text form and the verifier, and the
//! trait that evaluates single operators. Deliberately knows nothing of file formats, of labels and of libtorch.
//!
//! Every operator is pure: the readers turn writes in place into new values, and [`verify`] holds that no mutating
//! operator survives. Shape arithmetic stays in the graph as scalar nodes (`aten::size`, `aten::floor_divide`, …), so
//! one graph runs at every batch size.

mod evaluate;
mod names;
mod range;
mod resolve;
mod schema;
mod subset;
#[cfg(test)]
pub(crate) mod testing;
mod text;
mod verify;

pub use evaluate::{Declare, Evaluate, EvaluateError, Known, NoEvaluator, NoSizes, Sizes};
pub use range::{range_item, range_length};
pub use resolve::{ResolveError, Resolved, resolve};
pub use schema::{
    AllowList, Base, Kind, ListKind, Schema, SchemaArg, allow_list, functional_twin, is_in_place, schema_of,
};
pub use subset::{Subset, graph_leaves, subset};
pub use text::{ParseError, parse, print, print_headers};
pub use verify::{Fault, verify};

use crate::tensor::{Tensor, Weight, WeightError};
use std::collections::BTreeMap;

/// Index into [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// Index into [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Index into [`Graph::params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u32);

/// What a value holds at run time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Tensor,
    Int,
    Float,
    Bool,
    Str,
    /// `List[T]`: of tensors (the result of `chunk`) or of numbers (the result of `size`).
    List(Box<Type>),
    /// The result of an operator that returns several values, before `prim::TupleUnpack`.
    Tuple(Vec<Type>),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Def {
    /// The model's n-th input.
    Input(u32),
    Param(ParamId),
    /// Index into [`Graph::constants`].
    Constant(u32),
    /// Output number `output` of a node.
    Node {
        node: NodeId,
        output: u32,
    },
}

/// One SSA value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Unique in the graph: a letter or `_`, then letters, digits and `_`.
    pub name: String,
    pub ty: Type,
    pub def: Def,
}

/// One argument of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// A device literal such as `cpu`.
    Device(String),
    Value(ValueId),
    List(Vec<Arg>),
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Namespace and name: `aten::conv2d`, `prim::ListUnpack`.
    pub op: String,
    /// The schema's overload, empty for none: `Tensor` of `aten::add.Tensor`.
    pub overload: String,
    /// In the order of the schema, defaults filled in; names as the schema has them.
    pub args: Vec<(String, Arg)>,
    pub outputs: Vec<ValueId>,
    /// Dotted path of the module whose `forward` this belongs to; empty for the root.
    pub scope: String,
}

/// A parameter or buffer of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Every state-dict name under which it is known, in registration order; more than one when tied.
    pub names: Vec<String>,
    pub tensor: Weight,
    /// A buffer such as `running_mean` rather than a parameter.
    pub buffer: bool,
}

impl Param {
    /// The first name.
    pub fn name(&self) -> &str {
        &self.names[0]
    }
}

/// A module of the PyTorch model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Dotted path; empty for the root.
    pub path: String,
    /// Last part of the Python class: `Conv2d`.
    pub class: String,
}

/// How the model's outputs are wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Value(ValueId),
    Tuple(Vec<Output>),
    List(Vec<Output>),
    Dict(Vec<(String, Output)>),
    None,
}

/// A model as arithmetic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    pub values: Vec<Value>,
    /// In an order in which they can run.
    pub nodes: Vec<Node>,
    pub inputs: Vec<ValueId>,
    /// Outputs in order, wrapped as the model returns them.
    pub outputs: Vec<Output>,
    /// In registration order.
    pub params: Vec<Param>,
    pub constants: Vec<Tensor>,
    /// In registration order, the root first (as `named_modules`).
    pub modules: Vec<Module>,
    /// What the reader found and could not make exact, with its place.
    pub issues: Vec<Issue>,
}

/// Something that was not understood, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Issue {
    /// Name of the node's first output.
    pub node: String,
    pub scope: String,
    pub op: String,
    pub message: String,
}

impl Graph {
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0 as usize]
    }

    /// The parameter that this value is, if it is one.
    pub fn param_of(&self, value: ValueId) -> Option<ParamId> {
        match self.value(value).def {
            Def::Param(param) => Some(param),
            _ => None,
        }
    }

    /// Nodes with their ids, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes_from(0)
    }

    /// The nodes behind so many others, in order.
    pub fn nodes_from(&self, first: usize) -> impl Iterator<Item = (NodeId, &Node)> {
        let rest = self.nodes.iter().enumerate().skip(first);
        rest.map(|(index, node)| (NodeId(index as u32), node))
    }

    pub fn value_ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// The tensor values among the outputs, wrapping removed, in order.
    pub fn output_values(&self) -> Vec<ValueId> {
        fn walk(output: &Output, found: &mut Vec<ValueId>) {
            match output {
                Output::Value(value) => found.push(*value),
                Output::Tuple(items) | Output::List(items) => items.iter().for_each(|item| walk(item, found)),
                Output::Dict(items) => items.iter().for_each(|(_, item)| walk(item, found)),
                Output::None => {}
            }
        }
        let mut found = Vec::new();
        self.outputs.iter().for_each(|output| walk(output, &mut found));
        found
    }

    /// Every use of each value: (node, argument index), in order; a value that a list holds counts under its argument.
    pub fn uses(&self) -> BTreeMap<ValueId, Vec<(NodeId, usize)>> {
        let mut uses: BTreeMap<ValueId, Vec<(NodeId, usize)>> = BTreeMap::new();
        for (id, node) in self.nodes() {
            for (index, (_, arg)) in node.args.iter().enumerate() {
                arg.for_each_value(&mut |value| uses.entry(value).or_default().push((id, index)));
            }
        }
        uses
    }

    /// The parameter of that state-dict name (its first).
    pub fn param_named(&self, name: &str) -> Option<ParamId> {
        let at = self.params.iter().position(|param| param.name() == name)?;
        Some(ParamId(at as u32))
    }

    /// Reads every parameter and buffer that was not read yet.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read_weights(&self) -> Result<(), WeightError> {
        self.params.iter().try_for_each(|param| param.tensor.read().map(drop))
    }

    /// Adds a value and returns its id.
    pub fn add_value(&mut self, name: impl Into<String>, ty: Type, def: Def) -> ValueId {
        self.values.push(Value {
            name: name.into(),
            ty,
            def,
        });
        ValueId(self.values.len() as u32 - 1)
    }
}

impl Node {
    /// The argument of that name in the operator's schema.
    pub fn arg(&self, name: &str) -> Option<&Arg> {
        self.args.iter().find(|(known, _)| known == name).map(|(_, arg)| arg)
    }

    /// The value given as that argument, if it is a value.
    pub fn value(&self, name: &str) -> Option<ValueId> {
        self.arg(name).and_then(Arg::as_value)
    }

    /// The operator without its namespace: `conv2d` of `aten::conv2d`.
    pub fn short(&self) -> &str {
        self.op.rsplit("::").next().unwrap_or(&self.op)
    }

    /// Every value that the node reads, in argument order.
    pub fn reads(&self) -> Vec<ValueId> {
        let mut values = Vec::new();
        self.args
            .iter()
            .for_each(|(_, arg)| arg.for_each_value(&mut |value| values.push(value)));
        values
    }
}

impl Arg {
    pub fn as_value(&self) -> Option<ValueId> {
        match self {
            Arg::Value(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Arg::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// A list of literal integers.
    pub fn as_ints(&self) -> Option<Vec<i64>> {
        match self {
            Arg::List(items) => items.iter().map(Arg::as_int).collect(),
            _ => None,
        }
    }

    /// Calls `found` for each value, lists searched in order.
    pub fn for_each_value(&self, found: &mut impl FnMut(ValueId)) {
        match self {
            Arg::Value(value) => found(*value),
            Arg::List(items) => items.iter().for_each(|item| item.for_each_value(found)),
            _ => {}
        }
    }

    /// Replaces each value, lists searched in order.
    pub fn map_values(&mut self, replace: &mut impl FnMut(ValueId) -> ValueId) {
        match self {
            Arg::Value(value) => *value = replace(*value),
            Arg::List(items) => items.iter_mut().for_each(|item| item.map_values(replace)),
            _ => {}
        }
    }
}
