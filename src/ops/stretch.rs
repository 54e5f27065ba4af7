//! Operators that stretch or repeat axes.
//!
//! An axis of one position that is stretched is as long as what it meets needs: it may shrink with that, and has labels
//! that stand for no parameter until it does.

use super::moves::input;
use super::run::run;
use super::site::each_times;
use super::{Fact, Op, Site, Sizes, TensorFact, Trouble, Zeros};
use crate::labels::{Axes, MOST_ELEMENTS, Row};

pub(super) const OPS: &[Op] = &[
    Op::new("aten::expand", expand)
        .sized(&[Sizes::Output("size")])
        .zero(Zeros::First),
    Op::new("aten::expand_as", expand_as).zero(Zeros::First),
    Op::new("aten::broadcast_to", expand)
        .sized(&[Sizes::Output("size")])
        .zero(Zeros::First),
    Op::new("aten::repeat", repeat)
        .sized(&[Sizes::Times("repeats")])
        .zero(Zeros::First),
    Op::new("aten::tile", repeat)
        .sized(&[Sizes::Times("dims")])
        .zero(Zeros::First),
    Op::new("aten::repeat_interleave", interleave)
        .sized(&[Sizes::Times("repeats")])
        .zero(Zeros::First),
];

/// The axes of a tensor behind as many of extent 1 as it lacks of `rank`.
fn aligned(input: &TensorFact, rank: usize) -> Result<Axes, Trouble> {
    let Some(added) = rank.checked_sub(input.axes.rank()) else {
        return Trouble::new("has more axes than are asked for");
    };
    let mut axes = Axes::fixed(vec![1; added]);
    axes.shape.extend(&input.axes.shape);
    axes.rows.extend(input.axes.rows.iter().cloned());
    Ok(axes)
}

fn expand(site: &mut Site) -> Result<(), Trouble> {
    let (input, asked) = (input(site)?, site.ints("size")?);
    let mut axes = aligned(&input, asked.len())?;
    for (axis, &extent) in asked.iter().enumerate() {
        if axes.shape[axis] == 1 && extent >= 0 {
            axes.shape[axis] = extent as usize;
            axes.rows[axis] = site.stretched(extent as usize);
        }
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// The stretched axes follow the tensor that gives the size.
fn expand_as(site: &mut Site) -> Result<(), Trouble> {
    let (input, other) = (input(site)?, site.tensor("other")?.axes);
    let mut axes = aligned(&input, other.rank())?;
    for axis in 0..axes.rank() {
        if axes.shape[axis] == 1 {
            axes.shape[axis] = other.shape[axis];
            axes.rows[axis] = site.stretched(other.shape[axis]);
        }
        site.join(axes.row(axis), other.row(axis), "takes its shape from another tensor");
        axes.rows[axis].take_if(|_| other.row(axis).is_none());
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// Copies of each axis, one behind another.
fn repeat(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let tiles = site.node.short() == "tile";
    let mut times = site.ints(if tiles { "dims" } else { "repeats" })?;
    if let (Some(missing), true) = (input.axes.rank().checked_sub(times.len()), tiles) {
        times.splice(0..0, vec![1; missing]);
    }
    let mut axes = aligned(&input, times.len())?;
    for (axis, times) in times.into_iter().enumerate() {
        repeat_axis(site, &mut axes, axis, times, |row, times| {
            Ok(Some(row.repeat(times).into()))
        })?;
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// Copies of each position of one axis, beside it. Without an axis, or with a number for each position, it is run.
fn interleave(site: &mut Site) -> Result<(), Trouble> {
    let (Fact::Number(times), Ok(_)) = (site.fact("repeats"), site.int("dim")) else {
        return run(site);
    };
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let mut axes = input.axes;
    repeat_axis(site, &mut axes, axis, times.as_i64(), |row, times| {
        each_times(Some(row), times)
    })?;
    site.give_tensor(axes, input.dtype);
    Ok(())
}

fn repeat_axis(
    site: &mut Site,
    axes: &mut Axes,
    axis: usize,
    times: i64,
    copies: impl Fn(&Row, usize) -> Result<Option<Row>, Trouble>,
) -> Result<(), Trouble> {
    let known = axes.shape.get(axis).copied();
    let Some((known, times)) = known.zip(usize::try_from(times).ok()) else {
        return Trouble::new("repeats an axis that it lacks, or less than never");
    };
    let Some(extent) = known.checked_mul(times) else {
        return Trouble::new("repeats an axis too often");
    };
    if axes.rows[axis].is_some() && extent > MOST_ELEMENTS {
        return Trouble::new("repeats an axis too often");
    }
    axes.rows[axis] = match axes.rows[axis].take() {
        Some(row) if times > 0 => copies(&row, times)?,
        None if known == 1 => site.stretched(extent),
        _ => None,
    };
    axes.shape[axis] = extent;
    Ok(())
}
