//! Operators that move elements in ways of their own: they are run on the labels themselves.

use super::moves::{MOVES, input};
use super::site::{each_times, elements};
use super::{Fact, Number, Op, Site, TensorFact, Trouble, Zeros};
use crate::graph::{Arg, Def, Graph, Node, NodeId, Output, Type, ValueId};
use crate::labels::{Axes, MOST_ELEMENTS, Row, from_elements, to_elements};
use crate::tensor::{DType, Tensor};

pub(super) const OPS: &[Op] = &[
    Op::new("aten::movedim", run).zero(Zeros::First),
    Op::new("aten::moveaxis", run).zero(Zeros::First),
    Op::new("aten::rot90", run).zero(Zeros::First),
    Op::new("aten::fliplr", run).zero(Zeros::First),
    Op::new("aten::flipud", run).zero(Zeros::First),
    Op::new("aten::native_channel_shuffle", shuffled).zero(Zeros::First),
    Op::new("aten::diagonal", run).zero(Zeros::First),
    Op::new("aten::im2col", windows).zero(Zeros::First),
    Op::new("aten::flip", run).zero(Zeros::First),
    Op::new("aten::channel_shuffle", shuffled).zero(Zeros::First),
    Op::new("aten::pixel_shuffle", pixels_apart).zero(Zeros::First),
    Op::new("aten::pixel_unshuffle", pixels_together).zero(Zeros::First),
    Op::new("aten::unfold", windowed).zero(Zeros::First),
];

/// Channels dealt out in turn from equal blocks, which therefore keep the same positions.
fn shuffled(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let groups = usize::try_from(site.int("groups")?).unwrap_or(1);
    if let Some(row) = input.axes.row(1).cloned() {
        site.tie_blocks(&row, groups, "deals them out from equal blocks")?;
    }
    run(site)
}

/// Windows that slide along one axis.
fn windowed(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dimension", input.axes.rank())?;
    site.freeze_axes(&input.axes, [axis], "slides over it");
    run(site)
}

/// Windows beside each other, `[batch, channels · window, windows]`: each channel becomes the positions of its window.
fn windows(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let Some(channel) = input.axes.rank().checked_sub(3) else {
        return Trouble::new("slides over fewer than three axes");
    };
    let names = ["kernel_size", "dilation", "padding", "stride"];
    let [kernel, dilation, padding, stride] = names.map(|name| site.ints_for(name, 2));
    let (kernel, dilation, padding, stride) = (kernel?, dilation?, padding?, stride?);
    let mut count = 1;
    for axis in 0..2 {
        let extent = input.axes.shape[channel + 1 + axis] as i64;
        let span = extent + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1;
        if kernel[axis] < 1 || stride[axis] < 1 || span < 0 {
            return Trouble::new("the window does not fit its input");
        }
        count *= (span / stride[axis] + 1) as usize;
    }
    let each = kernel.iter().product::<i64>() as usize;
    let mut shape = input.axes.shape[..channel].to_vec();
    shape.extend([input.axes.shape[channel].saturating_mul(each), count]);
    if elements(&shape).is_none() {
        return Trouble::new("gives more elements than any tensor holds");
    }
    let row = each_times(input.axes.row(channel), each)?;
    keep(site, &input.axes, shape, channel, row, input.dtype);
    Ok(())
}

/// `pixel_shuffle`: r² neighbouring channels become one, r times as high and wide.
fn pixels_apart(site: &mut Site) -> Result<(), Trouble> {
    let (input, factor, channel) = pixels(site, "upscale_factor")?;
    let each = factor * factor;
    let mut shape = input.axes.shape.clone();
    if !shape[channel].is_multiple_of(each) {
        return Trouble::new(format!("{} channels do not form squares of {factor}", shape[channel]));
    }
    shape[channel] /= each;
    shape[channel + 1..].iter_mut().for_each(|extent| *extent *= factor);
    let row = input.axes.row(channel).map(|row| {
        let why = site.why("makes one channel of each square of them");
        for block in row.chunks(each) {
            block
                .windows(2)
                .for_each(|pair| site.labels.unite(pair[0], pair[1], why));
        }
        row.chunks(each).map(|block| block[0]).collect::<Row>()
    });
    keep(site, &input.axes, shape, channel, row, input.dtype);
    Ok(())
}

/// `pixel_unshuffle`: each channel becomes r² neighbouring ones.
fn pixels_together(site: &mut Site) -> Result<(), Trouble> {
    let (input, factor, channel) = pixels(site, "downscale_factor")?;
    let each = factor * factor;
    let mut shape = input.axes.shape.clone();
    shape[channel] *= each;
    shape[channel + 1..].iter_mut().for_each(|extent| *extent /= factor);
    let row = each_times(input.axes.row(channel), each)?;
    keep(site, &input.axes, shape, channel, row, input.dtype);
    Ok(())
}

/// Squares of pixels are no larger.
const MOST_FACTOR: usize = 1 << 10;

/// The tensor, the factor and the axis of channels.
fn pixels(site: &Site, factor: &str) -> Result<(TensorFact, usize, usize), Trouble> {
    let input = input(site)?;
    let factor = usize::try_from(site.int(factor)?).unwrap_or(0);
    match input.axes.rank().checked_sub(3) {
        Some(channel) if (1..=MOST_FACTOR).contains(&factor) => Ok((input, factor, channel)),
        _ => Trouble::new("squares of pixels need three axes and a small factor"),
    }
}

