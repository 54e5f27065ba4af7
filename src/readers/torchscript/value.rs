//! What an expression is worth while code is inlined.
//!
//! Owns [`Val`] and the objects that it points to. Containers live here and never reach the graph: a list in the code is
//! a list of nodes' results by the time an operator takes it. Deliberately knows nothing of the code.

use super::ast::Class;
use crate::graph::{Type, ValueId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A value at inlining time; cloning shares lists, dicts and objects as Python does.
#[derive(Clone, Debug)]
pub enum Val {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Rc<str>),
    Device(Rc<str>),
    List(Rc<RefCell<Vec<Val>>>),
    Tuple(Rc<TupleVal>),
    Dict(Rc<RefCell<Vec<(Val, Val)>>>),
    Object(ObjectId),
    Enum(Rc<EnumVal>),
    /// A tensor: a cell, for writes in place change what it holds.
    Tensor(CellId),
    /// A number, string or list that only a run can tell.
    Dynamic(ValueId),
    /// The list of views that `chunk`, `split` and `unbind` give.
    Views(Rc<ListView>),
    /// Part of a tensor's `size()`.
    Shape(Shape),
    /// A function of the archive, by qualified name.
    Function(Rc<str>),
    /// A class of the archive, by qualified name.
    Class(Rc<str>),
    /// `uninitialized(T)`: never read by correct code.
    Unset,
    /// What depends on a branch that only a run can tell, and no graph can hold; the text says what it is.
    Unknown(Rc<str>),
}

/// Arguments by name.
pub type Keywords = Vec<(Rc<str>, Val)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(pub usize);

/// A tuple; a named one knows its fields.
#[derive(Debug)]
pub struct TupleVal {
    pub items: Vec<Val>,
    pub names: Vec<Rc<str>>,
}

/// One value of an enum.
#[derive(Debug)]
pub struct EnumVal {
    pub class: Rc<str>,
    pub value: Val,
}

/// A list of views of one tensor.
#[derive(Debug)]
pub struct ListView {
    /// The list in the graph, and the version of the base that it shows.
    pub list: ValueId,
    pub version: u64,
    pub base: CellId,
    pub view: Rc<View>,
    /// The list of the code that it is since the code changed it.
    pub changed: RefCell<Option<Rc<RefCell<Vec<Val>>>>>,
}

/// An operator whose result shares memory with its first argument.
#[derive(Clone, Debug)]
pub struct View {
    pub op: String,
    /// Every argument of the call but the first.
    pub args: Vec<crate::graph::Arg>,
    pub keywords: Vec<(String, crate::graph::Arg)>,
    /// Whether it always shares memory (`reshape` may copy).
    pub certain: bool,
    /// Which element of the list, for `chunk` and its like.
    pub element: Option<i64>,
    /// How many elements the list has, where the code says so.
    pub count: Option<usize>,
}

/// `size(x)[start:end]`, kept as such so that its elements become `size(x, dim)`.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub tensor: CellId,
    /// Counted from the front, or from the back when negative.
    pub start: i64,
    /// From the back (negative), or to the end.
    pub end: Option<i64>,
}

impl Shape {
    /// The dimension of element `index`, where no rank is needed to tell.
    pub fn dim(&self, index: i64) -> Option<i64> {
        match (index >= 0, self.end) {
            (true, None) if self.start < 0 => Some(self.start + index).filter(|dim| *dim < 0),
            (true, _) if self.start >= 0 => Some(self.start + index),
            (false, end) => Some(end.unwrap_or(0) + index),
            _ => None,
        }
    }
}

/// An object of the archive: a module, or an instance of another class.
#[derive(Debug)]
pub struct Object {
    pub class: Rc<Class>,
    pub qualified: Rc<str>,
    /// In the order of the file.
    attributes: Vec<(Rc<str>, Val)>,
    /// By name, into `attributes`.
    places: HashMap<Rc<str>, usize>,
    /// The dotted path, for a module.
    pub path: Option<Rc<str>>,
}

