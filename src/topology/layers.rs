//! The layers of a graph: modules whose weight a convolution, a product or a table look-up reads.

use super::walk::Walked;
use crate::graph::{Arg, Graph, Node, NodeId, ParamId, ValueId};
use crate::labels::Position;
use crate::ops::Fact;
use std::collections::{BTreeMap, BTreeSet};

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

/// A layer, by its PyTorch module name; by its parameter's where the module has several weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub name: String,
    pub kind: LayerKind,
    /// The parameter that has its filters; for a computed weight the one that it is computed from.
    pub weight: ParamId,
    pub bias: Option<ParamId>,
    pub conv_groups: usize,
    /// The nodes that apply it, in order.
    pub nodes: Vec<NodeId>,
    output_axis: usize,
    input_axis: Option<usize>,
    depthwise: bool,
}

impl Layer {
    /// The weight's axis of output channels; for a transposed convolution it counts those of one group, but for a
    /// depthwise one, whose outputs go with the channel that they are made from.
    pub fn output_axis(&self) -> usize {
        self.output_axis
    }

    /// The weight's axis of input channels; an embedding has none.
    pub fn input_axis(&self) -> Option<usize> {
        self.input_axis
    }

    pub fn is_convolution(&self) -> bool {
        matches!(self.kind, LayerKind::Convolution | LayerKind::TransposedConvolution)
    }

    /// Whether each filter reads one channel of its own.
    pub fn depthwise(&self) -> bool {
        self.depthwise
    }
}

/// One weight that a node applies, before it is known whose it is.
struct Applied {
    kind: LayerKind,
    weight: ValueId,
    bias: Option<ValueId>,
    conv_groups: usize,
    output_axis: usize,
    input_axis: Option<usize>,
    depthwise: bool,
}

impl Applied {
    fn layer(&self, graph: &Graph, weight: ParamId) -> Layer {
        Layer {
            name: String::new(),
            kind: self.kind,
            weight,
            bias: self.bias.and_then(|value| graph.param_of(value)),
            conv_groups: self.conv_groups,
            nodes: Vec::new(),
            output_axis: self.output_axis,
            input_axis: self.input_axis,
            depthwise: self.depthwise,
        }
    }
}

/// What a node applies as a layer does; `shape` tells a weight's shape.
fn applied(node: &Node, shape: impl Fn(ValueId) -> Option<Vec<usize>>) -> Option<Applied> {
    let transposed =
        node.short().starts_with("conv_transpose") || matches!(node.arg("transposed"), Some(Arg::Bool(true)));
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
        _ => return None,
    };
    let (weight, bias) = match kind {
        LayerKind::TransposedLinear => ("mat2", "self"),
        _ => ("weight", "bias"),
    };
    let weight = node.value(weight)?;
    let conv_groups = node.arg("groups").and_then(Arg::as_int);
    let conv_groups = conv_groups.and_then(|groups| usize::try_from(groups).ok()).unwrap_or(1);
    let shape = shape(weight).unwrap_or_default();
    let depthwise = conv_groups > 1
        && match kind {
            LayerKind::Convolution => shape.get(1) == Some(&1),
            LayerKind::TransposedConvolution => shape.first() == Some(&conv_groups),
            _ => false,
        };
    let (output_axis, input_axis) = match kind {
        LayerKind::Convolution | LayerKind::Linear => (0, Some(1)),
        LayerKind::TransposedConvolution if depthwise => (0, Some(0)),
        LayerKind::TransposedConvolution | LayerKind::TransposedLinear => (1, Some(0)),
        LayerKind::Embedding => (1, None),
    };
    Some(Applied {
        kind,
        weight,
        bias: node.value(bias),
        conv_groups,
        output_axis,
        input_axis,
        depthwise,
    })
}

/// Every layer whose weight is a parameter as it is, in the order in which the graph first applies it.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    let mut found = Found::default();
    for (id, node) in graph.nodes() {
        let of_param = |value: ValueId| {
            let param = graph.param_of(value)?;
            Some(graph.param(param).tensor.shape().to_vec())
        };
        let Some(applied) = applied(node, of_param) else {
            continue;
        };
        if let Some(weight) = graph.param_of(applied.weight) {
            found.add(id, applied.layer(graph, weight));
        }
    }
    let mut layers = found.layers;
    name(graph, &mut layers, &[]);
    layers
}

