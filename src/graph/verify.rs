//! The verifier: what must hold of every graph, after every pass.
//!
//! Owns the laws of SSA form and of operators' signatures. Deliberately allows operators of other namespaces than
//! `aten` and `prim` whose schema is unknown: lowering makes them, and the readers admit none.

use super::resolve::accepts;
use super::schema::{Schema, is_in_place, result_type};
use super::{Arg, Def, Graph, Node, NodeId, Output, Type, ValueId, schema_of};
use std::collections::BTreeSet;

/// A law that a graph breaks.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{node}: {message}")]
pub struct Fault {
    /// Name of the value, of the node's first output, or of the parameter.
    pub node: String,
    pub message: String,
}

/// Checks order, single definition, argument types and that no operator writes in place.
pub fn verify(graph: &Graph) -> Result<(), Fault> {
    values(graph)?;
    for (id, node) in graph.nodes() {
        let place = node_name(graph, id, node);
        let fault = |message: String| Fault {
            node: place.clone(),
            message,
        };
        for value in node.reads() {
            in_range(graph, value).map_err(fault)?;
            if let Def::Node { node: other, .. } = graph.value(value).def
                && other >= id
            {
                return Err(fault(format!(
                    "reads {:?}, which is made later",
                    graph.value(value).name
                )));
            }
        }
        for (output, &value) in node.outputs.iter().enumerate() {
            in_range(graph, value).map_err(fault)?;
            let output = output as u32;
            if graph.value(value).def != (Def::Node { node: id, output }) {
                return Err(fault(format!(
                    "output {:?} says that it is made elsewhere",
                    graph.value(value).name
                )));
            }
        }
        operator(graph, node).map_err(fault)?;
    }
    for output in &graph.outputs {
        outputs(graph, output).map_err(|message| Fault {
            node: "output".into(),
            message,
        })?;
    }
    Ok(())
}

fn node_name(graph: &Graph, id: NodeId, node: &Node) -> String {
    let first = node
        .outputs
        .first()
        .and_then(|value| graph.values.get(value.0 as usize));
    first.map_or_else(|| format!("node {}", id.0), |value| value.name.clone())
}

fn in_range(graph: &Graph, value: ValueId) -> Result<(), String> {
    if (value.0 as usize) < graph.values.len() {
        return Ok(());
    }
    Err(format!("there is no value {}", value.0))
}

/// Each value is what it says, each parameter and constant one value at most.
fn values(graph: &Graph) -> Result<(), Fault> {
    let mut names = BTreeSet::new();
    let mut sources = BTreeSet::new();
    for (index, value) in graph.values.iter().enumerate() {
        let fault = |message: &str| {
            Err(Fault {
                node: value.name.clone(),
                message: message.into(),
            })
        };
        let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
        if value.name.is_empty()
            || value.name.starts_with(|char: char| char.is_ascii_digit())
            || !value.name.chars().all(word)
        {
            return fault("is no name: a letter or _, then letters, digits and _");
        }
        if !names.insert(&value.name) {
            return fault("is the name of two values");
        }
        let id = ValueId(index as u32);
        let known = match value.def {
            Def::Input(input) => graph.inputs.get(input as usize) == Some(&id),
            Def::Param(param) => (param.0 as usize) < graph.params.len() && sources.insert((0, param.0)),
            Def::Constant(constant) => (constant as usize) < graph.constants.len() && sources.insert((1, constant)),
            Def::Node { node, output } => {
                let node = graph.nodes.get(node.0 as usize);
                node.and_then(|node| node.outputs.get(output as usize)) == Some(&id)
            }
        };
        if !known {
            return fault("has no definition, or shares it");
        }
    }
    for (index, input) in graph.inputs.iter().enumerate() {
        let value = graph.values.get(input.0 as usize);
        if value.is_none_or(|value| value.def != Def::Input(index as u32)) {
            return Err(Fault {
                node: format!("input {index}"),
                message: "is no input value".into(),
            });
        }
    }
    for param in &graph.params {
        if param.names.is_empty() {
            return Err(Fault {
                node: "param".into(),
                message: "has no name".into(),
            });
        }
    }
    Ok(())
}

fn outputs(graph: &Graph, output: &Output) -> Result<(), String> {
    match output {
        Output::Value(value) => in_range(graph, *value),
        Output::Tuple(items) | Output::List(items) => items.iter().try_for_each(|item| outputs(graph, item)),
        Output::Dict(items) => items.iter().try_for_each(|(_, item)| outputs(graph, item)),
        Output::None => Ok(()),
    }
}

