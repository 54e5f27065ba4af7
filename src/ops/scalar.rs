//! Numbers: sizes, and arithmetic on them, evaluated as PyTorch would.

use super::{Fact, Number, Op, Site, Trouble, Zeros};
use crate::graph::{range_item, range_length};
use crate::labels::Axes;
use crate::tensor::DType;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::size", size),
    Op::new("aten::sym_size", size),
    Op::new("aten::dim", dim),
    Op::new("aten::numel", numel),
    Op::new("aten::len", len),
    Op::new("prim::NumToTensor", same),
    Op::new("aten::ScalarImplicit", same),
    Op::new("aten::IntImplicit", int),
    Op::new("aten::FloatImplicit", float),
    Op::new("aten::Int", int),
    Op::new("aten::Float", float),
    Op::new("aten::Bool", boolean),
    Op::new("aten::item", same),
    Op::new("aten::floordiv", arithmetic),
    Op::new("aten::__not__", arithmetic),
    Op::new("aten::__round_to_zero_floordiv", arithmetic),
    Op::new("aten::__range_length", arithmetic),
    Op::new("aten::__derive_index", arithmetic),
    Op::new("prim::max", arithmetic),
    Op::new("prim::min", arithmetic),
    Op::new("prim::abs", arithmetic),
    Op::new("prim::dtype", dtype),
    Op::new("aten::is_complex", complex),
    Op::new("prim::If", either).zero(Zeros::Beside),
    Op::new("prim::ListUnpack", unpack).zero(Zeros::First),
    Op::new("prim::TupleUnpack", unpack).zero(Zeros::First),
    Op::new("aten::__getitem__", item).zero(Zeros::First),
];

fn first(site: &Site) -> Fact {
    site.facts().into_iter().next().map_or(Fact::None, |(_, fact)| fact)
}

fn shape(site: &Site) -> Result<Vec<usize>, Trouble> {
    match first(site) {
        Fact::Tensor(tensor) => Ok(tensor.axes.shape),
        Fact::Number(_) => Ok(Vec::new()),
        _ => Trouble::new("the size of something whose shape is not known"),
    }
}

fn size(site: &mut Site) -> Result<(), Trouble> {
    let shape = shape(site)?;
    let fact = if site.node.arg("dim").is_some() {
        Fact::int(
            shape
                .get(site.axis("dim", shape.len())?)
                .map_or(1, |&extent| extent as i64),
        )
    } else {
        Fact::List(shape.iter().map(|&extent| Fact::int(extent as i64)).collect())
    };
    site.give([fact]);
    Ok(())
}

fn dim(site: &mut Site) -> Result<(), Trouble> {
    let rank = shape(site)?.len();
    site.give([Fact::int(rank as i64)]);
    Ok(())
}

/// Numbers made from sizes keep what they were. That of a value of the batch follows the batch too: nothing of it may go.
fn numel(site: &mut Site) -> Result<(), Trouble> {
    if let (Fact::Tensor(tensor), false) = (first(site), site.reads_fixed()) {
        let why = site.why("counts its elements");
        tensor.axes.freeze(site.labels, why);
    }
    let elements: usize = shape(site)?.iter().product();
    site.give([Fact::int(elements as i64)]);
    Ok(())
}

fn len(site: &mut Site) -> Result<(), Trouble> {
    let len = match first(site) {
        Fact::List(items) => items.len(),
        Fact::Tensor(tensor) if tensor.axes.rank() > 0 => tensor.axes.shape[0],
        _ => return Trouble::new("the length of something that is no list"),
    };
    site.give([Fact::int(len as i64)]);
    Ok(())
}

/// The number that a fact stands for: one that is known, or a constant of one element.
fn number(site: &Site, fact: &Fact) -> Option<Number> {
    match fact {
        Fact::Number(number) => Some(*number),
        Fact::Tensor(tensor) if tensor.axes.shape.iter().product::<usize>() == 1 => {
            let value = site.node.args.first().and_then(|(_, arg)| arg.as_value())?;
            let known = site.known(value).ok()?;
            let value = *known.to_f64().first()?;
            Some(match known.dtype() {
                DType::Bool => Number::Bool(value != 0.0),
                dtype if dtype.is_float() => Number::Float(value),
                dtype if dtype.is_complex() => return None,
                _ => Number::Int(value as i64),
            })
        }
        _ => None,
    }
}

