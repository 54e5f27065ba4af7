//! Linear layers and matrix products.
//!
//! A product unites the labels of what it sums over, keeps the rows of its left and the columns of its right operand,
//! and joins batch axes like an elementwise operator.

use super::elementwise::broadcast;
use super::{Fact, Op, Site, TensorFact, Trouble, Zeros};
use crate::graph::Arg;
use crate::labels::{Axes, Product, Row};
use crate::tensor::DType;
use std::collections::BTreeMap;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::linear", linear).costing(linear_macs).zero(Zeros::Weight),
    Op::new("aten::bilinear", bilinear)
        .costing(bilinear_macs)
        .zero(Zeros::Weight),
    Op::new("aten::matmul", product).costing(product_macs).zero(Zeros::Each),
    Op::new("aten::mm", product).costing(product_macs).zero(Zeros::Each),
    Op::new("aten::bmm", product).costing(product_macs).zero(Zeros::Each),
    Op::new("aten::mv", product).costing(product_macs).zero(Zeros::Each),
    Op::new("aten::dot", product).costing(product_macs),
    Op::new("aten::vdot", product).costing(product_macs),
    Op::new("aten::addmm", added_product)
        .costing(product_macs)
        .zero(Zeros::Weight),
    Op::new("aten::_grouped_mm", grouped_product)
        .costing(product_macs)
        .zero(Zeros::Weight),
    Op::new("aten::baddbmm", added_product).costing(product_macs),
    Op::new("aten::einsum", einsum).costing(einsum_macs).zero(Zeros::Each),
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
    let zero = [site.zero_argument("input"), site.zero_argument("weight")];
    site.sum_over(input.axes.row(last), weight.row(1), zero, SUMS);
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

/// `x1ᵀ · W · x2` for each output, weight `[out, in1, in2]`.
fn bilinear(site: &mut Site) -> Result<(), Trouble> {
    let (left, right) = (site.tensor("input1")?, site.tensor("input2")?.axes);
    let weight = site.tensor("weight")?.axes;
    let Some(last) = left
        .axes
        .rank()
        .checked_sub(1)
        .filter(|_| weight.rank() == 3 && right.rank() > 0)
    else {
        return Trouble::new("the inputs or the weight have too few axes");
    };
    let [weight_zero, left_zero, right_zero] = ["weight", "input1", "input2"].map(|name| site.zero_argument(name));
    site.sum_over(left.axes.row(last), weight.row(1), [left_zero, weight_zero], SUMS);
    site.sum_over(
        right.row(right.rank() - 1),
        weight.row(2),
        [right_zero, weight_zero],
        SUMS,
    );
    let made = match site.optional_tensor("bias")? {
        Some(bias) => site.join(weight.row(0), bias.axes.row(0), "adds a bias to each"),
        None => weight.row(0).cloned(),
    };
    let mut output = left.axes.clone();
    for axis in 0..last {
        output.rows[axis] = site.join(left.axes.row(axis), right.row(axis), "multiplies them one by one");
    }
    output.shape[last] = weight.shape[0];
    site.give_tensor(output.with_row(last, made), left.dtype);
    Ok(())
}

fn bilinear_macs(site: &Site) -> u64 {
    let Ok(weight) = site.tensor("weight") else { return 0 };
    site.out_elements()
        .saturating_mul(super::site::product(&weight.axes.shape[1..]))
}

fn factors(site: &Site) -> (&'static str, &'static str) {
    match site.node.short() {
        "addmm" => ("mat1", "mat2"),
        "baddbmm" => ("batch1", "batch2"),
        "matmul" => ("self", "other"),
        "mv" => ("self", "vec"),
        "dot" => ("self", "tensor"),
        "vdot" => ("self", "other"),
        _ => ("self", "mat2"),
    }
}

fn operands(site: &Site) -> Result<(TensorFact, TensorFact), Trouble> {
    let (left, right) = factors(site);
    Ok((site.tensor(left)?, site.tensor(right)?))
}

fn multiplied(site: &mut Site) -> Result<(Axes, DType), Trouble> {
    let (left, right) = operands(site)?;
    let names = factors(site);
    let zero = [site.zero_argument(names.0), site.zero_argument(names.1)];
    if !site.is_weight(names.0) && !site.is_weight(names.1) {
        note_batches(site, &left.axes, &right.axes);
    }
    Ok((multiply(site, &left.axes, &right.axes, zero)?, left.dtype))
}

fn product(site: &mut Site) -> Result<(), Trouble> {
    let (axes, dtype) = multiplied(site)?;
    site.give_tensor(axes, dtype);
    Ok(())
}