fn keep(site: &mut Site, axes: &Axes, shape: Vec<usize>, channel: usize, row: Option<Row>, dtype: DType) {
    site.freeze_axes(
        axes,
        channel + 1..axes.rank(),
        "moves them into channels, or out of them",
    );
    let mut output = Axes::fixed(shape);
    for axis in 0..channel {
        output = output.with_row(axis, axes.row(axis).cloned());
    }
    site.give_tensor(output.with_row(channel, row), dtype);
}

/// Runs the operator on the labels of each labelled axis, as float64, and reads back where they went.
pub(super) fn run(site: &mut Site) -> Result<(), Trouble> {
    let Some(moved) = site.node.args.first().and_then(|(_, arg)| arg.as_value()) else {
        return Trouble::new("moves something that is no tensor");
    };
    let input = input(site)?;
    let why = site.why(MOVES);
    let times = match site.node.short() {
        "repeat" => site.ints("repeats")?,
        "tile" => site.ints("dims")?,
        _ => Vec::new(),
    };
    let extents = times.into_iter().map(|times| usize::try_from(times).unwrap_or(0));
    let extents: Vec<usize> = input.axes.shape.iter().copied().chain(extents).collect();
    if elements(&extents).is_none_or(|elements| elements > MOST_ELEMENTS) {
        return Trouble::new("moves too many elements");
    }
    let labelled: Vec<Tensor> = (0..input.axes.rank())
        .filter_map(|axis| to_elements(&input.axes, axis))
        .collect();
    let mut output: Option<Axes> = None;
    // Without labels one run on zeros still tells the shape.
    let runs = if labelled.is_empty() {
        vec![Tensor::from_f64(
            input.axes.shape.clone(),
            &vec![0.0; input.axes.shape.iter().product()],
        )]
    } else {
        labelled.clone()
    };
    for elements in runs {
        let result = apply(site, moved, elements)?;
        let axes = output.get_or_insert_with(|| Axes::fixed(result.shape().to_vec()));
        if labelled.is_empty() {
            break;
        }
        for (axis, row) in from_elements(&result, site.choices.keep, site.labels, why) {
            if axes.rows[axis].is_some() {
                let why = site.why("merges it with another axis that may shrink");
                site.labels.freeze(&row, why);
            } else {
                axes.rows[axis] = Some(row);
            }
        }
    }
    let axes = output.unwrap_or_else(|| Axes::fixed(Vec::new()));
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// This node alone, with `elements` in place of the tensor that it moves and everything else as known.
fn apply(site: &Site, moved: ValueId, elements: Tensor) -> Result<Tensor, Trouble> {
    let mut graph = Graph::default();
    let input = graph.add_value("moved", Type::Tensor, Def::Input(0));
    graph.inputs.push(input);
    let mut inputs = vec![(input, elements)];
    let mut args = Vec::new();
    for (index, (name, arg)) in site.node.args.iter().enumerate() {
        let arg = if index == 0 {
            Arg::Value(input)
        } else {
            literal(site, arg, moved, &mut graph, &mut inputs)?
        };
        args.push((name.clone(), arg));
    }
    let output = graph.add_value(
        "out",
        Type::Tensor,
        Def::Node {
            node: NodeId(0),
            output: 0,
        },
    );
    graph.nodes.push(Node {
        args,
        outputs: vec![output],
        ..site.node.clone()
    });
    graph.outputs.push(Output::Value(output));
    let mut found = site
        .evaluator
        .evaluate(&graph, &inputs, &[output])
        .map_err(|fault| Trouble(fault.to_string()))?;
    match found.len() {
        1 => Ok(found.remove(0)),
        n => Trouble::new(format!("gives {n} tensors where one was expected")),
    }
}

/// An argument with every value in it replaced by what is known of it.
fn literal(
    site: &Site,
    arg: &Arg,
    moved: ValueId,
    graph: &mut Graph,
    inputs: &mut Vec<(ValueId, Tensor)>,
) -> Result<Arg, Trouble> {
    Ok(match arg {
        Arg::Value(value) if *value == moved => return Trouble::new("moves a tensor by itself"),
        Arg::Value(value) => match site.fact_of(*value).clone() {
            Fact::Number(Number::Int(int)) => Arg::Int(int),
            Fact::Number(Number::Float(float)) => Arg::Float(float),
            Fact::Number(Number::Bool(flag)) => Arg::Bool(flag),
            Fact::List(items) => Arg::List(
                items
                    .iter()
                    .map(|item| match item {
                        Fact::Number(number) => Ok(Arg::Int(number.as_i64())),
                        _ => Trouble::new("a list that is not known"),
                    })
                    .collect::<Result<_, _>>()?,
            ),
            _ => {
                let known = site.known(*value)?;
                if known.dtype().is_inexact() {
                    return Trouble::new("moves by numbers that are not whole");
                }
                let name = format!("known{}", inputs.len());
                let input = graph.add_value(name, Type::Tensor, Def::Input(inputs.len() as u32));
                graph.inputs.push(input);
                inputs.push((input, known));
                Arg::Value(input)
            }
        },
        Arg::List(items) => Arg::List(
            items
                .iter()
                .map(|item| literal(site, item, moved, graph, inputs))
                .collect::<Result<_, _>>()?,
        ),
        other => other.clone(),
    })
}
