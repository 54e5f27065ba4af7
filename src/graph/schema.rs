//! Schemas of operators: argument names, order, types and defaults, and which operators a model file may ask for.
//!
//! Owns `schemas.txt` (made by `make_schemas.py` beside it), its parsing, and the names of writes in place. A schema is
//! parsed when its operator is first asked for. Deliberately does not choose between overloads (see `resolve`).

use super::{Arg, Type};
use std::sync::OnceLock;

/// One argument of a [`Schema`].
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaArg {
    pub name: String,
    /// As ATen writes it, alias marks removed and `SymInt` read as `int`: `Tensor`, `Tensor?`, `int[2]`, `Scalar`.
    pub ty: String,
    /// What `ty` says.
    pub kind: Kind,
    /// `None` when the argument must be given.
    pub default: Option<Arg>,
    pub keyword_only: bool,
}

/// The signature of one overload of one operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// `aten::add`
    pub op: String,
    /// `Tensor`; empty for none.
    pub overload: String,
    pub args: Vec<SchemaArg>,
    /// Types of the results as ATen writes them, alias marks removed; empty where the number of results is open
    /// (`prim::ListUnpack`, `prim::TupleUnpack`).
    pub returns: Vec<String>,
}

/// A type without its list and option marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Tensor,
    /// Also `ScalarType`, `Layout` and `MemoryFormat`, which are numbers in TorchScript.
    Int,
    Float,
    Bool,
    Str,
    /// An int or a float.
    Scalar,
    Device,
    /// A type variable: the same type wherever it stands in one schema.
    Var,
    Any,
}

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub base: Base,
    /// `None` may be given.
    pub optional: bool,
    pub list: Option<ListKind>,
}

/// The list marks of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListKind {
    /// `int[2]`: one number stands for so many.
    pub length: Option<usize>,
    /// `Tensor?[]`: elements may be `None`.
    pub optional_items: bool,
}

impl Kind {
    /// Reads `Tensor?[]`, `int[2]?` and the like.
    fn parse(text: &str) -> Option<Kind> {
        let mut optional = false;
        let mut list = None;
        let mut rest = text;
        if let Some(inner) = rest.strip_suffix('?') {
            (optional, rest) = (true, inner);
        }
        if let Some((item, length)) = rest.strip_suffix(']').and_then(|inner| inner.split_once('[')) {
            let length = if length.is_empty() {
                None
            } else {
                Some(length.parse().ok()?)
            };
            let optional_items = item.ends_with('?');
            list = Some(ListKind { length, optional_items });
            rest = item.trim_end_matches('?');
        }
        let base = match rest {
            "Tensor" => Base::Tensor,
            "int" | "ScalarType" | "Layout" | "MemoryFormat" => Base::Int,
            "float" => Base::Float,
            "bool" => Base::Bool,
            "str" => Base::Str,
            "Scalar" => Base::Scalar,
            "Device" => Base::Device,
            "t" => Base::Var,
            "Any" => Base::Any,
            _ => return None,
        };
        Some(Kind { base, optional, list })
    }
}

/// The type that a result has, `variable` being what the schema's type variable stands for.
///
/// A `Scalar` result counts as a float; a `Device` is no value of a graph.
pub(super) fn result_type(text: &str, variable: Option<&Type>) -> Option<Type> {
    let kind = Kind::parse(text)?;
    let base = match kind.base {
        Base::Tensor => Type::Tensor,
        Base::Int => Type::Int,
        Base::Float | Base::Scalar => Type::Float,
        Base::Bool => Type::Bool,
        Base::Str => Type::Str,
        Base::Var | Base::Any => variable?.clone(),
        Base::Device => return None,
    };
    Some(if kind.list.is_some() {
        Type::List(Box::new(base))
    } else {
        base
    })
}

impl Schema {
    /// Reads one line of `schemas.txt`.
    fn parse(line: &str) -> Option<Schema> {
        let (name, rest) = line.split_once('(')?;
        let (args, returns) = rest.rsplit_once(") -> ")?;
        let (op, overload) = name.split_once('.').unwrap_or((name, ""));
        let mut keyword_only = false;
        let mut parsed = Vec::new();
        for piece in pieces(args) {
            if piece == "*" {
                keyword_only = true;
                continue;
            }
            let (ty, name) = piece.split_once(' ')?;
            let (name, default) = match name.split_once('=') {
                Some((name, default)) => (name, Some(default)),
                None => (name, None),
            };
            let kind = Kind::parse(ty)?;
            parsed.push(SchemaArg {
                name: name.into(),
                ty: ty.into(),
                kind,
                default: match default {
                    Some(text) => Some(literal(text, kind)?),
                    None => None,
                },
                keyword_only,
            });
        }
        let returns = match returns.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => pieces(inner),
            None if returns == "..." => Vec::new(),
            None => vec![returns],
        };
        let types = returns
            .iter()
            .map(|piece| piece.split(' ').next().unwrap_or(piece).into());
        Some(Schema {
            op: op.into(),
            overload: overload.into(),
            args: parsed,
            returns: types.collect(),
        })
    }
}

