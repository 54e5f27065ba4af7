//! What becomes of zeros: whether a result is zero at a channel all of whose parameters are zero.
//!
//! A sum over activations loses a term when a channel is removed; it is the sum with the channel's parameters zeroed only
//! where that term is zero. Each operator says in the table how far its result stays zero; a product asks before it ties
//! what it sums over.
//!
//! That a value is zero where *its own* labels go says nothing of labels that the result has from elsewhere: every claim
//! is held against the rows of the result. A stretched axis (`expand`) is no part of any claim: its values are one
//! position's all along, and zero nowhere.

use super::{Fact, Site};
use crate::graph::{Arg, ValueId};
use crate::labels::{Axes, FROZEN, Label, Row};
use std::collections::BTreeSet;

/// When a result is zero at the channels that go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// Not known to be.
    Never,
    /// Zeros everywhere.
    Always,
    /// When the first argument is, and has all labels of the result.
    First,
    /// As `First`, where zero lies within the bounds (`min` and `max`, or `min_val` and `max_val`).
    Bounded,
    /// As `First`, where the exponent is a number above zero.
    Power,
    /// When the first argument is and what is added around it is zeros, or copies of it.
    Padded,
    /// When each tensor is: every label of the result is that of a tensor at its own positions (concatenation, matrix
    /// products).
    Each,
    /// When one of the tensors that are combined element by element is.
    Any,
    /// When all of the tensors that are combined element by element are; a number counts as not zero.
    All,
    /// When the argument `weight` (or `mat2`) and the bias are; without them, when the input is.
    Weight,
    /// When the states that it starts from (`hx`) are.
    Start,
}

/// What is known of a value beside its fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trait {
    /// Zero at every labelled position whose parameters are zero.
    pub zero: bool,
    /// Computed from parameters and constants alone.
    pub fixed: bool,
}

