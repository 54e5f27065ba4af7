//! A convolution over a map with fewer positions than its kernel is a matrix product.
//!
//! A 3×3 kernel over a 2×2 map multiplies mostly padding; the product of all of a sample's inputs with all of its outputs
//! needs fewer multiplications (over a 1×1 map, nine times fewer). It is written as a 1×1 convolution over one image with
//! a position a sample, which costs no copy in the channels-last layout. Deliberately leaves alone grouped convolutions and
//! products whose matrix would be large.

use super::convolution::{Convolution, ints};
use super::{Editor, Options, Shapes};
use crate::graph::{Arg, Graph, Node, ValueId};
use crate::tensor::{DType, Tensor};

/// Elements that the matrix may have.
const LARGEST: usize = 8 << 20;

/// The sizes of a convolution.
struct Sizes {
    /// Height and width of input, kernel and output.
    input: [usize; 2],
    kernel: [usize; 2],
    output: [usize; 2],
    /// Input and output channels.
    channels: [usize; 2],
}

/// Also gives the shapes of what it made.
pub(super) fn apply(graph: Graph, options: &Options) -> (Graph, Shapes) {
    let mut made = Shapes::new();
    let (mut editor, nodes) = Editor::new(graph);
    for node in nodes {
        if rewrite(&mut editor, &node, options, &mut made).is_none() {
            editor.keep(node);
        }
    }
    (editor.finish(), made)
}

fn rewrite(editor: &mut Editor, node: &Node, options: &Options, made: &mut Shapes) -> Option<()> {
    let convolution = Convolution::of(node)?;
    let sizes = sizes(editor, &convolution, node.outputs[0], &options.shapes)?;
    editor.at(&node.scope);
    let name = editor.graph().value(node.outputs[0]).name.clone();
    let [inputs, outputs] = [sizes.input, sizes.output].map(|[height, width]| height * width);
    let [from, to] = sizes.channels;

    let weight = matrix(editor, &name, &convolution, &sizes);
    let bias = editor.op(
        &format!("{name}_dense_bias"),
        "aten::repeat",
        &[Arg::Value(convolution.bias), ints(&[outputs as i64])],
    );
    let input = flat(editor, &format!("{name}_dense"), convolution.input, inputs * from);
    let shape = vec![1, inputs * from, options.batch, 1];
    made.insert(editor.graph().value(input).name.clone(), (shape, DType::F32));
    let other = convolution
        .other
        .map(|other| flat(editor, &format!("{name}_dense_other"), other, outputs * to));
    let product = editor.value(&format!("{name}_product"));
    let dense = Convolution {
        input,
        weight,
        bias,
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        conv_groups: 1,
        other,
        activation: convolution.activation,
    };
    dense.write(editor, product);
    // Back to one image a sample.
    let last = editor.op(
        &format!("{name}_rows"),
        "aten::permute",
        &[Arg::Value(product), ints(&[0, 2, 3, 1])],
    );
    let [height, width] = sizes.output.map(|extent| extent as i64);
    let images = editor.op(
        &format!("{name}_images"),
        "aten::reshape",
        &[Arg::Value(last), ints(&[-1, height, width, to as i64])],
    );
    editor.op_into(
        node.outputs[0],
        "aten::permute",
        &[Arg::Value(images), ints(&[0, 3, 1, 2])],
    );
    Some(())
}

fn sizes(editor: &Editor, convolution: &Convolution, output: ValueId, shapes: &Shapes) -> Option<Sizes> {
    let name = |value: ValueId| &editor.graph().value(value).name;
    let shape = |value: ValueId| shapes.get(name(value)).map(|(shape, _)| &shape[..]);
    let (&[_, from, height, width], &[_, to, rows, columns]) = (shape(convolution.input)?, shape(output)?) else {
        return None;
    };
    let kernel = kernel(editor, convolution.weight, shapes)?;
    let positions = height * width;
    let fits = convolution.conv_groups == 1
        && positions < kernel[0] * kernel[1]
        && positions * from * rows * columns * to <= LARGEST;
    fits.then_some(Sizes {
        input: [height, width],
        kernel,
        output: [rows, columns],
        channels: [from, to],
    })
}

/// Height and width of a weight, through what folding made of it: the one tensor of four axes that it comes from.
fn kernel(editor: &Editor, weight: ValueId, shapes: &Shapes) -> Option<[usize; 2]> {
    let mut waiting = vec![weight];
    while let Some(value) = waiting.pop() {
        match shapes.get(&editor.graph().value(value).name) {
            Some((shape, _)) => {
                if let [_, _, height, width] = shape[..] {
                    return Some([height, width]);
                }
            }
            None => waiting.extend(editor.maker(value).map(Node::reads).unwrap_or_default()),
        }
    }
    None
}

/// `[n, C, H, W]` as one image of n positions with C·H·W channels, position by position.
fn flat(editor: &mut Editor, name: &str, value: ValueId, channels: usize) -> ValueId {
    let last = editor.op(
        &format!("{name}_last"),
        "aten::permute",
        &[Arg::Value(value), ints(&[0, 2, 3, 1])],
    );
    let rows = editor.op(
        &format!("{name}_rows"),
        "aten::reshape",
        &[Arg::Value(last), ints(&[1, -1, 1, channels as i64])],
    );
    editor.op(
        &format!("{name}_in"),
        "aten::permute",
        &[Arg::Value(rows), ints(&[0, 3, 1, 2])],
    )
}

