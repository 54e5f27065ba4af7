//! `lower::convolution` becomes operators that libtorch has: oneDNN's fused ones on packed weights, or ATen's.
//!
//! oneDNN has no grouped convolution in bfloat16 that also takes a residual: there the sum stands apart.

use super::convolution::{Convolution, ints};
use super::{Activation, Editor, Kernels, Options, Shapes};
use crate::graph::{Arg, Graph, ValueId};

/// `made` are shapes that are no sample's.
pub(super) fn apply(graph: Graph, options: &Options, made: &Shapes) -> Graph {
    let (mut editor, nodes) = Editor::new(graph);
    for node in nodes {
        match Convolution::of(&node) {
            None => editor.keep(node),
            Some(convolution) => {
                editor.at(&node.scope);
                match options.kernels {
                    Kernels::Mkldnn => {
                        let size = size(editor.graph(), convolution.input, options, made);
                        let together = !options.reduced || convolution.conv_groups == 1;
                        mkldnn(&mut editor, node.outputs[0], &convolution, size, together);
                    }
                    Kernels::Aten => aten(&mut editor, node.outputs[0], &convolution),
                }
            }
        }
    }
    editor.finish()
}

/// The input's shape at run time, for which weights are packed.
fn size(graph: &Graph, input: ValueId, options: &Options, made: &Shapes) -> Arg {
    let name = &graph.value(input).name;
    let known = made.get(name).map(|(shape, _)| shape.clone()).or_else(|| {
        let (shape, _) = options.shapes.get(name)?;
        Some(
            std::iter::once(options.batch)
                .chain(shape[1..].iter().copied())
                .collect(),
        )
    });
    known.map_or(Arg::None, |shape| {
        Arg::List(shape.into_iter().map(|extent| Arg::Int(extent as i64)).collect())
    })
}

fn named(args: Vec<(&str, Arg)>) -> Vec<(String, Arg)> {
    args.into_iter().map(|(name, arg)| (name.to_owned(), arg)).collect()
}

/// `together` says whether one operator takes the residual in.
fn mkldnn(editor: &mut Editor, output: ValueId, convolution: &Convolution, size: Arg, together: bool) {
    if convolution.other.is_some() && !together {
        let last = unfinished(editor, output, convolution);
        let plain = Convolution {
            other: None,
            activation: Activation::None,
            ..convolution.clone()
        };
        mkldnn(editor, last, &plain, size, true);
        finish(editor, output, convolution, last);
        return;
    }
    let name = editor.graph().value(output).name.clone();
    let packed = editor.value(&format!("{name}_packed"));
    let geometry = || {
        vec![
            ("padding", ints(&convolution.padding)),
            ("stride", ints(&convolution.stride)),
            ("dilation", ints(&convolution.dilation)),
            ("groups", Arg::Int(convolution.conv_groups)),
        ]
    };
    let mut pack = vec![("self", Arg::Value(convolution.weight))];
    pack.extend(geometry());
    pack.push(("input_size", size));
    editor.node_into(packed, "mkldnn::_reorder_convolution_weight", "", named(pack));

    let (activation, scalars, algorithm) = convolution.activation.parts();
    let activation = Arg::Str(activation.into());
    let mut args = vec![("X", Arg::Value(convolution.input))];
    args.extend(convolution.other.map(|other| ("other", Arg::Value(other))));
    args.extend([("W", Arg::Value(packed)), ("B", Arg::Value(convolution.bias))]);
    args.extend(geometry());
    let overload = match convolution.other {
        None => {
            args.extend([("attr", activation), ("scalars", scalars), ("algorithm", algorithm)]);
            ""
        }
        Some(_) => {
            let unary = if convolution.activation.is_none() {
                Arg::None
            } else {
                activation
            };
            args.extend([
                ("binary_attr", Arg::Str("add".into())),
                ("alpha", Arg::Float(1.0)),
                ("unary_attr", unary),
                ("unary_scalars", scalars),
                ("unary_algorithm", algorithm),
            ]);
            "binary"
        }
    };
    editor.node_into(output, "mkldnn::_convolution_pointwise", overload, named(args));
}

fn aten(editor: &mut Editor, output: ValueId, convolution: &Convolution) {
    let args = [
        Arg::Value(convolution.input),
        Arg::Value(convolution.weight),
        Arg::Value(convolution.bias),
        ints(&convolution.stride),
        ints(&convolution.padding),
        ints(&convolution.dilation),
        Arg::Int(convolution.conv_groups),
    ];
    let last = unfinished(editor, output, convolution);
    editor.op_into(last, "aten::conv2d", &args);
    finish(editor, output, convolution, last);
}

/// Where a convolution's bare results go: its output, unless a residual or an activation follows.
fn unfinished(editor: &mut Editor, output: ValueId, convolution: &Convolution) -> ValueId {
    if convolution.other.is_none() && convolution.activation.is_none() {
        return output;
    }
    let name = format!("{}_plain", editor.graph().value(output).name);
    editor.value(&name)
}

/// Adds the residual to bare results, and applies the activation.
fn finish(editor: &mut Editor, output: ValueId, convolution: &Convolution, mut last: ValueId) {
    let name = editor.graph().value(output).name.clone();
    let activates = !convolution.activation.is_none();
    if let Some(other) = convolution.other {
        let sum = match activates {
            true => editor.value(&format!("{name}_sum")),
            false => output,
        };
        editor.op_into(sum, "aten::add", &[Arg::Value(last), Arg::Value(other)]);
        last = sum;
    }
    if activates {
        convolution.activation.write(editor, output, last);
    }
}
