//! Reductions and operators that mix along one axis: what they run over must keep its size.

use super::{Fact, Op, Site, TensorFact, Trouble, Zeros};
use crate::labels::Axes;
use crate::tensor::DType;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::mean", reduced).zero(Zeros::First),
    Op::new("aten::sum", reduced).zero(Zeros::First),
    Op::new("aten::nansum", reduced).zero(Zeros::First),
    Op::new("aten::nanmean", reduced).zero(Zeros::First),
    Op::new("aten::frobenius_norm", reduced).zero(Zeros::First),
    Op::new("aten::count_nonzero", positions),
    Op::new("aten::prod", reduced),
    Op::new("aten::amax", reduced).zero(Zeros::First),
    Op::new("aten::amin", reduced).zero(Zeros::First),
    Op::new("aten::var", reduced).zero(Zeros::First),
    Op::new("aten::std", reduced).zero(Zeros::First),
    Op::new("aten::logsumexp", reduced),
    Op::new("aten::linalg_norm", reduced).zero(Zeros::First),
    Op::new("aten::linalg_vector_norm", reduced).zero(Zeros::First),
    Op::new("aten::norm", reduced).zero(Zeros::First),
    Op::new("aten::argmax", positions),
    Op::new("aten::argmin", positions),
    Op::new("aten::any", tested),
    Op::new("aten::all", tested),
    Op::new("aten::max", extreme),
    Op::new("aten::min", extreme),
    Op::new("aten::median", extreme),
    Op::new("aten::nanmedian", extreme),
    Op::new("aten::var_mean", paired).zero(Zeros::First),
    Op::new("aten::std_mean", paired).zero(Zeros::First),
    Op::new("aten::aminmax", paired).zero(Zeros::First),
    Op::new("aten::cosine_similarity", compared_along),
    Op::new("aten::pairwise_distance", compared_along),
    Op::new("aten::softmax", along),
    Op::new("aten::log_softmax", along),
    Op::new("aten::_softmax", along),
    Op::new("aten::_log_softmax", along),
    Op::new("aten::logcumsumexp", along),
    // Positions are not zero where values are.
    Op::new("aten::sort", ordered),
    Op::new("aten::argsort", ordered),
    Op::new("aten::topk", ordered),
    Op::new("aten::cummax", ordered),
    Op::new("aten::cummin", ordered),
    Op::new("aten::msort", ordered).zero(Zeros::First),
    Op::new("aten::kthvalue", extreme),
    Op::new("aten::mode", extreme),
    Op::new("aten::searchsorted", searched),
    Op::new("aten::bucketize", searched),
    Op::new("aten::histc", counted),
    Op::new("aten::cumsum", along).zero(Zeros::First),
    Op::new("aten::cumprod", along),
    Op::new("aten::diff", diff).zero(Zeros::Beside),
    Op::new("aten::glu", glu).zero(Zeros::First),
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
    let averages = matches!(
        site.node.short(),
        "mean" | "nanmean" | "var" | "std" | "var_mean" | "std_mean"
    );
    if averages && site.choices.approximate {
        // Norms written by hand are made of these.
        let rows = over.iter().filter_map(|&axis| input.axes.row(axis));
        rows.for_each(|row| site.labels.note_mixed(row));
    } else {
        // A stretched axis holds one position's values all along, whatever is zero elsewhere.
        let exact = loses_zeros(site);
        let stays = |axis: &usize| !exact || input.axes.row(*axis).is_some_and(|row| site.labels.is_stretched(row));
        let kept: Vec<usize> = over.iter().copied().filter(stays).collect();
        site.freeze_axes(&input.axes, kept, OVER);
    }
    Ok((without(&input.axes, &over, site.flag("keepdim")), input.dtype))
}

