//! A sum of a convolution and another tensor of its shape is taken by the convolution.
//!
//! Where both are convolutions the cheaper one takes it, so that a replay that enters at the dearer one repeats little.
//! Deliberately leaves alone sums that broadcast, are scaled, or read a convolution that is read elsewhere too.

use super::convolution::Convolution;
use super::{Editor, Shapes};
use crate::graph::{Arg, Graph, Node, ValueId};

pub(super) fn apply(graph: Graph, shapes: &Shapes) -> Graph {
    let (mut editor, nodes) = Editor::new(graph);
    for node in nodes {
        if fuse(&mut editor, &node, shapes).is_none() {
            editor.keep(node);
        }
    }
    editor.finish()
}

fn fuse(editor: &mut Editor, node: &Node, shapes: &Shapes) -> Option<()> {
    if node.op != "aten::add" || node.overload != "Tensor" || node.arg("alpha") != Some(&Arg::Int(1)) {
        return None;
    }
    let (a, b) = (node.value("self")?, node.value("other")?);
    let shape = |value: ValueId| shapes.get(&editor.graph().value(value).name);
    // Both are known, and equal: nothing is broadcast.
    if a == b || shape(a)? != shape(b)? {
        return None;
    }
    let candidate = |value: ValueId, other: ValueId| {
        let convolution = editor.maker(value).and_then(Convolution::of)?;
        let free = convolution.other.is_none() && convolution.activation.is_none() && editor.read_once(value);
        let weight = shape(convolution.weight).map_or(0, |(shape, _)| shape.iter().product::<usize>());
        free.then_some((
            weight,
            Convolution {
                other: Some(other),
                ..convolution
            },
        ))
    };
    let found = [candidate(a, b), candidate(b, a)];
    let (_, fused) = found.into_iter().flatten().min_by_key(|(weight, _)| *weight)?;
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
    fn a_residual_sum_and_its_activation_are_taken() {
        let mut net = Builder::default();
        let x = net.input();
        let conv = net.conv("conv", x, 4, 4, 1);
        let norm = net.batch_norm("norm", conv, 4);
        let sum = net.op(
            "add",
            &[
                ("self", Arg::Value(norm)),
                ("other", Arg::Value(x)),
                ("alpha", Arg::Int(1)),
            ],
        );
        net.graph.nodes[2].overload = "Tensor".into();
        let out = net.unary("relu", sum, &[]);
        check(
            &net.finish(out),
            Net::image(4),
            &["mkldnn::_convolution_pointwise.binary"],
        );
    }

    #[test]
    fn a_scaled_sum_stays() {
        let mut net = Builder::default();
        let x = net.input();
        let conv = net.conv("conv", x, 4, 4, 1);
        let out = net.op(
            "add",
            &[
                ("self", Arg::Value(conv)),
                ("other", Arg::Value(x)),
                ("alpha", Arg::Int(2)),
            ],
        );
        net.graph.nodes[1].overload = "Tensor".into();
        check(
            &net.finish(out),
            Net::image(4),
            &["mkldnn::_convolution_pointwise", "aten::add"],
        );
    }
}