/// The layers, and beside them the weights of no layer that a mask could take filters from: those computed from a
/// parameter (under a norm, or cut out of a larger one), those that a product reads, and those of recurrent layers.
pub fn all_layers(walked: &Walked) -> Vec<Layer> {
    let graph = walked.graph;
    let own = layers(graph);
    let known: BTreeSet<ParamId> = own.iter().map(|layer| layer.weight).collect();
    let mut found = Found::default();
    for (id, node) in graph.nodes() {
        for applied in widely_applied(walked, node) {
            let layer = match graph.param_of(applied.weight) {
                Some(weight) => Some(applied.layer(graph, weight)),
                None => computed(walked, &applied),
            };
            if let Some(layer) = layer {
                found.add(id, layer);
            }
        }
    }
    let mut others: Vec<Layer> = found.layers;
    let mut all = Vec::with_capacity(others.len());
    others.retain(|layer| !known.contains(&layer.weight));
    name(graph, &mut others, &own);
    all.extend(own);
    all.extend(others);
    all.sort_by_key(|layer| layer.nodes.first().copied());
    all
}

/// What a node applies: as a layer does, as a factor that nothing the model is given reaches, or step by step.
fn widely_applied(walked: &Walked, node: &Node) -> Vec<Applied> {
    let shape = |value: ValueId| walked.fact(value).shape().map(<[usize]>::to_vec);
    let plain =
        |weight: ValueId, bias: Option<ValueId>, kind: LayerKind, output_axis: usize, input_axis: usize| Applied {
            kind,
            weight,
            bias,
            conv_groups: 1,
            output_axis,
            input_axis: Some(input_axis),
            depthwise: false,
        };
    match node.short() {
        "matmul" | "mm" | "bmm" => {
            let right = node.value("other").or(node.value("mat2"));
            let (Some(left), Some(right)) = (node.value("self"), right) else {
                return Vec::new();
            };
            let rank = |value: ValueId| shape(value).map_or(0, |shape| shape.len());
            match (walked.fixed(left), walked.fixed(right)) {
                (false, true) if rank(right) >= 2 => {
                    let last = rank(right) - 1;
                    vec![plain(right, None, LayerKind::TransposedLinear, last, last - 1)]
                }
                (true, false) if rank(left) >= 2 => {
                    let last = rank(left) - 1;
                    vec![plain(left, None, LayerKind::Linear, last - 1, last)]
                }
                _ => Vec::new(),
            }
        }
        "lstm" | "gru" | "rnn_tanh" | "rnn_relu" => {
            let Some(Arg::List(params)) = node.arg("params") else {
                return Vec::new();
            };
            let weights = params.iter().filter_map(Arg::as_value);
            let weights = weights.filter(|&value| shape(value).is_some_and(|shape| shape.len() == 2));
            weights
                .map(|value| plain(value, None, LayerKind::Linear, 0, 1))
                .collect()
        }
        short => {
            let named = WEIGHTS.iter().filter(|(op, ..)| *op == short);
            let named = named.flat_map(|&(_, weights)| weights);
            let named = named.filter_map(|&(weight, bias)| {
                Some(plain(node.value(weight)?, node.value(bias), LayerKind::Linear, 0, 1))
            });
            applied(node, shape).into_iter().chain(named).collect()
        }
    }
}

/// The weights of operators that apply several linear layers, with their biases.
const WEIGHTS: [(&str, &[(&str, &str)]); 6] = [
    ("_native_multi_head_attention", ATTENTION),
    ("_transformer_encoder_layer_fwd", ENCODER),
    ("lstm_cell", CELL),
    ("gru_cell", CELL),
    ("rnn_tanh_cell", CELL),
    ("rnn_relu_cell", CELL),
];
const ATTENTION: &[(&str, &str)] = &[("qkv_weight", "qkv_bias"), ("proj_weight", "proj_bias")];
const ENCODER: &[(&str, &str)] = &[
    ("qkv_weight", "qkv_bias"),
    ("proj_weight", "proj_bias"),
    ("ffn_weight_1", "ffn_bias_1"),
    ("ffn_weight_2", "ffn_bias_2"),
];
const CELL: &[(&str, &str)] = &[("w_ih", "b_ih"), ("w_hh", "b_hh")];

