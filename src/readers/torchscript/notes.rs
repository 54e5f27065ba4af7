//! What a reader says of a graph that is whole.
//!
//! Owns the notes on what the file means otherwise than it looks: divisions of old versions, weights without names.
//! Deliberately changes nothing.

use crate::graph::{Arg, Def, Graph, Issue, Node, ValueId};

/// Adds all notes to the issues of a graph of a file of this version.
pub fn note(graph: &mut Graph, version: u64) {
    let issues = old_divisions(graph, version).into_iter().chain(nameless(graph));
    graph.issues.extend(issues.collect::<Vec<_>>());
}

fn issue(graph: &Graph, node: &Node, message: String) -> Issue {
    Issue {
        node: graph.value(node.outputs[0]).name.clone(),
        scope: node.scope.clone(),
        op: node.op.clone(),
        message,
    }
}

/// Below version 4, `div` of integers rounded towards zero.
fn old_divisions(graph: &Graph, version: u64) -> Vec<Issue> {
    let divides = |node: &&Node| node.op == "aten::div" && node.overload.starts_with("Tensor");
    let text = format!("file version {version}: div of integer tensors rounded then, and does not now");
    let nodes = graph.nodes.iter().filter(|_| version < 4).filter(divides);
    nodes.map(|node| issue(graph, node, text.clone())).collect()
}

/// Layers whose weights are constants: those of a part that was frozen before it was saved. One that mixes no channels (a
/// blur) is meant to be.
fn nameless(graph: &Graph) -> Option<Issue> {
    let constant = |node: &&Node| {
        let layer = node.short().contains("conv") || node.short() == "linear";
        let weight = node.arg("weight").and_then(Arg::as_value);
        layer
            && weight
                .and_then(|weight| shape(graph, weight))
                .is_some_and(|shape| mixes(&shape))
    };
    let mut layers = graph.nodes.iter().filter(constant);
    let first = layers.next()?;
    let others = match layers.count() {
        0 => String::new(),
        1 => "; 1 other layer is so too".to_owned(),
        others => format!("; {others} other layers are so too"),
    };
    let text = format!(
        "its weight is a constant without a name, so it is no layer that is cut or masked: this part was frozen; save the \
         model without torch.jit.freeze{others}"
    );
    Some(issue(graph, first, text))
}

/// The shape of a constant, however it is handed on.
fn shape(graph: &Graph, mut value: ValueId) -> Option<Vec<usize>> {
    loop {
        match graph.value(value).def {
            Def::Constant(constant) => return Some(graph.constants[constant as usize].shape().to_vec()),
            Def::Node { node, .. } if ["detach", "to", "contiguous"].contains(&graph.node(node).short()) => {
                value = graph.node(node).args.first()?.1.as_value()?;
            }
            _ => return None,
        }
    }
}

fn mixes(shape: &[usize]) -> bool {
    matches!(shape, [out, into, ..] if *out > 1 && *into > 1)
}
