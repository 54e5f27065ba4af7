//! Elementwise operators, of one tensor or of several under broadcasting.

use super::scalar;
use super::{Fact, Op, Site, TensorFact, Trouble, Zeros};
use crate::labels::Axes;
use crate::tensor::DType;

pub(super) const OPS: &[Op] = &[
    // One tensor in, one of the same axes out.
    Op::new("aten::relu", each).zero(Zeros::First),
    Op::new("aten::relu6", each).zero(Zeros::First),
    Op::new("aten::gelu", each).zero(Zeros::First),
    Op::new("aten::silu", each).zero(Zeros::First),
    Op::new("aten::mish", each).zero(Zeros::First),
    Op::new("aten::elu", each).zero(Zeros::First),
    Op::new("aten::selu", each).zero(Zeros::First),
    Op::new("aten::celu", each).zero(Zeros::First),
    Op::new("aten::leaky_relu", each).zero(Zeros::First),
    Op::new("aten::rrelu", each).zero(Zeros::First),
    Op::new("aten::hardtanh", each).zero(Zeros::Bounded),
    Op::new("aten::hardswish", each).zero(Zeros::First),
    Op::new("aten::hardsigmoid", each),
    Op::new("aten::sigmoid", each),
    Op::new("aten::log_sigmoid", each),
    Op::new("aten::softplus", each),
    Op::new("aten::tanh", each).zero(Zeros::First),
    Op::new("aten::threshold", each),
    Op::new("aten::exp", each),
    Op::new("aten::expm1", each).zero(Zeros::First),
    Op::new("aten::log", each),
    Op::new("aten::log1p", each).zero(Zeros::First),
    Op::new("aten::sqrt", each).zero(Zeros::First),
    Op::new("aten::rsqrt", each),
    Op::new("aten::square", each).zero(Zeros::First),
    Op::new("aten::reciprocal", each),
    Op::new("aten::abs", each).zero(Zeros::First),
    Op::new("aten::neg", each).zero(Zeros::First),
    Op::new("aten::sign", each).zero(Zeros::First),
    Op::new("aten::sin", each).zero(Zeros::First),
    Op::new("aten::cos", each),
    Op::new("aten::erf", each).zero(Zeros::First),
    Op::new("aten::tan", each).zero(Zeros::First),
    Op::new("aten::asin", each).zero(Zeros::First),
    Op::new("aten::asinh", each).zero(Zeros::First),
    Op::new("aten::atan", each).zero(Zeros::First),
    Op::new("aten::atanh", each).zero(Zeros::First),
    Op::new("aten::sinh", each).zero(Zeros::First),
    Op::new("aten::arctan", each).zero(Zeros::First),
    Op::new("aten::trunc", each).zero(Zeros::First),
    Op::new("aten::fix", each).zero(Zeros::First),
    Op::new("aten::frac", each).zero(Zeros::First),
    Op::new("aten::positive", each).zero(Zeros::First),
    Op::new("aten::negative", each).zero(Zeros::First),
    Op::new("aten::absolute", each).zero(Zeros::First),
    Op::new("aten::hardshrink", each).zero(Zeros::First),
    Op::new("aten::softshrink", each).zero(Zeros::First),
    Op::new("aten::nan_to_num", each).zero(Zeros::First),
    Op::new("aten::erfinv", each).zero(Zeros::First),
    Op::new("aten::acos", each),
    Op::new("aten::cosh", each),
    Op::new("aten::erfc", each),
    Op::new("aten::exp2", each),
    Op::new("aten::log2", each),
    Op::new("aten::log10", each),
    Op::new("aten::logit", each),
    Op::new("aten::clip", clamped).zero(Zeros::Bounded),
    Op::new("aten::floor", each).zero(Zeros::First),
    Op::new("aten::ceil", each).zero(Zeros::First),
    Op::new("aten::round", each).zero(Zeros::First),
    Op::new("aten::clamp", clamped).zero(Zeros::Bounded),
    Op::new("aten::clamp_min", clamped).zero(Zeros::Bounded),
    Op::new("aten::clamp_max", clamped).zero(Zeros::Bounded),
    Op::new("aten::dropout", each).zero(Zeros::First),
    Op::new("aten::feature_dropout", each).zero(Zeros::First),
    Op::new("aten::alpha_dropout", each).zero(Zeros::First),
    Op::new("aten::contiguous", each).zero(Zeros::First),
    Op::new("aten::clone", each).zero(Zeros::First),
    Op::new("aten::detach", each).zero(Zeros::First),
    Op::new("aten::alias", each).zero(Zeros::First),
    Op::new("aten::to", cast).zero(Zeros::First),
    Op::new("aten::type_as", each).zero(Zeros::First),
    Op::new("aten::logical_not", test),
    Op::new("aten::bitwise_not", each),
    Op::new("aten::isnan", test),
    Op::new("aten::isinf", test),
    Op::new("aten::isfinite", test),
    // Several tensors under broadcasting.
    Op::new("aten::add", joined).zero(Zeros::All),
    Op::new("aten::subtract", joined).zero(Zeros::All),
    Op::new("aten::fmax", joined).zero(Zeros::All),
    Op::new("aten::fmin", joined).zero(Zeros::All),
    Op::new("aten::hypot", joined).zero(Zeros::All),
    Op::new("aten::multiply", joined).zero(Zeros::Any),
    Op::new("aten::divide", joined).zero(Zeros::First),
    Op::new("aten::fmod", joined).zero(Zeros::First),
    Op::new("aten::copysign", joined).zero(Zeros::First),
    Op::new("aten::logaddexp", joined),
    Op::new("aten::xlogy", joined),
    Op::new("aten::float_power", joined).zero(Zeros::Power),
    Op::new("aten::sub", joined).zero(Zeros::All),
    Op::new("aten::rsub", joined).zero(Zeros::All),
    Op::new("aten::mul", joined).zero(Zeros::Any),
    Op::new("aten::div", joined).zero(Zeros::First),
    Op::new("aten::true_divide", joined).zero(Zeros::First),
    Op::new("aten::floor_divide", joined).zero(Zeros::First),
    Op::new("aten::remainder", joined).zero(Zeros::First),
    Op::new("aten::pow", joined).zero(Zeros::Power),
    Op::new("aten::maximum", joined).zero(Zeros::All),
    Op::new("aten::minimum", joined).zero(Zeros::All),
    Op::new("aten::atan2", joined),
    Op::new("aten::addcmul", joined).zero(Zeros::All),
    Op::new("aten::addcdiv", joined).zero(Zeros::All),
    Op::new("aten::lerp", joined).zero(Zeros::All),
    Op::new("aten::where", chosen),
    Op::new("aten::masked_fill", joined),
    Op::new("aten::prelu", prelu).zero(Zeros::First),
    Op::new("aten::eq", compared),
    Op::new("aten::ne", compared),
    Op::new("aten::lt", compared),
    Op::new("aten::le", compared),
    Op::new("aten::gt", compared),
    Op::new("aten::ge", compared),
    Op::new("aten::less", compared),
    Op::new("aten::less_equal", compared),
    Op::new("aten::greater", compared),
    Op::new("aten::greater_equal", compared),
    Op::new("aten::not_equal", compared),
    Op::new("aten::isclose", compared),
    Op::new("aten::logical_xor", compared),
    Op::new("aten::logical_and", compared),
    Op::new("aten::logical_or", compared),
    Op::new("aten::__and__", joined).zero(Zeros::Any),
    Op::new("aten::__or__", joined),
    Op::new("aten::bitwise_and", joined),
    Op::new("aten::bitwise_or", joined),
];

