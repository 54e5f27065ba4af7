//! Lists, tuples, dicts and strings of the code, which never reach the graph.
//!
//! Owns subscripts, unpacking, and the operators on containers. A container whose length only a run can tell (`size(x)`,
//! `chunk(x)`) is kept symbolic as long as the code allows.

use super::ReadError;
use super::fold::{format, position, slice};
use super::inline::Inliner;
use super::shapes::slice_shape;
use super::value::{Val, Walk, item_type};
use crate::graph::{Arg, Type, ValueId};
use std::cell::RefCell;
use std::rc::Rc;

/// Operators on lists that change none.
const TAKES_LISTS: [&str; 8] = ["add", "add_", "mul", "len", "copy", "list", "slice", "sum"];

impl Inliner<'_, '_> {
    /// `value[index]`
    pub(super) fn index(&mut self, value: Val, index: Val) -> Result<Val, ReadError> {
        let value = value.now();
        // A list of the graph is asked for its element when the graph runs.
        let index = match value {
            Val::Dynamic(_) => index,
            _ => self.told(&index),
        };
        match (&value, &index) {
            (Val::List(items), Val::Int(at)) => {
                let items = items.borrow();
                match position(*at, items.len()).map(|at| items[at].clone()) {
                    Some(found) => Ok(found),
                    None => self.error(format!("index {at} of a list of {}", items.len())),
                }
            }
            (Val::Tuple(tuple), Val::Int(at)) => match position(*at, tuple.items.len()) {
                Some(at) => Ok(tuple.items[at].clone()),
                None => self.error(format!("index {at} of a tuple of {}", tuple.items.len())),
            },
            (Val::Dict(items), key) => match self.find(&items.borrow(), key)? {
                Some(found) => Ok(found),
                None => self.error(format!(
                    "a dict has no key {}",
                    key.text().unwrap_or_else(|| key.describe().into())
                )),
            },
            (Val::Views(list), Val::Int(at)) => self.piece(list, *at),
            (Val::Shape(shape), Val::Int(at)) => match shape.dim(*at) {
                Some(dim) => self.extent(shape.tensor, dim),
                None => match self.extents(*shape)? {
                    Some(list) => self.index(list, index),
                    None => {
                        let list = self.sizes(*shape)?;
                        self.index(Val::Dynamic(list), index)
                    }
                },
            },
            (Val::Dynamic(list), Val::Int(_) | Val::Dynamic(_)) => {
                let args = vec![Arg::Value(*list), self.argument(&index)?];
                self.emit("aten::__getitem__", args, Vec::new())
            }
            (Val::Str(text), Val::Int(at)) => {
                let chars: Vec<char> = text.chars().collect();
                match position(*at, chars.len()) {
                    Some(at) => Ok(Val::str(&chars[at].to_string())),
                    None => self.error(format!("index {at} of a string of {}", chars.len())),
                }
            }
            (_, Val::Dynamic(_) | Val::Tensor(_)) => {
                self.error("a subscript depends on the data or the shape of the input, which is not read")
            }
            _ => self.error(format!("{} has no element [{}]", value.describe(), index.describe())),
        }
    }

    /// What a dict holds under a key.
    fn find(&self, items: &[(Val, Val)], key: &Val) -> Result<Option<Val>, ReadError> {
        for (known, value) in items.iter().rev() {
            match known.equals(key) {
                Some(true) => return Ok(Some(value.clone())),
                Some(false) => {}
                None => return self.error("whether a dict has a key that only a run can tell"),
            }
        }
        Ok(None)
    }

    /// The values of `a, b, = value`; `names` name what is made.
    pub(super) fn unpack(&mut self, value: Val, names: &[Rc<str>]) -> Result<Vec<Val>, ReadError> {
        let count = names.len();
        let value = value.now();
        let items = match &value {
            Val::List(_) | Val::Tuple(_) => self.known_items(&value)?,
            Val::Views(list) => return self.pieces(list, count),
            Val::Shape(shape) => {
                let mut found = Vec::with_capacity(count);
                for (at, name) in names.iter().enumerate() {
                    self.builder.hint = Some(name.clone());
                    let from_back = at as i64 - count as i64;
                    let dim = match shape.end {
                        // Where the number is known from both ends, count as the code does.
                        _ if shape.start < 0 && shape.end.is_none() => Some(from_back),
                        _ => shape.dim(at as i64),
                    };
                    found.push(match dim {
                        Some(dim) => self.extent(shape.tensor, dim)?,
                        None => {
                            let list = self.sizes(*shape)?;
                            let index = Val::Int(at as i64);
                            self.index(Val::Dynamic(list), index)?
                        }
                    });
                }
                self.builder.hint = None;
                return Ok(found);
            }
            Val::Dynamic(list) => {
                let values = self
                    .builder
                    .unpack(*list, count)
                    .or_else(|message| self.error(message))?;
                return Ok(values.into_iter().map(|value| self.wrap(value)).collect());
            }
            other => return self.error(format!("{} cannot be unpacked", other.describe())),
        };
        if items.len() != count {
            return self.error(format!(
                "{count} names for {} of {} elements",
                value.describe(),
                items.len()
            ));
        }
        Ok(items)
    }

