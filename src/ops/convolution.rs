//! Convolutions: plain, grouped, depthwise and transposed, in one to three dimensions.
//!
//! A filter's labels are those of weight axis 0 (axis 1 when transposed); each input channel is tied to the other weight
//! axis. The groups of a grouped convolution take the same positions of its input, and lose equally many filters.

use super::site::product;
use super::{Fact, Op, Site, Sizes, Trouble, Zeros};
use crate::labels::{Axes, Label};

const GROUPS: &[Sizes] = &[Sizes::ConvGroups("groups")];

pub(super) const OPS: &[Op] = &[
    Op::new("aten::_convolution", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
    Op::new("aten::convolution", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
    Op::new("aten::_convolution_mode", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
    Op::new("aten::conv1d", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
    Op::new("aten::conv2d", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
    Op::new("aten::conv3d", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
    Op::new("aten::conv_transpose1d", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
    Op::new("aten::conv_transpose2d", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
    Op::new("aten::conv_transpose3d", convolution)
        .costing(macs)
        .sized(GROUPS)
        .zero(Zeros::Weight),
];

const SUMS: &str = "sums over its input channels";

fn transposed(site: &Site) -> bool {
    site.node.short().starts_with("conv_transpose") || site.flag("transposed")
}

fn convolution(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("input")?;
    let weight = site.tensor("weight")?.axes;
    let spatial = match weight.rank().checked_sub(2) {
        Some(spatial) if spatial >= 1 && input.axes.rank() > spatial => spatial,
        _ => return Trouble::new("the weight's axes do not fit the input's"),
    };
    let channel = input.axes.rank() - spatial - 1;
    let groups = usize::try_from(site.int("groups")?).unwrap_or(0);
    let transposed = transposed(site);
    let channels = input.axes.shape[channel];
    let per_group = if transposed {
        weight.shape[0] / groups.max(1)
    } else {
        weight.shape[1]
    };
    if groups == 0 || per_group == 0 || per_group * groups != channels || weight.shape[0] % groups != 0 {
        return Trouble::new(format!(
            "a weight of shape {:?} in {groups} groups does not fit {channels} input channels",
            weight.shape
        ));
    }

    let mut shape = input.axes.shape.clone();
    shape[channel] = if transposed {
        weight.shape[1] * groups
    } else {
        weight.shape[0]
    };
    for (axis, extent) in extents(site, &input.axes, &weight, spatial, transposed)?
        .into_iter()
        .enumerate()
    {
        shape[channel + 1 + axis] = extent;
    }
    site.freeze_axes(&weight, 2..weight.rank(), "slides over it");
    site.freeze_axes(&input.axes, channel + 1..input.axes.rank(), "slides over it");

    let made = if transposed {
        filters_transposed(site, &input.axes, &weight, channel, groups)
    } else {
        filters(site, &input.axes, &weight, channel, groups)?
    };
    let mut output = Axes::fixed(shape);
    for axis in 0..channel {
        output = output.with_row(axis, input.axes.row(axis).cloned());
    }
    let made = match site.optional_tensor("bias")? {
        Some(bias) => {
            let made = made.map(Into::into);
            site.join(made.as_ref(), bias.axes.row(0), "adds a bias to each")
        }
        None => made.map(Into::into),
    };
    site.give_tensor(output.with_row(channel, made), input.dtype);
    Ok(())
}

/// Labels of the outputs; ties those of the inputs. Weight `[out, in / groups, …]`.
fn filters(
    site: &mut Site,
    input: &Axes,
    weight: &Axes,
    channel: usize,
    groups: usize,
) -> Result<Option<Vec<Label>>, Trouble> {
    let (x, out) = (input.row(channel).cloned(), weight.row(0).cloned());
    let per_group = weight.shape[1];
    let zero = [site.zero_argument("input"), site.zero_argument("weight")];
    if groups == 1 {
        site.sum_over(x.as_ref(), weight.row(1), zero, SUMS);
    } else if per_group == 1 && !site.choices.grouped {
        // Depthwise: each filter reads one channel and goes with it.
        let repeated = x.map(|row| repeat_each(&row, weight.shape[0] / groups).into());
        let made = site.join(out.as_ref(), repeated.as_ref(), "filters each channel on its own");
        return Ok(made.map(|row| row.to_vec()));
    } else {
        if let Some(row) = &x {
            site.labels.note_multiple(site.id, row, groups);
        }
        if site.choices.tie_groups {
            let same = "reads the same positions in each of its groups";
            let block = match x {
                Some(row) => Some(site.tie_blocks(&row, groups, same)?.into()),
                None => None,
            };
            site.sum_over(block.as_ref(), weight.row(1), zero, SUMS);
        } else {
            site.freeze_axes(weight, [1], SUMS);
        }
    }
    let Some(out) = out.map(|row| row.to_vec()) else {
        return Ok(None);
    };
    if groups > 1 {
        let blocks = out.chunks(out.len() / groups).map(<[Label]>::to_vec).collect();
        site.labels.balance(site.id, blocks);
    }
    Ok(Some(out))
}

/// The same for a transposed convolution, weight `[in, out / groups, …]`.
fn filters_transposed(
    site: &mut Site,
    input: &Axes,
    weight: &Axes,
    channel: usize,
    groups: usize,
) -> Option<Vec<Label>> {
    let x = input.row(channel).cloned();
    let per_group = weight.shape[0] / groups;
    if groups > 1 && per_group == 1 && !site.choices.grouped {
        let read = site.join(x.as_ref(), weight.row(0), "filters each channel on its own");
        // Depthwise: a channel and all outputs made from it go together, so the outputs' own axis keeps its size.
        site.freeze_axes(weight, [1], "makes equally many outputs from each channel");
        return read.map(|row| repeat_each(&row, weight.shape[1]));
    }
    let zero = [site.zero_argument("input"), site.zero_argument("weight")];
    let read = site.sum_over(x.as_ref(), weight.row(0), zero, SUMS);
    if groups == 1 {
        return weight.row(1).map(|row| row.to_vec());
    }
    if let Some(row) = read {
        site.labels.note_multiple(site.id, &row, groups);
        let blocks = row.chunks(per_group).map(<[Label]>::to_vec).collect();
        site.labels.balance(site.id, blocks);
    }
    weight.row(1).map(|row| row.repeat(groups))
}

fn repeat_each(row: &[Label], times: usize) -> Vec<Label> {
    row.iter()
        .flat_map(|&label| std::iter::repeat_n(label, times))
        .collect()
}

/// Extents of the output's spatial axes.
fn extents(site: &Site, input: &Axes, weight: &Axes, spatial: usize, transposed: bool) -> Result<Vec<usize>, Trouble> {
    let stride = site.ints_for("stride", spatial)?;
    let dilation = site.ints_for("dilation", spatial)?;
    let (same, padding) = match site.fact("padding") {
        Fact::Text(mode) => (mode == "same", vec![0; spatial]),
        _ => (false, site.ints_for("padding", spatial)?),
    };
    let extra = if transposed {
        site.ints_for("output_padding", spatial)?
    } else {
        vec![0; spatial]
    };
    let first = input.rank() - spatial;
    (0..spatial)
        .map(|axis| {
            let extent = input.shape[first + axis] as i64;
            let kernel = dilation[axis] * (weight.shape[2 + axis] as i64 - 1) + 1;
            let out = match (same, transposed) {
                (true, _) => extent,
                (false, true) => (extent - 1) * stride[axis] - 2 * padding[axis] + kernel + extra[axis],
                (false, false) if stride[axis] > 0 => {
                    (extent + 2 * padding[axis] - kernel).div_euclid(stride[axis]) + 1
                }
                _ => 0,
            };
            match usize::try_from(out) {
                Ok(out) if out > 0 => Ok(out),
                _ => Trouble::new(format!("the kernel does not fit an input of {extent}")),
            }
        })
        .collect()
}

/// Output elements × input channels a group × kernel; transposed: input elements × output channels a group × kernel.
fn macs(site: &Site) -> u64 {
    let (Ok(input), Ok(weight)) = (site.tensor("input"), site.tensor("weight")) else {
        return 0;
    };
    let each = product(&weight.axes.shape[1..]);
    if transposed(site) {
        return product(&input.axes.shape).saturating_mul(each);
    }
    site.out_elements().saturating_mul(each)
}
