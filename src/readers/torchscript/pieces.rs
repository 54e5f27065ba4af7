//! Lists of views of one tensor, as `chunk`, `split` and `unbind` give them.
//!
//! Owns their elements, their length where the call says it, and what becomes of one that the code goes over or changes:
//! a list like any other. Deliberately leaves to `alias` how a part and its whole share memory.

use super::ReadError;
use super::alias::Emit;
use super::containers::changes_container;
use super::inline::Inliner;
use super::value::{ListView, Val, View};
use crate::graph::{Arg, ValueId};
use std::rc::Rc;

impl Inliner<'_, '_> {
    /// The list in the graph as it is now.
    pub(super) fn refresh(&mut self, list: &ListView) -> Result<ValueId, ReadError> {
        let base = self.read(list.base)?;
        if self.cells.version(list.base) == list.version {
            return Ok(list.list);
        }
        let mut args = vec![Arg::Value(base)];
        args.extend(list.view.args.iter().cloned());
        let fresh = self.builder.node(&list.view.op, args, list.view.keywords.clone());
        fresh.or_else(|message| self.error(message))
    }

    /// One element.
    pub(super) fn piece(&mut self, list: &ListView, at: i64) -> Result<Val, ReadError> {
        let fresh = self.refresh(list)?;
        let args = vec![Arg::Value(fresh), Arg::Int(at)];
        let value = self.builder.node("aten::__getitem__", args, Vec::new());
        let value = value.or_else(|message| self.error(message))?;
        let count = length(list);
        // Behind a write, places are counted from the front.
        let at = count
            .filter(|_| at < 0)
            .map_or(at, |count| at.saturating_add(count as i64));
        Ok(self.part(list, value, at, count))
    }

    /// All elements, of which there are so many.
    pub(super) fn pieces(&mut self, list: &ListView, count: usize) -> Result<Vec<Val>, ReadError> {
        self.spend(count)?;
        let fresh = self.refresh(list)?;
        let values = self.builder.unpack(fresh, count);
        let values = values.or_else(|message| self.error(message))?.into_iter().enumerate();
        Ok(values
            .map(|(at, value)| self.part(list, value, at as i64, Some(count)))
            .collect())
    }

    /// All elements, where it is known how many there are.
    pub(super) fn known_pieces(&mut self, list: &ListView) -> Result<Option<Vec<Val>>, ReadError> {
        let count = match length(list) {
            Some(count) => Some(count),
            None => self.length(list.list),
        };
        count.map(|count| self.pieces(list, count)).transpose()
    }

    /// Element `at` of a list of views, as a tensor.
    fn part(&mut self, list: &ListView, value: ValueId, at: i64, count: Option<usize>) -> Val {
        let view = View {
            element: Some(at),
            count,
            ..(*list.view).clone()
        };
        Val::Tensor(self.cells.view(value, list.base, Rc::new(view)))
    }

    /// The arguments of an operator on lists, with lists of views as lists of the code; `None` where the length of one is
    /// not known. One that is changed is that list for all who hold it.
    pub(super) fn opened(&mut self, name: &str, args: &[Val]) -> Result<Option<Vec<Val>>, ReadError> {
        let mut found = Vec::with_capacity(args.len());
        for (at, arg) in args.iter().enumerate() {
            let Val::Views(list) = arg else {
                found.push(arg.clone());
                continue;
            };
            let Some(items) = self.known_pieces(list)? else {
                return Ok(None);
            };
            let opened = Val::list(items);
            if let (0, true, Val::List(opened)) = (at, changes_container(name) || name == "add_", &opened) {
                *list.changed.borrow_mut() = Some(opened.clone());
            }
            found.push(opened);
        }
        Ok(Some(found))
    }
}

/// How many elements a list has, as far as the call that made it says. `chunk` may give fewer; then what reads the others
/// does not run.
fn length(list: &ListView) -> Option<usize> {
    let said = match (list.view.op.as_str(), list.view.args.first()?) {
        ("aten::split" | "aten::split_with_sizes", Arg::List(sizes)) => sizes.len(),
        ("aten::tensor_split", Arg::List(bounds)) => bounds.len() + 1,
        ("aten::chunk" | "aten::tensor_split", Arg::Int(count)) => usize::try_from(*count).ok()?,
        _ => return None,
    };
    Some(said)
}
