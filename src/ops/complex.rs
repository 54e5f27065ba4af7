//! Complex numbers: their parts, and Fourier transforms.
//!
//! Arithmetic on them is that of `elementwise` and `linear`. A transform is linear in every axis that it does not run
//! along, so it keeps their labels, and zeros; the axes that it runs along are mixed.

use super::elementwise::{each, joined};
use super::moves::input;
use super::{Fact, Op, Site, Trouble, Zeros};
use crate::labels::Axes;
use crate::tensor::DType;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::view_as_complex", paired).zero(Zeros::First),
    Op::new("aten::view_as_real", apart).zero(Zeros::First),
    Op::new("aten::real", part).zero(Zeros::First),
    Op::new("aten::imag", part).zero(Zeros::First),
    // Of a zero with a sign it may be π.
    Op::new("aten::angle", part),
    Op::new("aten::sgn", each).zero(Zeros::First),
    Op::new("aten::conj", each).zero(Zeros::First),
    Op::new("aten::conj_physical", each).zero(Zeros::First),
    Op::new("aten::resolve_conj", each).zero(Zeros::First),
    Op::new("aten::resolve_neg", each).zero(Zeros::First),
    Op::new("aten::complex", made).zero(Zeros::All),
    Op::new("aten::polar", made).zero(Zeros::First),
    Op::new("aten::fft_fft", transform).zero(Zeros::First),
    Op::new("aten::fft_ifft", transform).zero(Zeros::First),
    Op::new("aten::fft_rfft", transform).zero(Zeros::First),
    Op::new("aten::fft_irfft", transform).zero(Zeros::First),
    Op::new("aten::fft_hfft", transform).zero(Zeros::First),
    Op::new("aten::fft_ihfft", transform).zero(Zeros::First),
    Op::new("aten::fft_fft2", transform).zero(Zeros::First),
    Op::new("aten::fft_ifft2", transform).zero(Zeros::First),
    Op::new("aten::fft_rfft2", transform).zero(Zeros::First),
    Op::new("aten::fft_irfft2", transform).zero(Zeros::First),
    Op::new("aten::fft_fftn", transform).zero(Zeros::First),
    Op::new("aten::fft_ifftn", transform).zero(Zeros::First),
    Op::new("aten::fft_rfftn", transform).zero(Zeros::First),
    Op::new("aten::fft_irfftn", transform).zero(Zeros::First),
    Op::new("aten::fft_fftshift", shifted).zero(Zeros::First),
    Op::new("aten::fft_ifftshift", shifted).zero(Zeros::First),
];

/// The last axis holds a real and an imaginary part.
fn paired(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let mut axes = input.axes;
    if axes.shape.last() != Some(&2) {
        return Trouble::new("the last axis holds no pairs");
    }
    site.freeze_axes(&axes, [axes.rank() - 1], "makes one number of each pair");
    axes.shape.pop();
    axes.rows.pop();
    site.give_tensor(axes, input.dtype.complex());
    Ok(())
}

/// The two parts along a new axis.
fn apart(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let mut axes = input.axes;
    axes.shape.push(2);
    axes.rows.push(None);
    site.give_tensor(axes, input.dtype.part());
    Ok(())
}

/// A real number of each complex one.
fn part(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let whole = site.node.short() == "angle" && !input.dtype.is_inexact();
    site.give_tensor(input.axes, if whole { DType::F32 } else { input.dtype.part() });
    Ok(())
}

/// Complex numbers of two tensors of real ones.
fn made(site: &mut Site) -> Result<(), Trouble> {
    joined(site)?;
    let made = match site.outputs() {
        [Fact::Tensor(made)] => made.clone(),
        _ => return Trouble::new("makes complex numbers of something that is no tensor"),
    };
    site.give_tensor(made.axes, made.dtype.complex());
    Ok(())
}

/// The axes that a transform runs along, and the extents that it cuts or fills them to (-1 for as they are).
fn along(site: &Site, rank: usize) -> Result<Vec<(usize, Option<usize>)>, Trouble> {
    let sizes = match site.node.arg("n").is_some() {
        true => site.optional_ints("n")?,
        false => site.optional_ints("s")?,
    };
    let unsaid = matches!(site.fact("dim"), Fact::None);
    let axes = match &sizes {
        Some(sizes) if unsaid => (rank.saturating_sub(sizes.len())..rank).collect(),
        _ => site.axes("dim", rank)?,
    };
    if sizes.as_ref().is_some_and(|sizes| sizes.len() != axes.len()) {
        return Trouble::new("gives sizes for other axes than it runs along");
    }
    let sizes = match sizes {
        Some(sizes) => sizes.into_iter().map(|size| usize::try_from(size).ok()).collect(),
        None => vec![None; axes.len()],
    };
    Ok(axes.into_iter().zip(sizes).collect())
}

/// A discrete Fourier transform. Of real numbers half of the last axis says all (`rfft`, `ihfft`), and the other way round
/// (`irfft`, `hfft`).
fn transform(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axes = along(site, input.axes.rank())?;
    let name = site.node.short().trim_start_matches("fft_").to_owned();
    let halves = name.starts_with("rfft") || name.starts_with("ihfft");
    let doubles = name.starts_with("irfft") || name.starts_with("hfft");
    site.freeze_axes(&input.axes, axes.iter().map(|&(axis, _)| axis), "mixes them");
    let mut output = input.axes.clone();
    let last = axes.len().saturating_sub(1);
    for (at, (axis, size)) in axes.into_iter().enumerate() {
        let extent = output.shape[axis];
        output.shape[axis] = match size {
            _ if at == last && halves => size.unwrap_or(extent) / 2 + 1,
            None if at == last && doubles => 2 * extent.saturating_sub(1),
            size => size.unwrap_or(extent),
        };
        output.rows[axis] = None;
    }
    let dtype = match doubles {
        true if input.dtype.is_inexact() => input.dtype.part(),
        true => DType::F32,
        false => input.dtype.complex(),
    };
    site.give_tensor(output, dtype);
    Ok(())
}

/// Turns axes by half of their extent.
fn shifted(site: &mut Site) -> Result<(), Trouble> {
    let input = input(site)?;
    let axes = site.axes("dim", input.axes.rank())?;
    site.freeze_axes(&input.axes, axes.iter().copied(), "moves them along it");
    let mut output: Axes = input.axes;
    axes.into_iter().for_each(|axis| output.rows[axis] = None);
    site.give_tensor(output, input.dtype);
    Ok(())
}
