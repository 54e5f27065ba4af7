//! Where a layer ends: the value in which a filter that is masked has become a known constant.
//!
//! Owns the search for such places and the activations that lie between a layer and its end. Deliberately knows nothing
//! of masks: which parameters feed a site is for its user to follow through the graph.

use super::Editor;
use super::convolution::Convolution;
use crate::graph::{Arg, Graph, Node, ValueId};
use std::collections::BTreeMap;

/// A function of one number that oneDNN applies to a convolution's results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    None,
    Relu,
    Sigmoid,
    Tanh,
    Silu,
    Hardswish,
    /// With the tanh approximation, or exact.
    Gelu(bool),
    LeakyRelu(f64),
    /// Between these bounds.
    Clip(f64, f64),
}

impl Activation {
    pub fn is_none(self) -> bool {
        self == Activation::None
    }

    /// What an operator of one tensor is, if it is one of these.
    pub(super) fn of_node(node: &Node) -> Option<Activation> {
        let number = |name: &str| match node.arg(name) {
            Some(Arg::Float(number)) => Some(*number),
            Some(Arg::Int(number)) => Some(*number as f64),
            _ => None,
        };
        if !node.overload.is_empty() {
            return None;
        }
        Some(match node.op.strip_prefix("aten::")? {
            "relu" => Activation::Relu,
            "relu6" => Activation::Clip(0.0, 6.0),
            "sigmoid" => Activation::Sigmoid,
            "tanh" => Activation::Tanh,
            "silu" => Activation::Silu,
            "hardswish" => Activation::Hardswish,
            "gelu" => Activation::Gelu(node.arg("approximate")? == &Arg::Str("tanh".into())),
            "leaky_relu" => Activation::LeakyRelu(number("negative_slope")?),
            "hardtanh" => Activation::Clip(number("min_val")?, number("max_val")?),
            "clamp" => Activation::Clip(number("min")?, number("max")?),
            _ => return None,
        })
    }

    /// As oneDNN's operators are told: name, numbers, algorithm.
    pub(super) fn parts(self) -> (&'static str, Arg, Arg) {
        let numbers = |numbers: &[f64]| Arg::List(numbers.iter().map(|&number| Arg::Float(number)).collect());
        let none = numbers(&[]);
        let plain = |name| (name, none.clone(), Arg::None);
        match self {
            Activation::None => plain("none"),
            Activation::Relu => plain("relu"),
            Activation::Sigmoid => plain("sigmoid"),
            Activation::Tanh => plain("tanh"),
            Activation::Silu => plain("swish"),
            Activation::Hardswish => plain("hardswish"),
            Activation::Gelu(tanh) => {
                let algorithm = if tanh { "tanh" } else { "none" };
                ("gelu", none, Arg::Str(algorithm.into()))
            }
            Activation::LeakyRelu(slope) => ("leaky_relu", numbers(&[slope]), Arg::None),
            Activation::Clip(low, high) => ("hardtanh", numbers(&[low, high]), Arg::None),
        }
    }

    /// The inverse of [`Activation::parts`].
    pub(super) fn of_args(node: &Node) -> Option<Activation> {
        let (Arg::Str(name), Arg::List(scalars)) = (node.arg("attr")?, node.arg("scalars")?) else {
            return None;
        };
        let number = |at: usize| match scalars.get(at) {
            Some(Arg::Float(number)) => Some(*number),
            _ => None,
        };
        Some(match name.as_str() {
            "none" => Activation::None,
            "relu" => Activation::Relu,
            "sigmoid" => Activation::Sigmoid,
            "tanh" => Activation::Tanh,
            "swish" => Activation::Silu,
            "hardswish" => Activation::Hardswish,
            "gelu" => Activation::Gelu(node.arg("algorithm")? == &Arg::Str("tanh".into())),
            "leaky_relu" => Activation::LeakyRelu(number(0)?),
            "hardtanh" => Activation::Clip(number(0)?, number(1)?),
            _ => return None,
        })
    }

