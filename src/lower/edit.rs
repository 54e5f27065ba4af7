//! The tool with which rules rewrite a graph: a new list of nodes is written from the old one, front to back.
//!
//! Owns fresh names, the filling in of arguments, and the sweep that drops what nothing reads any more. Deliberately
//! knows no rule.

use crate::graph::{Arg, Def, Graph, Node, NodeId, Output, Type, ValueId, resolve};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// A graph being written. Values of the old graph keep their ids until [`Editor::finish`].
pub struct Editor {
    graph: Graph,
    nodes: Vec<Node>,
    /// Where each value is made, in `nodes`.
    made: BTreeMap<ValueId, usize>,
    /// How often each value of the old graph is read, outputs included.
    uses: BTreeMap<ValueId, usize>,
    names: BTreeSet<String>,
    constants: BTreeMap<String, ValueId>,
    scope: String,
}

impl Editor {
    /// Begins with an empty list; the old nodes are to be handed back one by one, by [`Editor::keep`] or as something else.
    pub fn new(mut graph: Graph) -> (Editor, Vec<Node>) {
        let mut uses: BTreeMap<ValueId, usize> = BTreeMap::new();
        for value in graph.nodes.iter().flat_map(Node::reads).chain(graph.output_values()) {
            *uses.entry(value).or_default() += 1;
        }
        let old = std::mem::take(&mut graph.nodes);
        let names = graph.values.iter().map(|value| value.name.clone()).collect();
        let editor = Editor {
            graph,
            nodes: Vec::new(),
            made: BTreeMap::new(),
            uses,
            names,
            constants: BTreeMap::new(),
            scope: String::new(),
        };
        (editor, old)
    }

    /// The graph's values, parameters and constants; its list of nodes is empty until the end.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Hands a node on as it is.
    pub fn keep(&mut self, node: Node) {
        for &output in &node.outputs {
            self.made.insert(output, self.nodes.len());
        }
        self.scope.clone_from(&node.scope);
        self.nodes.push(node);
    }

    /// The scope that nodes get from here on; that of the last kept node else.
    pub fn at(&mut self, scope: &str) {
        scope.clone_into(&mut self.scope);
    }

    /// The node of the new list that makes a value.
    pub fn maker(&self, value: ValueId) -> Option<&Node> {
        self.made.get(&value).map(|&at| &self.nodes[at])
    }

    /// Whether the old graph reads a value exactly once.
    pub fn read_once(&self, value: ValueId) -> bool {
        self.uses.get(&value) == Some(&1)
    }

    /// A constant of the graph; the same `name` gives the same one.
    pub fn constant(&mut self, name: &str, tensor: impl FnOnce() -> Tensor) -> ValueId {
        if let Some(&value) = self.constants.get(name) {
            return value;
        }
        self.graph.constants.push(tensor());
        let index = self.graph.constants.len() as u32 - 1;
        let fresh = self.fresh(name);
        let value = self.graph.add_value(fresh, Type::Tensor, Def::Constant(index));
        self.constants.insert(name.to_owned(), value);
        value
    }

    /// One more input of the graph.
    pub fn input(&mut self, name: &str) -> ValueId {
        let fresh = self.fresh(name);
        let def = Def::Input(self.graph.inputs.len() as u32);
        let value = self.graph.add_value(fresh, Type::Tensor, def);
        self.graph.inputs.push(value);
        value
    }

    fn fresh(&mut self, name: &str) -> String {
        let mut fresh = name.to_owned();
        let mut next = 1;
        while self.names.contains(&fresh) {
            next += 1;
            fresh = format!("{name}_{next}");
        }
        self.names.insert(fresh.clone());
        fresh
    }

    /// Adds an operator of one tensor; arguments that are left out get their defaults.
    pub fn op(&mut self, name: &str, op: &str, args: &[Arg]) -> ValueId {
        let output = self.value(name);
        self.op_into(output, op, args);
        output
    }

