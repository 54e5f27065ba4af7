//! Expressions: names, fields, subscripts, and calls of everything but operators.
//!
//! Owns how names are resolved (locals, `torch.X`, `ops.ns.X`, `__torch__.…`, `CONSTANTS.cN`), methods, constructors and
//! the casts that the printer writes as calls. Deliberately knows no operator (see `operators`).

use super::ReadError;
use super::ast::{Call, Class, Expr};
use super::inline::{Frame, Inliner, coerce};
use super::library::Named;
use super::value::{EnumVal, Keywords, Object, ObjectId, TupleVal, Val};
use std::rc::Rc;

impl Inliner<'_, '_> {
    /// The value of an expression.
    pub fn eval(&mut self, frame: &Frame, expr: &Expr) -> Result<Val, ReadError> {
        self.deeper(|this| match expr {
            Expr::None => Ok(Val::None),
            Expr::Bool(flag) => Ok(Val::Bool(*flag)),
            Expr::Int(int) => Ok(Val::Int(*int)),
            Expr::Float(float) => Ok(Val::Float(*float)),
            Expr::Str(text) => Ok(Val::Str(text.clone())),
            Expr::Name(name) => match frame.locals.get(name) {
                Some(value) => Ok(value.clone()),
                None => this.error(format!("the name {name:?} is not defined")),
            },
            Expr::List(items) => {
                let items = this.eval_all(frame, items)?;
                this.contain(&items)?;
                Ok(Val::list(items))
            }
            Expr::Tuple(items) => {
                let items = this.eval_all(frame, items)?;
                this.contain(&items)?;
                Ok(Val::tuple(items))
            }
            Expr::Dict(items) => {
                let mut found = Vec::with_capacity(items.len());
                for (key, value) in items {
                    let pair = [this.eval(frame, key)?, this.eval(frame, value)?];
                    this.contain(&pair)?;
                    let [key, value] = pair;
                    found.push((key, value));
                }
                Ok(Val::Dict(Rc::new(found.into())))
            }
            Expr::Negative(value) => match this.eval(frame, value)? {
                Val::Int(int) => Ok(Val::Int(int.wrapping_neg())),
                Val::Float(float) => Ok(Val::Float(-float)),
                other => this.operator("aten::neg", vec![other], Vec::new()),
            },
            Expr::Field(object, name) => this.field(frame, expr, object, name),
            Expr::Index(value, index) => {
                let hint = this.builder.hint.take();
                let value = this.eval(frame, value)?;
                let index = this.eval(frame, index)?;
                this.builder.hint = hint;
                this.index(value, index)
            }
            Expr::Call(call) => this.call_expr(frame, call),
        })
    }

    fn eval_all(&mut self, frame: &Frame, items: &[Expr]) -> Result<Vec<Val>, ReadError> {
        let hint = self.builder.hint.take();
        let found = items.iter().map(|item| self.eval(frame, item)).collect();
        self.builder.hint = hint;
        found
    }

    fn field(&mut self, frame: &Frame, expr: &Expr, object: &Expr, name: &Rc<str>) -> Result<Val, ReadError> {
        if let Some(path) = dotted(expr) {
            match root(expr) {
                Some("CONSTANTS") => {
                    let index = name.strip_prefix('c').and_then(|digits| digits.parse::<usize>().ok());
                    return match index.and_then(|index| self.constants.get(index)) {
                        Some(value) => Ok(value.clone()),
                        None => self.error(format!("the archive has no constant {name:?}")),
                    };
                }
                Some("__torch__") => return self.global(&path),
                Some("torch" | "ops") => return self.error(format!("{path} is not a value")),
                _ => {}
            }
        }
        let value = self.eval(frame, object)?;
        self.attribute(&value, name)
    }

    /// `value.name`
    fn attribute(&mut self, value: &Val, name: &str) -> Result<Val, ReadError> {
        match value {
            Val::Object(id) => {
                if let Some(found) = self.objects[id.0].get(name) {
                    return Ok(found.clone());
                }
                let class = self.objects[id.0].class.clone();
                match class_constant(&class, name) {
                    Some(constant) => self.eval(&Frame::default(), constant),
                    None => self.error(format!("an object of class {} has no attribute {name:?}", class.name)),
                }
            }
            Val::Tuple(tuple) => match tuple.names.iter().position(|known| &**known == name) {
                Some(index) => Ok(tuple.items[index].clone()),
                None => self.error(format!("a tuple has no field {name:?}")),
            },
            Val::Enum(item) if name == "value" => Ok(item.value.clone()),
            other => self.error(format!("{} has no attribute {name:?}", other.describe())),
        }
    }

