//! Operators that only move elements.
//!
//! The common ones say directly what becomes of each axis; the others are run on the labels themselves.

use super::site::wrap_axis;
use super::{Fact, Op, Site, Sizes, TensorFact, Trouble};
use crate::graph::{Arg, Def, Graph, Node, Type, ValueId};
use crate::labels::{Axes, Row, concat, from_elements, reshape, to_elements};
use crate::tensor::{DType, Tensor};

pub(super) const OPS: &[Op] = &[
    Op::new("aten::view", reshaped).sized(&[Sizes::Output("size")]),
    Op::new("aten::reshape", reshaped).sized(&[Sizes::Output("shape")]),
    Op::new("aten::_unsafe_view", reshaped).sized(&[Sizes::Output("size")]),
    Op::new("aten::reshape_as", reshaped_as),
    Op::new("aten::view_as", reshaped_as),
    Op::new("aten::flatten", flatten),
    Op::new("aten::unflatten", unflatten).sized(&[Sizes::Unflatten {
        sizes: "sizes",
        axis: "dim",
    }]),
    Op::new("aten::squeeze", squeeze),
    Op::new("aten::unsqueeze", unsqueeze),
    Op::new("aten::permute", permute),
    Op::new("aten::transpose", transpose),
    Op::new("aten::swapaxes", transpose),
    Op::new("aten::t", transpose),
    Op::new("aten::numpy_T", permute),
    Op::new("aten::expand", expand).sized(&[Sizes::Output("size")]),
    Op::new("aten::expand_as", expand),
    Op::new("aten::cat", cat),
    Op::new("aten::concat", cat),
    Op::new("aten::stack", stack),
    Op::new("aten::chunk", parts),
    Op::new("aten::split", parts).sized(&[Sizes::Part {
        size: "split_size",
        axis: "dim",
    }]),
    Op::new("aten::split_with_sizes", parts).sized(&[Sizes::Parts {
        sizes: "split_sizes",
        axis: "dim",
    }]),
    Op::new("aten::unbind", unbind),
    Op::new("aten::select", select),
    Op::new("aten::slice", slice).sized(&[Sizes::Bounds {
        start: "start",
        end: "end",
        axis: "dim",
    }]),
    Op::new("aten::narrow", narrow).sized(&[Sizes::Start {
        start: "start",
        length: "length",
        axis: "dim",
    }]),
    Op::new("aten::pad", pad).sized(&[Sizes::Padding("pad")]),
    Op::new("aten::constant_pad_nd", pad).sized(&[Sizes::Padding("pad")]),
    // Run on the labels.
    Op::new("aten::movedim", run),
    Op::new("aten::roll", run),
    Op::new("aten::flip", run),
    Op::new("aten::repeat", run),
    Op::new("aten::tile", run),
    Op::new("aten::repeat_interleave", run),
    Op::new("aten::index_select", run),
    Op::new("aten::index", run),
    Op::new("aten::channel_shuffle", run),
    Op::new("aten::pixel_shuffle", run),
    Op::new("aten::pixel_unshuffle", run),
    Op::new("aten::unfold", run),
];

const MOVES: &str = "moves them";

fn input(site: &Site) -> Result<TensorFact, Trouble> {
    site.tensor("self").or_else(|_| site.tensor("input"))
}

/// Fills in one -1 of a requested shape.
fn resolve(asked: &[i64], elements: usize) -> Result<Vec<usize>, Trouble> {
    let known: i64 = asked.iter().filter(|&&extent| extent >= 0).product();
    let holes = asked.iter().filter(|&&extent| extent < 0).count();
    let fits = match holes {
        0 => known as usize == elements,
        1 => known > 0 && elements % known as usize == 0,
        _ => false,
    };
    if !fits {
        return Trouble::new(format!("{elements} elements do not fill the shape {asked:?}"));
    }
    Ok(asked
        .iter()
        .map(|&extent| {
            if extent < 0 {
                elements / known as usize
            } else {
                extent as usize
            }
        })
        .collect())
}

fn to_shape(site: &mut Site, input: TensorFact, shape: Vec<usize>) -> Result<(), Trouble> {
    let why = site.why(MOVES);
    let axes = reshape(&input.axes, &shape, site.split, site.labels, why);
    site.give_tensor(axes, input.dtype);
    Ok(())
}

