//! Shapes of tensors as the code handles them: `size(x)`, its elements and its slices.
//!
//! Owns the way from a shape to `size(x, dim)` nodes, and to a list of known length where the rank is known. A size
//! itself is never known here: a graph runs at every size.

use super::ReadError;
use super::alias::Emit;
use super::inline::Inliner;
use super::value::{CellId, Shape, Val};
use crate::graph::{Arg, ValueId};

impl Inliner<'_, '_> {
    /// `size(tensor, dim)`
    pub(super) fn extent(&mut self, tensor: CellId, dim: i64) -> Result<Val, ReadError> {
        let tensor = Arg::Value(self.read(tensor)?);
        self.emit("aten::size", vec![tensor, Arg::Int(dim)], Vec::new())
    }

    /// A shape as a list of the code, where the number of dimensions is known.
    pub(super) fn extents(&mut self, shape: Shape) -> Result<Option<Val>, ReadError> {
        let tensor = self.read(shape.tensor)?;
        let Some(rank) = self.builder.rank(tensor) else {
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

    /// A shape as a list of the graph.
    pub(super) fn sizes(&mut self, shape: Shape) -> Result<ValueId, ReadError> {
        let tensor = Arg::Value(self.read(shape.tensor)?);
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

    /// `dim(tensor)`
    pub(super) fn dimensions(&mut self, tensor: CellId) -> Result<Val, ReadError> {
        let value = self.read(tensor)?;
        match self.builder.rank(value) {
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
