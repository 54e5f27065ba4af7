//! The layers of a graph: modules whose weight a convolution, a product or a table look-up reads.

use crate::graph::{Graph, NodeId, ParamId};
use std::collections::BTreeMap;

/// What a layer's operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerKind {
    Convolution,
    TransposedConvolution,
    Linear,
    /// A product with a weight of `[inputs, outputs]`, as some language models have it.
    TransposedLinear,
    Embedding,
}

/// A layer, by its PyTorch module name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub name: String,
    pub kind: LayerKind,
    pub weight: ParamId,
    pub bias: Option<ParamId>,
    pub conv_groups: usize,
    /// The nodes that apply it, in order.
    pub nodes: Vec<NodeId>,
}

impl Layer {
    /// The weight's axis of output channels; for a transposed convolution it counts those of one group.
    pub fn output_axis(&self) -> usize {
        match self.kind {
            LayerKind::Convolution | LayerKind::Linear => 0,
            LayerKind::TransposedConvolution | LayerKind::TransposedLinear | LayerKind::Embedding => 1,
        }
    }

    /// The weight's axis of input channels; an embedding has none.
    pub fn input_axis(&self) -> Option<usize> {
        match self.kind {
            LayerKind::Convolution | LayerKind::Linear => Some(1),
            LayerKind::TransposedConvolution | LayerKind::TransposedLinear => Some(0),
            LayerKind::Embedding => None,
        }
    }

    pub fn is_convolution(&self) -> bool {
        matches!(self.kind, LayerKind::Convolution | LayerKind::TransposedConvolution)
    }

    /// Whether each filter reads one channel of its own.
    pub fn depthwise(&self, graph: &Graph) -> bool {
        let shape = graph.param(self.weight).tensor.shape();
        match self.kind {
            LayerKind::Convolution => self.conv_groups > 1 && shape.get(1) == Some(&1),
            LayerKind::TransposedConvolution => self.conv_groups > 1 && shape.first() == Some(&self.conv_groups),
            _ => false,
        }
    }
}

/// Every layer in the order in which the graph first applies it. Weights computed from parameters belong to no layer.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    let mut found: Vec<Layer> = Vec::new();
    let mut known: BTreeMap<ParamId, usize> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        let transposed = node.short().starts_with("conv_transpose")
            || matches!(node.arg("transposed"), Some(crate::graph::Arg::Bool(true)));
        let kind = match node.short() {
            "_convolution" | "convolution" | "_convolution_mode" | "conv1d" | "conv2d" | "conv3d" if !transposed => {
                LayerKind::Convolution
            }
            "_convolution" | "convolution" | "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d" => {
                LayerKind::TransposedConvolution
            }
            "linear" => LayerKind::Linear,
            "addmm" => LayerKind::TransposedLinear,
            "embedding" => LayerKind::Embedding,
            _ => continue,
        };
        let (weight, bias) = match kind {
            LayerKind::TransposedLinear => ("mat2", "self"),
            _ => ("weight", "bias"),
        };
        let Some(weight) = node.value(weight).and_then(|value| graph.param_of(value)) else {
            continue;
        };
        let slot = *known.entry(weight).or_insert_with(|| {
            let name = graph.param(weight).name();
            found.push(Layer {
                name: name.rsplit_once('.').map_or(name, |(module, _)| module).to_owned(),
                kind,
                weight,
                bias: node.value(bias).and_then(|value| graph.param_of(value)),
                conv_groups: node
                    .arg("groups")
                    .and_then(crate::graph::Arg::as_int)
                    .and_then(|groups| usize::try_from(groups).ok())
                    .unwrap_or(1),
                nodes: Vec::new(),
            });
            found.len() - 1
        });
        found[slot].nodes.push(id);
    }
    found
}