fn reshaped(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let asked = site.ints(if site.node.arg("shape").is_some() {
        "shape"
    } else {
        "size"
    })?;
    let shape = resolve(&asked, input.axes.shape.iter().product())?;
    to_shape(site, input, shape)
}

fn reshaped_as(site: &mut Site) -> Result<(), Trouble> {
    let (input, like) = (input(site)?, site.tensor("other")?.axes.shape);
    let asked: Vec<i64> = like.iter().map(|&extent| extent as i64).collect();
    let shape = resolve(&asked, input.axes.shape.iter().product())?;
    to_shape(site, input, shape)
}

fn flatten(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let rank = input.axes.rank();
    let (start, end) = (site.axis("start_dim", rank)?, site.axis("end_dim", rank)?);
    let mut shape = input.axes.shape.clone();
    if start < end {
        let merged = shape[start..=end].iter().product();
        shape.splice(start..=end, [merged]);
    } else if shape.is_empty() {
        shape.push(1);
    }
    to_shape(site, input, shape)
}

fn unflatten(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let parts = resolve(&site.ints("sizes")?, input.axes.shape[axis])?;
    let mut shape = input.axes.shape.clone();
    shape.splice(axis..=axis, parts);
    to_shape(site, input, shape)
}

fn squeeze(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axes = match site.optional_ints("dim")? {
        None => (0..input.axes.rank()).collect(),
        Some(_) => site.axes("dim", input.axes.rank())?,
    };
    let kept: Vec<usize> = (0..input.axes.rank())
        .filter(|axis| !(axes.contains(axis) && input.axes.shape[*axis] == 1))
        .collect();
    take(site, &input, &kept)
}

/// The given axes in the given order.
fn take(site: &mut Site, input: &TensorFact, order: &[usize]) -> Result<(), Trouble> {
    let axes = Axes {
        shape: order.iter().map(|&axis| input.axes.shape[axis]).collect(),
        rows: order.iter().map(|&axis| input.axes.rows[axis].clone()).collect(),
    };
    site.give_tensor(axes, input.dtype);
    Ok(())
}

fn unsqueeze(site: &mut Site) -> Result<(), Trouble> {
    let mut input = input(site)?;
    let axis = site.axis("dim", input.axes.rank() + 1)?;
    input.axes.shape.insert(axis, 1);
    input.axes.rows.insert(axis, None);
    site.give([Fact::Tensor(input)]);
    Ok(())
}

