//! Reductions and operators that mix along one axis: what they run over must keep its size.

use super::{Fact, Op, Site, TensorFact, Trouble};
use crate::labels::Axes;
use crate::tensor::DType;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::mean", reduced),
    Op::new("aten::sum", reduced),
    Op::new("aten::prod", reduced),
    Op::new("aten::amax", reduced),
    Op::new("aten::amin", reduced),
    Op::new("aten::var", reduced),
    Op::new("aten::std", reduced),
    Op::new("aten::logsumexp", reduced),
    Op::new("aten::linalg_vector_norm", reduced),
    Op::new("aten::norm", reduced),
    Op::new("aten::argmax", positions),
    Op::new("aten::argmin", positions),
    Op::new("aten::any", tested),
    Op::new("aten::all", tested),
    Op::new("aten::max", extreme),
    Op::new("aten::min", extreme),
    Op::new("aten::softmax", along),
    Op::new("aten::log_softmax", along),
    Op::new("aten::cumsum", along),
    Op::new("aten::cumprod", along),
    Op::new("aten::diff", diff),
    Op::new("aten::glu", glu),
];

const OVER: &str = "reduces over them";

fn input(site: &Site) -> Result<TensorFact, Trouble> {
    site.tensor("self").or_else(|_| site.tensor("input"))
}

/// The axes that an operator runs over; all of them where it names none.
fn over(site: &Site, rank: usize) -> Result<Vec<usize>, Trouble> {
    if site.node.arg("dim").is_some() {
        site.axes("dim", rank)
    } else {
        Ok((0..rank).collect())
    }
}

fn without(axes: &Axes, over: &[usize], keep: bool) -> Axes {
    let mut output = axes.clone();
    for &axis in over {
        if axis < output.rank() {
            output.shape[axis] = 1;
            output.rows[axis] = None;
        }
    }
    if keep {
        return output;
    }
    let kept = (0..axes.rank()).filter(|axis| !over.contains(axis));
    Axes {
        shape: kept.clone().map(|axis| output.shape[axis]).collect(),
        rows: kept.map(|axis| output.rows[axis].clone()).collect(),
    }
}

fn reduce(site: &mut Site) -> Result<(Axes, DType), Trouble> {
    let input = input(site)?;
    let over = over(site, input.axes.rank())?;
    site.freeze_axes(&input.axes, over.iter().copied(), OVER);
    Ok((without(&input.axes, &over, site.flag("keepdim")), input.dtype))
}

fn reduced(site: &mut Site) -> Result<(), Trouble> {
    let (axes, dtype) = reduce(site)?;
    site.give_tensor(axes, dtype);
    Ok(())
}

fn positions(site: &mut Site) -> Result<(), Trouble> {
    let (axes, _) = reduce(site)?;
    site.give_tensor(axes, DType::I64);
    Ok(())
}

fn tested(site: &mut Site) -> Result<(), Trouble> {
    let (axes, _) = reduce(site)?;
    site.give_tensor(axes, DType::Bool);
    Ok(())
}

/// `max` and `min`: over all elements, over one axis (with positions), or of two tensors.
fn extreme(site: &mut Site) -> Result<(), Trouble> {
    if site.node.arg("other").is_some() {
        let axes = [site.tensor("self")?.axes, site.tensor("other")?.axes];
        let dtype = site.tensor("self")?.dtype;
        let output = super::elementwise::broadcast(site, &axes, "combines them element by element")?;
        site.give_tensor(output, dtype);
        return Ok(());
    }
    let (axes, dtype) = reduce(site)?;
    if site.node.arg("dim").is_some() {
        site.give([Fact::tensor(axes.clone(), dtype), Fact::tensor(axes, DType::I64)]);
    } else {
        site.give_tensor(axes, dtype);
    }
    Ok(())
}

fn along(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let over = over(site, input.axes.rank())?;
    site.freeze_axes(&input.axes, over.iter().copied(), "mixes them");
    let mut axes = input.axes;
    for axis in over {
        if axis < axes.rank() {
            axes.rows[axis] = None;
        }
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// `a · sigmoid(b)` for the halves of one axis: position i of each half goes with the other's.
fn glu(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let mut axes = input.axes;
    if axes.shape.get(axis).is_none_or(|extent| extent % 2 != 0) {
        return Trouble::new("the axis has no halves");
    }
    axes.shape[axis] /= 2;
    let half = axes.rows[axis]
        .take()
        .map(|row| site.tie_blocks(&row, 2, "gates one half of them by the other"));
    let axes = axes.with_row(axis, half.map(Into::into));
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// Differences of neighbours along one axis, `n` times.
fn diff(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let mut extent = input.axes.shape.get(axis).map_or(0, |&extent| extent as i64);
    for name in ["prepend", "append"] {
        if let Some(added) = site.optional_tensor(name)? {
            extent += added.axes.shape.get(axis).map_or(0, |&extent| extent as i64);
        }
    }
    site.freeze_axes(&input.axes, [axis], "takes differences of neighbours along it");
    let mut axes = input.axes;
    axes.shape[axis] = usize::try_from(extent - site.int_or("n", 1)?).unwrap_or(0);
    axes.rows[axis] = None;
    site.give_tensor(axes, input.dtype);
    Ok(())
}
