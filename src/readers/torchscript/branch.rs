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
use super::value::{CellId, Val};
use crate::graph::{Arg, Type, ValueId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const BRANCH: &str = "a branch depends on the data or the shape of the input, which is not read; save the model with \
                      torch.jit.trace(model.eval(), example) instead of torch.jit.script";

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

impl Inliner<'_, '_> {
    /// Runs both sides of an `if` that is not known.
    pub(super) fn both(
        &mut self,
        frame: &mut Frame,
        condition: &Val,
        then: &[Stmt],
        otherwise: &[Stmt],
    ) -> Result<(), ReadError> {
        let fault = self.fault(BRANCH.into());
        if let ReadError::Code { place, .. } = &fault {
            self.branch.get_or_insert_with(|| place.clone());
        }
        let mut lists = Vec::new();
        let mut dicts = Vec::new();
        let held = self.objects.iter().flat_map(|object| &object.attributes);
        for value in frame.locals.values().chain(held.map(|(_, value)| value)) {
            containers(value, DEPTH, &mut lists, &mut dicts);
        }
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
        let (Some(then), Some(otherwise)) = (then, otherwise) else {
            return Err(fault);
        };
        let unchanged = |(dict, before): &Dict| {
            let now = dict.borrow();
            now.len() == before.len() && now.iter().zip(before).all(|(a, b)| a.0.same(&b.0) && a.1.same(&b.1))
        };
        if self.attributes_set != attributes || !dicts.iter().all(unchanged) {
            return Err(fault);
        }
        self.merge_tensors(condition, &then.written, &otherwise.written)?;
        self.merge_names(frame, condition, &then, &otherwise)?;
        self.merge_lists(condition, &lists, &then.lists, &otherwise.lists)
    }

    /// Runs one side; `None` where it returns, or leaves a tensor that must not be read.
    fn side(
        &mut self,
        frame: &Frame,
        body: &[Stmt],
        lists: &[List],
        before: &[Vec<Val>],
        saved: &Saved,
    ) -> Result<Option<Side>, ReadError> {
        let mut own = Frame {
            locals: frame.locals.clone(),
        };
        if let Flow::Return(_) = self.block(&mut own, body)? {
            return Ok(None);
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
        Ok(self.cells.written_since(saved).map(|written| Side {
            names,
            written,
            lists: left,
        }))
    }

    fn left(&mut self, value: Val, old: Option<&Val>) -> Result<Left, ReadError> {
        let worth = match old {
            Some(old) if old.same(&value) => value.clone(),
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
                Err(_) => Val::Unknown,
            },
            Val::Tuple(tuple) if tuple.names.is_empty() => {
                Val::tuple(tuple.items.iter().map(|item| self.settled(item)).collect())
            }
            other => other.clone(),
        }
    }

    fn merge_names(
        &mut self,
        frame: &mut Frame,
        condition: &Val,
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
            let value = self.either(condition, a, b)?;
            frame.locals.insert(name.clone(), value);
        }
        self.builder.hint = None;
        Ok(())
    }

    fn merge_lists(
        &mut self,
        condition: &Val,
        lists: &[List],
        then: &[Vec<Left>],
        otherwise: &[Vec<Left>],
    ) -> Result<(), ReadError> {
        for ((list, then), otherwise) in lists.iter().zip(then).zip(otherwise) {
            if then.len() != otherwise.len() {
                return Err(self.branch_fault());
            }
            let items = then.iter().zip(otherwise).map(|(a, b)| self.either(condition, a, b));
            let items: Vec<Val> = items.collect::<Result<_, ReadError>>()?;
            *list.borrow_mut() = items;
        }
        Ok(())
    }

    /// Gives each tensor that a side wrote the one of both values that the condition takes.
    fn merge_tensors(&mut self, condition: &Val, then: &[Written], otherwise: &[Written]) -> Result<(), ReadError> {
        let before: BTreeMap<CellId, ValueId> = then
            .iter()
            .chain(otherwise)
            .map(|written| (written.cell, written.before))
            .collect();
        for (cell, before) in before {
            let Val::Dynamic(flag) = condition else {
                return Err(self.branch_fault());
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
    fn either(&mut self, condition: &Val, then: &Left, otherwise: &Left) -> Result<Val, ReadError> {
        match (&then.value, &otherwise.value) {
            (a, b) if a.same(b) => return Ok(a.clone()),
            // A value that was never set is not read where the condition takes it.
            (Val::Unset, value) | (value, Val::Unset) => return Ok(value.clone()),
            _ => {}
        }
        let Val::Dynamic(flag) = condition else {
            return Ok(Val::Unknown);
        };
        let flag = *flag;
        match (&then.worth, &otherwise.worth) {
            (Val::Bool(true), Val::Bool(false)) => Ok(condition.clone()),
            (Val::Bool(false), Val::Bool(true)) => self.emit("aten::__not__", vec![Arg::Value(flag)], Vec::new()),
            (Val::Tuple(a), Val::Tuple(b)) if a.items.len() == b.items.len() => {
                let parts = |left: &Left, worth: &[Val]| match &left.value {
                    Val::Tuple(tuple) => tuple
                        .items
                        .iter()
                        .zip(worth)
                        .map(|(value, worth)| Left {
                            value: value.clone(),
                            worth: worth.clone(),
                        })
                        .collect(),
                    _ => Vec::new(),
                };
                let pairs: Vec<(Left, Left)> = parts(then, &a.items)
                    .into_iter()
                    .zip(parts(otherwise, &b.items))
                    .collect();
                let items = pairs.iter().map(|(a, b)| self.either(condition, a, b));
                Ok(Val::tuple(items.collect::<Result<_, ReadError>>()?))
            }
            (a, b) => {
                let kind = self.kind(a);
                if kind.is_none() || kind != self.kind(b) {
                    return Ok(Val::Unknown);
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

    /// An error at the first branch whose outcome was not known.
    pub(super) fn branch_fault(&self) -> ReadError {
        match &self.branch {
            Some(place) => ReadError::Code {
                place: place.clone(),
                message: BRANCH.into(),
            },
            None => self.fault("a value is read that was never set".into()),
        }
    }
}

/// The lists and dicts within a value.
fn containers(value: &Val, depth: usize, lists: &mut Vec<List>, dicts: &mut Vec<Dict>) {
    if depth == 0 {
        return;
    }
    match value {
        Val::List(list) if !lists.iter().any(|known| Rc::ptr_eq(known, list)) => {
            lists.push(list.clone());
            let items = list.borrow().clone();
            items.iter().for_each(|item| containers(item, depth - 1, lists, dicts));
        }
        Val::Tuple(tuple) => tuple
            .items
            .iter()
            .for_each(|item| containers(item, depth - 1, lists, dicts)),
        Val::Dict(dict) if !dicts.iter().any(|(known, _)| Rc::ptr_eq(known, dict)) => {
            dicts.push((dict.clone(), dict.borrow().clone()));
            let items = dict.borrow().clone();
            items
                .iter()
                .for_each(|(_, item)| containers(item, depth - 1, lists, dicts));
        }
        _ => {}
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
