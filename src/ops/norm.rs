//! Normalisation: per channel (batch and instance norm), per block of channels (group norm) and over channels.

use super::{Fact, Op, Site, Sizes, Trouble, Zeros};
use crate::labels::{Axes, Reason};

pub(super) const OPS: &[Op] = &[
    Op::new("aten::batch_norm", per_channel).zero(Zeros::Weight),
    Op::new("aten::instance_norm", per_channel).zero(Zeros::Weight),
    Op::new("aten::_weight_norm", weight_norm).zero(Zeros::Each),
    Op::new("aten::_weight_norm_interface", weight_norm).zero(Zeros::Each),
    Op::new("aten::group_norm", group_norm)
        .sized(&[Sizes::Blocks("num_groups")])
        .zero(Zeros::Weight),
    Op::new("aten::layer_norm", trailing)
        .sized(&[Sizes::Trailing("normalized_shape")])
        .zero(Zeros::Weight),
    Op::new("aten::rms_norm", trailing)
        .sized(&[Sizes::Trailing("normalized_shape")])
        .zero(Zeros::Weight),
];

const MIXES: &str = "normalises over them";

fn per_channel(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("input")?;
    if input.axes.rank() < 2 {
        return Trouble::new("a norm over fewer than two axes");
    }
    let mut row = input.axes.row(1).cloned();
    for name in ["weight", "bias", "running_mean", "running_var"] {
        if let Some(param) = site.optional_tensor(name)? {
            row = site.join(row.as_ref(), param.axes.row(0), "scales and shifts each channel");
        }
    }
    // With statistics of its own each element stands for itself.
    if site.flag("training") || site.flag("use_input_stats") {
        let mixed = (0..input.axes.rank()).filter(|&axis| axis != 1);
        site.freeze_axes(&input.axes, mixed, MIXES);
    }
    site.give_tensor(input.axes.with_row(1, row), input.dtype);
    Ok(())
}

/// Whole groups of channels may go: the channels of one group are one unit. A single group cannot.
fn group_norm(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("input")?;
    let groups = usize::try_from(site.int("num_groups")?).unwrap_or(0);
    let channels = input.axes.shape.get(1).copied().unwrap_or(0);
    if groups == 0 || channels % groups != 0 {
        return Trouble::new(format!("{channels} channels do not form {groups} groups"));
    }
    let mut row = input.axes.row(1).cloned();
    for name in ["weight", "bias"] {
        if let Some(param) = site.optional_tensor(name)? {
            row = site.join(row.as_ref(), param.axes.row(0), "scales and shifts each channel");
        }
    }
    mixed(site, &input.axes, 2);
    if let Some(row) = &row {
        let why = site.why("normalises over each group of them");
        if groups == 1 {
            if site.choices.approximate {
                site.labels.note_mixed(row);
            } else {
                site.labels.freeze(row, Reason { what: MIXES, ..why });
            }
        } else {
            site.labels.note_multiple(site.id, row, groups);
            for block in row.chunks(channels / groups) {
                block
                    .windows(2)
                    .for_each(|pair| site.labels.unite(pair[0], pair[1], why));
            }
        }
    }
    site.give_tensor(input.axes.clone().with_row(1, row), input.dtype);
    Ok(())
}

fn trailing(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("input")?;
    let count = site.ints("normalized_shape")?.len();
    let Some(first) = input.axes.rank().checked_sub(count) else {
        return Trouble::new("normalises more axes than there are");
    };
    let mut output = input.axes.clone();
    for name in ["weight", "bias"] {
        if let Some(param) = site.optional_tensor(name)? {
            for axis in 0..count.min(param.axes.rank()) {
                let joined = site.join(
                    output.row(first + axis),
                    param.axes.row(axis),
                    "scales and shifts each channel",
                );
                output = output.with_row(first + axis, joined);
            }
        }
    }
    mixed(site, &output, first);
    site.give([Fact::tensor(output, input.dtype)]);
    Ok(())
}

/// The axes from one on are normalised over.
fn mixed(site: &mut Site, axes: &Axes, first: usize) {
    if site.choices.approximate {
        let rows = axes.rows.iter().skip(first).flatten();
        rows.for_each(|row| site.labels.note_mixed(row));
    } else {
        site.freeze_axes(axes, first..axes.rank(), MIXES);
    }
}

/// `v · g / ‖v‖`, the norm over all axes but one: a weight without some of its inputs has the norm that it has with zeros
/// there. A filter of zeros would be divided by zero, so `g` alone is zeroed for it.
fn weight_norm(site: &mut Site) -> Result<(), Trouble> {
    let (direction, length) = (site.tensor("v")?, site.tensor("g")?.axes);
    let axis = match site.int("dim")? {
        -1 => None,
        _ => Some(site.axis("dim", direction.axes.rank())?),
    };
    let mut output = direction.axes.clone();
    if let Some(axis) = axis {
        let kept = length.shape.iter().position(|&extent| extent > 1).unwrap_or(0);
        let row = site.join(output.row(axis), length.row(kept), "scales each of them");
        output = output.with_row(axis, row);
    }
    let stretched = |axis: usize| output.row(axis).is_some_and(|row| site.labels.is_stretched(row));
    let over = (0..output.rank()).filter(|&other| Some(other) != axis);
    let lost: Vec<usize> = over.filter(|&axis| !site.reads_fixed() || stretched(axis)).collect();
    site.freeze_axes(&output, lost, "divides by a norm over them");
    match (site.node.value("v").and_then(|value| site.graph.param_of(value)), axis) {
        (Some(param), Some(axis)) => site.labels.note_divisor(param, axis),
        (None, Some(axis)) => site.freeze_axes(&output, [axis], "divides by a norm of them"),
        _ => {}
    }
    let outputs = site.node.outputs.len();
    // The norms that the interface gives as well follow the axis that they are taken along.
    let mut norms = Axes::fixed(length.shape.clone());
    if let Some(axis) = axis
        && norms.rank() == output.rank()
    {
        norms = norms.with_row(axis, output.row(axis).cloned());
    }
    let norm = Fact::tensor(norms, direction.dtype);
    let made = Fact::tensor(output, direction.dtype);
    site.give(if site.node.short().ends_with("interface") || outputs > 1 {
        vec![made, norm]
    } else {
        vec![made]
    });
    Ok(())
}