    /// What a qualified name of the archive is worth.
    fn global(&mut self, path: &str) -> Result<Val, ReadError> {
        match self.library.find(path)? {
            Some((Named::Function(_), _)) => return Ok(Val::Function(path.into())),
            Some((Named::Class(_), _)) => return Ok(Val::Class(path.into())),
            None => {}
        }
        if let Some((class_path, name)) = path.rsplit_once('.')
            && let Some((Named::Class(class), _)) = self.library.find(class_path)?
            && let Some(value) = class_constant(&class, name)
        {
            let value = self.eval(&Frame::default(), value)?;
            let class = class_path.into();
            return Ok(Val::Enum(Rc::new(EnumVal { class, value })));
        }
        self.error(format!("the archive has no code for {path}"))
    }

    fn call_expr(&mut self, frame: &Frame, call: &Call) -> Result<Val, ReadError> {
        if let Expr::Name(name) = &call.callee
            && !frame.locals.contains_key(name)
        {
            return self.builtin(frame, name, call);
        }
        if let Some(path) = dotted(&call.callee) {
            match root(&call.callee) {
                Some("torch") => {
                    let op = format!("aten::{}", &path["torch.".len()..]);
                    let (args, keywords) = self.arguments(frame, call)?;
                    return self.operator(&op, args, keywords);
                }
                Some("ops") => {
                    let op = path["ops.".len()..].replacen('.', "::", 1);
                    let (args, keywords) = self.arguments(frame, call)?;
                    return self.operator(&op, args, keywords);
                }
                Some("__torch__") if !path.ends_with(".__new__") => {
                    let callee = self.global(&path)?;
                    return self.call_value(frame, callee, call);
                }
                _ => {}
            }
        }
        match &call.callee {
            Expr::Field(object, name) if &**name == "__new__" => {
                let path = dotted(object).unwrap_or_default();
                let class = self.library.class(&path)?;
                let object = ObjectId(self.objects.len());
                self.objects.push(Object::new(class, path.into()));
                Ok(Val::Object(object))
            }
            Expr::Field(object, name) => {
                let hint = self.builder.hint.take();
                let object = self.eval(frame, object)?;
                self.builder.hint = hint;
                self.method(frame, object, name, call)
            }
            callee => {
                let callee = self.eval(frame, callee)?;
                self.call_value(frame, callee, call)
            }
        }
    }

    fn arguments(&mut self, frame: &Frame, call: &Call) -> Result<(Vec<Val>, Keywords), ReadError> {
        let hint = self.builder.hint.take();
        let args = self.eval_all(frame, &call.args)?;
        let mut keywords = Vec::with_capacity(call.keywords.len());
        for (name, value) in &call.keywords {
            keywords.push((name.clone(), self.eval(frame, value)?));
        }
        self.builder.hint = hint;
        Ok((args, keywords))
    }

    fn call_value(&mut self, frame: &Frame, callee: Val, call: &Call) -> Result<Val, ReadError> {
        let (args, keywords) = self.arguments(frame, call)?;
        match callee {
            Val::Function(path) => match self.library.find(&path)? {
                Some((Named::Function(function), file)) => self.call(&function, file, None, args, keywords),
                _ => self.error(format!("the archive has no code for {path}")),
            },
            Val::Class(path) => {
                let class = self.library.class(&path)?;
                if &*class.base != "NamedTuple" {
                    return self.error(format!("objects of class {path} are not made here"));
                }
                let names = class
                    .attributes
                    .iter()
                    .map(|attribute| attribute.name.clone())
                    .collect();
                Ok(Val::Tuple(Rc::new(TupleVal { items: args, names })))
            }
            other => self.error(format!("{} cannot be called", other.describe())),
        }
    }