impl Object {
    /// One without attributes.
    pub fn new(class: Rc<Class>, qualified: Rc<str>) -> Object {
        Object {
            class,
            qualified,
            attributes: Vec::new(),
            places: HashMap::new(),
            path: None,
        }
    }

    pub fn attributes(&self) -> &[(Rc<str>, Val)] {
        &self.attributes
    }

    pub fn set(&mut self, name: &Rc<str>, value: Val) {
        match self.places.get(name) {
            Some(&place) => self.attributes[place].1 = value,
            None => {
                self.places.insert(name.clone(), self.attributes.len());
                self.attributes.push((name.clone(), value));
            }
        }
    }

    pub fn is_module(&self) -> bool {
        &*self.class.base == "Module"
    }

    pub fn get(&self, name: &str) -> Option<&Val> {
        self.places.get(name).map(|&place| &self.attributes[place].1)
    }
}

impl Val {
    pub fn list(items: Vec<Val>) -> Val {
        Val::List(Rc::new(RefCell::new(items)))
    }

    pub fn tuple(items: Vec<Val>) -> Val {
        Val::Tuple(Rc::new(TupleVal {
            items,
            names: Vec::new(),
        }))
    }

    pub fn str(text: &str) -> Val {
        Val::Str(text.into())
    }

    /// The list of the code that a list of views has become, or the value itself.
    pub fn now(&self) -> Val {
        let changed = match self {
            Val::Views(list) => list.changed.borrow().clone(),
            _ => None,
        };
        changed.map_or_else(|| self.clone(), Val::List)
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Val::None => "None",
            Val::Bool(_) => "a bool",
            Val::Int(_) => "an int",
            Val::Float(_) => "a float",
            Val::Str(_) => "a string",
            Val::Device(_) => "a device",
            Val::List(_) => "a list",
            Val::Tuple(_) => "a tuple",
            Val::Dict(_) => "a dict",
            Val::Object(_) => "an object",
            Val::Enum(_) => "an enum",
            Val::Tensor(_) => "a tensor",
            Val::Dynamic(_) => "a value that only a run can tell",
            Val::Views(_) => "a list of tensors",
            Val::Shape(_) => "a shape",
            Val::Function(_) => "a function",
            Val::Class(_) => "a class",
            Val::Unset => "a value that was never set",
            Val::Unknown(_) => "a value that depends on a branch",
        }
    }

    /// Whether a run is needed to tell it.
    pub fn is_dynamic(&self) -> bool {
        matches!(self, Val::Dynamic(_) | Val::Tensor(_) | Val::Views(_) | Val::Shape(_))
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Val::Int(int) => Some(*int),
            Val::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match self {
            Val::Float(float) => Some(*float),
            other => other.as_int().map(|int| int as f64),
        }
    }

    /// Whether both are the same thing, or known to be equal and of one kind.
    pub fn same(&self, other: &Val, walk: &mut Walk) -> bool {
        match (self, other) {
            (Val::Tuple(a), Val::Tuple(b)) if Rc::ptr_eq(a, b) => true,
            (Val::Tensor(a), Val::Tensor(b)) => a == b,
            (Val::Dynamic(a), Val::Dynamic(b)) => a == b,
            (Val::Shape(a), Val::Shape(b)) => (a.tensor, a.start, a.end) == (b.tensor, b.start, b.end),
            (Val::Views(a), Val::Views(b)) => Rc::ptr_eq(a, b),
            (Val::List(a), Val::List(b)) => Rc::ptr_eq(a, b),
            (Val::Dict(a), Val::Dict(b)) => Rc::ptr_eq(a, b),
            (Val::Function(a), Val::Function(b)) | (Val::Class(a), Val::Class(b)) => a == b,
            (Val::Unset, Val::Unset) => true,
            (Val::Unknown(_), _) | (_, Val::Unknown(_)) => false,
            _ => self.describe() == other.describe() && self.equals_within(other, walk) == Some(true),
        }
    }

    /// Equality as Python sees it, `None` where a run is needed, or where the values are too large to compare.
    pub fn equals(&self, other: &Val) -> Option<bool> {
        self.equals_within(other, &mut Walk::default())
    }

    fn equals_within(&self, other: &Val, walk: &mut Walk) -> Option<bool> {
        if self.is_dynamic() || other.is_dynamic() {
            return None;
        }
        walk.enter()?;
        let mut all = |left: &[Val], right: &[Val]| {
            if left.len() != right.len() {
                return Some(false);
            }
            let mut pairs = left.iter().zip(right);
            pairs.try_fold(true, |same, (a, b)| Some(same & a.equals_within(b, walk)?))
        };
        let found = match (self, other) {
            (Val::None, Val::None) => Some(true),
            (Val::Str(a), Val::Str(b)) | (Val::Device(a), Val::Device(b)) => Some(a == b),
            (Val::Str(a), Val::Device(b)) | (Val::Device(a), Val::Str(b)) => Some(a == b),
            (Val::List(a), Val::List(b)) => all(&a.borrow(), &b.borrow()),
            (Val::Tuple(a), Val::Tuple(b)) => all(&a.items, &b.items),
            (Val::Enum(a), Val::Enum(b)) => Some(a.class == b.class && a.value.equals_within(&b.value, walk)?),
            (Val::Object(a), Val::Object(b)) => Some(a == b),
            (Val::Int(a), Val::Int(b)) => Some(a == b),
            _ => match (self.as_float(), other.as_float()) {
                (Some(a), Some(b)) => Some(a == b),
                _ => Some(false),
            },
        };
        walk.leave();
        found
    }

    /// `None` where containers within containers go too deep.
    pub fn nests(&self, walk: &mut Walk) -> Option<()> {
        walk.enter()?;
        match self {
            Val::List(items) => items.borrow().iter().try_for_each(|item| item.nests(walk))?,
            Val::Tuple(tuple) => tuple.items.iter().try_for_each(|item| item.nests(walk))?,
            Val::Dict(items) => items.borrow().iter().try_for_each(|(_, item)| item.nests(walk))?,
            _ => {}
        }
        walk.leave();
        Some(())
    }

    /// How Python prints a value; `None` where a run is needed, or where it is too long.
    pub fn text(&self) -> Option<String> {
        let mut text = String::new();
        self.print(&mut Walk::default(), &mut text)?;
        Some(text)
    }

    fn print(&self, walk: &mut Walk, text: &mut String) -> Option<()> {
        walk.enter()?;
        let mut within = |items: &[Val], open: char, close: char| {
            text.push(open);
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                item.print(walk, text)?;
            }
            text.push(close);
            Some(())
        };
        match self {
            Val::List(items) => within(&items.borrow(), '[', ']')?,
            Val::Tuple(tuple) => within(&tuple.items, '(', ')')?,
            Val::None => text.push_str("None"),
            Val::Bool(true) => text.push_str("True"),
            Val::Bool(false) => text.push_str("False"),
            Val::Int(int) => text.push_str(&int.to_string()),
            Val::Float(float) => text.push_str(&format!("{float:?}")),
            Val::Str(found) | Val::Device(found) if found.len() <= MAX_TEXT => text.push_str(found),
            _ => return None,
        }
        walk.leave();
        (text.len() <= MAX_TEXT).then_some(())
    }
}

/// A walk over a value that may be shared many times over, or hold itself: bounded in depth and in steps.
pub struct Walk {
    left: usize,
    depth: usize,
}

/// Bytes of one string.
pub const MAX_TEXT: usize = 10_000;

/// Values that one walk may meet.
const STEPS: usize = 100_000;

impl Default for Walk {
    fn default() -> Walk {
        Walk { left: STEPS, depth: 0 }
    }
}

impl Walk {
    /// One value deeper; `None` where the walk has become too long.
    pub fn enter(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        self.depth += 1;
        (self.depth <= 32).then_some(())
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Values that were met.
    pub fn steps(&self) -> usize {
        STEPS - self.left
    }
}

/// The element type of a runtime list.
pub fn item_type(ty: &Type) -> Option<&Type> {
    match ty {
        Type::List(item) => Some(item),
        _ => None,
    }
}