fn added_product(site: &mut Site) -> Result<(), Trouble> {
    let (axes, dtype) = multiplied(site)?;
    let bias = site.tensor("self")?;
    let sum = broadcast(site, &[bias.axes, axes], "adds them")?;
    site.give_tensor(sum, dtype);
    Ok(())
}

/// Rows of `[rows, in]` that each meet one matrix of `[experts, in, out]`: the offsets say where the rows of each end.
/// Products of other ranks, which group what they sum over or the columns, are left alone.
fn grouped_product(site: &mut Site) -> Result<(), Trouble> {
    let (left, right) = operands(site)?;
    let (rows, experts) = (&left.axes, &right.axes);
    if rows.rank() != 2 || experts.rank() != 3 || site.optional_tensor("bias")?.is_some() {
        return Trouble::new("groups something other than rows, or adds a bias");
    }
    if rows.shape[1] != experts.shape[1] {
        return Trouble::new(format!(
            "shapes {:?} and {:?} cannot be multiplied",
            rows.shape, experts.shape
        ));
    }
    site.freeze_axes(rows, [0], "deals rows out to experts");
    site.freeze_axes(experts, [0], "picks experts by number");
    let zero = [site.zero_argument("self"), site.zero_argument("mat2")];
    site.sum_over(rows.row(1), experts.row(1), zero, SUMS);
    let output = Axes::fixed(vec![rows.shape[0], experts.shape[2]]);
    site.give_tensor(output.with_row(1, experts.row(2).cloned()), left.dtype);
    Ok(())
}

/// Notes what a product of two activations goes through batch by batch. A weight that has a batch axis has no heads.
pub(super) fn note_batches(site: &mut Site, left: &Axes, right: &Axes) {
    if left.rank() > 2 && right.rank() > 2 {
        let mut product = Product::default();
        for operand in [left, right] {
            let (batch, features) = operand.rows.split_at(operand.rank() - 2);
            product.batch.extend(batch.iter().flatten().cloned());
            product.features.extend(features.iter().flatten().cloned());
        }
        site.labels.note_product(product);
    }
}

/// The axes of `left @ right`, as `torch.matmul` defines it for every rank. `zero`: whether either is zero at the channels
/// that go.
pub(super) fn multiply(site: &mut Site, left: &Axes, right: &Axes, zero: [bool; 2]) -> Result<Axes, Trouble> {
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
    site.sum_over(
        left.row(left_sum),
        right.row(right_sum),
        zero,
        "sums over their product",
    );
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
    site.out_elements()
        .saturating_mul(weight.axes.shape.get(1).map_or(0, |&n| n as u64))
}

fn product_macs(site: &Site) -> u64 {
    let Ok((left, _)) = operands(site) else { return 0 };
    site.out_elements()
        .saturating_mul(left.axes.shape.last().map_or(0, |&n| n as u64))
}

/// The letters of each operand and of the output of an `einsum`; the axes of an ellipsis, which align at the last one,
/// get letters that no one can write.
fn equation(site: &Site, ranks: &[usize]) -> Result<(Vec<Vec<char>>, Vec<char>), Trouble> {
    let Fact::Text(text) = site.fact("equation") else {
        return Trouble::new("its equation is not known");
    };
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (inputs, output) = match text.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (text.as_str(), None),
    };
    let inputs: Vec<&str> = inputs.split(',').collect();
    let written = inputs.iter().copied().chain(output).all(|term| {
        term.replacen("...", "", 1)
            .chars()
            .all(|letter| letter.is_ascii_alphabetic())
    });
    let dots: Option<Vec<usize>> = inputs
        .iter()
        .zip(ranks)
        .map(|(term, rank)| match term.split_once("...") {
            Some((before, after)) => rank.checked_sub(before.len() + after.len()),
            None => (term.len() == *rank).then_some(0),
        })
        .collect();
    let fits = written && inputs.len() == ranks.len();
    let Some(dots) = dots.filter(|_| fits) else {
        return Trouble::new(format!("the equation {text} has no rule"));
    };
    let most = dots.iter().copied().max().unwrap_or(0);
    let operands: Vec<Vec<char>> = inputs
        .iter()
        .zip(dots)
        .map(|(term, dots)| letters(term, dots))
        .collect();
    let output = output.map_or_else(
        || {
            let mut once: Vec<char> = operands.iter().flatten().copied().collect();
            let count = |letter: char| operands.iter().flatten().filter(|&&other| other == letter).count();
            once.retain(|&letter| letter.is_ascii_alphabetic() && count(letter) == 1);
            once.sort_unstable();
            [letters("...", most), once].concat()
        },
        |output| letters(output, most),
    );
    Ok((operands, output))
}

