//! Normalisation: per channel (batch and instance norm), per block of channels (group norm) and over channels.

use super::{Fact, Op, Site, Sizes, Trouble};
use crate::labels::Reason;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::batch_norm", per_channel),
    Op::new("aten::instance_norm", per_channel),
    Op::new("aten::group_norm", group_norm).sized(&[Sizes::Blocks("num_groups")]),
    Op::new("aten::layer_norm", trailing).sized(&[Sizes::Trailing("normalized_shape")]),
    Op::new("aten::rms_norm", trailing).sized(&[Sizes::Trailing("normalized_shape")]),
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
    let mixed = (0..input.axes.rank()).filter(|&axis| axis != 1);
    site.freeze_axes(&input.axes, mixed, MIXES);
    let output = crate::labels::Axes::fixed(input.axes.shape.clone()).with_row(1, row);
    site.give_tensor(output, input.dtype);
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
    if let Some(row) = &row {
        let why = site.why("normalises over each group of them");
        if groups == 1 {
            if site.approximate {
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
    if site.approximate {
        let rows = output.rows[first..].iter().flatten();
        rows.for_each(|row| site.labels.note_mixed(row));
    } else {
        site.freeze_axes(&output, first..input.axes.rank(), MIXES);
    }
    site.give([Fact::tensor(output, input.dtype)]);
    Ok(())
}