fn convert(site: &mut Site, convert: impl Fn(Number) -> Number) -> Result<(), Trouble> {
    let Some(number) = number(site, &first(site)) else {
        return Trouble::new("a number that is not known before the model runs");
    };
    site.give([Fact::Number(convert(number))]);
    Ok(())
}

/// One of two values. Where the sizes that the model is given tell which, it is that one; two tensors are tied all the
/// same, for at other batch sizes it may be the other. On data it is not understood.
fn either(site: &mut Site) -> Result<(), Trouble> {
    let Fact::Number(condition) = site.fact("condition") else {
        return Trouble::new("which branch is taken depends on the data");
    };
    let (then, otherwise) = (site.fact("then"), site.fact("otherwise"));
    let fact = match (then, otherwise) {
        (Fact::Tensor(then), Fact::Tensor(otherwise)) => {
            if then.axes.shape != otherwise.axes.shape || then.dtype != otherwise.dtype {
                return Trouble::new("its branches give different shapes or types");
            }
            let mut axes = Axes::fixed(then.axes.shape.clone());
            for axis in 0..axes.rank() {
                let (a, b) = (then.axes.row(axis), otherwise.axes.row(axis));
                let row = site.join(a, b, "takes one or the other");
                axes = axes.with_row(axis, row);
            }
            Fact::tensor(axes, then.dtype)
        }
        (Fact::Number(then), Fact::Number(otherwise)) => {
            Fact::Number(if condition.as_f64() != 0.0 { then } else { otherwise })
        }
        _ => return Trouble::new("its branches give different kinds of values"),
    };
    site.give([fact]);
    Ok(())
}

fn same(site: &mut Site) -> Result<(), Trouble> {
    convert(site, |number| number)
}

fn int(site: &mut Site) -> Result<(), Trouble> {
    convert(site, |number| Number::Int(number.as_i64()))
}

fn float(site: &mut Site) -> Result<(), Trouble> {
    convert(site, |number| Number::Float(number.as_f64()))
}

fn boolean(site: &mut Site) -> Result<(), Trouble> {
    convert(site, |number| Number::Bool(number.as_f64() != 0.0))
}

fn dtype(site: &mut Site) -> Result<(), Trouble> {
    let Fact::Tensor(tensor) = first(site) else {
        return Trouble::new("the element type of something that is no tensor");
    };
    match tensor.dtype.code() {
        Some(code) => {
            site.give([Fact::int(code)]);
            Ok(())
        }
        None => Trouble::new(format!("{} has no number", tensor.dtype)),
    }
}

fn complex(site: &mut Site) -> Result<(), Trouble> {
    let dtype = site.tensor("self")?.dtype;
    site.give([Fact::Number(Number::Bool(dtype.is_complex()))]);
    Ok(())
}

fn arithmetic(site: &mut Site) -> Result<(), Trouble> {
    if fold(site) {
        return Ok(());
    }
    // The largest or smallest of a list.
    if let Fact::List(items) = first(site) {
        let numbers = items.iter().map(|item| match item {
            Fact::Number(number) => Some(*number),
            _ => None,
        });
        let name = site.node.short().to_owned();
        let most = numbers.reduce(|a, b| binary(&name, a?, b?, None, None));
        if let Some(Some(number)) = most {
            site.give([Fact::Number(number)]);
            return Ok(());
        }
    }
    Trouble::new("numbers that are not known before the model runs")
}

fn unpack(site: &mut Site) -> Result<(), Trouble> {
    match first(site) {
        Fact::List(items) if items.len() == site.node.outputs.len() => {
            site.give(items);
            Ok(())
        }
        Fact::List(items) => Trouble::new(format!(
            "unpacks {} values into {}",
            items.len(),
            site.node.outputs.len()
        )),
        _ => Trouble::new("unpacks something that is not known to be a list"),
    }
}

fn item(site: &mut Site) -> Result<(), Trouble> {
    let facts: Vec<Fact> = site.facts().into_iter().map(|(_, fact)| fact).collect();
    let [Fact::List(items), Fact::Number(index)] = &facts[..] else {
        return Trouble::new("an item of something that is not known to be a list");
    };
    let index = index.as_i64();
    let wrapped = if index < 0 { index + items.len() as i64 } else { index };
    match usize::try_from(wrapped).ok().and_then(|at| items.get(at)) {
        Some(item) => {
            let item = item.clone();
            site.give([item]);
            Ok(())
        }
        None => Trouble::new(format!("item {index} of a list of {}", items.len())),
    }
}