const ADDS: &str = "combines them element by element";

/// Joins the axes of several tensors, aligned at their last axis, where an extent of 1 stretches.
pub(super) fn broadcast(site: &mut Site, parts: &[Axes], what: &'static str) -> Result<Axes, Trouble> {
    let rank = parts.iter().map(Axes::rank).max().unwrap_or(0);
    let mut output = Axes::fixed(vec![1; rank]);
    for part in parts {
        let skipped = rank - part.rank();
        for axis in 0..part.rank() {
            let (extent, at) = (part.shape[axis], skipped + axis);
            match (output.shape[at], extent) {
                (_, 1) => {}
                (1, _) => {
                    output.shape[at] = extent;
                    output.rows[at] = part.rows[axis].clone();
                }
                (known, _) if known == extent => {
                    output.rows[at] = site.join(output.rows[at].clone().as_ref(), part.rows[axis].as_ref(), what);
                }
                _ => return Trouble::new(format!("shapes {:?} and {:?} do not combine", output.shape, part.shape)),
            }
        }
    }
    Ok(output)
}

fn first_tensor(site: &Site) -> Result<TensorFact, Trouble> {
    match site.node.args.first() {
        Some((name, _)) => site.tensor(name),
        None => Trouble::new("the operator has no arguments"),
    }
}

