//! Operators that make tensors from numbers, and writes into a part of a tensor.

use super::elementwise::broadcast;
use super::parts::bounds;
use super::{Fact, Op, Site, Sizes, Trouble, Zeros};
use crate::labels::{Axes, Row};
use crate::tensor::DType;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::zeros", filled)
        .sized(&[Sizes::Output("size")])
        .zero(Zeros::Always),
    Op::new("aten::ones", filled).sized(&[Sizes::Output("size")]),
    Op::new("aten::full", filled).sized(&[Sizes::Output("size")]),
    Op::new("aten::new_zeros", filled)
        .sized(&[Sizes::Output("size")])
        .zero(Zeros::Always),
    Op::new("aten::new_ones", filled).sized(&[Sizes::Output("size")]),
    Op::new("aten::new_full", filled).sized(&[Sizes::Output("size")]),
    Op::new("aten::zero", like).zero(Zeros::Always),
    Op::new("aten::zeros_like", like).zero(Zeros::Always),
    Op::new("aten::ones_like", like),
    Op::new("aten::full_like", like),
    Op::new("aten::arange", arange),
    Op::new("aten::fill", like),
    Op::new("aten::copy", copy).zero(Zeros::All),
    Op::new("aten::slice_scatter", scatter)
        .sized(&[Sizes::Bounds {
            start: "start",
            end: "end",
            axis: "dim",
        }])
        .zero(Zeros::Beside),
    Op::new("aten::select_scatter", scatter).zero(Zeros::Beside),
];

const REPLACES: &str = "replaces a part of it";
const REPLACED: &str = "replaces a part of another tensor";

fn dtype(site: &Site, default: DType) -> DType {
    match site.fact("dtype") {
        Fact::Number(code) => DType::from_code(code.as_i64()).unwrap_or(default),
        _ => default,
    }
}

fn filled(site: &mut Site) -> Result<(), Trouble> {
    let shape: Vec<usize> = site
        .ints("size")?
        .into_iter()
        .map(|extent| extent.max(0) as usize)
        .collect();
    let default = site.tensor("self").map_or(DType::F32, |like| like.dtype);
    let dtype = dtype(site, default);
    let mut axes = Axes::fixed(shape);
    // One number everywhere shrinks with whatever it meets.
    for axis in 0..axes.rank() {
        axes.rows[axis] = site.anything(axes.shape[axis]);
    }
    site.give_tensor(axes, dtype);
    Ok(())
}

fn like(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("self")?;
    let dtype = dtype(site, input.dtype);
    site.give_tensor(input.axes, dtype);
    Ok(())
}

fn arange(site: &mut Site) -> Result<(), Trouble> {
    let number = |name: &str| match site.fact(name) {
        Fact::Number(number) => Some(number.as_f64()),
        _ => None,
    };
    let Some(end) = number("end") else {
        return Trouble::new("the end of the range is not known");
    };
    let (start, step) = (number("start").unwrap_or(0.0), number("step").unwrap_or(1.0));
    let count = ((end - start) / step).ceil();
    if !(0.0..=1e9).contains(&count) {
        return Trouble::new("the range is empty or too long");
    }
    let dtype = dtype(site, DType::I64);
    site.give([Fact::fixed(vec![count as usize], dtype)]);
    Ok(())
}

/// The source, stretched to the target's shape.
fn copy(site: &mut Site) -> Result<(), Trouble> {
    let (target, source) = (site.tensor("self")?, site.tensor("src")?);
    let axes = broadcast(site, &[target.axes, source.axes], "writes it over another tensor")?;
    site.give_tensor(axes, target.dtype);
    Ok(())
}

/// A tensor with one part along one axis replaced: the other axes go with the part's, and the positions that are replaced
/// with those that replace them.
fn scatter(site: &mut Site) -> Result<(), Trouble> {
    let (base, mut part) = (site.tensor("self")?, site.tensor("src")?.axes);
    let axis = site.axis("dim", base.axes.rank())?;
    if site.node.short() == "select_scatter" && axis <= part.rank() {
        part.shape.insert(axis, 1);
        part.rows.insert(axis, None);
    }
    let mut axes = base.axes;
    if part.rank() != axes.rank() {
        return Trouble::new("replaces a part of other axes");
    }
    axes.rows[axis] = replaced(site, &axes, &part, axis)?;
    for other in (0..axes.rank()).filter(|&other| other != axis) {
        let row = site.join(axes.row(other), part.row(other), REPLACED);
        axes.rows[other] = row;
    }
    site.give_tensor(axes, base.dtype);
    Ok(())
}

/// The labels of an axis of which a part is replaced: those of the part are the other's too, where both tell theirs.
fn replaced(site: &mut Site, axes: &Axes, part: &Axes, axis: usize) -> Result<Option<Row>, Trouble> {
    let slice = site.node.short() == "slice_scatter" && site.int_or("step", 1)? == 1;
    let (Some(row), true) = (axes.row(axis), slice) else {
        site.freeze_axes(axes, [axis], REPLACES);
        site.freeze_axes(part, [axis], REPLACED);
        return Ok(None);
    };
    let at = bounds(site, row.len())?;
    if at.len() != part.shape[axis] {
        return Trouble::new("replaces a part of another extent");
    }
    let own: Row = at.map(|at| row[at]).collect();
    site.join(Some(&own), part.row(axis), REPLACED);
    Ok(Some(row.clone()))
}
