//! A batch norm behind a convolution becomes part of its weight and bias, computed in float64.
//!
//! Deliberately leaves alone a norm in training mode, and one whose convolution's output something else reads too.

use super::Editor;
use super::convolution::{Convolution, ints};
use crate::graph::{Arg, Graph, Node, ValueId};

/// ATen's numbers of element types.
const FLOAT32: Arg = Arg::Int(6);
const FLOAT64: Arg = Arg::Int(7);

pub(super) fn apply(graph: Graph) -> Graph {
    let (mut editor, nodes) = Editor::new(graph);
    for node in nodes {
        if fold(&mut editor, &node).is_none() {
            editor.keep(node);
        }
    }
    editor.finish()
}

fn fold(editor: &mut Editor, node: &Node) -> Option<()> {
    if node.op != "aten::batch_norm" || node.arg("training") != Some(&Arg::Bool(false)) {
        return None;
    }
    let input = node.value("input")?;
    let convolution = editor.maker(input).and_then(Convolution::of)?;
    let (mean, var) = (node.value("running_mean")?, node.value("running_var")?);
    let &Arg::Float(eps) = node.arg("eps")? else {
        return None;
    };
    if !editor.read_once(input) {
        return None;
    }
    editor.at(&node.scope);
    let name = editor.graph().value(node.outputs[0]).name.clone();
    let name = name.as_str();
    let wide = |editor: &mut Editor, value: ValueId| {
        editor.op(&format!("{name}_wide"), "aten::to", &[Arg::Value(value), FLOAT64])
    };
    let narrow = |editor: &mut Editor, part: &str, value: ValueId| {
        editor.op(&format!("{name}_{part}"), "aten::to", &[Arg::Value(value), FLOAT32])
    };
    let two = |editor: &mut Editor, op: &str, a: ValueId, b: ValueId| {
        editor.op(&format!("{name}_fold"), op, &[Arg::Value(a), Arg::Value(b)])
    };
    let var = wide(editor, var);
    let var = editor.op(
        &format!("{name}_fold"),
        "aten::add",
        &[Arg::Value(var), Arg::Float(eps)],
    );
    let mut scale = editor.op(&format!("{name}_fold"), "aten::rsqrt", &[Arg::Value(var)]);
    if let Some(gamma) = node.value("weight") {
        let gamma = wide(editor, gamma);
        scale = two(editor, "aten::mul", scale, gamma);
    }
    // (bias − mean) × scale + beta
    let bias = wide(editor, convolution.bias);
    let mean = wide(editor, mean);
    let centred = two(editor, "aten::sub", bias, mean);
    let mut shift = two(editor, "aten::mul", centred, scale);
    if let Some(beta) = node.value("bias") {
        let beta = wide(editor, beta);
        shift = two(editor, "aten::add", shift, beta);
    }
    let filters = editor.op(
        &format!("{name}_fold"),
        "aten::reshape",
        &[Arg::Value(scale), ints(&[-1, 1, 1, 1])],
    );
    let weight = wide(editor, convolution.weight);
    let weight = two(editor, "aten::mul", weight, filters);
    let folded = Convolution {
        weight: narrow(editor, "weight", weight),
        bias: narrow(editor, "bias", shift),
        ..convolution
    };
    folded.write(editor, node.outputs[0]);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::graph::testing::Builder;
    use crate::lower::tests::{Net, check};

    #[test]
    fn a_norm_behind_a_convolution_is_folded() {
        let mut net = Builder::default();
        let x = net.input();
        let conv = net.conv("conv", x, 3, 5, 1);
        let out = net.batch_norm("norm", conv, 5);
        check(&net.finish(out), Net::image(3), &["mkldnn::_convolution_pointwise"]);
    }

    #[test]
    fn a_norm_stays_where_its_input_is_read_twice() {
        let mut net = Builder::default();
        let x = net.input();
        let conv = net.conv("conv", x, 3, 5, 1);
        let norm = net.batch_norm("norm", conv, 5);
        let out = net.binary("mul", norm, conv);
        net.graph.nodes[2].overload = "Tensor".into();
        check(
            &net.finish(out),
            Net::image(3),
            &["mkldnn::_convolution_pointwise", "aten::batch_norm", "aten::mul"],
        );
    }
}