fn operator(graph: &Graph, node: &Node) -> Result<(), String> {
    let op = &node.op;
    if is_in_place(op) {
        return Err(format!("{op} writes in place"));
    }
    let Some(schema) = schema_of(op, &node.overload) else {
        if !op.starts_with("aten::") && !op.starts_with("prim::") {
            return Ok(());
        }
        return Err(format!(
            "{op} has no overload {:?} that a graph may hold",
            node.overload
        ));
    };
    let names = node.args.iter().map(|(name, _)| name);
    if !names.eq(schema.args.iter().map(|arg| &arg.name)) {
        return Err(format!("{op}: its arguments are not those of the schema, in its order"));
    }
    let type_of = |value: ValueId| &graph.value(value).ty;
    for (wanted, (name, arg)) in schema.args.iter().zip(&node.args) {
        if !accepts(wanted.kind, arg, &type_of) {
            return Err(format!("{op}: the argument {name:?} is no {}", wanted.ty));
        }
    }
    results(graph, node, schema)
}

fn results(graph: &Graph, node: &Node, schema: &Schema) -> Result<(), String> {
    let found: Vec<&Type> = node.outputs.iter().map(|value| &graph.value(*value).ty).collect();
    let given = node.args.first().and_then(|(_, arg)| match arg {
        Arg::Value(value) => Some(&graph.value(*value).ty),
        _ => None,
    });
    let right = match (node.op.as_str(), given) {
        ("prim::ListUnpack", Some(Type::List(item))) => found.iter().all(|ty| **ty == **item),
        ("prim::TupleUnpack", Some(Type::Tuple(items))) => found.iter().copied().eq(items),
        ("prim::ListUnpack" | "prim::TupleUnpack", _) => false,
        _ => {
            // What a type variable stands for is left to the reader.
            let expected: Option<Vec<Type>> = schema.returns.iter().map(|text| result_type(text, None)).collect();
            match expected {
                Some(expected) if expected.len() == 1 => found == [&expected[0]],
                Some(expected) => found == [&Type::Tuple(expected)],
                None => found.len() == schema.returns.len(),
            }
        }
    };
    match right {
        true => Ok(()),
        false => Err(format!(
            "{}: its results are not of the types that the schema gives",
            node.op
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::parse;

    /// A graph in text form, and the fault that it has.
    fn check(text: &str, expected: &str) {
        let graph = match parse(text) {
            Ok(graph) => graph,
            Err(error) => panic!("{error}\n{text}"),
        };
        let found = verify(&graph).err().map_or("fine".into(), |fault| fault.to_string());
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn laws_of_graphs() {
        check(
            "%x: Tensor = input\n%y: Tensor = aten::relu(self=%x) in \"\"\noutput %y",
            "fine",
        );
        check(
            "%x: Tensor = input\n%y: Tensor = aten::relu_(self=%x) in \"\"\noutput %y",
            "y: aten::relu_ writes in place",
        );
        check(
            "%x: Tensor = input\n%y: int = aten::relu(self=%x) in \"\"\noutput %y",
            "y: aten::relu: its results are not of the types that the schema gives",
        );
        check(
            "%x: Tensor = input\n%y: Tensor = aten::relu(other=%x) in \"\"\noutput %y",
            "y: aten::relu: its arguments are not those of the schema, in its order",
        );
        check(
            "%x: Tensor = input\n%y: Tensor = aten::relu(self=1) in \"\"\noutput %y",
            "y: aten::relu: the argument \"self\" is no Tensor",
        );
        check(
            "%x: Tensor = input\n%y: Tensor = aten::save(self=%x) in \"\"\noutput %y",
            "y: aten::save has no overload \"\" that a graph may hold",
        );
        check(
            "%x: Tensor = input\n%l: List[Tensor] = aten::chunk(self=%x, chunks=2, dim=1) in \"\"\n%a: Tensor, %b: Tensor = \
             prim::ListUnpack(list=%l) in \"\"\noutput (%a, %b)",
            "fine",
        );
    }

    #[test]
    fn order_and_single_definition() {
        let text = "%x: Tensor = input\n%y: Tensor = aten::relu(self=%x) in \"\"\n%z: Tensor = aten::relu(self=%y) in \"\"\noutput %z";
        let graph = parse(text).unwrap_or_default();
        assert_eq!(verify(&graph), Ok(()));
        let message = |change: &dyn Fn(&mut Graph)| {
            let mut graph = graph.clone();
            change(&mut graph);
            verify(&graph).err().map(|fault| fault.to_string())
        };
        let swapped = message(&|graph| graph.nodes.swap(0, 1));
        assert_eq!(swapped.as_deref(), Some("y: has no definition, or shares it"));
        let twice = message(&|graph| graph.values[2].name = "y".into());
        assert_eq!(twice.as_deref(), Some("y: is the name of two values"));
        let later = message(&|graph| graph.nodes[0].args[0].1 = Arg::Value(ValueId(2)));
        assert_eq!(later.as_deref(), Some("y: reads \"z\", which is made later"));
        let lost = message(&|graph| graph.outputs = vec![Output::Value(ValueId(9))]);
        assert_eq!(lost.as_deref(), Some("output: there is no value 9"));
    }
}