    /// `(object).name(args)`
    fn method(&mut self, frame: &Frame, object: Val, name: &str, call: &Call) -> Result<Val, ReadError> {
        let Val::Object(id) = object else {
            return self.error(format!("{} has no method {name:?}", object.describe()));
        };
        let (qualified, path) = (self.objects[id.0].qualified.clone(), self.objects[id.0].path.clone());
        let Some((Named::Class(class), file)) = self.library.find(&qualified)? else {
            return self.error(format!("the archive has no code for {qualified}"));
        };
        let Some(method) = class.methods.iter().find(|method| &*method.name == name) else {
            return self.error(format!("the class {qualified} has no method {name:?}"));
        };
        let (mut args, keywords) = self.arguments(frame, call)?;
        args.insert(0, Val::Object(id));
        self.call(method, file, path, args, keywords)
    }

    /// What the printer writes as a call of a bare name.
    fn builtin(&mut self, frame: &Frame, name: &str, call: &Call) -> Result<Val, ReadError> {
        match (name, &call.args[..]) {
            ("annotate" | "unchecked_cast", [ty, value]) => {
                let value = self.eval(frame, value)?;
                match (ty, &value) {
                    (Expr::Name(ty), Val::Tensor(_)) if name == "annotate" => match &**ty {
                        "int" => self.operator("aten::IntImplicit", vec![value], Vec::new()),
                        "float" => self.operator("aten::FloatImplicit", vec![value], Vec::new()),
                        "number" | "Scalar" => self.operator("aten::ScalarImplicit", vec![value], Vec::new()),
                        _ => Ok(value),
                    },
                    _ => Ok(coerce(value, ty)),
                }
            }
            ("uninitialized", [_]) => Ok(Val::Unset),
            ("isinstance", [value, ty]) => {
                let value = self.eval(frame, value)?;
                match is_instance(&value, ty) {
                    Some(flag) => Ok(Val::Bool(flag)),
                    None => self.error(format!("whether {} is of a type is not told here", value.describe())),
                }
            }
            ("getattr", [object, Expr::Str(attribute)]) => {
                let object = self.eval(frame, object)?;
                self.attribute(&object, attribute)
            }
            ("int" | "float" | "bool" | "str" | "len", [value]) => {
                let value = self.eval(frame, value)?;
                let op = match name {
                    "int" => "aten::Int",
                    "float" => "aten::Float",
                    "bool" => "aten::Bool",
                    "len" => "aten::len",
                    _ => "aten::str",
                };
                self.operator(op, vec![value], Vec::new())
            }
            ("print", _) => self.error("operator prim::Print is refused: a model file may compute, not print"),
            _ => self.error(format!(
                "the function {name:?} is not among those that a model file may call"
            )),
        }
    }
}

/// `a.b.c` as text.
fn dotted(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Name(name) => Some(name.to_string()),
        Expr::Field(object, name) => Some(format!("{}.{name}", dotted(object)?)),
        _ => None,
    }
}

/// `a` of `a.b.c`.
fn root(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(name) => Some(name),
        Expr::Field(object, _) => root(object),
        _ => None,
    }
}

fn class_constant<'c>(class: &'c Class, name: &str) -> Option<&'c Expr> {
    let attribute = class.attributes.iter().find(|attribute| &*attribute.name == name)?;
    attribute.value.as_ref()
}

/// Whether a value is of a type, `None` where that is not known.
fn is_instance(value: &Val, ty: &Expr) -> Option<bool> {
    let name = match ty {
        Expr::Tuple(types) | Expr::List(types) => {
            return types
                .iter()
                .try_fold(false, |any, ty| Some(any | is_instance(value, ty)?));
        }
        Expr::None => "NoneType",
        Expr::Name(name) => name,
        Expr::Index(outer, inner) => match &**outer {
            Expr::Name(name) if &**name == "Optional" => {
                return Some(matches!(value, Val::None) || is_instance(value, inner)?);
            }
            Expr::Name(name) => name,
            _ => return None,
        },
        _ => return None,
    };
    let found = match value {
        Val::Dynamic(_) | Val::Unset | Val::Unknown(_) => return None,
        Val::Tensor(_) => "Tensor",
        Val::None => "NoneType",
        Val::Bool(_) => "bool",
        Val::Int(_) => "int",
        Val::Float(_) => "float",
        Val::Str(_) => "str",
        Val::Device(_) => "Device",
        Val::List(_) | Val::Views(_) | Val::Shape(_) => "List",
        Val::Tuple(_) => "Tuple",
        Val::Dict(_) => "Dict",
        Val::Object(_) | Val::Enum(_) | Val::Function(_) | Val::Class(_) => "",
    };
    Some(found == name || (name == "number" && matches!(value, Val::Int(_) | Val::Float(_))))
}
