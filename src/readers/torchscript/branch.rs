//! Branches whose outcome only a run can tell.
//!
//! Owns what such an `if` becomes: both sides are run, one after the other and from the same state, and what they leave
//! otherwise — names, tensors written in place, lists — is from then on one of two, as `prim::If` says when the graph
//! runs. Early returns come as such branches too: TorchScript writes them as a flag and values that are never set.
//! Deliberately refuses what it cannot hold together (attributes set, dicts changed, lists of unlike lengths).

use super::ReadError;
use super::alias::{Saved, Written};
use super::ast::{Expr, Stmt, StmtKind};
use super::inline::{Flow, Frame, Inliner};
use super::value::{CellId, ListView, Object, Val, Walk};
use crate::graph::{Arg, Type, ValueId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

/// What helps where a branch cannot be held.
const ADVICE: &str = "save the model with torch.jit.trace(model.eval(), example) instead of torch.jit.script";

/// Containers within one another that a branch may change.
const DEPTH: usize = 8;

/// What one side of a branch left.
struct Side {
    names: BTreeMap<Rc<str>, Left>,
    written: Vec<Written>,
    lists: Vec<Vec<Left>>,
}

/// A value as it stands, and with its tensors as they were at the side's end.
#[derive(Clone)]
struct Left {
    value: Val,
    worth: Val,
}

type List = Rc<RefCell<Vec<Val>>>;
/// The pairs of a dict.
type Pairs = Vec<(Val, Val)>;
/// A dict, and what it held before.
type Dict = (Rc<RefCell<Pairs>>, Pairs);

/// The containers that stand before a branch.
#[derive(Default)]
struct Held {
    lists: Vec<List>,
    dicts: Vec<Dict>,
    /// Lists of views that the code has not changed yet.
    views: Vec<Rc<ListView>>,
    /// Where those lie that were met.
    met: HashSet<*const ()>,
}

/// Two sides that become one.
struct Join<'j> {
    condition: &'j Val,
    /// Where the branch stands.
    place: &'j str,
    /// Lists that stood before it.
    before: &'j [List],
    /// Lists that either side made, and what became of two.
    made: Vec<[List; 3]>,
}

impl Inliner<'_, '_> {
    /// Runs both sides of an `if` that is not known.
    pub(super) fn both(
        &mut self,
        frame: &mut Frame,
        condition: &Val,
        then: &[Stmt],
        otherwise: &[Stmt],
    ) -> Result<(), ReadError> {
        let (file, line) = (self.file.clone(), self.line);
        let fault = |this: &Self, what: &str| {
            let text = format!("a branch that only a run can tell {what}; {ADVICE}");
            ReadError::Code {
                place: this.place_of(&file, line),
                message: text,
            }
        };
        let mut held = Held::default();
        let known: usize = self.objects.iter().map(|object| object.attributes().len()).sum();
        self.spend(frame.locals.len() * 4 + known / 16)?;
        let attributes = self.objects.iter().flat_map(Object::attributes);
        for value in frame.locals.values().chain(attributes.map(|(_, value)| value)) {
            held.gather(value, DEPTH);
        }
        let Held {
            lists, dicts, views, ..
        } = held;
        let items: usize = lists.iter().map(|list: &List| list.borrow().len() + 1).sum();
        self.spend(items + self.cells.count() / 4)?;
        let attributes = self.attributes_set;
        let before: Vec<Vec<Val>> = lists.iter().map(|list| list.borrow().clone()).collect();
        let cells = self.cells.save();

        let then = self.side(frame, then, &lists, &before, &cells)?;
        self.cells.restore(&cells);
        lists
            .iter()
            .zip(&before)
            .for_each(|(list, items)| *list.borrow_mut() = items.clone());
        let otherwise = self.side(frame, otherwise, &lists, &before, &cells)?;
        self.cells.restore(&cells);
        let (then, otherwise) = match (then, otherwise) {
            (Ok(then), Ok(otherwise)) => (then, otherwise),
            (Err(what), _) | (_, Err(what)) => return Err(fault(self, what)),
        };
        let mut walk = Walk::default();
        let unchanged = |(dict, before): &Dict| {
            let now = dict.borrow();
            let mut pairs = now.iter().zip(before);
            now.len() == before.len() && pairs.all(|(a, b)| a.0.same(&b.0, &mut walk) && a.1.same(&b.1, &mut walk))
        };
        if self.attributes_set != attributes {
            return Err(fault(self, "sets an attribute"));
        }
        if !dicts.iter().all(unchanged) {
            return Err(fault(self, "changes a dict"));
        }
        if views.iter().any(|list| list.changed.borrow().is_some()) {
            return Err(fault(self, "changes a list of parts of a tensor"));
        }
        let mut lengths = then.lists.iter().zip(&otherwise.lists).map(|(a, b)| (a.len(), b.len()));
        if let Some((a, b)) = lengths.find(|(a, b)| a != b) {
            return Err(fault(self, &format!("leaves a list with {a} or with {b} elements")));
        }
        let place = self.place_of(&file, line).to_string();
        let mut join = Join {
            condition,
            place: &place,
            before: &lists,
            made: Vec::new(),
        };
        self.merge_tensors(&join, &then.written, &otherwise.written)?;
        self.merge_names(frame, &mut join, &then, &otherwise)?;
        for ((list, then), otherwise) in lists.iter().zip(&then.lists).zip(&otherwise.lists) {
            let items = self.either_of_each(&mut join, then, otherwise)?;
            *list.borrow_mut() = items;
        }
        Ok(())
    }

