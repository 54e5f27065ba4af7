//! An activation behind a convolution is applied by the convolution.
//!
//! Deliberately leaves alone one whose input something else reads too; behind a residual oneDNN takes ReLU only.

use super::Editor;
use super::convolution::Convolution;
use super::site::Activation;
use crate::graph::{Graph, Node};

pub(super) fn apply(graph: Graph) -> Graph {
    let (mut editor, nodes) = Editor::new(graph);
    for node in nodes {
        if fuse(&mut editor, &node).is_none() {
            editor.keep(node);
        }
    }
    editor.finish()
}

fn fuse(editor: &mut Editor, node: &Node) -> Option<()> {
    let activation = Activation::of_node(node)?;
    let input = node.value("self")?;
    let convolution = editor.maker(input).and_then(Convolution::of)?;
    let takes = convolution.other.is_none() || activation == Activation::Relu;
    if !takes || !convolution.activation.is_none() || !editor.read_once(input) {
        return None;
    }
    let fused = Convolution {
        activation,
        ..convolution
    };
    editor.at(&node.scope);
    fused.write(editor, node.outputs[0]);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::graph::Arg;
    use crate::graph::testing::Builder;
    use crate::lower::tests::{Net, check};

    #[test]
    fn every_activation_is_fused() {
        let number = Arg::Float;
        let all: [(&str, Vec<(&str, Arg)>); 9] = [
            ("relu", vec![]),
            ("relu6", vec![]),
            ("sigmoid", vec![]),
            ("tanh", vec![]),
            ("silu", vec![]),
            ("hardswish", vec![]),
            ("gelu", vec![("approximate", Arg::Str("none".into()))]),
            ("leaky_relu", vec![("negative_slope", number(0.2))]),
            ("hardtanh", vec![("min_val", number(-0.5)), ("max_val", number(2.0))]),
        ];
        for (op, args) in all {
            let mut net = Builder::default();
            let x = net.input();
            let conv = net.conv("conv", x, 4, 4, 1);
            let out = net.unary(op, conv, &args);
            check(&net.finish(out), Net::image(4), &["mkldnn::_convolution_pointwise"]);
        }
    }

    #[test]
    fn what_is_read_twice_is_not_fused() {
        let mut net = Builder::default();
        let x = net.input();
        let conv = net.conv("conv", x, 4, 4, 1);
        let gate = net.unary("sigmoid", conv, &[]);
        let out = net.binary("mul", gate, conv);
        net.graph.nodes[2].overload = "Tensor".into();
        check(
            &net.finish(out),
            Net::image(4),
            &["mkldnn::_convolution_pointwise", "aten::sigmoid", "aten::mul"],
        );
    }
}