    /// Applies it with ATen's operators.
    pub fn write(self, editor: &mut Editor, output: ValueId, input: ValueId) {
        let x = Arg::Value(input);
        let mut op = |op: &str, args: &[Arg]| editor.op_into(output, op, args);
        match self {
            Activation::None => op("aten::alias", &[x]),
            // Of a sum and an `aten::relu` behind it TorchScript makes one operator, which knows no bfloat16.
            Activation::Relu => op("aten::clamp_min", &[x, Arg::Int(0)]),
            Activation::Sigmoid => op("aten::sigmoid", &[x]),
            Activation::Tanh => op("aten::tanh", &[x]),
            Activation::Silu => op("aten::silu", &[x]),
            Activation::Hardswish => op("aten::hardswish", &[x]),
            Activation::Gelu(tanh) => {
                let algorithm = if tanh { "tanh" } else { "none" };
                let args = vec![
                    ("self".to_owned(), x),
                    ("approximate".to_owned(), Arg::Str(algorithm.into())),
                ];
                editor.node_into(output, "aten::gelu", "", args);
            }
            Activation::LeakyRelu(slope) => op("aten::leaky_relu", &[x, Arg::Float(slope)]),
            Activation::Clip(low, high) => op("aten::hardtanh", &[x, Arg::Float(low), Arg::Float(high)]),
        }
    }
}

/// A layer's end. A channel whose filter and bias are zero holds `activation(shift + other)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    pub output: ValueId,
    /// Axes behind the axis of channels.
    pub trailing: usize,
    /// What the layer's operator reads as weight, and as bias: parameters, or made of parameters alone.
    pub weight: ValueId,
    pub shift: Option<ValueId>,
    pub other: Option<ValueId>,
    pub activation: Activation,
}

/// A site by the names of its values, which outlive renumbering.
pub(super) struct Named {
    output: String,
    trailing: usize,
    weight: String,
    shift: Option<String>,
    other: Option<String>,
    activation: Activation,
}

impl Named {
    pub fn resolve(&self, graph: &Graph) -> Option<Site> {
        let by_name: BTreeMap<&str, ValueId> = graph
            .value_ids()
            .map(|value| (graph.value(value).name.as_str(), value))
            .collect();
        let find = |name: &String| by_name.get(name.as_str()).copied();
        let maybe = |name: &Option<String>| match name {
            None => Some(None),
            Some(name) => find(name).map(Some),
        };
        Some(Site {
            output: find(&self.output)?,
            trailing: self.trailing,
            weight: find(&self.weight)?,
            shift: maybe(&self.shift)?,
            other: maybe(&self.other)?,
            activation: self.activation,
        })
    }
}

/// Every layer's end, as far as it is of a kind that is known.
pub(super) fn find(graph: &Graph) -> Vec<Named> {
    let name = |value: ValueId| graph.value(value).name.clone();
    let site = |node: &Node| {
        let output = name(*node.outputs.first()?);
        if let Some(convolution) = Convolution::of(node) {
            return Some(Named {
                output,
                trailing: 2,
                weight: name(convolution.weight),
                shift: Some(name(convolution.bias)),
                other: convolution.other.map(name),
                activation: convolution.activation,
            });
        }
        let trailing = match node.op.strip_prefix("aten::")? {
            "linear" => 0,
            "conv1d" | "conv_transpose1d" => 1,
            "conv2d" | "conv_transpose2d" => 2,
            "conv3d" | "conv_transpose3d" => 3,
            "_convolution" | "convolution" => node.arg("stride")?.as_ints()?.len(),
            _ => return None,
        };
        Some(Named {
            output,
            trailing,
            weight: name(node.value("weight")?),
            shift: node.value("bias").map(name),
            other: None,
            activation: Activation::None,
        })
    };
    graph.nodes.iter().filter_map(site).collect()
}