    /// Runs one side, or says what it does that cannot be held.
    fn side(
        &mut self,
        frame: &Frame,
        body: &[Stmt],
        lists: &[List],
        before: &[Vec<Val>],
        saved: &Saved,
    ) -> Result<Result<Side, &'static str>, ReadError> {
        let mut own = Frame {
            locals: frame.locals.clone(),
        };
        if let Flow::Return(_) = self.block(&mut own, body)? {
            return Ok(Err("returns on one side"));
        }
        let mut locals: Vec<(Rc<str>, Val)> = own.locals.into_iter().collect();
        locals.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut names = BTreeMap::new();
        for (name, value) in locals {
            let old = frame.locals.get(&name);
            names.insert(name, self.left(value, old)?);
        }
        let mut left = Vec::with_capacity(lists.len());
        for (list, before) in lists.iter().zip(before) {
            let items = list.borrow().clone();
            let items = items
                .into_iter()
                .enumerate()
                .map(|(at, item)| self.left(item, before.get(at)));
            left.push(items.collect::<Result<_, ReadError>>()?);
        }
        let written = self.cells.written_since(saved);
        let side = written.map(|written| Side {
            names,
            written,
            lists: left,
        });
        Ok(side.ok_or("writes in place to what shares memory with others or not, depending on strides"))
    }

    /// [`Val::same`], and counts what it costs.
    fn same(&mut self, a: &Val, b: &Val) -> Result<bool, ReadError> {
        let mut walk = Walk::default();
        let same = a.same(b, &mut walk);
        self.spend(walk.steps())?;
        Ok(same)
    }

    fn left(&mut self, value: Val, old: Option<&Val>) -> Result<Left, ReadError> {
        let worth = match old {
            Some(old) if self.same(old, &value)? => value.clone(),
            _ => self.settled(&value),
        };
        Ok(Left { value, worth })
    }

    /// A value with its tensors as they are now.
    fn settled(&mut self, value: &Val) -> Val {
        match value {
            // One that must not be read is not known.
            Val::Tensor(cell) => match self.cells.read(*cell, &mut self.builder) {
                Ok(now) => Val::Tensor(self.cells.fresh(now)),
                Err(reason) => Val::Unknown(format!("a tensor that must not be read: {reason}").into()),
            },
            Val::List(list) => {
                let items = list.borrow().clone();
                match self.spend(items.len()) {
                    Ok(()) => Val::list(items.iter().map(|item| self.settled(item)).collect()),
                    Err(_) => value.clone(),
                }
            }
            Val::Tuple(tuple) if tuple.names.is_empty() => match self.spend(tuple.items.len()) {
                Ok(()) => Val::tuple(tuple.items.iter().map(|item| self.settled(item)).collect()),
                Err(_) => value.clone(),
            },
            other => other.clone(),
        }
    }

    fn merge_names(
        &mut self,
        frame: &mut Frame,
        join: &mut Join,
        then: &Side,
        otherwise: &Side,
    ) -> Result<(), ReadError> {
        let unset = Left {
            value: Val::Unset,
            worth: Val::Unset,
        };
        let all: BTreeSet<&Rc<str>> = then.names.keys().chain(otherwise.names.keys()).collect();
        for name in all {
            // What one side does not name nothing reads after it.
            let (a, b) = (
                then.names.get(name).unwrap_or(&unset),
                otherwise.names.get(name).unwrap_or(&unset),
            );
            self.builder.hint = Some(name.clone());
            let value = self.either(join, a, b)?;
            frame.locals.insert(name.clone(), value);
        }
        self.builder.hint = None;
        Ok(())
    }

    /// Gives each tensor that a side wrote the one of both values that the condition takes.
    fn merge_tensors(&mut self, join: &Join, then: &[Written], otherwise: &[Written]) -> Result<(), ReadError> {
        let before: BTreeMap<CellId, ValueId> = then
            .iter()
            .chain(otherwise)
            .map(|written| (written.cell, written.before))
            .collect();
        for (cell, before) in before {
            let Val::Dynamic(flag) = join.condition else {
                return Err(self.unknown_fault(join.condition));
            };
            let now = |side: &[Written]| {
                let found = side.iter().find(|written| written.cell == cell);
                Arg::Value(found.map_or(before, |written| written.now))
            };
            let args = [Arg::Value(*flag), now(then), now(otherwise)];
            let merged = self.builder.call("prim::If", &args, &[]);
            let merged = merged.or_else(|message| self.error(message))?;
            self.cells.replace(cell, merged[0]);
        }
        Ok(())
    }

    /// One of two values, as a condition says when the graph runs; not known where no graph can hold it.
    fn either(&mut self, join: &mut Join, then: &Left, otherwise: &Left) -> Result<Val, ReadError> {
        self.spend(1)?;
        if self.same(&then.value, &otherwise.value)? {
            return Ok(then.value.clone());
        }
        match (&then.value, &otherwise.value) {
            // A value that was never set is not read where the condition takes it.
            (Val::Unset, value) | (value, Val::Unset) => return Ok(value.clone()),
            (unknown @ Val::Unknown(_), _) | (_, unknown @ Val::Unknown(_)) => return Ok(unknown.clone()),
            _ => {}
        }
        let flag = match join.condition {
            Val::Dynamic(flag) => *flag,
            Val::Unknown(_) => return Ok(join.condition.clone()),
            _ => return Ok(join.unlike(then, otherwise)),
        };
        match (&then.worth, &otherwise.worth) {
            (Val::Bool(true), Val::Bool(false)) => Ok(join.condition.clone()),
            (Val::Bool(false), Val::Bool(true)) => self.emit("aten::__not__", vec![Arg::Value(flag)], Vec::new()),
            (Val::Tuple(a), Val::Tuple(b)) if a.items.len() == b.items.len() => Ok(Val::tuple(self.either_of_each(
                join,
                &then.parts(),
                &otherwise.parts(),
            )?)),
            (Val::List(_), Val::List(_)) => self.either_list(join, then, otherwise),
            (a, b) => {
                let kind = self.kind(a);
                if kind.is_none() || kind != self.kind(b) {
                    return Ok(join.unlike(then, otherwise));
                }
                let args = vec![Arg::Value(flag), self.argument(a)?, self.argument(b)?];
                let found = self.emit("prim::If", args, Vec::new())?;
                if let Val::Tensor(made) = found {
                    let others = [&then.value, &otherwise.value]
                        .into_iter()
                        .filter_map(|value| match value {
                            Val::Tensor(cell) => Some(*cell),
                            _ => None,
                        });
                    self.cells.perhaps(made, &others.collect::<Vec<CellId>>());
                }
                Ok(found)
            }
        }
    }

    fn either_of_each(&mut self, join: &mut Join, then: &[Left], otherwise: &[Left]) -> Result<Vec<Val>, ReadError> {
        then.iter()
            .zip(otherwise)
            .map(|(a, b)| self.either(join, a, b))
            .collect()
    }

    /// Of two lists that the sides made, one list with one of each two elements. Where either stood before the branch, or
    /// goes by several names, writing to it would have to change others or not.
    fn either_list(&mut self, join: &mut Join, then: &Left, otherwise: &Left) -> Result<Val, ReadError> {
        let (Val::List(a), Val::List(b)) = (&then.value, &otherwise.value) else {
            return Ok(join.unlike(then, otherwise));
        };
        for [left, right, made] in &join.made {
            match (Rc::ptr_eq(left, a), Rc::ptr_eq(right, b)) {
                (true, true) => return Ok(Val::List(made.clone())),
                (false, false) => {}
                _ => return Ok(join.unlike(then, otherwise)),
            }
        }
        let old = |list: &List| join.before.iter().any(|known| Rc::ptr_eq(known, list));
        let (left, right) = (then.parts(), otherwise.parts());
        if old(a) || old(b) || left.len() != right.len() {
            return Ok(join.unlike(then, otherwise));
        }
        let items = self.either_of_each(join, &left, &right)?;
        let made = Rc::new(RefCell::new(items));
        join.made.push([a.clone(), b.clone(), made.clone()]);
        Ok(Val::List(made))
    }

    /// The type of what a graph can hold two of.
    fn kind(&self, value: &Val) -> Option<Type> {
        match value {
            Val::Tensor(_) => Some(Type::Tensor),
            Val::Bool(_) => Some(Type::Bool),
            Val::Int(_) => Some(Type::Int),
            Val::Float(_) => Some(Type::Float),
            Val::Dynamic(value) => Some(self.builder.type_of(*value).clone()),
            _ => None,
        }
    }

    /// An error where a value is read of which no graph can tell what it is.
    pub(super) fn unknown_fault(&self, value: &Val) -> ReadError {
        self.fault(match value {
            Val::Unknown(what) => format!("what is read here is {what}; {ADVICE}"),
            _ => "a value is read that was never set".into(),
        })
    }
}

