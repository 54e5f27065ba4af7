//! Which overload of an operator a call means, and its arguments in full.
//!
//! Owns the choice between overloads by the types of what is given, as TorchScript makes it, and the filling in of
//! defaults. Printed code names no overload. Deliberately converts nothing: a tensor is never taken for a number, and
//! an int is taken for a float only where nothing else fits (a whole float above 1e10 is printed without a point).

use super::schema::{Base, Kind, result_type};
use super::{Arg, Schema, Type, ValueId, allow_list};

/// A call that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub schema: &'static Schema,
    /// In the order of the schema, defaults filled in.
    pub args: Vec<(String, Arg)>,
    /// One type a result; empty where the number of results is open.
    pub returns: Vec<Type>,
}

/// Why a call was not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ResolveError {
    #[error("operator {0} is not among those that a model file may ask for (pure functions of tensors and numbers)")]
    NotAllowed(String),
    #[error("no overload of {op} takes ({given}); the nearest is {nearest}")]
    NoOverload { op: String, given: String, nearest: String },
}

/// Chooses the overload of `op` for positional and keyword arguments; `type_of` tells the type of a value.
///
/// # Errors
/// When the operator is not on the allow-list, or none of its overloads takes these arguments.
pub fn resolve<'a>(
    op: &str,
    positional: &[Arg],
    keyword: &[(String, Arg)],
    type_of: &dyn Fn(ValueId) -> &'a Type,
) -> Result<Resolved, ResolveError> {
    let overloads = allow_list().overloads(op);
    if overloads.is_empty() {
        return Err(ResolveError::NotAllowed(op.into()));
    }
    for lenient in [false, true] {
        let matcher = Matcher { type_of, lenient };
        if let Some(found) = overloads
            .iter()
            .find_map(|schema| matcher.fit(schema, positional, keyword))
        {
            return Ok(found);
        }
    }
    let describe = |arg: &Arg| describe(arg, type_of);
    let mut given: Vec<String> = positional.iter().map(describe).collect();
    given.extend(keyword.iter().map(|(name, arg)| format!("{name}={}", describe(arg))));
    // That which takes the most of what is given, and wants the least beside.
    let matcher = Matcher { type_of, lenient: true };
    let misses = |schema: &&Schema| {
        let pairs = schema.args.iter().zip(positional);
        let fit = pairs.filter(|(wanted, arg)| matcher.arg(wanted.kind, arg, &mut None).is_some());
        let named = keyword
            .iter()
            .filter(|(name, _)| schema.args.iter().any(|arg| arg.name == *name));
        let fit = fit.count() + named.count();
        let wanted = schema.args.iter().filter(|arg| arg.default.is_none()).count();
        (positional.len() + keyword.len() - fit, wanted.abs_diff(fit))
    };
    let nearest = overloads.iter().min_by_key(misses).into_iter();
    let args = nearest.flat_map(|schema| &schema.args);
    let types: Vec<String> = args.map(|arg| format!("{} {}", arg.ty, arg.name)).collect();
    Err(ResolveError::NoOverload {
        op: op.into(),
        given: given.join(", "),
        nearest: format!("{op}({})", types.join(", ")),
    })
}

/// Whether an argument may stand where the schema wants `kind`.
pub(super) fn accepts<'a>(kind: Kind, arg: &Arg, type_of: &dyn Fn(ValueId) -> &'a Type) -> bool {
    let matcher = Matcher { type_of, lenient: true };
    matcher.arg(kind, arg, &mut None).is_some()
}

struct Matcher<'t, 'a> {
    type_of: &'t dyn Fn(ValueId) -> &'a Type,
    /// Take ints for floats and bools for numbers.
    lenient: bool,
}

