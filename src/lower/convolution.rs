//! `lower::convolution`: a two-dimensional convolution with room for a bias, a residual and an activation.
//!
//! Owns its form as a node, and the rule that makes it of ATen's convolutions. Deliberately leaves alone transposed ones,
//! those in one and three dimensions, those padded by name, and whatever is not float32.

use super::site::Activation;
use super::{Editor, Shapes};
use crate::graph::{Arg, Graph, Node, ValueId};
use crate::tensor::{DType, Tensor};

/// The operator's name.
pub(super) const OP: &str = "lower::convolution";

/// The operator taken apart.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub input: ValueId,
    pub weight: ValueId,
    pub bias: ValueId,
    pub stride: [i64; 2],
    pub padding: [i64; 2],
    pub dilation: [i64; 2],
    pub conv_groups: i64,
    /// Added before the activation.
    pub other: Option<ValueId>,
    pub activation: Activation,
}

impl Convolution {
    /// Reads a node of this form.
    pub fn of(node: &Node) -> Option<Convolution> {
        if node.op != OP {
            return None;
        }
        Some(Convolution {
            input: node.value("input")?,
            weight: node.value("weight")?,
            bias: node.value("bias")?,
            stride: pair(node.arg("stride")?)?,
            padding: pair(node.arg("padding")?)?,
            dilation: pair(node.arg("dilation")?)?,
            conv_groups: node.arg("groups")?.as_int()?,
            other: node.value("other"),
            activation: Activation::of_args(node)?,
        })
    }

    /// Writes it as a node that makes `output`.
    pub fn write(&self, editor: &mut Editor, output: ValueId) {
        let (name, scalars, algorithm) = self.activation.parts();
        let args = [
            ("input", Arg::Value(self.input)),
            ("weight", Arg::Value(self.weight)),
            ("bias", Arg::Value(self.bias)),
            ("stride", ints(&self.stride)),
            ("padding", ints(&self.padding)),
            ("dilation", ints(&self.dilation)),
            ("groups", Arg::Int(self.conv_groups)),
            ("other", self.other.map_or(Arg::None, Arg::Value)),
            ("attr", Arg::Str(name.into())),
            ("scalars", scalars),
            ("algorithm", algorithm),
        ];
        let args = args.map(|(name, arg)| (name.to_owned(), arg)).to_vec();
        editor.node_into(output, OP, "", args);
    }
}

pub(super) fn ints(numbers: &[i64]) -> Arg {
    Arg::List(numbers.iter().map(|&number| Arg::Int(number)).collect())
}

/// Two numbers; one stands for both.
fn pair(arg: &Arg) -> Option<[i64; 2]> {
    match arg.as_ints()?[..] {
        [both] => Some([both, both]),
        [a, b] => Some([a, b]),
        _ => None,
    }
}

/// Makes `lower::convolution` of every convolution that it can stand for.
pub(super) fn apply(graph: Graph, shapes: &Shapes) -> Graph {
    let (mut editor, nodes) = Editor::new(graph);
    for node in nodes {
        match read(&mut editor, &node, shapes) {
            Some(convolution) => {
                editor.at(&node.scope);
                convolution.write(&mut editor, node.outputs[0]);
            }
            None => editor.keep(node),
        }
    }
    editor.finish()
}

fn read(editor: &mut Editor, node: &Node, shapes: &Shapes) -> Option<Convolution> {
    let plain = match node.op.as_str() {
        "aten::conv2d" => node.overload.is_empty(),
        "aten::_convolution" | "aten::convolution" => node.arg("transposed") == Some(&Arg::Bool(false)),
        _ => false,
    };
    let (input, weight) = (node.value("input")?, node.value("weight")?);
    let image = |value: ValueId| {
        let (shape, dtype) = shapes.get(&editor.graph().value(value).name)?;
        (*dtype == DType::F32 && shape.len() == 4).then(|| shape.clone())
    };
    image(input)?;
    let filters = image(weight)?[0];
    let bias = match node.arg("bias") {
        Some(Arg::Value(bias)) => *bias,
        _ => editor.constant(&format!("zeros_{filters}"), || {
            Tensor::from_f32([filters], &vec![0.0; filters])
        }),
    };
    plain.then_some(())?;
    Some(Convolution {
        input,
        weight,
        bias,
        stride: pair(node.arg("stride")?)?,
        padding: pair(node.arg("padding")?)?,
        dilation: pair(node.arg("dilation")?)?,
        conv_groups: node.arg("groups")?.as_int()?,
        other: None,
        activation: Activation::None,
    })
}

#[cfg(test)]
mod tests {
    use crate::graph::testing::Builder;
    use crate::lower::tests::{Net, check};

    #[test]
    fn plain_grouped_and_depthwise_convolutions_stay_what_they_were() {
        for conv_groups in [1, 2, 4] {
            let mut net = Builder::default();
            let x = net.input();
            let first = net.conv("first", x, 4, 4, conv_groups);
            let out = net.conv("second", first, 4, 6, 1);
            check(&net.finish(out), Net::image(4), &["mkldnn::_convolution_pointwise"; 2]);
        }
    }
}