/// Splits at commas outside brackets and quotes.
fn pieces(text: &str) -> Vec<&str> {
    let (mut found, mut depth, mut quoted, mut last) = (Vec::new(), 0, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'(' | b'[' if !quoted => depth += 1,
            b')' | b']' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                found.push(text[last..at].trim());
                last = at + 1;
            }
            _ => {}
        }
    }
    let tail = text[last..].trim();
    if !tail.is_empty() {
        found.push(tail);
    }
    found
}

/// A default: one number given for `int[2]` becomes two.
fn literal(text: &str, kind: Kind) -> Option<Arg> {
    let one = match text {
        "None" => Arg::None,
        "True" => Arg::Bool(true),
        "False" => Arg::Bool(false),
        _ if text.starts_with('"') => Arg::Str(text.trim_matches('"').into()),
        _ if text.starts_with('[') => {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            let item = Kind { list: None, ..kind };
            let items: Option<Vec<Arg>> = pieces(inner).into_iter().map(|piece| literal(piece, item)).collect();
            return Some(Arg::List(items?));
        }
        _ => match text.parse::<i64>() {
            Ok(int) if kind.base == Base::Float => Arg::Float(int as f64),
            Ok(int) => Arg::Int(int),
            Err(_) => Arg::Float(text.parse().ok()?),
        },
    };
    Some(match kind.list.and_then(|list| list.length) {
        Some(length) if one != Arg::None => Arg::List(vec![one; length]),
        _ => one,
    })
}

/// Every operator that may appear in a graph: pure functions of tensors and numbers.
pub struct AllowList {
    /// Sorted by operator; the overloads of one stand together, in the order in which they are tried.
    lines: Vec<&'static str>,
    /// At the first line of each operator, its overloads once they were asked for.
    parsed: Vec<OnceLock<Vec<Schema>>>,
}

impl AllowList {
    /// The overloads of an operator, none when it is not allowed.
    pub fn overloads(&self, op: &str) -> &[Schema] {
        let start = self.lines.partition_point(|line| name(line) < op);
        let count = self.lines[start..].iter().take_while(|line| name(line) == op).count();
        if count == 0 {
            return &[];
        }
        self.parsed[start].get_or_init(|| {
            let lines = &self.lines[start..start + count];
            lines.iter().filter_map(|line| Schema::parse(line)).collect()
        })
    }

    /// One overload by name.
    pub fn overload(&self, op: &str, overload: &str) -> Option<&Schema> {
        self.overloads(op).iter().find(|schema| schema.overload == overload)
    }
}

/// Operators that lowering makes and no model file may ask for: internals of libtorch's builds with oneDNN.
const LOWERED: &[&str] = &[
    "mkldnn::_convolution_pointwise(Tensor X, Tensor W, Tensor? B, int[] padding, int[] stride, int[] dilation, \
     int groups, str attr, Scalar?[] scalars, str? algorithm) -> Tensor",
    "mkldnn::_convolution_pointwise.binary(Tensor X, Tensor other, Tensor W, Tensor? B, int[] padding, int[] stride, \
     int[] dilation, int groups, str binary_attr, Scalar? alpha, str? unary_attr, Scalar?[] unary_scalars, \
     str? unary_algorithm) -> Tensor",
    "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> Tensor",
    "mkldnn::_reorder_convolution_weight(Tensor self, int[2] padding=0, int[2] stride=1, int[2] dilation=1, \
     int groups=1, int[]? input_size=None) -> Tensor",
    "mkldnn::_reorder_linear_weight(Tensor self, int? batch_size=None) -> Tensor",
];