/// Evaluates an operator all of whose arguments are numbers. False when one is not.
pub(super) fn fold(site: &mut Site) -> bool {
    let mut numbers = Vec::new();
    for (name, fact) in site.facts() {
        match fact {
            Fact::Number(number) => numbers.push((name.to_owned(), number)),
            Fact::None | Fact::Text(_) => {}
            _ => return false,
        }
    }
    let rounding = match site.fact("rounding_mode") {
        Fact::Text(mode) => Some(mode),
        _ => None,
    };
    let alpha = numbers
        .iter()
        .find(|(name, _)| name == "alpha")
        .map(|&(_, number)| number);
    let values: Vec<Number> = numbers
        .iter()
        .filter(|(name, _)| name != "alpha")
        .map(|&(_, number)| number)
        .collect();
    let folded = match (site.node.short(), &values[..]) {
        ("__range_length", &[start, end, step]) => range_length(start.as_i64(), end.as_i64(), step.as_i64())
            .and_then(|count| i64::try_from(count).ok())
            .map(Number::Int),
        ("__derive_index", &[index, start, step]) => {
            range_item(index.as_i64(), start.as_i64(), step.as_i64()).map(Number::Int)
        }
        (name, &[a, b]) => binary(name, a, b, alpha, rounding.as_deref()),
        (name, &[a]) => unary(name, a),
        _ => None,
    };
    match folded {
        Some(number) => {
            site.give([Fact::Number(number)]);
            true
        }
        None => false,
    }
}

fn binary(name: &str, a: Number, b: Number, alpha: Option<Number>, rounding: Option<&str>) -> Option<Number> {
    let whole = !matches!((a, b), (Number::Float(_), _) | (_, Number::Float(_)));
    let scale = alpha.map_or(1.0, Number::as_f64);
    let (x, y) = (a.as_f64(), b.as_f64());
    let value = match name {
        "add" => x + y * scale,
        "sub" => x - y * scale,
        "rsub" => y - x * scale,
        "mul" => x * y,
        "div" | "true_divide" => match rounding {
            None => return Some(Number::Float(x / y)),
            Some("floor") => (x / y).floor(),
            Some(_) => (x / y).trunc(),
        },
        "floor_divide" | "floordiv" => (x / y).floor(),
        "__round_to_zero_floordiv" => (x / y).trunc(),
        "remainder" => x - y * (x / y).floor(),
        "pow" => x.powf(y),
        "maximum" | "max" => x.max(y),
        "minimum" | "min" => x.min(y),
        "eq" => return Some(Number::Bool(x == y)),
        "ne" => return Some(Number::Bool(x != y)),
        "lt" => return Some(Number::Bool(x < y)),
        "le" => return Some(Number::Bool(x <= y)),
        "gt" => return Some(Number::Bool(x > y)),
        "ge" => return Some(Number::Bool(x >= y)),
        "__and__" | "logical_and" => return Some(Number::Bool(x != 0.0 && y != 0.0)),
        "__or__" | "logical_or" => return Some(Number::Bool(x != 0.0 || y != 0.0)),
        _ => return None,
    };
    if whole && value.is_finite() {
        return Some(Number::Int(value as i64));
    }
    (!whole).then_some(Number::Float(value))
}

fn unary(name: &str, a: Number) -> Option<Number> {
    let keep = |value: f64| match a {
        Number::Float(_) => Number::Float(value),
        _ => Number::Int(value as i64),
    };
    Some(match name {
        "__not__" => Number::Bool(a.as_f64() == 0.0),
        "neg" => keep(-a.as_f64()),
        "abs" => keep(a.as_f64().abs()),
        "floor" => keep(a.as_f64().floor()),
        "ceil" => keep(a.as_f64().ceil()),
        "round" => keep(a.as_f64().round_ties_even()),
        "sqrt" => Number::Float(a.as_f64().sqrt()),
        "rsqrt" => Number::Float(a.as_f64().sqrt().recip()),
        "exp" => Number::Float(a.as_f64().exp()),
        "log" => Number::Float(a.as_f64().ln()),
        "detach" | "clone" | "contiguous" | "alias" | "lift_fresh_copy" => a,
        _ => return None,
    })
}