fn permute(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let rank = input.axes.rank();
    let order: Vec<usize> = match site.optional_ints("dims")? {
        Some(dims) => dims
            .into_iter()
            .map(|axis| wrap_axis(axis, rank))
            .collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    if order.len() != rank {
        return Trouble::new("does not name every axis once");
    }
    take(site, &input, &order)
}

fn transpose(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let rank = input.axes.rank();
    let mut order: Vec<usize> = (0..rank).collect();
    let pair = match site.node.short() {
        "t" if rank < 2 => None,
        "t" => Some((0, 1)),
        "swapaxes" => Some((site.axis("axis0", rank)?, site.axis("axis1", rank)?)),
        _ => Some((site.axis("dim0", rank)?, site.axis("dim1", rank)?)),
    };
    if let Some((a, b)) = pair.filter(|_| rank > 0) {
        order.swap(a, b);
    }
    take(site, &input, &order)
}

fn expand(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let asked: Vec<i64> = match site.node.short() {
        "expand_as" => site
            .tensor("other")?
            .axes
            .shape
            .iter()
            .map(|&extent| extent as i64)
            .collect(),
        _ => site.ints("size")?,
    };
    let Some(added) = asked.len().checked_sub(input.axes.rank()) else {
        return Trouble::new("expands to fewer axes");
    };
    let mut output = Axes::fixed(vec![1; asked.len()]);
    for (axis, &extent) in asked.iter().enumerate() {
        let own = axis
            .checked_sub(added)
            .map(|own| (input.axes.shape[own], input.axes.rows[own].clone()));
        match own {
            Some((known, row)) if known != 1 || extent < 0 => {
                output.shape[axis] = known;
                output.rows[axis] = row;
            }
            _ => output.shape[axis] = extent.max(0) as usize,
        }
    }
    // The stretched axes follow the tensor that gave the size, which may shrink.
    if let Ok(other) = site.tensor("other") {
        for axis in 0..output.rank() {
            if output.rows[axis].is_none() && output.shape[axis] == other.axes.shape[axis] {
                output.rows[axis] = other.axes.rows[axis].clone();
            }
        }
    }
    site.give_tensor(output, input.dtype);
    Ok(())
}

fn cat(site: &mut Site) -> Result<(), Trouble> {
    // Legacy: an empty 1-dimensional tensor joins anything.
    let mut tensors = site.tensors("tensors")?;
    if tensors.len() > 1 {
        tensors.retain(|tensor| tensor.axes.shape != [0]);
    }
    let Some(first) = tensors.first().cloned() else {
        return Trouble::new("concatenates nothing");
    };
    let rank = first.axes.rank();
    let axis = site.axis("dim", rank)?;
    let mut output = first.axes.clone();
    for tensor in &tensors[1..] {
        if tensor.axes.rank() != rank {
            return Trouble::new("concatenates tensors of different ranks");
        }
        for other in (0..rank).filter(|&other| other != axis) {
            output.rows[other] = site.join(
                output.rows[other].clone().as_ref(),
                tensor.axes.row(other),
                "concatenates them beside each other",
            );
        }
    }
    output.shape[axis] = tensors.iter().map(|tensor| tensor.axes.shape[axis]).sum();
    let rows: Vec<(usize, Option<&Row>)> = tensors
        .iter()
        .map(|tensor| (tensor.axes.shape[axis], tensor.axes.row(axis)))
        .collect();
    output.rows[axis] = None;
    site.give_tensor(output.with_row(axis, concat(&rows)), first.dtype);
    Ok(())
}

fn stack(site: &mut Site) -> Result<(), Trouble> {
    let tensors = site.tensors("tensors")?;
    let Some(first) = tensors.first().cloned() else {
        return Trouble::new("stacks nothing");
    };
    let axis = site.axis("dim", first.axes.rank() + 1)?;
    let mut output = first.axes.clone();
    for tensor in &tensors[1..] {
        for other in 0..output.rank() {
            output.rows[other] = site.join(
                output.rows[other].clone().as_ref(),
                tensor.axes.row(other),
                "stacks them",
            );
        }
    }
    output.shape.insert(axis, tensors.len());
    output.rows.insert(axis, None);
    site.give_tensor(output, first.dtype);
    Ok(())
}

/// `chunk`, `split` and `split_with_sizes`. Equal parts keep the same positions, so that the same call still gives equal
/// parts when the model has shrunk.
fn parts(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let extent = input.axes.shape.get(axis).copied().unwrap_or(0);
    let (sizes, equal) = match site.node.short() {
        "split_with_sizes" => (site.ints("split_sizes")?, false),
        "split" => match site.optional_ints("split_size")? {
            Some(size) if size.len() == 1 => (even(extent, size[0]), true),
            _ => (site.ints("split_sizes").or_else(|_| site.ints("split_size"))?, false),
        },
        _ => {
            let chunks = site.int("chunks")?.max(1);
            (even(extent, (extent as i64 + chunks - 1) / chunks), true)
        }
    };
    if sizes.iter().any(|&size| size < 0) || sizes.iter().sum::<i64>() != extent as i64 {
        return Trouble::new(format!("parts {sizes:?} do not fill an axis of {extent}"));
    }
    let row = input.axes.row(axis).cloned();
    if let (Some(row), true) = (&row, equal) {
        if sizes.windows(2).all(|pair| pair[0] == pair[1]) {
            site.tie_blocks(row, sizes.len(), "splits them into equal parts");
        } else {
            let why = site.why("splits them into parts of which the last is smaller");
            site.labels.freeze(row, why);
        }
    }
    let mut start = 0;
    let mut outputs = Vec::new();
    for size in sizes {
        let end = start + size as usize;
        let mut axes = input.axes.clone();
        axes.shape[axis] = size as usize;
        let part = row.as_ref().map(|row| row[start..end].into());
        axes.rows[axis] = None;
        outputs.push(Fact::tensor(axes.with_row(axis, part), input.dtype));
        start = end;
    }
    site.give([Fact::List(outputs)]);
    Ok(())
}

fn even(extent: usize, size: i64) -> Vec<i64> {
    let size = size.max(1);
    let extent = extent as i64;
    (0..extent)
        .step_by(size as usize)
        .map(|start| size.min(extent - start))
        .collect()
}

fn unbind(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    site.freeze_axes(&input.axes, [axis], "takes it apart");
    let mut axes = input.axes;
    let count = axes.shape.remove(axis);
    axes.rows.remove(axis);
    site.give([Fact::List(vec![Fact::tensor(axes, input.dtype); count])]);
    Ok(())
}

fn select(site: &mut Site) -> Result<(), Trouble> {
    let mut input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    site.freeze_axes(&input.axes, [axis], "takes one of them");
    input.axes.shape.remove(axis);
    input.axes.rows.remove(axis);
    site.give([Fact::Tensor(input)]);
    Ok(())
}

fn slice(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let extent = input.axes.shape[axis] as i64;
    let clamp = |at: i64| if at < 0 { (at + extent).max(0) } else { at.min(extent) };
    let start = clamp(site.int_or("start", 0)?);
    let end = clamp(site.int_or("end", i64::MAX)?).max(start);
    let step = site.int_or("step", 1)?.max(1) as usize;
    cut(
        site,
        input,
        axis,
        (start as usize..end as usize).step_by(step).collect(),
    )
}

fn narrow(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let (start, length) = (site.int("start")?.max(0) as usize, site.int("length")?.max(0) as usize);
    if start + length > input.axes.shape[axis] {
        return Trouble::new("reaches over the end of its axis");
    }
    cut(site, input, axis, (start..start + length).collect())
}

fn cut(site: &mut Site, input: TensorFact, axis: usize, kept: Vec<usize>) -> Result<(), Trouble> {
    let mut axes = input.axes;
    let row = axes.rows[axis]
        .take()
        .map(|row| kept.iter().map(|&at| row[at]).collect());
    axes.shape[axis] = kept.len();
    site.give_tensor(axes.with_row(axis, row), input.dtype);
    Ok(())
}

/// Padding from the last axis on. Only zeros may shrink with their neighbours; copies of neighbours go with them.
fn pad(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let amounts = site.ints("pad")?;
    let constant = !matches!(site.fact("mode"), Fact::Text(mode) if mode != "constant");
    let zero = matches!(site.fact("value"), Fact::None)
        || matches!(site.fact("value"), Fact::Number(number) if number.as_f64() == 0.0);
    let mut axes = input.axes.clone();
    for (pair, axis) in amounts.chunks_exact(2).zip((0..input.axes.rank()).rev()) {
        let (before, after) = (pair[0], pair[1]);
        if before == 0 && after == 0 {
            continue;
        }
        let extent = axes.shape[axis] as i64 + before + after;
        if before < 0 || after < 0 || extent < 1 {
            return Trouble::new("negative padding has no rule");
        }
        let row = axes.rows[axis].take();
        axes.shape[axis] = extent as usize;
        if let Some(row) = row {
            if !(constant && zero) {
                let why = site.why("pads it with something other than zeros");
                site.labels.freeze(&row, why);
                continue;
            }
            let mut padded = site.labels.fresh(before as usize);
            padded.extend_from_slice(&row);
            padded.extend(site.labels.fresh(after as usize));
            axes = axes.with_row(axis, Some(padded.into()));
        }
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// Runs the operator on the labels of each labelled axis, as float64, and reads back where they went.
fn run(site: &mut Site) -> Result<(), Trouble> {
    let Some(moved) = site.node.args.first().and_then(|(_, arg)| arg.as_value()) else {
        return Trouble::new("moves something that is no tensor");
    };
    let input = input(site)?;
    let why = site.why(MOVES);
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
        if let Some((axis, row)) = from_elements(&result, site.split, site.labels, why) {
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
            node: crate::graph::NodeId(0),
            output: 0,
        },
    );
    graph.nodes.push(Node {
        args,
        outputs: vec![output],
        ..site.node.clone()
    });
    graph.outputs.push(crate::graph::Output::Value(output));
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
            Fact::Number(super::Number::Int(int)) => Arg::Int(int),
            Fact::Number(super::Number::Float(float)) => Arg::Float(float),
            Fact::Number(super::Number::Bool(flag)) => Arg::Bool(flag),
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
                if known.dtype() == DType::F64 || known.dtype().is_float() {
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