/// The letters of one term, an ellipsis standing for so many axes.
fn letters(term: &str, dots: usize) -> Vec<char> {
    let dotted = (0..dots as u32)
        .rev()
        .filter_map(|at| char::from_u32('\u{e000}' as u32 + at));
    match term.split_once("...") {
        Some((before, after)) => before.chars().chain(dotted).chain(after.chars()).collect(),
        None => term.chars().collect(),
    }
}

/// A product over named axes: what carries one letter goes together, and letters that the output lacks are summed over.
fn einsum(site: &mut Site) -> Result<(), Trouble> {
    let tensors = site.tensors("tensors")?;
    let ranks: Vec<usize> = tensors.iter().map(|tensor| tensor.axes.rank()).collect();
    let (operands, output) = equation(site, &ranks)?;
    let zeros = site.zero_items("tensors");
    let holders = |letter: char| operands.iter().filter(|letters| letters.contains(&letter)).count();
    let batch = |letter: char| output.contains(&letter) && holders(letter) > 1;
    let summed = operands
        .iter()
        .flatten()
        .any(|&letter| !output.contains(&letter) && holders(letter) > 1);
    let computed = |item: &Arg| item.as_value().is_none_or(|value| !site.holds_weight(value));
    let computed = matches!(site.node.arg("tensors"), Some(Arg::List(items)) if items.iter().all(computed));
    if summed && computed && output.iter().any(|&letter| batch(letter)) {
        let mut product = Product::default();
        for (letters, tensor) in operands.iter().zip(&tensors) {
            for (&letter, row) in letters.iter().zip(&tensor.axes.rows) {
                let rows = match batch(letter) {
                    true => &mut product.batch,
                    false => &mut product.features,
                };
                rows.extend(row.clone());
            }
        }
        site.labels.note_product(product);
    }
    // Of each letter the extent, the labels, and whether an operand is zero where they go.
    let mut axes: BTreeMap<char, (usize, Option<Row>, bool)> = BTreeMap::new();
    for ((letters, tensor), &zero) in operands.iter().zip(&tensors).zip(&zeros) {
        for (axis, letter) in letters.iter().enumerate() {
            let (extent, row) = (tensor.axes.shape[axis], tensor.axes.row(axis).cloned());
            let zero = zero && row.as_ref().is_some_and(|row| !site.labels.is_stretched(row));
            let joined = match axes.get(letter).cloned() {
                None | Some((1, ..)) => (extent, row, zero),
                Some(known) if extent == 1 => known,
                Some((known, other, also)) if known == extent => {
                    let (one, two) = (other.as_ref(), row.as_ref());
                    let row = match output.contains(letter) {
                        true => site.join(one, two, "multiplies them one by one"),
                        false => site.sum_over(one, two, [also, zero], "sums over their product"),
                    };
                    (extent, row, also || zero)
                }
                Some(_) => return Trouble::new(format!("axis {letter} has two sizes")),
            };
            axes.insert(*letter, joined);
        }
    }
    // A letter that only one operand has, but for those with one position of it, and that the output lacks is reduced.
    for (letter, (extent, row, zero)) in &axes {
        let mut times = 0;
        for (letters, tensor) in operands.iter().zip(&tensors) {
            let held = letters.iter().zip(&tensor.axes.shape);
            times += held.filter(|&held| held == (letter, extent)).count();
        }
        if let (1, false, false, Some(row)) = (times, output.contains(letter), zero, row) {
            let why = site.why("reduces over them");
            site.labels.freeze(row, why);
        }
    }
    let mut result = Axes::fixed(Vec::new());
    for letter in output {
        let Some((extent, row, _)) = axes.get(&letter).cloned() else {
            return Trouble::new(format!("axis {letter} of the output is in no operand"));
        };
        result.shape.push(extent);
        result.rows.push(row);
    }
    let dtype = tensors.first().map_or(DType::F32, |tensor| tensor.dtype);
    site.give_tensor(result, dtype);
    Ok(())
}

/// The product of the extents of all letters.
fn einsum_macs(site: &Site) -> u64 {
    let Ok(tensors) = site.tensors("tensors") else { return 0 };
    let ranks: Vec<usize> = tensors.iter().map(|tensor| tensor.axes.rank()).collect();
    let Ok((operands, _)) = equation(site, &ranks) else {
        return 0;
    };
    let mut extents: BTreeMap<char, u64> = BTreeMap::new();
    for (letters, tensor) in operands.iter().zip(&tensors) {
        for (letter, extent) in letters.iter().zip(&tensor.axes.shape) {
            let known = extents.entry(*letter).or_default();
            *known = (*known).max(*extent as u64);
        }
    }
    extents.into_values().fold(1, u64::saturating_mul)
}