    /// A value of the graph as a value of the code.
    pub(super) fn wrap(&mut self, value: ValueId) -> Val {
        match self.builder.type_of(value) {
            Type::Tensor => Val::Tensor(self.cells.fresh(value)),
            _ => Val::Dynamic(value),
        }
    }

    /// The operators on containers; `None` where it is none of them.
    pub(super) fn container(&mut self, name: &str, args: &[Val]) -> Result<Option<Val>, ReadError> {
        if args.iter().any(|arg| matches!(arg, Val::Views(_)))
            && (TAKES_LISTS.contains(&name) || changes_container(name))
        {
            return match self.opened(name, args)? {
                Some(args) => self.container(name, &args),
                None => Ok(None),
            };
        }
        if let Some(told) = self.placed(name, args) {
            return self.container(name, &told);
        }
        let found = match (name, args) {
            ("append", [Val::List(list), item]) => {
                self.grow(list, item)?;
                list.borrow_mut().push(item.clone());
                args[0].clone()
            }
            ("insert", [Val::List(list), Val::Int(at), item]) => {
                self.grow(list, item)?;
                let length = list.borrow().len();
                let at = position(*at, length).unwrap_or(if *at < 0 { 0 } else { length });
                list.borrow_mut().insert(at, item.clone());
                Val::None
            }
            ("extend", [Val::List(list), other @ (Val::List(_) | Val::Tuple(_))]) => {
                for item in self.known_items(other)? {
                    self.grow(list, &item)?;
                    list.borrow_mut().push(item);
                }
                Val::None
            }
            ("pop", [Val::List(list), rest @ ..]) => {
                let at = match rest {
                    [] => -1,
                    [Val::Int(at)] => *at,
                    _ => return self.error("an element is taken off a list whose place only a run can tell"),
                };
                let length = list.borrow().len();
                match position(at, length) {
                    Some(at) => list.borrow_mut().remove(at),
                    None => return self.error(format!("pop({at}) of a list of {length}")),
                }
            }
            ("reverse", [Val::List(list)]) => {
                list.borrow_mut().reverse();
                Val::None
            }
            ("clear", [Val::List(list)]) => {
                list.borrow_mut().clear();
                Val::None
            }
            ("_set_item", [Val::List(list), Val::Int(at), item]) => {
                self.grow(list, item)?;
                let length = list.borrow().len();
                match position(*at, length) {
                    Some(at) => list.borrow_mut()[at] = item.clone(),
                    None => return self.error(format!("index {at} of a list of {length}")),
                }
                args[0].clone()
            }
            ("_set_item", [Val::Dict(dict), key, item]) => {
                self.set_key(dict, key, item)?;
                Val::None
            }
            ("rangelist", [Val::Int(count)]) => {
                let count = (*count).max(0);
                self.spend(usize::try_from(count).unwrap_or(usize::MAX))?;
                Val::list((0..count).map(Val::Int).collect())
            }
            ("dict", []) => Val::Dict(Rc::default()),
            ("keys", [Val::Dict(dict)]) => Val::list(dict.borrow().iter().map(|(key, _)| key.clone()).collect()),
            ("values", [Val::Dict(dict)]) => Val::list(dict.borrow().iter().map(|(_, value)| value.clone()).collect()),
            ("items", [Val::Dict(dict)]) => {
                let pair = |(key, value): &(Val, Val)| Val::tuple(vec![key.clone(), value.clone()]);
                Val::list(dict.borrow().iter().map(pair).collect())
            }
            ("get", [Val::Dict(dict), key, rest @ ..]) => {
                let found = self.find(&dict.borrow(), key)?;
                found.unwrap_or_else(|| rest.first().cloned().unwrap_or(Val::None))
            }
            ("__contains__", [Val::Dict(dict), key]) => Val::Bool(self.find(&dict.borrow(), key)?.is_some()),
            ("__contains__", [Val::List(list), item]) => {
                let same: Option<Vec<bool>> = list.borrow().iter().map(|known| known.equals(item)).collect();
                match same {
                    Some(same) => Val::Bool(same.contains(&true)),
                    None => return self.error("whether a list holds a value that only a run can tell"),
                }
            }
            ("len", [Val::List(list)]) => Val::Int(list.borrow().len() as i64),
            ("len", [Val::Tuple(tuple)]) => Val::Int(tuple.items.len() as i64),
            ("len", [Val::Dict(dict)]) => Val::Int(dict.borrow().len() as i64),
            ("len", [Val::Str(text)]) => Val::Int(text.chars().count() as i64),
            ("len", [Val::Shape(shape)]) if shape.start == 0 && shape.end.is_none() => self.dimensions(shape.tensor)?,
            ("dim", [Val::Tensor(tensor)]) => self.dimensions(*tensor)?,
            ("copy" | "list", [Val::List(_) | Val::Tuple(_)]) => Val::list(self.known_items(&args[0])?),
            ("copy" | "list", [Val::Shape(_)]) => args[0].clone(),
            ("copy", [Val::Dict(dict)]) => Val::Dict(Rc::new(RefCell::new(dict.borrow().clone()))),
            ("add", [Val::List(_), Val::List(_)]) => {
                let mut items = self.known_items(&args[0])?;
                items.extend(self.known_items(&args[1])?);
                Val::list(items)
            }
            ("add_", [Val::List(list), Val::List(_)]) => {
                let items = self.known_items(&args[1])?;
                for item in &items {
                    self.grow(list, item)?;
                }
                list.borrow_mut().extend(items);
                args[0].clone()
            }
            ("mul", [Val::List(_), Val::Int(count)]) | ("mul", [Val::Int(count), Val::List(_)]) => {
                let list = if matches!(args[0], Val::List(_)) {
                    &args[0]
                } else {
                    &args[1]
                };
                let items = self.known_items(list)?;
                let count = usize::try_from(*count).unwrap_or(0);
                self.spend(items.len().saturating_mul(count))?;
                Val::list(items.iter().cycle().take(items.len() * count).cloned().collect())
            }
            ("slice", [Val::List(_), bounds @ ..]) => {
                let items = self.known_items(&args[0])?;
                match slice(&items, bounds) {
                    Some(Some(items)) => Val::list(items),
                    Some(None) => return self.error("a slice in steps of zero"),
                    None => return self.error("a slice of a list whose bounds only a run can tell"),
                }
            }
            ("slice", [Val::Shape(shape), bounds @ ..]) => match slice_shape(*shape, bounds) {
                Some(shape) => Val::Shape(shape),
                None => return self.on_extents(name, args),
            },
            ("add" | "mul" | "len" | "sum" | "max" | "min" | "__contains__" | "extend", [first, rest @ ..])
                if matches!(first, Val::Shape(_)) || matches!(rest, [Val::Shape(_)]) =>
            {
                return self.on_extents(name, args);
            }
            ("sum" | "max" | "min", [Val::List(_)]) => {
                let items = self.known_items(&args[0])?;
                let operation = if name == "sum" { "add" } else { name };
                let mut items = items.into_iter();
                let first = items.next().unwrap_or(Val::Int(0));
                let mut total = first;
                for item in items {
                    let pair = [total, item];
                    total = match super::fold::fold(operation, &pair) {
                        Some(Ok(total)) => total,
                        None if name == "sum" => self.operator("aten::add", pair.to_vec(), Vec::new())?,
                        _ => return Ok(None),
                    };
                }
                total
            }
            ("any" | "all", [Val::List(_)]) => {
                let items = self.known_items(&args[0])?;
                let flags: Option<Vec<bool>> = items
                    .iter()
                    .map(|item| match item {
                        Val::Bool(flag) => Some(*flag),
                        _ => None,
                    })
                    .collect();
                match flags {
                    Some(flags) if name == "any" => Val::Bool(flags.contains(&true)),
                    Some(flags) => Val::Bool(!flags.contains(&false)),
                    None => return Ok(None),
                }
            }
            ("format", [Val::Str(pattern), values @ ..]) => match format(pattern, values) {
                Some(text) => Val::Str(text.into()),
                None => Val::Unknown("a text that only a run can tell".into()),
            },
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    /// Counts what goes into a container, and refuses containers nested without end.
    pub(super) fn contain(&mut self, items: &[Val]) -> Result<(), ReadError> {
        let mut walk = Walk::default();
        let fine = items.iter().all(|item| item.nests(&mut walk).is_some());
        self.spend(items.len() + walk.steps() / 8)?;
        match fine {
            true => Ok(()),
            false => self.error("containers are too large or nested too deep"),
        }
    }

    /// Refuses lists that grow without bound.
    fn grow(&mut self, list: &Rc<RefCell<Vec<Val>>>, item: &Val) -> Result<(), ReadError> {
        self.contain(std::slice::from_ref(item))?;
        match item {
            Val::List(inner) if Rc::ptr_eq(inner, list) => self.error("a list is put into itself"),
            _ => Ok(()),
        }
    }

    fn set_key(&mut self, dict: &Rc<RefCell<Vec<(Val, Val)>>>, key: &Val, item: &Val) -> Result<(), ReadError> {
        self.contain(&[key.clone(), item.clone()])?;
        let mut items = dict.borrow_mut();
        if items.len() >= 10_000 {
            return self.error("a dict of more than 10000 keys");
        }
        match items.iter_mut().find(|(known, _)| known.equals(key) == Some(true)) {
            Some((_, slot)) => *slot = item.clone(),
            None => items.push((key.clone(), item.clone())),
        }
        Ok(())
    }

    pub(super) fn known_items(&mut self, value: &Val) -> Result<Vec<Val>, ReadError> {
        match value {
            Val::List(list) => {
                let items = list.borrow().clone();
                self.spend(items.len())?;
                Ok(items)
            }
            Val::Tuple(tuple) => {
                self.spend(tuple.items.len())?;
                Ok(tuple.items.clone())
            }
            Val::Shape(shape) => match self.extents(*shape)? {
                Some(list) => self.known_items(&list),
                None => self.error("a list is as long as a tensor has dimensions, which is not known"),
            },
            Val::Views(list) => match self.known_pieces(list)? {
                Some(items) => Ok(items),
                None => self.error(format!(
                    "how many parts {} gives depends on the batch size, or on sizes of the input that are not declared",
                    list.view.op
                )),
            },
            other => self.error(format!("{} where a list is wanted", other.describe())),
        }
    }

    /// A value as an argument of an operator.
    pub(super) fn argument(&mut self, value: &Val) -> Result<Arg, ReadError> {
        self.argument_within(value, &mut Walk::default())
    }

    fn argument_within(&mut self, value: &Val, walk: &mut Walk) -> Result<Arg, ReadError> {
        self.spend(1)?;
        if walk.enter().is_none() {
            return self.error("a list is too large or nested too deep for an operator");
        }
        let value = &value.now();
        let arg = match value {
            Val::None => Arg::None,
            Val::Bool(flag) => Arg::Bool(*flag),
            Val::Int(int) => Arg::Int(*int),
            Val::Float(float) => Arg::Float(*float),
            Val::Str(text) => Arg::Str(text.to_string()),
            Val::Device(name) => Arg::Device(name.to_string()),
            Val::Tensor(cell) => Arg::Value(self.read(*cell)?),
            Val::Dynamic(value) => Arg::Value(*value),
            Val::Views(list) => Arg::Value(self.refresh(list)?),
            Val::Shape(shape) => Arg::Value(self.sizes(*shape)?),
            Val::List(_) | Val::Tuple(_) => {
                let items = self.known_items(value)?;
                let mut args = Vec::with_capacity(items.len());
                for item in &items {
                    args.push(self.argument_within(item, walk)?);
                }
                Arg::List(args)
            }
            Val::Unset | Val::Unknown(_) => return Err(self.unknown_fault(value)),
            other => return self.error(format!("{} cannot be an operator's argument", other.describe())),
        };
        walk.leave();
        Ok(arg)
    }

    /// The type of the elements of a runtime list.
    pub(super) fn is_tensor_list(&self, value: ValueId) -> bool {
        item_type(self.builder.type_of(value)) == Some(&Type::Tensor)
    }
}

/// Whether an operator changes the container that it is given.
pub(super) fn changes_container(name: &str) -> bool {
    matches!(
        name,
        "append"
            | "extend"
            | "insert"
            | "pop"
            | "remove"
            | "reverse"
            | "sort"
            | "clear"
            | "_set_item"
            | "Delete"
            | "update"
            | "setdefault"
            | "popitem"
    )
}
