//! Operators that take an axis apart, or lengthen it.

use super::fractions;
use super::moves::input;
use super::{Fact, Op, Site, Sizes, TensorFact, Trouble, Zeros};
use crate::graph::Arg;
use crate::labels::{Axes, FROZEN, Row};
use std::iter::StepBy;
use std::ops::Range;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::chunk", parts).zero(Zeros::First),
    Op::new("aten::unsafe_chunk", parts).zero(Zeros::First),
    Op::new("aten::split", parts)
        .sized(&[Sizes::Part {
            size: "split_size",
            axis: "dim",
        }])
        .zero(Zeros::First),
    Op::new("aten::unsafe_split", parts)
        .sized(&[Sizes::Part {
            size: "split_size",
            axis: "dim",
        }])
        .zero(Zeros::First),
    Op::new("aten::split_with_sizes", parts)
        .sized(&[Sizes::Parts {
            sizes: "split_sizes",
            axis: "dim",
        }])
        .zero(Zeros::First),
    Op::new("aten::unsafe_split_with_sizes", parts)
        .sized(&[Sizes::Parts {
            sizes: "split_sizes",
            axis: "dim",
        }])
        .zero(Zeros::First),
    Op::new("aten::tensor_split", parts_at).zero(Zeros::First),
    Op::new("aten::unbind", unbind).zero(Zeros::First),
    Op::new("aten::select", select).zero(Zeros::First),
    Op::new("aten::slice", slice)
        .sized(&[Sizes::Bounds {
            start: "start",
            end: "end",
            axis: "dim",
        }])
        .zero(Zeros::First),
    Op::new("aten::narrow", narrow)
        .sized(&[Sizes::Start {
            start: "start",
            length: "length",
            axis: "dim",
        }])
        .zero(Zeros::First),
    Op::new("aten::pad", pad)
        .sized(&[Sizes::Padding("pad")])
        .zero(Zeros::Padded),
    Op::new("aten::reflection_pad1d", pad).zero(Zeros::Padded),
    Op::new("aten::reflection_pad2d", pad).zero(Zeros::Padded),
    Op::new("aten::reflection_pad3d", pad).zero(Zeros::Padded),
    Op::new("aten::replication_pad1d", pad).zero(Zeros::Padded),
    Op::new("aten::replication_pad2d", pad).zero(Zeros::Padded),
    Op::new("aten::replication_pad3d", pad).zero(Zeros::Padded),
    Op::new("aten::constant_pad_nd", pad)
        .sized(&[Sizes::Padding("pad")])
        .zero(Zeros::Padded),
];

const EQUAL: &str = "splits them into equal parts";

/// As many parts are told apart.
const MOST_PARTS: i64 = 1 << 16;

/// `chunk`, `split` and `split_with_sizes`. Equal parts keep the same positions, so that the same call still gives equal
/// parts when the model has shrunk.
fn parts(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let extent = input.axes.shape.get(axis).copied().unwrap_or(0);
    let (sizes, equal) = match site.node.short() {
        "split_with_sizes" | "unsafe_split_with_sizes" => (site.ints("split_sizes")?, false),
        "split" | "unsafe_split" => match site.optional_ints("split_size")? {
            Some(size) if size.len() == 1 => (even(extent, size[0])?, true),
            _ => (site.ints("split_sizes").or_else(|_| site.ints("split_size"))?, false),
        },
        _ => {
            let chunks = usize::try_from(site.int("chunks")?).unwrap_or(0).max(1);
            (even(extent, extent.div_ceil(chunks) as i64)?, true)
        }
    };
    let sum = sizes.iter().try_fold(0_i64, |sum, &size| sum.checked_add(size));
    if sizes.iter().any(|&size| size < 0) || sum != Some(extent as i64) {
        return Trouble::new(format!("parts {sizes:?} do not fill an axis of {extent}"));
    }
    let row = input.axes.row(axis).cloned();
    if let (Some(row), true) = (&row, equal) {
        if sizes.windows(2).all(|pair| pair[0] == pair[1]) {
            site.tie_blocks(row, sizes.len(), EQUAL)?;
        } else {
            let why = site.why("splits them into parts of which the last is smaller");
            site.labels.freeze(row, why);
        }
    }
    tie_fractions(site, &input.axes, axis, &["split_sizes", "split_size"])?;
    give_parts(site, &input, axis, sizes);
    Ok(())
}