/// The schema of an operator of the allow-list, or of one that lowering makes.
pub fn schema_of(op: &str, overload: &str) -> Option<&'static Schema> {
    static MADE: OnceLock<Vec<Schema>> = OnceLock::new();
    let made = MADE.get_or_init(|| LOWERED.iter().filter_map(|line| Schema::parse(line)).collect());
    let fits = |schema: &&Schema| schema.op == op && schema.overload == overload;
    allow_list().overload(op, overload).or_else(|| made.iter().find(fits))
}

/// The operator of a line.
fn name(line: &str) -> &str {
    line.split(['.', '(']).next().unwrap_or(line)
}

/// The allow-list; the checked-in `schemas.txt` is split once and parsed by and by.
pub fn allow_list() -> &'static AllowList {
    static LIST: OnceLock<AllowList> = OnceLock::new();
    LIST.get_or_init(|| {
        let lines: Vec<&str> = include_str!("schemas.txt").lines().collect();
        let parsed = lines.iter().map(|_| OnceLock::new()).collect();
        AllowList { lines, parsed }
    })
}

/// Whether the name is that of a write in place: `aten::relu_`, but not `aten::__and__`.
pub fn is_in_place(op: &str) -> bool {
    op.ends_with('_') && !op.ends_with("__") || operator_twin(op).is_some()
}

/// `aten::__or__` for `aten::__ior__`, which traces hold.
fn operator_twin(op: &str) -> Option<&'static str> {
    Some(match op {
        "aten::__iand__" => "aten::__and__",
        "aten::__ior__" => "aten::__or__",
        "aten::__ixor__" => "aten::__xor__",
        _ => return None,
    })
}

/// The pure operator that computes what a write in place leaves: `aten::relu` for `aten::relu_`; `None` when there is none.
pub fn functional_twin(op: &str) -> Option<&str> {
    let twin = operator_twin(op).or_else(|| op.strip_suffix('_').filter(|_| is_in_place(op)))?;
    (!allow_list().overloads(twin).is_empty()).then_some(twin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_parses_and_stands_in_order() {
        let list = allow_list();
        for line in &list.lines {
            assert!(Schema::parse(line).is_some(), "{line}");
            assert!(!line.contains('!'), "{line}");
        }
        assert!(list.lines.is_sorted_by_key(|line| name(line)));
        assert!(LOWERED.iter().all(|line| Schema::parse(line).is_some()));
    }

    #[test]
    fn a_schema_has_names_types_and_defaults() {
        let schema = &allow_list().overloads("aten::max_pool2d")[0];
        let names: Vec<&str> = schema.args.iter().map(|arg| arg.name.as_str()).collect();
        assert_eq!(
            names,
            ["self", "kernel_size", "stride", "padding", "dilation", "ceil_mode"]
        );
        assert_eq!(schema.args[3].ty, "int[2]");
        assert_eq!(schema.args[3].default, Some(Arg::List(vec![Arg::Int(0), Arg::Int(0)])));
        assert_eq!(schema.args[2].default, Some(Arg::List(vec![])));
        let add = allow_list()
            .overload("aten::add", "Tensor")
            .map(|add| add.args[2].clone());
        assert!(add.is_some_and(|alpha| alpha.keyword_only && alpha.default == Some(Arg::Int(1))));
        let max = allow_list().overload("aten::max", "dim").map(|max| max.returns.clone());
        assert_eq!(max, Some(vec!["Tensor".into(), "Tensor".into()]));
    }

    #[test]
    fn what_is_no_arithmetic_is_not_listed() {
        for op in [
            "from_file",
            "save",
            "load",
            "warn",
            "randn",
            "bernoulli",
            "manual_seed",
            "relu_",
            "fork",
            "format",
            "set_",
        ] {
            assert!(allow_list().overloads(&format!("aten::{op}")).is_empty(), "{op}");
        }
        for op in [
            "prim::Print",
            "prim::rpc_sync",
            "prim::PythonOp",
            "torchvision::nms",
            "mkldnn::_linear_pointwise",
        ] {
            assert!(allow_list().overloads(op).is_empty(), "{op}");
        }
    }

    #[test]
    fn writes_in_place_have_pure_twins() {
        assert_eq!(functional_twin("aten::relu_"), Some("aten::relu"));
        assert_eq!(functional_twin("aten::copy_"), Some("aten::copy"));
        assert_eq!(functional_twin("aten::zero_"), Some("aten::zero"));
        assert_eq!(functional_twin("aten::__ior__"), Some("aten::__or__"));
        assert_eq!(functional_twin("aten::__and__"), None);
        assert_eq!(functional_twin("aten::normal_"), None);
    }
}
