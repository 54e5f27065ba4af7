//! Operators on numbers and strings that are known already, and places in lists.
//!
//! Owns the arithmetic of TorchScript's scalars, as TorchScript does it. Gives nothing where an argument needs a run.

use super::value::{MAX_TEXT, Val};
use crate::graph::{range_item, range_length};

/// The result of `name` (`add`, `floordiv`, …) on known values; `None` where it is no such operator.
pub fn fold(name: &str, args: &[Val]) -> Option<Result<Val, String>> {
    if args
        .iter()
        .any(|arg| arg.is_dynamic() || matches!(arg, Val::Unset | Val::Unknown(_)))
    {
        return partial(name, args);
    }
    match args {
        [one] => unary(name, one),
        [left, right] => binary(name, left, right),
        [Val::Int(a), Val::Int(b), Val::Int(c)] => counting(name, *a, *b, *c),
        _ => None,
    }
}

/// Counting from elsewhere than zero, or in steps: TorchScript writes such a `range()` as one from zero.
fn counting(name: &str, a: i64, b: i64, c: i64) -> Option<Result<Val, String>> {
    let whole = |int: Option<i64>| {
        int.map(Val::Int)
            .ok_or_else(|| format!("{name} of {a}, {b} and {c} overflows"))
    };
    Some(match name {
        "__range_length" => match range_length(a, b, c) {
            Some(length) => whole(i64::try_from(length).ok()),
            None => Err("a range in steps of zero".into()),
        },
        "__derive_index" => whole(range_item(a, b, c)),
        _ => return None,
    })
}

/// Decided by one argument alone.
fn partial(name: &str, args: &[Val]) -> Option<Result<Val, String>> {
    match (name, args) {
        ("__and__", [Val::Bool(false), _] | [_, Val::Bool(false)]) => Some(Ok(Val::Bool(false))),
        ("__or__", [Val::Bool(true), _] | [_, Val::Bool(true)]) => Some(Ok(Val::Bool(true))),
        ("__and__", [Val::Bool(true), other] | [other, Val::Bool(true)]) => Some(Ok(other.clone())),
        ("__or__", [Val::Bool(false), other] | [other, Val::Bool(false)]) => Some(Ok(other.clone())),
        ("__is__", [Val::Tensor(a), Val::Tensor(b)]) => Some(Ok(Val::Bool(a == b))),
        ("__isnot__", [Val::Tensor(a), Val::Tensor(b)]) => Some(Ok(Val::Bool(a != b))),
        ("__is__", [value, Val::None] | [Val::None, value]) if value.is_dynamic() => Some(Ok(Val::Bool(false))),
        ("__isnot__", [value, Val::None] | [Val::None, value]) if value.is_dynamic() => Some(Ok(Val::Bool(true))),
        _ => None,
    }
}

fn unary(name: &str, value: &Val) -> Option<Result<Val, String>> {
    let whole = |float: f64| match float.is_finite() {
        true => Ok(Val::Int(float as i64)),
        false => Err(format!("{float} is no integer")),
    };
    Some(match (name, value) {
        ("__not__", Val::Bool(flag)) => Ok(Val::Bool(!flag)),
        ("neg", Val::Int(int)) => Ok(Val::Int(int.wrapping_neg())),
        ("neg", Val::Float(float)) => Ok(Val::Float(-float)),
        ("abs", Val::Int(int)) => Ok(Val::Int(int.wrapping_abs())),
        ("abs" | "fabs", Val::Float(float)) => Ok(Val::Float(float.abs())),
        ("Int", Val::Int(_) | Val::Bool(_)) => Ok(Val::Int(value.as_int()?)),
        ("Int", Val::Float(float)) => whole(float.trunc()),
        ("Float", Val::Str(text)) => text
            .trim()
            .parse()
            .map(Val::Float)
            .map_err(|_| format!("{text:?} is no number")),
        ("Int", Val::Str(text)) => text
            .trim()
            .parse()
            .map(Val::Int)
            .map_err(|_| format!("{text:?} is no integer")),
        ("Float", _) => Ok(Val::Float(value.as_float()?)),
        ("Bool", Val::Bool(_) | Val::Int(_) | Val::Float(_)) => Ok(Val::Bool(value.as_float()? != 0.0)),
        ("floor" | "ceil", Val::Int(int)) => Ok(Val::Int(*int)),
        ("floor", Val::Float(float)) => whole(float.floor()),
        ("ceil", Val::Float(float)) => whole(float.ceil()),
        ("round", Val::Int(_) | Val::Float(_)) => Ok(Val::Float(value.as_float()?.round_ties_even())),
        ("sqrt", Val::Int(_) | Val::Float(_)) => Ok(Val::Float(value.as_float()?.sqrt())),
        ("exp", Val::Int(_) | Val::Float(_)) => Ok(Val::Float(value.as_float()?.exp())),
        ("log", Val::Int(_) | Val::Float(_)) => Ok(Val::Float(value.as_float()?.ln())),
        ("log2", Val::Int(_) | Val::Float(_)) => Ok(Val::Float(value.as_float()?.log2())),
        ("log10", Val::Int(_) | Val::Float(_)) => Ok(Val::Float(value.as_float()?.log10())),
        ("isnan", Val::Float(float)) => Ok(Val::Bool(float.is_nan())),
        ("isinf", Val::Float(float)) => Ok(Val::Bool(float.is_infinite())),
        ("isfinite", Val::Float(float)) => Ok(Val::Bool(float.is_finite())),
        ("str", Val::Str(_)) => Ok(value.clone()),
        ("str", _) => Ok(Val::Str(value.text()?.into())),
        _ => return None,
    })
}

