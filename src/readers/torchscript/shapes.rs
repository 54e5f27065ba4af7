//! Shapes of tensors as the code handles them: `size(x)`, its elements and its slices.
//!
//! Owns the way from a shape to `size(x, dim)` nodes, and to a list of known length where the rank is known; and what the
//! declared sizes of the inputs tell. Only branches, loops and places in lists are decided by those: as an argument of an
//! operator a size stays what the graph says when it runs.

use super::ReadError;
use super::alias::Emit;
use super::inline::Inliner;
use super::value::{CellId, Shape, Val};
use crate::graph::{Arg, Known, Type, ValueId};

impl Inliner<'_, '_> {
    /// Notes how many dimensions the declared inputs have.
    pub(super) fn rank_inputs(&mut self) {
        for input in self.builder.graph.inputs.clone() {
            if let Some(Known::Rank(rank)) = self.declared.known(&self.builder.graph, input) {
                self.builder.set_rank(input, rank);
            }
        }
    }

    /// A number that only a run can tell, where the declared sizes tell it at every batch size; else the value itself.
    pub(super) fn told(&mut self, value: &Val) -> Val {
        let Val::Dynamic(number) = value else {
            return value.clone();
        };
        match self.declared.known(&self.builder.graph, *number) {
            Some(Known::Number(Arg::Int(int))) => Val::Int(int),
            Some(Known::Number(Arg::Float(float))) => Val::Float(float),
            Some(Known::Number(Arg::Bool(flag))) => Val::Bool(flag),
            _ => value.clone(),
        }
    }

    /// The arguments of an operator on a list with its places told; `None` where there is nothing to tell.
    pub(super) fn placed(&mut self, name: &str, args: &[Val]) -> Option<Vec<Val>> {
        let places = match (name, args) {
            // The place or the count comes first, then what is put there.
            ("insert" | "pop" | "_set_item" | "mul", [Val::List(_), _, ..]) => 1..2,
            ("slice", [Val::List(_), ..]) => 1..args.len(),
            _ => return None,
        };
        let mut told = args.to_vec();
        let mut found = false;
        for at in places {
            told[at] = self.told(&args[at]);
            found |= matches!(args[at], Val::Dynamic(_)) && !matches!(told[at], Val::Dynamic(_));
        }
        found.then_some(told)
    }

    /// How many elements a list of the graph has, where that is known.
    pub(super) fn length(&mut self, list: ValueId) -> Option<usize> {
        match self.declared.known(&self.builder.graph, list) {
            Some(Known::Length(length)) => Some(length),
            _ => None,
        }
    }

    /// How many dimensions a tensor has, where that is known.
    fn rank(&mut self, tensor: ValueId) -> Option<usize> {
        let rank = self.builder.rank(tensor);
        rank.or_else(|| match self.declared.known(&self.builder.graph, tensor) {
            Some(Known::Rank(rank)) => Some(rank),
            _ => None,
        })
    }

    /// `size(tensor, dim)`
    pub(super) fn extent(&mut self, tensor: CellId, dim: i64) -> Result<Val, ReadError> {
        let tensor = Arg::Value(self.shaped(tensor));
        self.emit("aten::size", vec![tensor, Arg::Int(dim)], Vec::new())
    }

    /// A shape as a list of the code, where the number of dimensions is known.
    pub(super) fn extents(&mut self, shape: Shape) -> Result<Option<Val>, ReadError> {
        let tensor = self.shaped(shape.tensor);
        let Some(rank) = self.rank(tensor) else {
            return Ok(None);
        };
        let from = |at: i64| if at < 0 { at.saturating_add(rank as i64) } else { at }.clamp(0, rank as i64);
        let (start, end) = (from(shape.start), shape.end.map_or(rank as i64, from));
        let mut items = Vec::new();
        for dim in start..end {
            items.push(self.extent(shape.tensor, dim)?);
        }
        Ok(Some(Val::list(items)))
    }

    /// A value that has the shape of a tensor, whatever was written to it.
    pub(super) fn shaped(&mut self, tensor: CellId) -> ValueId {
        let last = self.cells.shaped(tensor);
        self.read(tensor).unwrap_or(last)
    }

    /// A shape as a list of the graph.
    pub(super) fn sizes(&mut self, shape: Shape) -> Result<ValueId, ReadError> {
        let tensor = Arg::Value(self.shaped(shape.tensor));
        let list = self.builder.node("aten::size", vec![tensor], Vec::new());
        let list = list.or_else(|message| self.error(message))?;
        if shape.start == 0 && shape.end.is_none() {
            return Ok(list);
        }
        let end = shape.end.map_or(Arg::None, Arg::Int);
        let args = vec![Arg::Value(list), Arg::Int(shape.start), end];
        let part = self.builder.node("aten::slice", args, Vec::new());
        part.or_else(|message| self.error(message))
    }

    /// An operator on shapes as lists of the code; `None` where a number of dimensions is not known.
    pub(super) fn on_extents(&mut self, name: &str, args: &[Val]) -> Result<Option<Val>, ReadError> {
        let mut known = Vec::with_capacity(args.len());
        for arg in args {
            known.push(match arg {
                Val::Shape(shape) => match self.extents(*shape)? {
                    Some(list) => list,
                    None => return Ok(None),
                },
                other => other.clone(),
            });
        }
        self.container(name, &known)
    }

    /// Whether two lists of numbers are the same, number by number; `None` where one is of something else, or of a length
    /// that is not known.
    pub(super) fn same_numbers(&mut self, left: &Val, right: &Val) -> Result<Option<Val>, ReadError> {
        let mut sides = [Vec::new(), Vec::new()];
        for (side, value) in sides.iter_mut().zip([left, right]) {
            let list = match value {
                Val::Shape(shape) => self.extents(*shape)?,
                other => Some(other.clone()),
            };
            let Some(list) = list else { return Ok(None) };
            *side = self.known_items(&list)?;
        }
        let [left, right] = sides;
        let number = |value: &Val| match value {
            Val::Int(_) => true,
            Val::Dynamic(value) => *self.builder.type_of(*value) == Type::Int,
            _ => false,
        };
        if !left.iter().chain(&right).all(number) {
            return Ok(None);
        }
        let mut same = Val::Bool(left.len() == right.len());
        for (a, b) in left.into_iter().zip(right) {
            let alike = self.operator("aten::eq", vec![a, b], Vec::new())?;
            same = self.operator("aten::__and__", vec![same, alike], Vec::new())?;
        }
        Ok(Some(same))
    }

    /// `dim(tensor)`
    pub(super) fn dimensions(&mut self, tensor: CellId) -> Result<Val, ReadError> {
        let value = self.shaped(tensor);
        match self.rank(value) {
            Some(rank) => Ok(Val::Int(rank as i64)),
            None => self.emit("aten::dim", vec![Arg::Value(value)], Vec::new()),
        }
    }
}

/// A slice of a shape, where no rank is needed to tell.
pub fn slice_shape(shape: Shape, bounds: &[Val]) -> Option<Shape> {
    if shape.start != 0 || shape.end.is_some() || bounds.get(2).is_some_and(|step| step.as_int() != Some(1)) {
        return None;
    }
    let start = match bounds.first() {
        None | Some(Val::None) => 0,
        Some(value) => value.as_int()?,
    };
    let end = match bounds.get(1) {
        None | Some(Val::None) => None,
        Some(value) => match value.as_int()? {
            i64::MAX => None,
            end if end < 0 => Some(end),
            _ => return None,
        },
    };
    Some(Shape { start, end, ..shape })
}