impl Join<'_> {
    /// What is one of two things that no graph can hold both of.
    fn unlike(&self, then: &Left, otherwise: &Left) -> Val {
        let (a, b) = (then.value.describe(), otherwise.value.describe());
        let either = if a == b {
            format!("one of two, each {a}")
        } else {
            format!("{a} or {b}")
        };
        Val::Unknown(
            format!(
                "{either}, as the branch at {} says only when the model runs",
                self.place
            )
            .into(),
        )
    }
}

impl Left {
    /// The elements of a list or tuple, each with its worth.
    fn parts(&self) -> Vec<Left> {
        let items = |value: &Val| match value {
            Val::Tuple(tuple) => tuple.items.clone(),
            Val::List(list) => list.borrow().clone(),
            _ => Vec::new(),
        };
        let pairs = items(&self.value).into_iter().zip(items(&self.worth));
        pairs.map(|(value, worth)| Left { value, worth }).collect()
    }
}

impl Held {
    /// Adds the containers within a value. They outlive this, so that no two have lain at one place.
    fn gather(&mut self, value: &Val, depth: usize) {
        let value = value.now();
        let place: *const () = match &value {
            Val::List(list) => Rc::as_ptr(list).cast(),
            Val::Tuple(tuple) => Rc::as_ptr(tuple).cast(),
            Val::Dict(dict) => Rc::as_ptr(dict).cast(),
            Val::Views(list) => Rc::as_ptr(list).cast(),
            _ => return,
        };
        if depth == 0 || !self.met.insert(place) {
            return;
        }
        match value {
            Val::List(list) => {
                let items = list.borrow().clone();
                self.lists.push(list);
                items.iter().for_each(|item| self.gather(item, depth - 1));
            }
            Val::Tuple(tuple) => tuple.items.iter().for_each(|item| self.gather(item, depth - 1)),
            Val::Dict(dict) => {
                let items = dict.borrow().clone();
                self.dicts.push((dict, items.clone()));
                items.iter().for_each(|(_, item)| self.gather(item, depth - 1));
            }
            Val::Views(list) => self.views.push(list),
            _ => {}
        }
    }
}

/// Whether a block ends in a raise, whatever its data.
pub(super) fn always_raises(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match &stmt.kind {
        StmtKind::Expr(Expr::Call(call)) => {
            matches!(&call.callee, Expr::Field(_, name) if &**name == "RaiseException")
        }
        StmtKind::If { then, otherwise, .. } => always_raises(then) && always_raises(otherwise),
        _ => false,
    })
}