/// Whether the result is the same without zeros, and only zeros would be lost: sums, counts, and norms but those of a
/// negative order, which ask for the smallest of all.
fn loses_zeros(site: &Site) -> bool {
    let sums = match site.node.short() {
        "sum" | "nansum" | "count_nonzero" | "frobenius_norm" => true,
        "norm" | "linalg_vector_norm" | "linalg_norm" => {
            [site.fact("p"), site.fact("ord")].iter().all(|order| match order {
                Fact::None => true,
                // `fro` and `nuc` are sums over singular values.
                Fact::Text(_) => true,
                Fact::Number(order) => order.as_f64() >= 0.0,
                _ => false,
            })
        }
        _ => false,
    };
    sums && (site.zero_argument("self") || site.zero_argument("input"))
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

/// `max` and `min`: over all elements, over one axis (with positions), or of two tensors. `kthvalue` and `mode` like them.
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
    let half = match axes.rows[axis].take() {
        Some(row) => Some(site.tie_blocks(&row, 2, "gates one half of them by the other")?.into()),
        None => None,
    };
    let axes = axes.with_row(axis, half);
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// Differences of neighbours along one axis, `n` times.
fn diff(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = site.axis("dim", input.axes.rank())?;
    let along = "takes differences of neighbours along it";
    let mut axes = input.axes;
    let mut extent = axes.shape.get(axis).map_or(0, |&extent| extent as i64);
    site.freeze_axes(&axes, [axis], along);
    for name in ["prepend", "append"] {
        let Some(added) = site.optional_tensor(name)? else {
            continue;
        };
        extent += added.axes.shape.get(axis).map_or(0, |&extent| extent as i64);
        site.freeze_axes(&added.axes, [axis], along);
        for other in (0..axes.rank()).filter(|&other| other != axis) {
            axes.rows[other] = site.join(axes.row(other), added.axes.row(other), "sets them beside each other");
        }
    }
    axes.shape[axis] = usize::try_from(extent - site.int_or("n", 1)?).unwrap_or(0);
    axes.rows[axis] = None;
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// The same reduction twice: mean and variance, smallest and largest.
fn paired(site: &mut Site) -> Result<(), Trouble> {
    let (axes, dtype) = reduce(site)?;
    site.give([Fact::tensor(axes.clone(), dtype), Fact::tensor(axes, dtype)]);
    Ok(())
}

/// Elements in order along one axis, the first `k` of them for `topk`; with their positions where the operator tells.
fn ordered(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axis = match site.node.arg("dim") {
        Some(_) => site.axis("dim", input.axes.rank())?,
        None => 0,
    };
    site.freeze_axes(&input.axes, [axis], "puts them in order");
    let mut axes = input.axes.with_row(axis, None);
    if let (Some(extent), true) = (axes.shape.get_mut(axis), site.node.arg("k").is_some()) {
        *extent = usize::try_from(site.int("k")?).unwrap_or(0);
    }
    let (values, positions) = (Fact::tensor(axes.clone(), input.dtype), Fact::tensor(axes, DType::I64));
    match site.node.short() {
        "argsort" => site.give([positions]),
        "msort" => site.give([values]),
        _ => site.give([values, positions]),
    }
    Ok(())
}

/// For each element its place in an ordered sequence: one sequence for all, or one for each row.
fn searched(site: &mut Site) -> Result<(), Trouble> {
    let sequence = match site.node.short() {
        "bucketize" => site.tensor("boundaries")?.axes,
        _ => site.tensor("sorted_sequence")?.axes,
    };
    let input = site.tensor("self")?.axes;
    let Some(last) = sequence.rank().checked_sub(1) else {
        return Trouble::new("searches a tensor without axes");
    };
    site.freeze_axes(&sequence, [last], "looks for places among them");
    let mut output = input.clone();
    if last > 0 && input.rank() == sequence.rank() {
        for axis in 0..last {
            output.rows[axis] = site.join(input.row(axis), sequence.row(axis), "looks places up row by row");
        }
    }
    let dtype = if site.flag("out_int32") { DType::I32 } else { DType::I64 };
    site.give_tensor(output, dtype);
    Ok(())
}

/// How many elements lie in each of some ranges.
fn counted(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    site.freeze_axes(&input.axes, 0..input.axes.rank(), "counts them");
    let bins = usize::try_from(site.int("bins")?).unwrap_or(0);
    site.give([Fact::fixed(vec![bins], input.dtype)]);
    Ok(())
}

/// One number for each pair of rows: what they are compared along must keep its size.
fn compared_along(site: &mut Site) -> Result<(), Trouble> {
    let (a, b) = (site.tensor("x1")?, site.tensor("x2")?);
    let axes = super::elementwise::broadcast(site, &[a.axes, b.axes], "compares them")?;
    let axis = match site.node.arg("dim") {
        Some(_) => site.axis("dim", axes.rank())?,
        None => axes.rank().saturating_sub(1),
    };
    site.freeze_axes(&axes, [axis], OVER);
    let output = without(&axes, &[axis], site.flag("keepdim"));
    site.give_tensor(output, a.dtype);
    Ok(())
}