/// `tensor_split`: at the given positions, or into a number of parts. Equal parts keep the same positions, as those of
/// `chunk` do; the positions do not follow a removal.
fn parts_at(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let extent = input.axes.shape.get(axis).copied().unwrap_or(0) as i64;
    let sizes: Vec<i64> = if site.node.arg("sections").is_some() {
        let sections = site.int("sections")?.max(1);
        if sections > MOST_PARTS {
            return Trouble::new(format!("{sections} parts"));
        }
        let each = |part| extent / sections + i64::from(part < extent % sections);
        (0..sections).map(each).collect()
    } else {
        let cuts = site.ints("indices")?.into_iter();
        let cuts = cuts.map(|at| if at < 0 { (at + extent).max(0) } else { at.min(extent) });
        let mut last = 0;
        cuts.chain([extent])
            .map(|at| {
                let size = (at - last).max(0);
                last = last.max(at);
                size
            })
            .collect()
    };
    let equal = site.node.arg("sections").is_some() && sizes.windows(2).all(|pair| pair[0] == pair[1]);
    match input.axes.row(axis).cloned() {
        Some(row) if equal => _ = site.tie_blocks(&row, sizes.len(), EQUAL)?,
        _ => site.freeze_axes(&input.axes, [axis], "splits them at given positions"),
    }
    give_parts(site, &input, axis, sizes);
    Ok(())
}

fn give_parts(site: &mut Site, input: &TensorFact, axis: usize, sizes: Vec<i64>) {
    let row = input.axes.row(axis).cloned();
    let mut start = 0;
    let mut outputs = Vec::new();
    for size in sizes {
        let end = start + size as usize;
        let kept = row.as_ref().map(|row| row[start..end].into());
        let axes = part(&input.axes, axis, size as usize, kept);
        outputs.push(Fact::tensor(axes, input.dtype));
        start = end;
    }
    site.give([Fact::List(outputs)]);
}

fn even(extent: usize, size: i64) -> Result<Vec<i64>, Trouble> {
    let size = size.max(1);
    let extent = extent as i64;
    if extent / size > MOST_PARTS {
        return Trouble::new(format!("{} parts", extent / size));
    }
    let starts = (0..extent).step_by(size as usize);
    Ok(starts.map(|start| size.min(extent - start)).collect())
}

fn unbind(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    site.freeze_axes(&input.axes, [axis], "takes it apart");
    let mut axes = input.axes;
    let count = axes.shape.remove(axis);
    if count as i64 > MOST_PARTS {
        return Trouble::new(format!("{count} parts"));
    }
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
    // A list of sizes is sliced by the same operator.
    if let Fact::List(items) = site.fact("l") {
        let kept = bounds(site, items.len())?;
        site.give([Fact::List(kept.map(|at| items[at].clone()).collect())]);
        return Ok(());
    }
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let kept = bounds(site, input.axes.shape.get(axis).copied().unwrap_or(0))?;
    tie_fractions(site, &input.axes, axis, &["start", "end"])?;
    if let (Some(row), step @ 2..) = (input.axes.row(axis).cloned(), site.int_or("step", 1)?) {
        every_nth(site, &row, step)?;
    }
    cut(site, input, axis, kept)
}

/// Blocks of which one is taken by a number computed from the size of the axis (`x[:, :x.shape[1] // 2]`) keep the same
/// positions, so that the same computation takes one of what is left.
fn tie_fractions(site: &mut Site, axes: &Axes, axis: usize, numbers: &[&str]) -> Result<(), Trouble> {
    let Some(row) = axes.row(axis) else { return Ok(()) };
    let computed = numbers.iter().filter_map(|name| site.node.arg(name));
    let computed = computed.flat_map(|arg| match arg {
        Arg::List(items) => &items[..],
        one => std::slice::from_ref(one),
    });
    let blocks: Vec<usize> = computed
        .filter_map(|number| fractions::blocks(site, number, row))
        .collect();
    for blocks in blocks {
        site.tie_blocks(row, blocks, "takes a fraction of them")?;
    }
    Ok(())
}