impl Matcher<'_, '_> {
    fn fit(&self, schema: &'static Schema, positional: &[Arg], keyword: &[(String, Arg)]) -> Option<Resolved> {
        let mut variable = None;
        let mut args = Vec::with_capacity(schema.args.len());
        let mut given = positional.iter();
        let mut named = 0;
        for wanted in &schema.args {
            let found = if wanted.keyword_only { None } else { given.next() };
            let by_name = keyword.iter().find(|(name, _)| *name == wanted.name);
            let arg = match (found, by_name) {
                (Some(_), Some(_)) => return None,
                (Some(arg), None) => self.arg(wanted.kind, arg, &mut variable)?,
                (None, Some((_, arg))) => {
                    named += 1;
                    self.arg(wanted.kind, arg, &mut variable)?
                }
                (None, None) => wanted.default.clone()?,
            };
            args.push((wanted.name.clone(), arg));
        }
        if given.next().is_some() || named != keyword.len() {
            return None;
        }
        let returns: Option<Vec<Type>> = schema
            .returns
            .iter()
            .map(|text| result_type(text, variable.as_ref()))
            .collect();
        Some(Resolved {
            schema,
            args,
            returns: returns?,
        })
    }

    /// The argument as the schema wants it, `None` when it does not fit.
    fn arg(&self, kind: Kind, arg: &Arg, variable: &mut Option<Type>) -> Option<Arg> {
        if *arg == Arg::None {
            return (kind.optional || kind.base == Base::Any).then_some(Arg::None);
        }
        let Some(list) = kind.list else {
            return self.item(kind.base, arg, variable);
        };
        match arg {
            Arg::List(items) => {
                let fit = |item: &Arg| match item {
                    Arg::None if list.optional_items => Some(Arg::None),
                    item => self.item(kind.base, item, variable),
                };
                items.iter().map(fit).collect::<Option<Vec<Arg>>>().map(Arg::List)
            }
            Arg::Value(value) => match (self.type_of)(*value) {
                Type::List(item) if self.base(kind.base, item, variable) => Some(arg.clone()),
                ty if list.length.is_some() && self.base(kind.base, ty, variable) => self.repeat(arg, list.length),
                _ => None,
            },
            _ if list.length.is_some() => {
                let item = self.item(kind.base, arg, variable)?;
                self.repeat(&item, list.length)
            }
            _ => None,
        }
    }

    fn repeat(&self, item: &Arg, length: Option<usize>) -> Option<Arg> {
        length.map(|length| Arg::List(vec![item.clone(); length]))
    }

    fn item(&self, base: Base, arg: &Arg, variable: &mut Option<Type>) -> Option<Arg> {
        let exact = match (base, arg) {
            (Base::Any, _) => true,
            (_, Arg::Value(value)) => self.base(base, (self.type_of)(*value), variable),
            (Base::Var, _) => {
                let ty = literal_type(arg, self.type_of)?;
                self.base(base, &ty, variable)
            }
            (Base::Int | Base::Scalar, Arg::Int(_))
            | (Base::Float | Base::Scalar, Arg::Float(_))
            | (Base::Bool, Arg::Bool(_))
            | (Base::Str, Arg::Str(_))
            | (Base::Device, Arg::Device(_)) => true,
            (Base::Device, Arg::Str(name)) => return Some(Arg::Device(name.clone())),
            _ => false,
        };
        if exact {
            return Some(arg.clone());
        }
        match (base, arg) {
            (Base::Float, Arg::Int(int)) if self.lenient => Some(Arg::Float(*int as f64)),
            (Base::Int | Base::Scalar, Arg::Bool(flag)) if self.lenient => Some(Arg::Int(i64::from(*flag))),
            _ => None,
        }
    }

    fn base(&self, base: Base, ty: &Type, variable: &mut Option<Type>) -> bool {
        match (base, ty) {
            (Base::Any, _)
            | (Base::Tensor, Type::Tensor)
            | (Base::Int | Base::Scalar, Type::Int)
            | (Base::Float | Base::Scalar, Type::Float)
            | (Base::Bool, Type::Bool)
            | (Base::Str, Type::Str) => true,
            (Base::Scalar, Type::Bool) | (Base::Float, Type::Int) => self.lenient,
            (Base::Var, _) => variable.get_or_insert_with(|| ty.clone()) == ty,
            _ => false,
        }
    }
}

