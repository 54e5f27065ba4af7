//! Linear layers and matrix products.
//!
//! A product unites the labels of what it sums over, keeps the rows of its left and the columns of its right operand,
//! and joins batch axes like an elementwise operator.

use super::elementwise::broadcast;
use super::{Op, Site, Trouble};
use crate::labels::{Axes, Row};
use crate::ops::TensorFact;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::linear", linear).costing(linear_macs),
    Op::new("aten::matmul", product).costing(product_macs),
    Op::new("aten::mm", product).costing(product_macs),
    Op::new("aten::bmm", product).costing(product_macs),
    Op::new("aten::addmm", added_product).costing(product_macs),
    Op::new("aten::baddbmm", added_product).costing(product_macs),
];

const SUMS: &str = "sums over its input features";

fn linear(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("input")?;
    let weight = site.tensor("weight")?.axes;
    let Some(last) = input.axes.rank().checked_sub(1) else {
        return Trouble::new("the input has no axes");
    };
    if weight.rank() != 2 || weight.shape[1] != input.axes.shape[last] {
        return Trouble::new(format!(
            "a weight of shape {:?} does not fit {:?}",
            weight.shape, input.axes.shape
        ));
    }
    site.join(input.axes.row(last), weight.row(1), SUMS);
    let made = match site.optional_tensor("bias")? {
        Some(bias) => site.join(weight.row(0), bias.axes.row(0), "adds a bias to each"),
        None => weight.row(0).cloned(),
    };
    let mut output = input.axes.clone();
    output.shape[last] = weight.shape[0];
    output.rows[last] = None;
    site.give_tensor(output.with_row(last, made), input.dtype);
    Ok(())
}

fn operands(site: &Site) -> Result<(TensorFact, TensorFact), Trouble> {
    let names = match site.node.short() {
        "addmm" => ("mat1", "mat2"),
        "baddbmm" => ("batch1", "batch2"),
        "matmul" => ("self", "other"),
        _ => ("self", "mat2"),
    };
    Ok((site.tensor(names.0)?, site.tensor(names.1)?))
}

fn product(site: &mut Site) -> Result<(), Trouble> {
    let (left, right) = operands(site)?;
    let axes = multiply(site, &left.axes, &right.axes)?;
    site.give_tensor(axes, left.dtype);
    Ok(())
}

fn added_product(site: &mut Site) -> Result<(), Trouble> {
    let (left, right) = operands(site)?;
    let axes = multiply(site, &left.axes, &right.axes)?;
    let bias = site.tensor("self")?;
    let sum = broadcast(site, &[bias.axes, axes], "adds them")?;
    site.give_tensor(sum, left.dtype);
    Ok(())
}

/// The axes of `left @ right`, as `torch.matmul` defines it for every rank.
pub(super) fn multiply(site: &mut Site, left: &Axes, right: &Axes) -> Result<Axes, Trouble> {
    if left.rank() == 0 || right.rank() == 0 {
        return Trouble::new("a product of a tensor without axes");
    }
    let (rows, columns) = (left.rank() >= 2, right.rank() >= 2);
    let left_sum = left.rank() - 1;
    let right_sum = if columns { right.rank() - 2 } else { 0 };
    if left.shape[left_sum] != right.shape[right_sum] {
        return Trouble::new(format!(
            "shapes {:?} and {:?} cannot be multiplied",
            left.shape, right.shape
        ));
    }
    site.join(left.row(left_sum), right.row(right_sum), "sums over their product");
    let batch = |axes: &Axes, keep: usize| Axes {
        shape: axes.shape[..axes.rank() - keep].to_vec(),
        rows: axes.rows[..axes.rank() - keep].to_vec(),
    };
    let left_batch = batch(left, if rows { 2 } else { 1 });
    let right_batch = batch(right, if columns { 2 } else { 1 });
    let mut output = broadcast(site, &[left_batch, right_batch], "multiplies them batch by batch")?;
    let mut push = |extent: usize, row: Option<Row>| {
        output.shape.push(extent);
        output.rows.push(row);
    };
    if rows {
        push(left.shape[left_sum - 1], left.rows[left_sum - 1].clone());
    }
    if columns {
        push(right.shape[right_sum + 1], right.rows[right_sum + 1].clone());
    }
    Ok(output)
}

fn linear_macs(site: &Site) -> u64 {
    let Ok(weight) = site.tensor("weight") else { return 0 };
    site.out_elements() * weight.axes.shape.get(1).map_or(0, |&n| n as u64)
}

fn product_macs(site: &Site) -> u64 {
    let Ok((left, _)) = operands(site) else { return 0 };
    site.out_elements() * left.axes.shape.last().map_or(0, |&n| n as u64)
}
