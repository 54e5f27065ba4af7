//! Pooling and resampling: every channel on its own, over axes that keep no labels.

use super::{Fact, Op, Site, Trouble, Zeros};
use crate::tensor::DType;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::max_pool1d", windows).zero(Zeros::First),
    Op::new("aten::max_pool2d", windows).zero(Zeros::First),
    Op::new("aten::max_pool3d", windows).zero(Zeros::First),
    Op::new("aten::avg_pool1d", windows).zero(Zeros::First),
    Op::new("aten::avg_pool2d", windows).zero(Zeros::First),
    Op::new("aten::avg_pool3d", windows).zero(Zeros::First),
    Op::new("aten::adaptive_avg_pool1d", resized).zero(Zeros::First),
    Op::new("aten::adaptive_avg_pool2d", resized).zero(Zeros::First),
    Op::new("aten::adaptive_avg_pool3d", resized).zero(Zeros::First),
    Op::new("aten::adaptive_max_pool1d", resized_with_indices).zero(Zeros::First),
    Op::new("aten::adaptive_max_pool2d", resized_with_indices).zero(Zeros::First),
    Op::new("aten::adaptive_max_pool3d", resized_with_indices).zero(Zeros::First),
    Op::new("aten::max_pool2d_with_indices", windows_with_indices).zero(Zeros::First),
    Op::new("aten::max_pool1d_with_indices", windows_with_indices).zero(Zeros::First),
    Op::new("aten::max_pool3d_with_indices", windows_with_indices).zero(Zeros::First),
    Op::new("aten::_adaptive_avg_pool2d", resized).zero(Zeros::First),
    Op::new("aten::_adaptive_avg_pool3d", resized).zero(Zeros::First),
    Op::new("aten::_upsample_nearest_exact1d", resized).zero(Zeros::First),
    Op::new("aten::_upsample_nearest_exact2d", resized).zero(Zeros::First),
    Op::new("aten::_upsample_nearest_exact3d", resized).zero(Zeros::First),
    Op::new("aten::_upsample_bilinear2d_aa", resized).zero(Zeros::First),
    Op::new("aten::_upsample_bicubic2d_aa", resized).zero(Zeros::First),
    Op::new("aten::_upsample_lanczos2d_aa", resized).zero(Zeros::First),
    Op::new("aten::grid_sampler", sampled).zero(Zeros::First),
    Op::new("aten::grid_sampler_2d", sampled).zero(Zeros::First),
    Op::new("aten::grid_sampler_3d", sampled).zero(Zeros::First),
    Op::new("aten::upsample_nearest1d", resized).zero(Zeros::First),
    Op::new("aten::upsample_nearest2d", resized).zero(Zeros::First),
    Op::new("aten::upsample_nearest3d", resized).zero(Zeros::First),
    Op::new("aten::upsample_linear1d", resized).zero(Zeros::First),
    Op::new("aten::upsample_bilinear2d", resized).zero(Zeros::First),
    Op::new("aten::upsample_bicubic2d", resized).zero(Zeros::First),
    Op::new("aten::upsample_trilinear3d", resized).zero(Zeros::First),
];

fn spatial(site: &Site) -> usize {
    match site.node.short() {
        name if name.contains("1d") => 1,
        name if name.contains("3d") => 3,
        _ => 2,
    }
}

fn first_spatial(site: &Site, rank: usize) -> Result<usize, Trouble> {
    match rank.checked_sub(spatial(site)) {
        Some(first) if first >= 1 => Ok(first),
        _ => Trouble::new("pools more axes than there are"),
    }
}

fn windows(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("self")?;
    let first = first_spatial(site, input.axes.rank())?;
    let n = spatial(site);
    let kernel = site.ints_for("kernel_size", n)?;
    let stride = match site.optional_ints("stride")? {
        Some(stride) if !stride.is_empty() => site.ints_for("stride", n)?,
        _ => kernel.clone(),
    };
    let padding = site.ints_for("padding", n)?;
    let dilation = if site.node.arg("dilation").is_some() {
        site.ints_for("dilation", n)?
    } else {
        vec![1; n]
    };
    let ceil = site.flag("ceil_mode");
    let mut output = input.axes.clone();
    for axis in 0..n {
        let extent = input.axes.shape[first + axis] as i64;
        let span = extent + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1;
        if stride[axis] < 1 || span < 0 {
            return Trouble::new("the window does not fit its input");
        }
        let mut out = if ceil {
            (span + stride[axis] - 1) / stride[axis] + 1
        } else {
            span / stride[axis] + 1
        };
        // In ceil mode the last window must start inside the input or its left padding.
        if ceil && (out - 1) * stride[axis] >= extent + padding[axis] {
            out -= 1;
        }
        output.shape[first + axis] = out as usize;
    }
    finish(site, first, output, input.axes, input.dtype)
}

fn resized(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("self").or_else(|_| site.tensor("input"))?;
    let first = first_spatial(site, input.axes.rank())?;
    let mut output = input.axes.clone();
    match site.optional_ints("output_size")? {
        Some(size) => {
            for (axis, &extent) in size.iter().enumerate().take(spatial(site)) {
                output.shape[first + axis] = extent.max(0) as usize;
            }
        }
        None => {
            let Fact::List(factors) = site.fact("scale_factors") else {
                return Trouble::new("neither a size nor factors are known");
            };
            for (axis, factor) in factors.iter().enumerate().take(spatial(site)) {
                let Fact::Number(factor) = factor else {
                    return Trouble::new("a factor is not known");
                };
                let extent = output.shape[first + axis] as f64 * factor.as_f64();
                output.shape[first + axis] = extent.floor() as usize;
            }
        }
    }
    finish(site, first, output, input.axes, input.dtype)
}

fn resized_with_indices(site: &mut Site) -> Result<(), Trouble> {
    resized(site)?;
    with_indices(site)
}

fn windows_with_indices(site: &mut Site) -> Result<(), Trouble> {
    windows(site)?;
    with_indices(site)
}

/// The positions of the pooled values beside them.
fn with_indices(site: &mut Site) -> Result<(), Trouble> {
    let Some(Fact::Tensor(pooled)) = site.outputs().first().cloned() else {
        return Ok(());
    };
    let indices = Fact::tensor(pooled.axes.clone(), DType::I64);
    site.give([Fact::Tensor(pooled), indices]);
    Ok(())
}

/// Values between positions that a grid names, for each channel on its own.
fn sampled(site: &mut Site) -> Result<(), Trouble> {
    let (input, grid) = (site.tensor("input")?, site.tensor("grid")?.axes);
    let spatial = match input.axes.rank().checked_sub(2) {
        Some(spatial) if spatial > 0 && grid.rank() == spatial + 2 => spatial,
        _ => return Trouble::new("the grid does not fit the input"),
    };
    let why = site.why("samples at positions that it names");
    grid.freeze(site.labels, why);
    let mut output = input.axes.clone();
    output.shape[2..].copy_from_slice(&grid.shape[1..=spatial]);
    finish(site, 2, output, input.axes, input.dtype)
}

fn finish(
    site: &mut Site,
    first: usize,
    mut output: crate::labels::Axes,
    input: crate::labels::Axes,
    dtype: DType,
) -> Result<(), Trouble> {
    site.freeze_axes(&input, first..input.rank(), "pools over it");
    output.rows[first..].fill(None);
    site.give_tensor(output, dtype);
    Ok(())
}