/// The type of a literal; an empty list has none.
fn literal_type<'a>(arg: &Arg, type_of: &dyn Fn(ValueId) -> &'a Type) -> Option<Type> {
    Some(match arg {
        Arg::Value(value) => type_of(*value).clone(),
        Arg::Bool(_) => Type::Bool,
        Arg::Int(_) => Type::Int,
        Arg::Float(_) => Type::Float,
        Arg::Str(_) => Type::Str,
        Arg::List(items) => Type::List(Box::new(literal_type(items.first()?, type_of)?)),
        Arg::None | Arg::Device(_) => return None,
    })
}

/// The type of an argument, for messages.
fn describe<'a>(arg: &Arg, type_of: &dyn Fn(ValueId) -> &'a Type) -> String {
    match arg {
        Arg::None => "None".into(),
        Arg::Device(_) => "Device".into(),
        Arg::List(items) => match items.first() {
            Some(first) => format!("{}[]", describe(first, type_of)),
            None => "[]".into(),
        },
        other => literal_type(other, type_of).map_or_else(|| "?".into(), |ty| super::text::type_name(&ty)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [Type; 4] = [Type::Tensor, Type::Int, Type::Float, Type::Bool];

    fn check(op: &str, given: &[Arg], expected: &str) {
        static LIST: std::sync::LazyLock<Type> = std::sync::LazyLock::new(|| Type::List(Box::new(Type::Int)));
        let type_of = |value: ValueId| TYPES.get(value.0 as usize).unwrap_or(&LIST);
        let found = match resolve(op, given, &[], &type_of) {
            Ok(found) => format!("{}{:?}", found.schema.overload, found.returns),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{op} {given:?}");
    }

    #[test]
    fn types_choose_the_overload() {
        let value = |id| Arg::Value(ValueId(id));
        let (tensor, int, float, ints) = (value(0), value(1), value(2), value(9));
        check("aten::add", &[tensor.clone(), tensor.clone()], "Tensor[Tensor]");
        check("aten::add", &[tensor.clone(), Arg::Int(1)], "Scalar[Tensor]");
        check("aten::add", &[int.clone(), Arg::Int(1)], "int[Int]");
        check("aten::add", &[int.clone(), float.clone()], "int_float[Float]");
        check("aten::add", &[ints.clone(), ints.clone()], "t[List(Int)]");
        check("aten::__getitem__", &[ints.clone(), Arg::Int(0)], "t[Int]");
        check(
            "aten::mul",
            &[tensor.clone(), Arg::Int(10_000_000_000)],
            "Scalar[Tensor]",
        );
        check(
            "aten::dropout",
            &[tensor.clone(), Arg::Int(10_000_000_000), Arg::Bool(false)],
            "[Tensor]",
        );
        check("aten::split", &[tensor.clone(), Arg::Int(2)], "Tensor[List(Tensor)]");
        check("aten::max", &[tensor.clone(), Arg::Int(1)], "dim[Tensor, Tensor]");
        check(
            "aten::mean",
            &[tensor.clone(), Arg::List(vec![Arg::Int(2)]), Arg::Bool(true)],
            "dim[Tensor]",
        );
        check(
            "aten::conv2d",
            &[int, tensor],
            "no overload of aten::conv2d takes (int, Tensor); the nearest is aten::conv2d(Tensor input, Tensor weight, \
             Tensor? bias, int[2] stride, int[2] padding, int[2] dilation, int groups)",
        );
        check(
            "aten::save",
            &[],
            "operator aten::save is not among those that a model file may ask for (pure functions of tensors and numbers)",
        );
    }

    #[test]
    fn one_number_fills_a_list_of_known_length() {
        let type_of = |_| &Type::Tensor;
        let given = [Arg::Value(ValueId(0)), Arg::Int(3)];
        let found = resolve("aten::adaptive_avg_pool2d", &given, &[], &type_of).map(|found| found.args[1].1.clone());
        assert_eq!(found, Ok(Arg::List(vec![Arg::Int(3), Arg::Int(3)])));
    }
}