impl Site<'_> {
    fn zero(&self, value: ValueId) -> bool {
        self.traits[value.0 as usize].zero
    }

    /// Whether an argument is zero at the channels that go.
    pub(super) fn zero_argument(&self, name: &str) -> bool {
        self.node.value(name).is_some_and(|value| self.zero(value))
    }

    /// Which tensors of a list are zero at the channels that go.
    pub(super) fn zero_items(&self, name: &str) -> Vec<bool> {
        let Some(Arg::List(items)) = self.node.arg(name) else {
            return Vec::new();
        };
        let zero = |item: &Arg| item.as_value().is_some_and(|value| self.zero(value));
        items.iter().map(zero).collect()
    }

    /// Ties what a product sums over, position by position. Where no factor is zero at the channels that go, the terms
    /// that they add would be lost with them. `zero`: whether either is, where its labels go.
    pub(super) fn sum_over(
        &mut self,
        a: Option<&Row>,
        b: Option<&Row>,
        zero: [bool; 2],
        what: &'static str,
    ) -> Option<Row> {
        let stretched = |row: Option<&Row>| row.is_some_and(|row| self.labels.is_stretched(row));
        if (zero[0] && !stretched(a)) || (zero[1] && !stretched(b)) {
            return self.join(a, b, what);
        }
        let why = self.why("sums over values that are not zero where a channel is");
        for row in [a, b].into_iter().flatten() {
            self.labels.freeze(row, why);
        }
        None
    }

    fn live(&self, row: &Row) -> bool {
        row.iter().any(|&label| self.labels.find(label) != FROZEN)
    }

    /// The rows of a value any of which may lose positions; not those of stretched axes.
    fn live_rows(&self, fact: &Fact) -> Vec<Row> {
        let mut rows = Vec::new();
        each_tensor(fact, &mut |axes| rows.extend(axes.rows.iter().flatten().cloned()));
        rows.retain(|row| self.live(row) && !self.labels.is_stretched(row));
        rows
    }

    /// Whether a value is zero where the labels of a row go: it is where its own go, and these are among them.
    fn zero_along(&self, value: ValueId, row: &Row) -> bool {
        if !self.zero(value) {
            return false;
        }
        let own = self.live_rows(self.fact_of(value));
        if own.iter().any(|own| Row::ptr_eq(own, row) || own == row) {
            return true;
        }
        let own: BTreeSet<Label> = own
            .iter()
            .flat_map(|row| row.iter())
            .map(|&label| self.labels.find(label))
            .collect();
        row.iter()
            .map(|&label| self.labels.find(label))
            .all(|root| root == FROZEN || own.contains(&root))
    }

    /// Whether a result of tensors combined element by element is zero along each of its rows, by which of the tensors
    /// are zero along it.
    fn element_by_element(&self, tensors: &[ValueId], holds: impl Fn(&[bool]) -> bool) -> bool {
        let mut all = true;
        for output in self.outputs() {
            each_tensor(output, &mut |axes| {
                let counts = |row: &Row| self.live(row) && !self.labels.is_stretched(row);
                for axis in (0..axes.rank()).filter(|&axis| axes.row(axis).is_some_and(counts)) {
                    // Axes are aligned at the last one; a tensor that is stretched along an axis has no row there.
                    let from_last = axes.rank() - axis;
                    let zero = tensors.iter().map(|&value| match self.fact_of(value) {
                        Fact::Tensor(own) => {
                            let own = own
                                .axes
                                .rank()
                                .checked_sub(from_last)
                                .and_then(|axis| own.axes.row(axis));
                            self.zero(value) && own.is_some_and(|row| !self.labels.is_stretched(row))
                        }
                        _ => false,
                    });
                    all &= holds(&zero.collect::<Vec<_>>());
                }
            });
        }
        all
    }

    /// Whether the outputs are zero at the channels that go, after the rule has run.
    pub(super) fn gives_zero(&self, zeros: Zeros) -> bool {
        let mut tensors = self.node.reads();
        tensors.retain(|&value| !matches!(self.fact_of(value), Fact::Number(_)));
        match zeros {
            Zeros::Never => false,
            Zeros::Always => true,
            Zeros::First => tensors.first().is_some_and(|&first| self.kept_zero(first)),
            Zeros::Bounded => self.bounds_hold_zero() && self.gives_zero(Zeros::First),
            Zeros::Power => {
                let positive = matches!(self.fact("exponent"), Fact::Number(power) if power.as_f64() > 0.0);
                positive && self.gives_zero(Zeros::First)
            }
            // What is added along a labelled axis has labels of its own, and is zero everywhere.
            Zeros::Padded => tensors.first().is_some_and(|&first| self.zero(first)) && self.pads_zero(),
            Zeros::Each => tensors
                .iter()
                .all(|&value| self.zero(value) || self.live_rows(self.fact_of(value)).is_empty()),
            Zeros::Any => self.element_by_element(&tensors, |zero| zero.contains(&true)),
            Zeros::All => !self.adds_number() && self.element_by_element(&tensors, |zero| !zero.contains(&false)),
            Zeros::Weight => self.weighted_zero(),
            Zeros::Start => match self.node.arg("hx") {
                Some(Arg::List(_)) => self.zero_items("hx").into_iter().all(|zero| zero),
                _ => self.zero_argument("hx"),
            },
        }
    }

    /// Whether what is made of one value alone is zero where that is.
    fn kept_zero(&self, first: ValueId) -> bool {
        if !self.zero(first) {
            return false;
        }
        let own = self.live_rows(self.fact_of(first)).len();
        self.outputs().iter().all(|output| {
            let rows = self.live_rows(output);
            // A row twice (one channel against every other) is zero along one of them only.
            let more = !matches!(output, Fact::List(_)) && rows.len() > own;
            !more && rows.iter().all(|row| self.zero_along(first, row))
        })
    }

    /// Whether zero lies within the bounds; one that is not given is none.
    fn bounds_hold_zero(&self) -> bool {
        let holds = |names: [&str; 2], inside: fn(f64) -> bool| {
            names.into_iter().all(|name| match self.fact(name) {
                Fact::None => true,
                Fact::Number(bound) => inside(bound.as_f64()),
                _ => false,
            })
        };
        holds(["min", "min_val"], |least| least <= 0.0) && holds(["max", "max_val"], |most| most >= 0.0)
    }

    /// Whether padding adds zeros, or copies of what is padded.
    pub(super) fn pads_zero(&self) -> bool {
        let copies =
            self.node.arg("padding").is_some() || matches!(self.fact("mode"), Fact::Text(mode) if mode != "constant");
        copies
            || match self.fact("value") {
                Fact::None => true,
                Fact::Number(number) => number.as_f64() == 0.0,
                _ => false,
            }
    }

    /// Whether a number stands where a tensor would be added.
    fn adds_number(&self) -> bool {
        let operands = ["self", "other", "src", "end", "tensor1", "tensor2"];
        operands.into_iter().any(|name| {
            let literal = matches!(self.node.arg(name), Some(Arg::Int(_) | Arg::Float(_) | Arg::Bool(_)));
            literal || matches!(self.fact(name), Fact::Number(_))
        })
    }

    /// Whether `weight · input + bias` is zero: along each row the weight is or the input, and so is all that is added.
    fn weighted_zero(&self) -> bool {
        let weight = self.node.value("weight").or(self.node.value("mat2"));
        let bias = match self.node.short() {
            "addmm" => "self",
            _ => "bias",
        };
        let (input, bias) = (self.node.value("input"), self.node.value(bias));
        let mean = self.node.value("running_mean");
        let rows: Vec<Row> = self
            .outputs()
            .iter()
            .flat_map(|output| self.live_rows(output))
            .collect();
        rows.iter().all(|row| {
            let along = |value: Option<ValueId>| value.is_some_and(|value| self.zero_along(value, row));
            let adds_none = |value: Option<ValueId>| value.is_none() || along(value);
            adds_none(bias) && (along(weight) || (along(input) && adds_none(mean)))
        })
    }

    /// Whether every value that the node reads is computed from parameters and constants alone.
    pub(super) fn reads_fixed(&self) -> bool {
        self.node
            .reads()
            .iter()
            .all(|value| self.traits[value.0 as usize].fixed)
    }

    /// What follows for the outputs, by the table's word on zeros.
    pub(crate) fn made(&self, zeros: Zeros) -> Trait {
        Trait {
            zero: self.gives_zero(zeros),
            fixed: self.reads_fixed(),
        }
    }
}

fn each_tensor(fact: &Fact, visit: &mut dyn FnMut(&Axes)) {
    match fact {
        Fact::Tensor(tensor) => visit(&tensor.axes),
        Fact::List(items) => items.iter().for_each(|item| each_tensor(item, visit)),
        _ => {}
    }
}
