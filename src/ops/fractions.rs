//! Numbers that a model computes from the size of an axis: `x.shape[1] // 2`.
//!
//! Owns which fraction of an axis a number is, however the model came to it. A module that takes a half by such a number
//! takes a half of what is left, too, so both halves must keep the same positions.

use super::Site;
use super::site::wrap_axis;
use crate::graph::{Arg, Def, Node, ValueId};
use crate::labels::Row;
use std::cell::Cell;

/// As many nodes lie between the sizes and what is computed from them.
const MOST_STEPS: usize = 32;

/// A part of an axis: numerator and denominator, without common factors.
#[derive(Clone, Copy)]
struct Fraction(i64, i64);

impl Fraction {
    fn of(over: i64, under: i64) -> Option<Fraction> {
        let (mut a, mut b) = (over.unsigned_abs(), under.unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let common = i64::try_from(a).ok().filter(|&common| common > 0 && under > 0)?;
        Some(Fraction(over / common, under / common))
    }

    fn plus(self, other: Fraction, sign: i64) -> Option<Fraction> {
        let right = other.0.checked_mul(self.1)?.checked_mul(sign)?;
        let over = self.0.checked_mul(other.1)?.checked_add(right)?;
        Fraction::of(over, self.1.checked_mul(other.1)?)
    }
}

/// In how many equal blocks an axis falls at the place that a computed number names, where it is a fraction of the axis.
pub(super) fn blocks(site: &Site, number: &Arg, row: &Row) -> Option<usize> {
    let axis = Axis {
        site,
        row,
        steps: Cell::new(MOST_STEPS),
    };
    let Fraction(_, blocks) = axis.fraction(number.as_value()?)?;
    usize::try_from(blocks).ok().filter(|&blocks| blocks > 1)
}

struct Axis<'s> {
    site: &'s Site<'s>,
    row: &'s Row,
    /// How many more nodes may be looked at.
    steps: Cell<usize>,
}

impl Axis<'_> {
    /// Which part of the axis a value is; none where it is no whole part.
    fn fraction(&self, value: ValueId) -> Option<Fraction> {
        self.steps.set(self.steps.get().checked_sub(1)?);
        let Def::Node { node, output } = self.site.graph.value(value).def else {
            return None;
        };
        let node = self.site.graph.node(node);
        let args: Vec<&Arg> = node.args.iter().map(|(_, arg)| arg).collect();
        let part = |at: usize| self.fraction(args.get(at)?.as_value()?);
        let number = |at: usize| self.literal(args.get(at)?);
        match node.short() {
            "size" | "sym_size" => self.whole(node, self.literal(node.arg("dim")?)?),
            "__getitem__" => self.whole(self.sizes(args.first()?)?, number(1)?),
            "ListUnpack" => self.whole(self.sizes(args.first()?)?, i64::from(output)),
            "NumToTensor" | "ScalarImplicit" | "IntImplicit" | "Int" | "item" | "to" | "detach" => part(0),
            "floordiv" | "floor_divide" | "__round_to_zero_floordiv" => self.divided(part(0)?, number(1)?),
            "div" if node.arg("rounding_mode").is_some_and(|mode| *mode != Arg::None) => {
                self.divided(part(0)?, number(1)?)
            }
            "mul" => {
                let (Fraction(over, under), times) = match part(0) {
                    Some(part) => (part, number(1)?),
                    None => (part(1)?, number(0)?),
                };
                Fraction::of(over.checked_mul(times)?, under)
            }
            "add" | "sub" if node.arg("alpha").is_none_or(|alpha| *alpha == Arg::Int(1)) => {
                part(0)?.plus(part(1)?, if node.short() == "add" { 1 } else { -1 })
            }
            _ => None,
        }
    }

    /// The whole axis, where a node reads its size.
    fn whole(&self, size: &Node, axis: i64) -> Option<Fraction> {
        let tensor = self.site.fact_of(size.args.first()?.1.as_value()?).as_tensor()?;
        let axis = wrap_axis(axis, tensor.axes.rank()).ok()?;
        let row = tensor.axes.row(axis).filter(|row| row.len() == self.row.len())?;
        let find = |&label| self.site.labels.find(label);
        let same = row.iter().map(find).eq(self.row.iter().map(find));
        same.then_some(Fraction(1, 1))
    }

    /// The node that reads a list of all sizes.
    fn sizes(&self, list: &Arg) -> Option<&Node> {
        let Def::Node { node, .. } = self.site.graph.value(list.as_value()?).def else {
            return None;
        };
        let node = self.site.graph.node(node);
        let all = node.arg("dim").is_none_or(|dim| *dim == Arg::None);
        (matches!(node.short(), "size" | "sym_size") && all).then_some(node)
    }

    /// A part of a part, where it leaves no rest.
    fn divided(&self, Fraction(over, under): Fraction, by: i64) -> Option<Fraction> {
        let part = Fraction::of(over, under.checked_mul(by)?)?;
        let extent = i64::try_from(self.row.len()).ok()?;
        (extent % part.1 == 0).then_some(part)
    }

    /// A number that stands in the model as it is.
    fn literal(&self, arg: &Arg) -> Option<i64> {
        match arg {
            Arg::Int(int) => Some(*int),
            Arg::Value(value) => match self.site.graph.value(*value).def {
                Def::Constant(at) => self.site.graph.constants.get(at as usize)?.to_i64().first().copied(),
                _ => None,
            },
            _ => None,
        }
    }
}