    /// A value that is yet to be made.
    pub fn value(&mut self, name: &str) -> ValueId {
        let fresh = self.fresh(name);
        // Its definition is written by `finish`.
        let def = Def::Node {
            node: NodeId(u32::MAX),
            output: 0,
        };
        self.graph.add_value(fresh, Type::Tensor, def)
    }

    /// [`Editor::op`] into a value that exists.
    pub fn op_into(&mut self, output: ValueId, op: &str, args: &[Arg]) {
        let type_of = |value: ValueId| &self.graph.value(value).ty;
        let resolved = resolve(op, args, &[], &type_of);
        // A rule that does not fit the operator's schema makes a graph that the verifier refuses with its name.
        let (overload, args) = match resolved {
            Ok(resolved) => (resolved.schema.overload.clone(), resolved.args),
            Err(_) => (String::new(), Vec::new()),
        };
        self.node_into(output, op, &overload, args);
    }

    /// Adds a node whose arguments are given in full, under their names.
    pub fn node_into(&mut self, output: ValueId, op: &str, overload: &str, args: Vec<(String, Arg)>) {
        self.made.insert(output, self.nodes.len());
        self.nodes.push(Node {
            op: op.into(),
            overload: overload.into(),
            args,
            outputs: vec![output],
            scope: self.scope.clone(),
        });
    }

    /// Replaces `old` among the outputs.
    pub fn redirect_outputs(&mut self, old: ValueId, new: ValueId) {
        for output in &mut self.graph.outputs {
            map_output(output, &mut |value| if value == old { new } else { value });
        }
    }

    /// Drops nodes, values and constants that nothing reads, and numbers what is left. Inputs and parameters stay.
    pub fn finish(self) -> Graph {
        let Editor { mut graph, nodes, .. } = self;
        let mut needed: BTreeSet<ValueId> = graph.output_values().into_iter().collect();
        let mut kept = vec![false; nodes.len()];
        for (at, node) in nodes.iter().enumerate().rev() {
            if node.outputs.iter().any(|value| needed.contains(value)) {
                kept[at] = true;
                needed.extend(node.reads());
            }
        }
        let mut kept = kept.into_iter();
        graph.nodes = nodes.into_iter().filter(|_| kept.next().unwrap_or(false)).collect();

        let mut defs: BTreeMap<ValueId, Def> = BTreeMap::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            for (output, &value) in node.outputs.iter().enumerate() {
                let (node, output) = (NodeId(at as u32), output as u32);
                defs.insert(value, Def::Node { node, output });
            }
        }
        let mut remap: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        let mut constants = Vec::new();
        let old = std::mem::take(&mut graph.values);
        for (at, mut value) in old.into_iter().enumerate() {
            let id = ValueId(at as u32);
            value.def = match (value.def, defs.get(&id)) {
                (Def::Node { .. }, Some(&def)) => def,
                (Def::Node { .. }, None) => continue,
                (Def::Constant(index), _) if needed.contains(&id) => {
                    constants.push(graph.constants[index as usize].clone());
                    Def::Constant(constants.len() as u32 - 1)
                }
                (Def::Constant(_), _) => continue,
                (def, _) => def,
            };
            remap.insert(id, ValueId(graph.values.len() as u32));
            graph.values.push(value);
        }
        graph.constants = constants;
        // Whatever is read is made by a node that stays, or is a leaf.
        let mut new = |value: ValueId| remap.get(&value).copied().unwrap_or(value);
        for node in &mut graph.nodes {
            node.outputs.iter_mut().for_each(|value| *value = new(*value));
            node.args.iter_mut().for_each(|(_, arg)| arg.map_values(&mut new));
        }
        graph.inputs.iter_mut().for_each(|value| *value = new(*value));
        graph.outputs.iter_mut().for_each(|output| map_output(output, &mut new));
        graph
    }
}

fn map_output(output: &mut Output, new: &mut impl FnMut(ValueId) -> ValueId) {
    match output {
        Output::Value(value) => *value = new(*value),
        Output::Tuple(items) | Output::List(items) => items.iter_mut().for_each(|item| map_output(item, new)),
        Output::Dict(items) => items.iter_mut().for_each(|(_, item)| map_output(item, new)),
        Output::None => {}
    }
}
