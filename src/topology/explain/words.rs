//! Nodes, labels and numbers in words.

use super::super::layers::{Known, Layer, LayerKind};
use super::super::walk::Walked;
use crate::graph::{Graph, NodeId};
use crate::labels::{FROZEN, Label, Reason};
use crate::ops::Fact;

/// A node as people find it: its operator, its module and its name in the graph.
pub fn place(graph: &Graph, node: NodeId) -> String {
    let found = graph.node(node);
    let name = found.outputs.first().map_or("", |&out| graph.value(out).name.as_str());
    if found.scope.is_empty() {
        format!("{} `{name}`", found.op)
    } else {
        format!("{} `{name}` in {}", found.op, found.scope)
    }
}

pub(super) fn sentence(graph: &Graph, reason: Reason) -> String {
    match reason.node {
        Some(node) => format!("{} {}", place(graph, node), reason.what),
        None => reason.what.to_owned(),
    }
}

/// `64x112x112`.
pub fn shape(shape: &[usize]) -> String {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    if extents.is_empty() {
        "scalar".into()
    } else {
        extents.join("x")
    }
}

/// `0–3, 8` of `[0, 1, 2, 3, 8]`.
pub fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let text: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}–{last}"),
        })
        .collect();
    text.join(", ")
}

/// Shapes of the tensors that a node reads and gives: `1x64x56x56 + 1x64x56x56 → 1x64x56x56`.
pub(super) fn node_shapes(walked: &Walked, node: NodeId) -> String {
    let node = walked.graph.node(node);
    let tensors = |values: Vec<crate::graph::ValueId>| {
        let mut shapes = Vec::new();
        values
            .into_iter()
            .for_each(|value| collect(walked.fact(value), &mut shapes));
        shapes.join(", ")
    };
    let (reads, gives) = (tensors(node.reads()), tensors(node.outputs.clone()));
    format!("{reads} → {gives}")
}

fn collect(fact: &Fact, shapes: &mut Vec<String>) {
    match fact {
        Fact::Tensor(tensor) => shapes.push(shape(&tensor.axes.shape)),
        Fact::List(items) => items.iter().for_each(|item| collect(item, shapes)),
        _ => {}
    }
}

/// What a label stands for: a channel of a layer, or a position of another parameter.
pub(super) fn end(walked: &Walked, known: &Known, label: Label) -> String {
    if label == FROZEN {
        return "what must stay".into();
    }
    let Some(position) = walked.labels.position(label) else {
        return "zeros".into();
    };
    let (axis, index) = (position.axis, position.index);
    let param = walked.graph.param(position.param);
    match known.layer(position.param) {
        Some(layer) if layer.bias == Some(position.param) => format!("{} bias {index}", layer.name),
        Some(layer) if axis == layer.output_axis() => format!("{} output channel {index}", layer.name),
        Some(layer) if Some(axis) == layer.input_axis() => format!("{} input channel {index}", layer.name),
        Some(Layer {
            name,
            kind: LayerKind::Embedding,
            ..
        }) => format!("{name} row {index}"),
        _ if param.tensor.shape().len() == 1 => format!("{}[{index}]", param.name()),
        _ => format!("{}, axis {axis} at {index}", param.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_few_words() {
        assert_eq!(ranges(&[0, 1, 2, 3, 8]), "0–3, 8");
        assert_eq!(ranges(&[4, 5, 9]), "4, 5, 9");
        assert_eq!(ranges(&[]), "");
        assert_eq!((shape(&[2, 3]), shape(&[])), ("2x3".into(), "scalar".into()));
    }
}