pub(super) fn each(site: &mut Site) -> Result<(), Trouble> {
    if scalar::fold(site) {
        return Ok(());
    }
    let random = matches!(
        site.node.short(),
        "dropout" | "feature_dropout" | "alpha_dropout" | "rrelu"
    );
    if random && (site.flag("train") || site.flag("training")) {
        return Trouble::new("drops values at random");
    }
    let input = first_tensor(site)?;
    let dtype = match site.node.short() {
        "abs" | "absolute" => input.dtype.part(),
        _ => input.dtype,
    };
    site.give_tensor(input.axes, dtype);
    Ok(())
}

/// Bounds are numbers, or tensors that the values meet element by element.
fn clamped(site: &mut Site) -> Result<(), Trouble> {
    let number = |name| matches!(site.fact(name), Fact::None | Fact::Number(_));
    if ["min", "max"].into_iter().all(number) {
        each(site)
    } else {
        joined(site)
    }
}

fn test(site: &mut Site) -> Result<(), Trouble> {
    let input = first_tensor(site)?;
    site.give_tensor(input.axes, DType::Bool);
    Ok(())
}

fn cast(site: &mut Site) -> Result<(), Trouble> {
    let input = first_tensor(site)?;
    let dtype = match site.fact("dtype") {
        Fact::Number(code) => DType::from_code(code.as_i64()).unwrap_or(input.dtype),
        _ => input.dtype,
    };
    site.give_tensor(input.axes, dtype);
    Ok(())
}

fn parts(site: &Site) -> Result<Vec<TensorFact>, Trouble> {
    let mut parts = Vec::new();
    for (name, fact) in site.facts() {
        match fact {
            Fact::Tensor(tensor) => parts.push(tensor),
            Fact::Unknown => return Trouble::new(format!("nothing is known of argument `{name}`")),
            _ => {}
        }
    }
    if parts.is_empty() {
        return Trouble::new("no argument is a tensor");
    }
    Ok(parts)
}

fn promoted(parts: &[TensorFact]) -> DType {
    let rank = |dtype: DType| (dtype.is_inexact(), dtype.part().size(), dtype != DType::Bool);
    let types = || parts.iter().map(|part| part.dtype);
    let widest = types().max_by_key(|&dtype| rank(dtype)).unwrap_or(DType::F32);
    match types().any(DType::is_complex) {
        true => widest.complex(),
        false => widest,
    }
}

pub(super) fn joined(site: &mut Site) -> Result<(), Trouble> {
    if scalar::fold(site) {
        return Ok(());
    }
    // Lists of sizes are added end to end.
    if let (Fact::List(mut a), Fact::List(b)) = (site.fact("a"), site.fact("b")) {
        a.extend(b);
        site.give([Fact::List(a)]);
        return Ok(());
    }
    let parts = parts(site)?;
    let axes: Vec<Axes> = parts.iter().map(|part| part.axes.clone()).collect();
    let output = broadcast(site, &axes, ADDS)?;
    let mut dtype = promoted(&parts);
    let floats = site.facts().iter().any(|(name, fact)| {
        !matches!(*name, "alpha" | "value") && matches!(fact, Fact::Number(number) if number.dtype().is_float())
    });
    if !dtype.is_inexact() && (floats || matches!(site.node.short(), "div" | "true_divide")) {
        dtype = DType::F32;
    }
    site.give_tensor(output, dtype);
    Ok(())
}

/// One of two tensors, element by element; of the condition alone, the places where it holds.
fn chosen(site: &mut Site) -> Result<(), Trouble> {
    if site.node.arg("self").is_none() {
        return Trouble::new("how many places it finds depends on the data");
    }
    joined(site)
}

fn compared(site: &mut Site) -> Result<(), Trouble> {
    if scalar::fold(site) {
        return Ok(());
    }
    let axes: Vec<Axes> = parts(site)?.into_iter().map(|part| part.axes).collect();
    let output = broadcast(site, &axes, "compares them element by element")?;
    site.give_tensor(output, DType::Bool);
    Ok(())
}

/// One slope a channel (axis 1), or one for all.
fn prelu(site: &mut Site) -> Result<(), Trouble> {
    let (input, slopes) = (site.tensor("self")?, site.tensor("weight")?.axes);
    let mut axes = input.axes.clone();
    if slopes.rank() == 1 && slopes.shape[0] > 1 && axes.rank() >= 2 {
        let row = site.join(axes.row(1), slopes.row(0), "scales each channel");
        axes = axes.with_row(1, row);
    }
    site.give_tensor(axes, input.dtype);
    Ok(())
}
