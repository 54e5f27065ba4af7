//! Operators that pick elements by number, or write them by number: look-ups in tables and indexing by tensors.

use super::elementwise::broadcast;
use super::site::wrap_axis;
use super::{Fact, Op, Site, Sizes, TensorFact, Trouble, Zeros};
use crate::graph::{Arg, Def, Graph, Node, ValueId};
use crate::labels::{Axes, Row};
use crate::tensor::{DType, Tensor};

pub(super) const OPS: &[Op] = &[
    Op::new("aten::embedding", embedding).zero(Zeros::Weight),
    Op::new("aten::gather", gather),
    Op::new("aten::take_along_dim", gather),
    Op::new("aten::index_select", index_select)
        .sized(&[Sizes::Picked("index")])
        .zero(Zeros::First),
    Op::new("aten::index", index)
        .sized(&[Sizes::Picked("indices")])
        .zero(Zeros::First),
    Op::new("aten::take", gather),
    Op::new("aten::index_put", index_put),
    Op::new("aten::index_add", index_write),
    Op::new("aten::index_copy", index_write),
    Op::new("aten::index_fill", index_write),
    Op::new("aten::scatter", scatter),
    Op::new("aten::scatter_add", scatter),
    Op::new("aten::scatter_reduce", scatter),
    Op::new("aten::one_hot", one_hot),
];

const PICKS: &str = "picks elements by number";

/// The axis that an operator picks positions of by numbers that stand in the graph, and the numbers, counted from the
/// front; none where it picks of several axes, or the numbers are computed.
pub(crate) fn picked(graph: &Graph, node: &Node, shape: &[usize]) -> Option<(usize, Vec<usize>)> {
    let (axis, value) = match node.arg("indices") {
        Some(Arg::List(items)) => {
            let mut named = items.iter().enumerate().filter(|(_, item)| **item != Arg::None);
            match (named.next(), named.next()) {
                (Some((axis, Arg::Value(value))), None) => (axis, *value),
                _ => return None,
            }
        }
        _ => {
            let axis = wrap_axis(node.arg("dim")?.as_int()?, shape.len()).ok()?;
            (axis, node.value("index")?)
        }
    };
    let extent = *shape.get(axis)?;
    let numbers = written(graph, value)?;
    let whole = numbers.shape().len() == 1 && matches!(numbers.dtype(), DType::I64 | DType::I32);
    let from_front = |at: i64| usize::try_from(if at < 0 { at + extent as i64 } else { at }).ok();
    let positions: Option<Vec<usize>> = numbers.to_i64().into_iter().map(from_front).collect();
    positions
        .filter(|positions| whole && positions.iter().all(|&at| at < extent))
        .map(|positions| (axis, positions))
}

/// A constant, also behind casts.
fn written(graph: &Graph, mut value: ValueId) -> Option<&Tensor> {
    loop {
        match graph.value(value).def {
            Def::Constant(at) => return graph.constants.get(at as usize),
            Def::Node { node, .. } if graph.node(node).op == "aten::to" => {
                value = graph.node(node).args.first()?.1.as_value()?;
            }
            _ => return None,
        }
    }
}

/// Rows of a table: its columns are the output's last axis, behind those of the numbers, and no row may go.
fn embedding(site: &mut Site) -> Result<(), Trouble> {
    let (table, indices) = (site.tensor("weight")?, site.tensor("indices")?);
    if table.axes.rank() != 2 {
        return Trouble::new("the table has not two axes");
    }
    site.freeze_axes(&table.axes, [0], "looks rows up by number");
    let mut output = indices.axes;
    output.shape.push(table.axes.shape[1]);
    output.rows.push(table.axes.row(1).cloned());
    site.give_tensor(output, table.dtype);
    Ok(())
}

/// Elements picked by position along one axis. Along the others, each position of the numbers goes with the same of the
/// input.
fn gather(site: &mut Site) -> Result<(), Trouble> {
    let index = if site.node.arg("index").is_some() {
        "index"
    } else {
        "indices"
    };
    let (input, mut index) = (site.tensor("self")?, site.tensor(index)?.axes);
    let rank = input.axes.rank();
    if site.node.arg("dim").is_none() || site.fact("dim") == Fact::None {
        // Counted through the whole tensor.
        site.freeze_axes(&input.axes, 0..rank, PICKS);
        site.freeze_axes(&index, 0..index.rank(), PICKS);
        site.give_tensor(Axes::fixed(index.shape), input.dtype);
        return Ok(());
    }
    if rank != index.rank() {
        return Trouble::new("picks elements across axes");
    }
    let axis = site.axis("dim", rank)?;
    site.freeze_axes(&input.axes, [axis], PICKS);
    for other in (0..rank).filter(|&other| other != axis) {
        let (whole, part) = (input.axes.shape[other], index.shape[other]);
        if whole == part {
            index.rows[other] = site.join(input.axes.row(other), index.row(other), PICKS);
        } else {
            // Fewer positions, or one that stretches.
            site.freeze_axes(&input.axes, [other], PICKS);
            site.freeze_axes(&index, [other], PICKS);
            index.shape[other] = if part == 1 && site.node.short() == "take_along_dim" {
                whole
            } else {
                part
            };
            index.rows[other] = None;
        }
    }
    site.give_tensor(index, input.dtype);
    Ok(())
}

/// `x[i, :, j]` with tensors of numbers. Axes that are not indexed keep their labels.
fn index(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("self")?;
    let Fact::List(indices) = site.fact("indices") else {
        return Trouble::new("its indices are not known to be a list");
    };
    if indices.iter().any(is_mask) {
        return Trouble::new("picks elements by a mask");
    }
    if known(site, &input) {
        return Ok(());
    }
    let axes = pick(site, &input, &indices)?;
    site.give_tensor(axes, input.dtype);
    Ok(())
}

