//! Operators called by the code: folded, made functional, or added to the graph.
//!
//! Owns what each call becomes: known numbers are computed, containers handled, writes in place turned into new values,
//! raises and asserts dropped or reported, and everything else becomes a node of an allowed operator. Deliberately knows
//! no control flow.

use super::ReadError;
use super::alias::{Sharing, sharing};
use super::containers::changes_container;
use super::fold::fold;
use super::inline::Inliner;
use super::value::{CellId, Keywords, ListView, Shape, Val, View};
use crate::graph::{Arg, Type, ValueId, functional_twin, is_in_place};
use std::cell::RefCell;
use std::rc::Rc;

impl Inliner<'_, '_> {
    /// A call of an operator by its full name.
    pub fn operator(&mut self, op: &str, args: Vec<Val>, keywords: Keywords) -> Result<Val, ReadError> {
        let args: Vec<Val> = args.iter().map(Val::now).collect();
        let (space, name) = op.split_once("::").unwrap_or(("", op));
        let mut unknown = args.iter().filter(|arg| matches!(arg, Val::Unset | Val::Unknown(_)));
        if let Some(first) = unknown.next()
            && !matches!(name, "RaiseException" | "append" | "_set_item")
        {
            if is_in_place(op) || changes_container(name) {
                return Err(self.unknown_fault(first));
            }
            let unknown = match first {
                Val::Unset => Val::Unknown("computed from a value that was never set".into()),
                _ => first.clone(),
            };
            return Ok(fold(name, &args).and_then(Result::ok).unwrap_or(unknown));
        }
        if space == "aten" || space == "prim" {
            if keywords.is_empty() {
                if let Some(found) = self.container(name, &args)? {
                    return Ok(found);
                }
                if let Some(found) = fold(name, &args) {
                    return found.or_else(|message| self.error(format!("the model raises: {message}")));
                }
            }
            if let Some(found) = self.special(op, &args, &keywords)? {
                return Ok(found);
            }
        }
        if is_in_place(op) && space == "aten" {
            return self.write_in_place(op, args, keywords);
        }
        let (op, args, keywords) = initialised(op, args, keywords);
        self.plain(&op, &args, &keywords)
    }

    /// The present value of a tensor.
    pub(super) fn read(&mut self, cell: CellId) -> Result<ValueId, ReadError> {
        let found = self.cells.read(cell, &mut self.builder);
        found.or_else(|message| self.error(message))
    }

    /// A node with one result, as a value of the code.
    pub(super) fn emit(&mut self, op: &str, args: Vec<Arg>, keywords: Vec<(String, Arg)>) -> Result<Val, ReadError> {
        let values = self.builder.call(op, &args, &keywords);
        let values = values.or_else(|message| self.error(message))?;
        let mut found: Vec<Val> = values.into_iter().map(|value| self.wrap(value)).collect();
        Ok(match found.len() {
            1 => found.remove(0),
            _ => Val::tuple(found),
        })
    }