/// The layer of a weight that is computed from a parameter whose axes still tell its channels.
fn computed(walked: &Walked, applied: &Applied) -> Option<Layer> {
    if !walked.fixed(applied.weight) {
        return None;
    }
    let Fact::Tensor(weight) = walked.fact(applied.weight) else {
        return None;
    };
    // The one axis of one parameter that all positions of an axis come from.
    let source = |axis: usize| {
        let row = weight.axes.row(axis)?;
        let mut positions = row.iter().map(|&label| walked.labels.position(label));
        let first = positions.next()??;
        let same =
            |other: Option<Position>| other.is_some_and(|other| (other.param, other.axis) == (first.param, first.axis));
        positions.all(same).then_some((first.param, first.axis))
    };
    let (output, input) = (source(applied.output_axis), applied.input_axis.and_then(source));
    let (param, _) = output.or(input)?;
    let param_of = |found: Option<(ParamId, usize)>| found.is_none_or(|(other, _)| other == param);
    if !param_of(output) || !param_of(input) {
        return None;
    }
    // An axis of one position has no labels, and stands where it stood.
    let same = walked.graph.param(param).tensor.shape().len() == weight.axes.rank();
    let axis = |found: Option<(ParamId, usize)>, own: usize| match found {
        Some((_, axis)) => Some(axis),
        None => same.then_some(own),
    };
    let layer = applied.layer(walked.graph, param);
    Some(Layer {
        output_axis: axis(output, applied.output_axis)?,
        input_axis: applied.input_axis.and_then(|own| axis(input, own)),
        ..layer
    })
}

/// Layers in the order in which they were found, each weight once.
#[derive(Default)]
struct Found {
    layers: Vec<Layer>,
    known: BTreeMap<ParamId, usize>,
}

impl Found {
    fn add(&mut self, node: NodeId, layer: Layer) {
        let at = *self.known.entry(layer.weight).or_insert(self.layers.len());
        if at == self.layers.len() {
            self.layers.push(layer);
        }
        self.layers[at].nodes.push(node);
    }
}

/// The module of a parameter; that of a parametrised one is the module that has it as an attribute.
fn module(name: &str) -> &str {
    let module = name.rsplit_once('.').map_or("", |(module, _)| module);
    match module.split_once("parametrizations.") {
        Some((module, _)) => module.trim_end_matches('.'),
        None => module,
    }
}

/// Names layers by their modules, or by their parameters where the module has several, the `others` included.
fn name(graph: &Graph, layers: &mut [Layer], others: &[Layer]) {
    let mut weights: BTreeMap<&str, usize> = BTreeMap::new();
    for layer in layers.iter().chain(others) {
        *weights.entry(module(graph.param(layer.weight).name())).or_default() += 1;
    }
    for layer in layers {
        let name = graph.param(layer.weight).name();
        let module = module(name);
        let alone = weights.get(module) == Some(&1) && !module.is_empty();
        layer.name = if alone { module } else { name }.to_owned();
    }
}

/// All layers, and which one a parameter belongs to.
pub(super) struct Known {
    pub layers: Vec<Layer>,
    weights: BTreeMap<ParamId, usize>,
    params: BTreeMap<ParamId, usize>,
}

impl Known {
    pub fn of(walked: &Walked) -> Known {
        let layers = all_layers(walked);
        let (mut weights, mut params) = (BTreeMap::new(), BTreeMap::new());
        for (at, layer) in layers.iter().enumerate() {
            weights.insert(layer.weight, at);
            for param in [Some(layer.weight), layer.bias].into_iter().flatten() {
                params.entry(param).or_insert(at);
            }
        }
        Known {
            layers,
            weights,
            params,
        }
    }

    /// Where in the list the layer with this weight stands.
    pub fn by_weight(&self, param: ParamId) -> Option<usize> {
        self.weights.get(&param).copied()
    }

    /// The layer that has a parameter as its weight or bias.
    pub fn layer(&self, param: ParamId) -> Option<&Layer> {
        self.params.get(&param).map(|&at| &self.layers[at])
    }
}