fn is_mask(fact: &Fact) -> bool {
    matches!(fact, Fact::Tensor(index) if matches!(index.dtype, DType::Bool | DType::U8))
}

/// Picks along one axis by numbers that can be written anew when the axis has shrunk.
fn known(site: &mut Site, input: &TensorFact) -> bool {
    let Some((axis, positions)) = picked(site.graph, site.node, &input.axes.shape) else {
        return false;
    };
    let Some(row) = input.axes.row(axis).cloned() else {
        return false;
    };
    let kept: Row = positions.iter().map(|&at| row[at]).collect();
    if kept.len() == 1 {
        let why = site.why("takes one of them");
        site.labels.freeze(&kept, why);
    }
    let mut axes = input.axes.clone();
    axes.shape[axis] = kept.len();
    axes.rows[axis] = None;
    site.give_tensor(axes.with_row(axis, Some(kept)), input.dtype);
    true
}

/// Positions of one axis by number.
fn index_select(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("self")?;
    let axis = site.axis("dim", input.axes.rank())?;
    if known(site, &input) {
        return Ok(());
    }
    let mut indices = vec![Fact::None; axis];
    indices.push(site.fact("index"));
    let axes = pick(site, &input, &indices)?;
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// The axes of what is picked.
fn pick(site: &mut Site, input: &TensorFact, indices: &[Fact]) -> Result<Axes, Trouble> {
    let picked: Vec<usize> = (0..indices.len()).filter(|&axis| indices[axis] != Fact::None).collect();
    let mut parts = Vec::with_capacity(picked.len());
    for &axis in &picked {
        match &indices[axis] {
            Fact::Tensor(index) => parts.push(index.axes.clone()),
            Fact::Number(_) => parts.push(Axes::fixed(Vec::new())),
            _ => return Trouble::new("an index is not known to be a tensor"),
        }
    }
    let (Some(&first), Some(&last)) = (picked.first(), picked.last()) else {
        return Trouble::new("indexes nothing");
    };
    if last >= input.axes.rank() {
        return Trouble::new("has more indices than axes");
    }
    site.freeze_axes(&input.axes, picked.iter().copied(), PICKS);
    let numbers = broadcast(site, &parts, PICKS)?;
    // Indices beside each other leave their axes in place; else the picked elements come first.
    let at = if last - first + 1 == picked.len() { first } else { 0 };
    let kept = (0..input.axes.rank()).filter(|axis| !picked.contains(axis));
    let mut axes: Vec<(usize, Option<Row>)> = kept
        .map(|axis| (input.axes.shape[axis], input.axes.rows[axis].clone()))
        .collect();
    axes.splice(at..at, numbers.shape.into_iter().zip(numbers.rows));
    let (shape, rows) = axes.into_iter().unzip();
    Ok(Axes { shape, rows })
}

/// `x[i, :, j] = values` with tensors of numbers, or `x[mask] = value` with a mask of all of it.
fn index_put(site: &mut Site) -> Result<(), Trouble> {
    let (input, values) = (site.tensor("self")?, site.tensor("values")?.axes);
    let Fact::List(indices) = site.fact("indices") else {
        return Trouble::new("its indices are not known to be a list");
    };
    if indices.iter().any(is_mask) {
        let [Fact::Tensor(mask)] = &indices[..] else {
            return Trouble::new("writes elements by several masks");
        };
        if mask.axes.shape != input.axes.shape || values.shape.iter().any(|&extent| extent != 1) {
            return Trouble::new("writes several elements by a mask");
        }
        let axes = broadcast(
            site,
            &[input.axes, mask.axes.clone()],
            "overwrites them element by element",
        )?;
        site.give_tensor(axes, input.dtype);
        return Ok(());
    }
    let part = pick(site, &input, &indices)?;
    broadcast(site, &[part, values], "writes them over another tensor")?;
    let mut axes = input.axes;
    for axis in (0..indices.len()).filter(|&axis| indices[axis] != Fact::None) {
        axes.rows[axis] = None;
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// Positions of one axis written by number; the other axes go with what is written.
fn index_write(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("self")?;
    let axis = site.axis("dim", input.axes.rank())?;
    let mut axes = input.axes;
    site.freeze_axes(&axes, [axis], "writes them by number");
    axes.rows[axis] = None;
    if let Some(source) = site.optional_tensor("source")? {
        site.freeze_axes(&source.axes, [axis], "writes them by number");
        if source.axes.rank() != axes.rank() {
            return Trouble::new("writes a tensor of another rank");
        }
        for other in (0..axes.rank()).filter(|&other| other != axis) {
            axes.rows[other] = site.join(
                axes.row(other),
                source.axes.row(other),
                "writes them over another tensor",
            );
        }
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}

/// Elements written each to its own position along one axis.
fn scatter(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("self")?;
    let why = site.why("writes elements by number");
    input.axes.freeze(site.labels, why);
    if let Some(source) = site.optional_tensor("src")? {
        source.axes.freeze(site.labels, why);
    }
    site.give([Fact::fixed(input.axes.shape, input.dtype)]);
    Ok(())
}

/// A row of zeros and one 1 for each number.
fn one_hot(site: &mut Site) -> Result<(), Trouble> {
    let mut axes = site.tensor("self")?.axes;
    let Ok(classes) = usize::try_from(site.int("num_classes")?) else {
        return Trouble::new("the number of classes depends on the data");
    };
    axes.shape.push(classes);
    axes.rows.push(None);
    site.give_tensor(axes, DType::I64);
    Ok(())
}