/// The matrix, `[outputs · to, inputs · from, 1, 1]`: for each pair of positions the kernel's element between them, or zeros.
fn matrix(editor: &mut Editor, name: &str, convolution: &Convolution, sizes: &Sizes) -> ValueId {
    let [kernel_rows, kernel_columns] = sizes.kernel.map(|extent| extent as i64);
    let elements = kernel_rows * kernel_columns;
    // The element of the kernel along one axis, if the two positions meet in it.
    let meet = |axis: usize, output: usize, input: usize| {
        let offset = input as i64 + convolution.padding[axis] - output as i64 * convolution.stride[axis];
        let dilation = convolution.dilation[axis];
        let inside = offset >= 0 && offset % dilation == 0 && offset / dilation < sizes.kernel[axis] as i64;
        inside.then_some(offset / dilation)
    };
    let [height, width] = sizes.input;
    let mut index = Vec::new();
    for (row, column) in positions(sizes.output) {
        for (input_row, input_column) in positions([height, width]) {
            let both = meet(0, row, input_row).zip(meet(1, column, input_column));
            index.push(both.map_or(elements, |(row, column)| row * kernel_columns + column));
        }
    }
    let [inputs, outputs] = [sizes.input, sizes.output].map(|[height, width]| (height * width) as i64);
    let [from, to] = sizes.channels.map(|channels| channels as i64);
    let key = format!("{name}_pairs");
    let index = editor.constant(&key, || Tensor::from_i64([index.len()], &index));
    let mut step = |part: &str, op: &str, args: &[Arg]| editor.op(&format!("{name}_{part}"), op, args);
    let last = step(
        "taps_last",
        "aten::permute",
        &[Arg::Value(convolution.weight), ints(&[2, 3, 0, 1])],
    );
    let taps = step(
        "taps",
        "aten::reshape",
        &[Arg::Value(last), ints(&[elements, to, from])],
    );
    let padded = step(
        "taps_padded",
        "aten::constant_pad_nd",
        &[Arg::Value(taps), ints(&[0, 0, 0, 0, 0, 1]), Arg::Int(0)],
    );
    let pairs = step(
        "taps_paired",
        "aten::index_select",
        &[Arg::Value(padded), Arg::Int(0), Arg::Value(index)],
    );
    let split = step(
        "taps_split",
        "aten::reshape",
        &[Arg::Value(pairs), ints(&[outputs, inputs, to, from])],
    );
    let turned = step(
        "taps_turned",
        "aten::permute",
        &[Arg::Value(split), ints(&[0, 2, 1, 3])],
    );
    step(
        "dense_weight",
        "aten::reshape",
        &[Arg::Value(turned), ints(&[outputs * to, inputs * from, 1, 1])],
    )
}

fn positions([height, width]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |row| (0..width).map(move |column| (row, column)))
}

#[cfg(test)]
mod tests {
    use crate::graph::testing::{Builder, ints};
    use crate::graph::{Arg, ValueId};
    use crate::lower::tests::{Net, check};

    /// A convolution with its norm over small maps.
    fn conv(net: &mut Builder, x: ValueId, stride: i64, padding: i64, dilation: i64) -> ValueId {
        let conv = net.conv("conv", x, 3, 5, 1);
        let node = net.graph.nodes.last_mut().expect("a node");
        for (name, arg) in &mut node.args {
            match name.as_str() {
                "stride" => *arg = ints(&[stride, stride]),
                "padding" => *arg = ints(&[padding, padding]),
                "dilation" => *arg = ints(&[dilation, dilation]),
                _ => {}
            }
        }
        net.batch_norm("norm", conv, 5)
    }

    #[test]
    fn small_maps_are_products() {
        for (height, width, stride, padding, dilation) in [
            (1, 1, 1, 1, 1),
            (2, 2, 1, 1, 1),
            (2, 2, 2, 1, 1),
            (2, 3, 1, 1, 1),
            (2, 2, 1, 2, 2),
            (1, 4, 2, 1, 1),
        ] {
            let mut net = Builder::default();
            let x = net.input();
            let norm = conv(&mut net, x, stride, padding, dilation);
            let out = net.unary("relu", norm, &[]);
            let ops = [
                "aten::permute",
                "aten::reshape",
                "aten::permute",
                "mkldnn::_convolution_pointwise",
                "aten::permute",
                "aten::reshape",
                "aten::permute",
            ];
            check(&net.finish(out), Net::images(3, height, width), &ops);
        }
    }

    #[test]
    fn residuals_are_flattened_too() {
        let mut net = Builder::default();
        let x = net.input();
        let first = net.conv("first", x, 3, 5, 1);
        let second = net.conv("second", first, 5, 5, 1);
        let sum = net.op(
            "add",
            &[
                ("self", Arg::Value(second)),
                ("other", Arg::Value(first)),
                ("alpha", Arg::Int(1)),
            ],
        );
        net.graph.nodes[2].overload = "Tensor".into();
        let out = net.unary("relu", sum, &[]);
        let graph = net.finish(out);
        let lowered = check(&graph, Net::images(3, 2, 2), &[]);
        assert!(
            lowered.contains(&"mkldnn::_convolution_pointwise.binary".to_owned()),
            "{lowered:?}"
        );
    }

    #[test]
    fn larger_maps_stay_convolutions() {
        let mut net = Builder::default();
        let x = net.input();
        let out = conv(&mut net, x, 1, 1, 1);
        check(
            &net.finish(out),
            Net::images(3, 3, 3),
            &["mkldnn::_convolution_pointwise"],
        );
    }
}