    /// Calls that are more, or less, than a node.
    fn special(&mut self, op: &str, args: &[Val], keywords: &[(Rc<str>, Val)]) -> Result<Option<Val>, ReadError> {
        let found = match (op, args) {
            ("prim::RaiseException", _) => {
                let message = args
                    .first()
                    .and_then(Val::text)
                    .unwrap_or_else(|| "an exception".into());
                return self.error(format!("the model raises: {message}"));
            }
            // What optimize_for_inference leaves.
            ("aten::to_mkldnn" | "prim::ConstantMKLDNNTensor", _) => return Err(ReadError::Frozen),
            // Checks and messages: they change no result.
            ("aten::warn" | "aten::_assert_tensor_metadata" | "aten::_assert_async" | "aten::_assert", _) => Val::None,
            ("aten::device", [Val::Str(name)]) => Val::Device(name.clone()),
            ("aten::device", [Val::Str(name), Val::Int(index)]) => Val::Device(format!("{name}:{index}").into()),
            // Where a tensor lies is decided when the graph runs.
            ("prim::device", [Val::Tensor(_)]) => Val::Device("cpu".into()),
            ("prim::type", [Val::Device(name)]) => Val::str(name.split(':').next().unwrap_or("cpu")),
            ("prim::layout", [Val::Tensor(_)]) => Val::Int(0),
            // With gradients, attention modules take their plain path instead of one fused operator.
            ("aten::is_grad_enabled", []) | ("prim::requires_grad", [Val::Tensor(_)]) => Val::Bool(true),
            ("aten::is_autocast_enabled" | "aten::is_autocast_cpu_enabled", _)
            | ("aten::_get_tracing_state" | "aten::is_scripting" | "aten::has_torch_function", _)
            | (
                "prim::is_nested"
                | "prim::is_sparse"
                | "prim::is_quantized"
                | "prim::is_mkldnn"
                | "prim::is_cuda"
                | "prim::is_meta"
                | "prim::is_mps"
                | "prim::is_xla"
                | "prim::is_sparse_csr",
                [Val::Tensor(_)],
            ) => Val::Bool(false),
            ("aten::is_complex", [Val::Tensor(tensor)]) => {
                let value = self.read(*tensor)?;
                match self.builder.is_complex(value) {
                    Some(complex) => Val::Bool(complex),
                    None => return Ok(None),
                }
            }
            ("aten::requires_grad_" | "aten::detach_", [Val::Tensor(_), ..]) => args[0].clone(),
            ("prim::unchecked_cast" | "prim::data" | "aten::_unwrap_optional", [value, ..]) => value.clone(),
            ("prim::unchecked_unwrap_optional", [value]) => value.clone(),
            ("aten::size", [Val::Tensor(tensor)]) if keywords.is_empty() => {
                self.cells.hold(*tensor);
                Val::Shape(Shape {
                    tensor: *tensor,
                    start: 0,
                    end: None,
                })
            }
            ("aten::eq" | "aten::ne", [Val::Dynamic(left), Val::Dynamic(right)]) => {
                match self.builder.same_dtype(*left, *right) {
                    Some(same) => Val::Bool(same == (op == "aten::eq")),
                    None => return Ok(None),
                }
            }
            ("aten::eq" | "aten::ne", [Val::List(_) | Val::Shape(_), Val::List(_) | Val::Shape(_)]) => {
                match self.same_numbers(&args[0], &args[1])? {
                    Some(same) if op == "aten::eq" => same,
                    Some(same) => self.operator("aten::__not__", vec![same], Vec::new())?,
                    None => return Ok(None),
                }
            }
            ("aten::len", [Val::Tensor(tensor)]) => self.extent(*tensor, 0)?,
            ("aten::__getitem__" | "prim::TupleIndex", [value, index]) => self.index(value.clone(), index.clone())?,
            ("prim::NumToTensor", [value]) => {
                let number = value.clone();
                let arg = self.argument(value)?;
                let found = self.emit(op, vec![arg], Vec::new())?;
                if let Val::Tensor(cell) = found {
                    let value = self.read(cell)?;
                    self.builder.numbers.insert(value, number);
                }
                found
            }
            (
                "aten::Int"
                | "aten::Float"
                | "aten::Bool"
                | "aten::IntImplicit"
                | "aten::FloatImplicit"
                | "aten::ScalarImplicit"
                | "aten::item",
                [Val::Tensor(cell)],
            ) => {
                let value = self.read(*cell)?;
                let Some(number) = self.builder.numbers.get(&value).cloned() else {
                    return Ok(None);
                };
                let wanted = match op {
                    "aten::Int" | "aten::IntImplicit" => "Int",
                    "aten::Float" | "aten::FloatImplicit" => "Float",
                    "aten::Bool" => "Bool",
                    _ => return Ok(Some(number)),
                };
                match (&number, wanted) {
                    (Val::Dynamic(value), "Int") if *self.builder.type_of(*value) == Type::Int => number,
                    (Val::Dynamic(value), "Float") if *self.builder.type_of(*value) == Type::Float => number,
                    (Val::Dynamic(_), _) => return Ok(None),
                    _ => match fold(wanted, &[number]) {
                        Some(Ok(number)) => number,
                        _ => return Ok(None),
                    },
                }
            }
            ("aten::Int" | "aten::Float" | "aten::Bool", [Val::Dynamic(value)]) => {
                let ty = self.builder.type_of(*value);
                match (op, ty) {
                    ("aten::Int", Type::Int) | ("aten::Float", Type::Float) | ("aten::Bool", Type::Bool) => {
                        args[0].clone()
                    }
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    /// An operator without side effects.
    fn plain(&mut self, op: &str, args: &[Val], keywords: &[(Rc<str>, Val)]) -> Result<Val, ReadError> {
        if op
            .strip_prefix("prim::")
            .is_some_and(|name| name == "Print" || name.starts_with("rpc"))
        {
            return self.error(format!(
                "operator {op} is refused: a model file may compute, not print or call out"
            ));
        }
        let hint = self.builder.hint.take();
        let mut positional = Vec::with_capacity(args.len());
        for (at, arg) in args.iter().enumerate() {
            positional.push(match arg {
                Val::Tensor(cell) if reads_shape(op, at) => Arg::Value(self.shaped(*cell)),
                _ => self.argument(arg)?,
            });
        }
        let mut named = Vec::with_capacity(keywords.len());
        for (name, arg) in keywords {
            named.push((name.to_string(), self.argument(arg)?));
        }
        self.builder.hint = hint;
        let values = self.builder.call(op, &positional, &named);
        let values = values.or_else(|message| self.error(message))?;
        let base = match (args.first(), sharing(op)) {
            (Some(Val::Tensor(base)), Sharing::Certain | Sharing::Possible) => *base,
            _ => {
                let mut found: Vec<Val> = values.into_iter().map(|value| self.wrap(value)).collect();
                return Ok(match found.len() {
                    1 => found.remove(0),
                    _ => Val::tuple(found),
                });
            }
        };
        let Some(&value) = values.first() else {
            return self.error(format!("operator {op} gives nothing"));
        };
        positional.remove(0);
        let view = Rc::new(View {
            op: op.into(),
            args: positional,
            keywords: named,
            certain: sharing(op) == Sharing::Certain,
            element: None,
            count: None,
        });
        if self.is_tensor_list(value) {
            let version = self.cells.version(base);
            self.cells.hold(base);
            return Ok(Val::Views(Rc::new(ListView {
                list: value,
                version,
                base,
                view,
                changed: RefCell::default(),
            })));
        }
        if *self.builder.type_of(value) != Type::Tensor {
            return Ok(Val::Dynamic(value));
        }
        Ok(Val::Tensor(self.cells.view(value, base, view)))
    }

    /// `unsqueeze_(x, 0)`: from now on `x` is a view of what it was.
    fn reshape_in_place(
        &mut self,
        target: CellId,
        twin: &str,
        args: &[Val],
        keywords: &[(Rc<str>, Val)],
    ) -> Result<Val, ReadError> {
        self.spend(self.cells.count() / 16)?;
        let before = self.read(target)?;
        let mut positional = vec![Arg::Value(before)];
        for arg in args {
            positional.push(self.argument(arg)?);
        }
        let mut named = Vec::with_capacity(keywords.len());
        for (name, arg) in keywords {
            named.push((name.to_string(), self.argument(arg)?));
        }
        let values = self.builder.call(twin, &positional, &named);
        let value = values.or_else(|message| self.error(message))?[0];
        positional.remove(0);
        let view = Rc::new(View {
            op: twin.into(),
            args: positional,
            keywords: named,
            certain: true,
            element: None,
            count: None,
        });
        match self.cells.reshape(target, value, view) {
            true => Ok(Val::Tensor(target)),
            false => self.error(format!(
                "operator {twin}_ changes the shape of a tensor in place whose size or parts were taken before; use {twin} \
                 instead"
            )),
        }
    }

    /// `relu_(x)`: computes `relu(x)` and lets `x`, and what shares its memory, be that from now on.
    fn write_in_place(&mut self, op: &str, args: Vec<Val>, keywords: Keywords) -> Result<Val, ReadError> {
        let Some(Val::Tensor(target)) = args.first() else {
            return self.error(format!("operator {op} writes to what is no tensor"));
        };
        let target = *target;
        let Some(twin) = functional_twin(op) else {
            return self.error(format!(
                "operator {op} is not among those that a model file may ask for: it writes in place and has no pure form"
            ));
        };
        if matches!(
            twin,
            "aten::unsqueeze" | "aten::squeeze" | "aten::transpose" | "aten::swapaxes" | "aten::swapdims" | "aten::t"
        ) {
            return self.reshape_in_place(target, twin, &args[1..], &keywords);
        }
        if sharing(twin) != Sharing::None && !twin.ends_with("dropout") {
            return self.error(format!(
                "operator {op} changes the shape of a tensor in place; use {twin} instead"
            ));
        }
        let twin = twin.to_owned();
        let mut positional = Vec::with_capacity(args.len());
        let hint = self.builder.hint.take();
        for arg in &args {
            positional.push(self.argument(arg)?);
        }
        let mut named = Vec::with_capacity(keywords.len());
        for (name, arg) in &keywords {
            named.push((name.to_string(), self.argument(arg)?));
        }
        self.builder.hint = hint;
        let before = positional[0].clone();
        let values = self.builder.call(&twin, &positional, &named);
        let mut value = match values.or_else(|message| self.error(message))?.as_slice() {
            [value] => *value,
            _ => return self.error(format!("operator {op} gives several results")),
        };
        // The tensor keeps its own type: 1.0 and 0.0 for true and false.
        if changes_type(&twin) || (promotes(&twin) && !self.builder.keeps_type(&before, value)) {
            let copied = self.builder.call("aten::copy", &[before, Arg::Value(value)], &[]);
            value = copied.or_else(|message| self.error(message))?[0];
        }
        let written = self.cells.write(target, value, &mut self.builder);
        written.or_else(|message| self.error(message))?;
        Ok(Val::Tensor(target))
    }
}

/// Whether an operator reads no more of an argument than its shape and type.
fn reads_shape(op: &str, argument: usize) -> bool {
    match op.strip_prefix("aten::").unwrap_or(op) {
        "size" | "dim" | "numel" | "len" | "zeros_like" | "ones_like" | "full_like" | "new_zeros" | "new_ones"
        | "new_full" | "prim::dtype" => argument == 0,
        "view_as" | "reshape_as" | "expand_as" => argument == 1,
        _ => false,
    }
}

/// What combines numbers of two types gives the wider one.
fn promotes(twin: &str) -> bool {
    matches!(
        twin.strip_prefix("aten::").unwrap_or(twin),
        "add"
            | "sub"
            | "subtract"
            | "mul"
            | "multiply"
            | "div"
            | "divide"
            | "true_divide"
            | "floor_divide"
            | "remainder"
            | "fmod"
            | "pow"
            | "atan2"
            | "addcmul"
            | "addcdiv"
            | "copysign"
            | "xlogy"
            | "hypot"
            | "lerp"
            | "clamp"
            | "clamp_min"
            | "clamp_max"
            | "__and__"
            | "__or__"
            | "bitwise_and"
            | "bitwise_or"
    )
}

/// Comparisons give booleans, their in-place forms the tensor's own type.
fn changes_type(twin: &str) -> bool {
    matches!(
        twin.strip_prefix("aten::").unwrap_or(twin),
        "eq" | "ne"
            | "lt"
            | "le"
            | "gt"
            | "ge"
            | "greater"
            | "greater_equal"
            | "less"
            | "less_equal"
            | "not_equal"
            | "logical_and"
            | "logical_or"
            | "logical_not"
            | "logical_xor"
    )
}

/// Memory as it was is no function of the arguments: `empty` becomes `zeros`.
fn initialised(op: &str, args: Vec<Val>, keywords: Keywords) -> (String, Vec<Val>, Keywords) {
    let zeros = match op {
        "aten::empty" => "aten::zeros",
        "aten::new_empty" => "aten::new_zeros",
        "aten::empty_like" => "aten::zeros_like",
        _ => return (op.to_owned(), args, keywords),
    };
    let keep = |name: &str| zeros == "aten::zeros_like" || name != "memory_format";
    let keywords = keywords.into_iter().filter(|(name, _)| keep(name)).collect();
    (zeros.to_owned(), args, keywords)
}