fn binary(name: &str, left: &Val, right: &Val) -> Option<Result<Val, String>> {
    match name {
        "eq" | "__is__" => return left.equals(right).map(|same| Ok(Val::Bool(same))),
        "ne" | "__isnot__" => return left.equals(right).map(|same| Ok(Val::Bool(!same))),
        _ => {}
    }
    match (name, left, right) {
        ("add", Val::Str(a), Val::Str(b)) if a.len() + b.len() > MAX_TEXT => {
            return Some(Err(format!("a string of more than {MAX_TEXT} bytes")));
        }
        ("add", Val::Str(a), Val::Str(b)) => return Some(Ok(Val::Str(format!("{a}{b}").into()))),
        ("__contains__", Val::Str(text), Val::Str(part)) => return Some(Ok(Val::Bool(text.contains(&**part)))),
        ("__and__", Val::Bool(a), Val::Bool(b)) => return Some(Ok(Val::Bool(a & b))),
        ("__or__", Val::Bool(a), Val::Bool(b)) => return Some(Ok(Val::Bool(a | b))),
        ("__xor__", Val::Bool(a), Val::Bool(b)) => return Some(Ok(Val::Bool(a ^ b))),
        (_, Val::Int(a), Val::Int(b)) => {
            if let Some(found) = integers(name, *a, *b) {
                return Some(found);
            }
        }
        _ => {}
    }
    floats(name, left.as_float()?, right.as_float()?)
}

fn integers(name: &str, a: i64, b: i64) -> Option<Result<Val, String>> {
    let checked = |value: Option<i64>| {
        value
            .map(Val::Int)
            .ok_or_else(|| format!("{name} of {a} and {b} overflows"))
    };
    Some(match name {
        "add" => checked(a.checked_add(b)),
        "sub" => checked(a.checked_sub(b)),
        "mul" => checked(a.checked_mul(b)),
        "floordiv" | "remainder" | "fmod" | "__round_to_zero_floordiv" if b == 0 => {
            Err(format!("{name} of {a} by zero"))
        }
        "floordiv" => checked(
            a.checked_div(b)
                .map(|q| q - i64::from(a % b != 0 && (a % b < 0) != (b < 0))),
        ),
        "__round_to_zero_floordiv" => checked(a.checked_div(b)),
        "remainder" => checked(
            a.checked_rem(b)
                .map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
        ),
        "max" => Ok(Val::Int(a.max(b))),
        "min" => Ok(Val::Int(a.min(b))),
        "__and__" => Ok(Val::Int(a & b)),
        "__or__" => Ok(Val::Int(a | b)),
        "__xor__" => Ok(Val::Int(a ^ b)),
        "__lshift__" | "__rshift__" if !(0..64).contains(&b) => Err(format!("a shift by {b}")),
        "__lshift__" => Ok(Val::Int(a << b)),
        "__rshift__" => Ok(Val::Int(a >> b)),
        "lt" => Ok(Val::Bool(a < b)),
        "le" => Ok(Val::Bool(a <= b)),
        "gt" => Ok(Val::Bool(a > b)),
        "ge" => Ok(Val::Bool(a >= b)),
        _ => return None,
    })
}