/// Every n-th of them, to the end: whole runs of n go, so that the same call takes the same place of each that is left.
fn every_nth(site: &mut Site, row: &Row, step: i64) -> Result<(), Trouble> {
    let extent = row.len() as i64;
    let to_the_end = site.int_or("end", i64::MAX)? >= extent;
    if !(0..step).contains(&site.int_or("start", 0)?) || !to_the_end || extent % step != 0 {
        let why = site.why("takes every n-th of them");
        site.labels.freeze(row, why);
        return Ok(());
    }
    let why = site.why("takes one of each run of them");
    for run in row.chunks(step as usize) {
        run.windows(2).for_each(|pair| site.labels.unite(pair[0], pair[1], why));
    }
    Ok(())
}

/// The positions from `start` to `end`, counted from either side.
pub(super) fn bounds(site: &Site, extent: usize) -> Result<StepBy<Range<usize>>, Trouble> {
    let extent = extent as i64;
    let clamp = |at: i64| if at < 0 { (at + extent).max(0) } else { at.min(extent) };
    let start = clamp(site.int_or("start", 0)?);
    let end = clamp(site.int_or("end", i64::MAX)?).max(start);
    let step = site.int_or("step", 1)?.max(1) as usize;
    Ok((start as usize..end as usize).step_by(step))
}

fn narrow(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let (start, length) = (site.int("start")?.max(0) as usize, site.int("length")?.max(0) as usize);
    if start.saturating_add(length) > input.axes.shape[axis] {
        return Trouble::new("reaches over the end of its axis");
    }
    tie_fractions(site, &input.axes, axis, &["start", "length"])?;
    cut(site, input, axis, start..start + length)
}

fn cut(
    site: &mut Site,
    input: TensorFact,
    axis: usize,
    kept: impl ExactSizeIterator<Item = usize>,
) -> Result<(), Trouble> {
    let extent = kept.len();
    let row = input.axes.row(axis).map(|row| kept.map(|at| row[at]).collect());
    let axes = part(&input.axes, axis, extent, row);
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// A part of one axis.
fn part(whole: &Axes, axis: usize, extent: usize, row: Option<Row>) -> Axes {
    let mut axes = whole.clone();
    axes.shape[axis] = extent;
    axes.with_row(axis, row)
}

/// Padding from the last axis on. Zeros may shrink with their neighbours, other numbers stay; copies of neighbours go with
/// them.
fn pad(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let copies = site.node.arg("padding").is_some();
    let amounts = site.ints(if copies { "padding" } else { "pad" })?;
    let constant = !copies && !matches!(site.fact("mode"), Fact::Text(mode) if mode != "constant");
    let zero = site.pads_zero();
    let mut axes = input.axes.clone();
    for (pair, axis) in amounts.chunks_exact(2).zip((0..input.axes.rank()).rev()) {
        let (before, after) = (pair[0], pair[1]);
        if before == 0 && after == 0 {
            continue;
        }
        let extent = (axes.shape[axis] as i64).checked_add(before);
        let extent = extent.and_then(|extent| extent.checked_add(after)).unwrap_or(0);
        if extent < 1 {
            return Trouble::new("nothing is left, or more than any tensor holds");
        }
        let row = axes.rows[axis].take();
        axes.shape[axis] = extent as usize;
        if let Some(row) = row {
            let room = site.labels.room(extent as usize);
            if !(constant && room) || before < 0 || after < 0 {
                let why = site.why("cuts it, or pads it with copies");
                site.labels.freeze(&row, why);
                continue;
            }
            let mut added = |count: i64| match zero {
                true => site.labels.fresh(count as usize),
                false => vec![FROZEN; count as usize],
            };
            let (before, after) = (added(before), added(after));
            let padded = [&before[..], &row, &after].concat();
            axes = axes.with_row(axis, Some(padded.into()));
        }
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}
