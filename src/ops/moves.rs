//! Operators that only move elements.
//!
//! They say directly what becomes of each axis; `parts` takes axes apart, and what moves elements in a way of its own is
//! run on the labels (`run`).

use super::site::wrap_axis;
use super::{Fact, Op, Site, Sizes, TensorFact, Trouble, Zeros};
use crate::labels::{Axes, Row, concat, reshape};

pub(super) const OPS: &[Op] = &[
    Op::new("aten::view", reshaped)
        .sized(&[Sizes::Output("size")])
        .zero(Zeros::First),
    Op::new("aten::reshape", reshaped)
        .sized(&[Sizes::Output("shape")])
        .zero(Zeros::First),
    Op::new("aten::_unsafe_view", reshaped)
        .sized(&[Sizes::Output("size")])
        .zero(Zeros::First),
    Op::new("aten::reshape_as", reshaped_as).zero(Zeros::First),
    Op::new("aten::view_as", reshaped_as).zero(Zeros::First),
    Op::new("aten::flatten", flatten).zero(Zeros::First),
    Op::new("aten::ravel", flatten).zero(Zeros::First),
    Op::new("aten::unflatten", unflatten)
        .sized(&[Sizes::Unflatten {
            sizes: "sizes",
            axis: "dim",
        }])
        .zero(Zeros::First),
    Op::new("aten::squeeze", squeeze).zero(Zeros::First),
    Op::new("aten::unsqueeze", unsqueeze).zero(Zeros::First),
    Op::new("aten::permute", permute).zero(Zeros::First),
    Op::new("aten::transpose", transpose).zero(Zeros::First),
    Op::new("aten::swapaxes", transpose).zero(Zeros::First),
    Op::new("aten::swapdims", transpose).zero(Zeros::First),
    Op::new("aten::adjoint", transpose).zero(Zeros::First),
    Op::new("aten::mT", transpose).zero(Zeros::First),
    Op::new("aten::t", transpose).zero(Zeros::First),
    Op::new("aten::numpy_T", permute).zero(Zeros::First),
    Op::new("aten::roll", roll).zero(Zeros::First),
    Op::new("aten::col2im", fold).zero(Zeros::First),
    Op::new("aten::cat", cat).zero(Zeros::Each),
    Op::new("aten::concat", cat).zero(Zeros::Each),
    Op::new("aten::concatenate", cat).zero(Zeros::Each),
    Op::new("aten::hstack", cat).zero(Zeros::Each),
    Op::new("aten::vstack", cat).zero(Zeros::Each),
    Op::new("aten::stack", stack).zero(Zeros::Each),
    Op::new("aten::tril", triangle).zero(Zeros::First),
    Op::new("aten::triu", triangle).zero(Zeros::First),
];

pub(super) const MOVES: &str = "moves them";

pub(super) fn input(site: &Site) -> Result<TensorFact, Trouble> {
    site.tensor("self").or_else(|_| site.tensor("input"))
}

/// Fills in one -1 of a requested shape.
fn resolve(asked: &[i64], elements: usize) -> Result<Vec<usize>, Trouble> {
    let known = asked.iter().filter(|&&extent| extent >= 0);
    let known = known.copied().try_fold(1_i64, i64::checked_mul).unwrap_or(i64::MAX);
    let holes = asked.iter().filter(|&&extent| extent < 0).count();
    let fits = match holes {
        0 => known as usize == elements,
        1 => known > 0 && elements.is_multiple_of(known as usize),
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
    let axes = reshape(&input.axes, &shape, site.choices.keep, site.labels, why);
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
    let (input, like) = (input(site)?, site.tensor("other")?.axes);
    let asked: Vec<i64> = like.shape.iter().map(|&extent| extent as i64).collect();
    let shape = resolve(&asked, input.axes.shape.iter().product())?;
    let why = site.why(MOVES);
    let mut axes = reshape(&input.axes, &shape, site.choices.keep, site.labels, why);
    // The other tensor says the shape, so that both shrink together.
    for axis in 0..axes.rank() {
        let row = site.join(axes.row(axis), like.row(axis), "takes its shape from another tensor");
        axes.rows[axis] = row;
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}

fn flatten(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let rank = input.axes.rank();
    let (start, end) = match site.node.short() {
        "ravel" => (0, rank.saturating_sub(1)),
        _ => (site.axis("start_dim", rank)?, site.axis("end_dim", rank)?),
    };
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
        "adjoint" | "mT" => Some((wrap_axis(-2, rank)?, wrap_axis(-1, rank)?)),
        "swapaxes" => Some((site.axis("axis0", rank)?, site.axis("axis1", rank)?)),
        _ => Some((site.axis("dim0", rank)?, site.axis("dim1", rank)?)),
    };
    if let Some((a, b)) = pair.filter(|_| rank > 0) {
        order.swap(a, b);
    }
    take(site, &input, &order)
}

/// Zeros above or below a diagonal of the last two axes, which must stay where they are.
fn triangle(site: &mut Site) -> Result<(), Trouble> {
    let mut input = input(site)?;
    let rank = input.axes.rank();
    let last = rank.saturating_sub(2)..rank;
    site.freeze_axes(&input.axes, last.clone(), "keeps one side of a diagonal");
    last.for_each(|axis| input.axes.rows[axis] = None);
    site.give([Fact::Tensor(input)]);
    Ok(())
}

/// Turned by a number of places: what is turned must keep its size.
fn roll(site: &mut Site) -> Result<(), Trouble> {
    let mut input = input(site)?;
    let axes = site.axes("dims", input.axes.rank())?;
    site.freeze_axes(&input.axes, axes.iter().copied(), "turns them by a number of places");
    axes.into_iter().for_each(|axis| input.axes.rows[axis] = None);
    site.give([Fact::Tensor(input)]);
    Ok(())
}

/// Overlapping windows added up, `[batch, channels · window, windows]`: a channel is all positions of its window.
fn fold(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let (size, kernel) = (site.ints_for("output_size", 2)?, site.ints_for("kernel_size", 2)?);
    let window = usize::try_from(kernel.iter().product::<i64>()).unwrap_or(0).max(1);
    if input.axes.rank() != 3 || input.axes.shape[1] % window != 0 {
        return Trouble::new("the input is no list of windows");
    }
    site.freeze_axes(&input.axes, [2], "adds windows up");
    let why = site.why("adds windows up");
    let channels = input.axes.row(1).map(|row| {
        let blocks = row.chunks(window);
        blocks.clone().for_each(|block| {
            block
                .windows(2)
                .for_each(|pair| site.labels.unite(pair[0], pair[1], why))
        });
        blocks.map(|block| block[0]).collect()
    });
    let mut shape = vec![input.axes.shape[0], input.axes.shape[1] / window];
    shape.extend(size.iter().map(|&extent| extent.max(0) as usize));
    let output = Axes::fixed(shape).with_row(0, input.axes.row(0).cloned());
    site.give_tensor(output.with_row(1, channels), input.dtype);
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
    let axis = match site.node.short() {
        "hstack" | "vstack" if rank < 2 => return Trouble::new("stacks tensors of fewer than two axes"),
        "hstack" => 1,
        "vstack" => 0,
        _ => site.axis("dim", rank)?,
    };
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