fn floats(name: &str, a: f64, b: f64) -> Option<Result<Val, String>> {
    Some(match name {
        "add" => Ok(Val::Float(a + b)),
        "sub" => Ok(Val::Float(a - b)),
        "mul" => Ok(Val::Float(a * b)),
        "div" | "truediv" | "floordiv" | "remainder" if b == 0.0 => Err(format!("{name} of {a} by zero")),
        "div" | "truediv" => Ok(Val::Float(a / b)),
        "floordiv" => Ok(Val::Float((a / b).floor())),
        "remainder" => Ok(Val::Float(a - b * (a / b).floor())),
        "pow" => Ok(Val::Float(a.powf(b))),
        "max" => Ok(Val::Float(a.max(b))),
        "min" => Ok(Val::Float(a.min(b))),
        "atan2" => Ok(Val::Float(a.atan2(b))),
        "lt" => Ok(Val::Bool(a < b)),
        "le" => Ok(Val::Bool(a <= b)),
        "gt" => Ok(Val::Bool(a > b)),
        "ge" => Ok(Val::Bool(a >= b)),
        _ => return None,
    })
}

/// Python's index, negative from the end.
pub(super) fn position(at: i64, length: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(length as i64)? } else { at };
    usize::try_from(at).ok().filter(|at| *at < length)
}

/// `items[start:end:step]` as Python has it: `None` where a bound is not known, `Some(None)` for steps of zero.
pub(super) fn slice(items: &[Val], bounds: &[Val]) -> Option<Option<Vec<Val>>> {
    let length = items.len() as i64;
    let step = match bounds.get(2) {
        None | Some(Val::None) => 1,
        Some(step) => step.as_int()?,
    };
    // Backwards, a slice begins at the last element and ends before the first.
    let (least, most) = if step < 0 { (-1, length - 1) } else { (0, length) };
    let bound = |value: Option<&Val>, default: i64| match value {
        None | Some(Val::None) => Some(default),
        Some(value) => {
            let at = value.as_int()?;
            Some(if at < 0 { at.saturating_add(length) } else { at }.clamp(least, most))
        }
    };
    let (first, last) = if step < 0 { (most, least) } else { (least, most) };
    let (start, end) = (bound(bounds.first(), first)?, bound(bounds.get(1), last)?);
    let Some(count) = range_length(start, end, step) else {
        return Some(None);
    };
    let at = |index: u64| items.get((start + index as i64 * step) as usize).cloned();
    Some(Some((0..count).filter_map(at).collect()))
}

/// `"a {} b".format(values)`
pub(super) fn format(pattern: &str, values: &[Val]) -> Option<String> {
    let mut parts = pattern.split("{}");
    let mut found = parts.next()?.to_owned();
    let mut values = values.iter();
    for part in parts {
        found.push_str(&values.next()?.text()?);
        found.push_str(part);
        if found.len() > MAX_TEXT {
            return None;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_python() {
        for (name, a, b, expected) in [
            ("floordiv", Val::Int(-7), Val::Int(2), "-4"),
            ("floordiv", Val::Int(7), Val::Int(-2), "-4"),
            ("remainder", Val::Int(-7), Val::Int(2), "1"),
            ("remainder", Val::Int(7), Val::Int(-2), "-1"),
            ("div", Val::Int(7), Val::Int(2), "3.5"),
            ("add", Val::Int(1), Val::Float(0.5), "1.5"),
            ("pow", Val::Int(2), Val::Int(3), "8.0"),
            ("max", Val::Int(2), Val::Int(3), "3"),
            ("eq", Val::Int(2), Val::Float(2.0), "True"),
            ("lt", Val::Float(1.0), Val::Int(2), "True"),
        ] {
            let found = fold(name, &[a, b]).and_then(Result::ok).and_then(|value| value.text());
            assert_eq!(found.as_deref(), Some(expected), "{name}");
        }
        assert!(matches!(fold("floordiv", &[Val::Int(1), Val::Int(0)]), Some(Err(_))));
        assert!(matches!(
            fold("floordiv", &[Val::Int(i64::MIN), Val::Int(-1)]),
            Some(Err(_))
        ));
    }
}
