//! Reasons in words: where a node stands, and why a layer is frozen.

use super::layers::Layer;
use super::walk::Walked;
use crate::graph::{Graph, NodeId};
use crate::labels::{FROZEN, Label, Paths, Reason};

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

fn sentence(graph: &Graph, reason: Reason) -> String {
    match reason.node {
        Some(node) => format!("{} {}", place(graph, node), reason.what),
        None => reason.what.to_owned(),
    }
}

fn output_labels(walked: &Walked, layer: &Layer) -> Vec<Label> {
    walked.labels.row(layer.weight, layer.output_axis()).unwrap_or_default()
}

/// Why output channels of a layer may not go; none when all may.
pub fn why_frozen(walked: &Walked, paths: &Paths, layer: &Layer) -> Option<String> {
    let row = output_labels(walked, layer);
    if row.is_empty() {
        return Some("it has one output channel only".into());
    }
    let frozen: Vec<usize> = (0..row.len())
        .filter(|&at| walked.labels.find(row[at]) == FROZEN)
        .collect();
    let &first = frozen.first()?;
    let path = paths.between(row[first], FROZEN)?;
    let last = sentence(walked.graph, path.last()?.reason);
    Some(if frozen.len() == row.len() {
        last
    } else {
        format!("{} of its {} output channels: {last}", frozen.len(), row.len())
    })
}
