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
    /// When each factor is: every label of the result is that of a tensor at its own positions (matrix products).
    Each,
    /// As `Each`, of tensors that are set beside each other: none may be stretched along what goes in another.
    Beside,
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

    /// The rows of a value any of which may lose positions, of stretched axes.
    fn stretched_rows(&self, fact: &Fact) -> Vec<Row> {
        let mut rows = Vec::new();
        each_tensor(fact, &mut |axes| rows.extend(axes.rows.iter().flatten().cloned()));
        rows.retain(|row| self.live(row) && self.labels.is_stretched(row));
        rows
    }

    /// Whether a tensor is stretched along what the result loses where another tensor does.
    fn stretched_beside(&self, tensors: &[ValueId]) -> bool {
        let roots = |rows: Vec<Row>| -> BTreeSet<Label> {
            let labels = rows.iter().flat_map(|row| row.iter());
            labels.map(|&label| self.labels.find(label)).collect()
        };
        let stretched = tensors
            .iter()
            .flat_map(|&value| self.stretched_rows(self.fact_of(value)));
        let stretched = roots(stretched.collect());
        let lost = roots(
            self.outputs()
                .iter()
                .flat_map(|output| self.live_rows(output))
                .collect(),
        );
        stretched.iter().any(|root| *root != FROZEN && lost.contains(root))
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
            Zeros::First => self.first().is_some_and(|first| self.kept_zero(first)),
            Zeros::Bounded => self.bounds_hold_zero() && self.gives_zero(Zeros::First),
            Zeros::Power => {
                let positive = matches!(self.fact("exponent"), Fact::Number(power) if power.as_f64() > 0.0);
                positive && self.gives_zero(Zeros::First)
            }
            // What is added along a labelled axis has labels of its own, and is zero everywhere.
            Zeros::Padded => self.first().is_some_and(|first| self.zero(first)) && self.pads_zero(),
            Zeros::Each => tensors
                .iter()
                .all(|&value| self.zero(value) || self.live_rows(self.fact_of(value)).is_empty()),
            Zeros::Beside => self.gives_zero(Zeros::Each) && !self.stretched_beside(&tensors),
            Zeros::Any => self.element_by_element(&tensors, |zero| zero.contains(&true)),
            Zeros::All => !self.adds_number() && self.element_by_element(&tensors, |zero| !zero.contains(&false)),
            Zeros::Weight => self.weighted_zero(),
            Zeros::Start => {
                let states = match self.node.arg("hx") {
                    Some(Arg::List(items)) => items.iter().filter_map(Arg::as_value).collect(),
                    _ => Vec::from_iter(self.node.value("hx")),
                };
                let zero = |&state: &ValueId| self.zero(state) && self.stretched_rows(self.fact_of(state)).is_empty();
                !states.is_empty() && states.iter().all(zero)
            }
        }
    }

    /// The first argument, unless it is a number.
    fn first(&self) -> Option<ValueId> {
        let first = self.node.args.first()?.1.as_value()?;
        (!matches!(self.fact_of(first), Fact::Number(_))).then_some(first)
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

    /// Whether `weight · input + bias` is zero. Along the channels that the weight gives it is where the weight is and all
    /// that is added; along any other axis where the input is along that axis, and nothing is added.
    fn weighted_zero(&self) -> bool {
        let Some((Fact::Tensor(output), others)) = self.outputs().split_first() else {
            return false;
        };
        let weight = self.node.value("weight").or(self.node.value("mat2"));
        let bias = match self.node.short() {
            "addmm" => "self",
            _ => "bias",
        };
        let added: Vec<ValueId> = [bias, "running_mean"]
            .into_iter()
            .filter_map(|name| self.node.value(name))
            .collect();
        let input = self.node.value("input");
        let channels = self.channels(&output.axes, weight);
        let rows = output.axes.rows.iter().enumerate();
        let mut live = rows.filter_map(|(axis, row)| {
            let row = row.as_ref()?;
            (self.live(row) && !self.labels.is_stretched(row)).then_some((axis, row))
        });
        let nothing_else = others.iter().all(|other| self.live_rows(other).is_empty());
        nothing_else
            && live.all(|(axis, row)| {
                let along = |value: ValueId| self.zero_along(value, row);
                if channels.contains(&axis) {
                    // A channel of zeros stays one where it is normalised by numbers of its own.
                    let own = ["batch_norm", "instance_norm", "rms_norm"].contains(&self.node.short());
                    let scaled = weight.is_some_and(along) || (own && self.input_zero_at(input, &output.axes, axis));
                    return scaled && added.iter().all(|&value| along(value));
                }
                added.is_empty() && self.input_zero_at(input, &output.axes, axis)
            })
    }

    /// The axes of the output that are the weight's.
    fn channels(&self, output: &Axes, weight: Option<ValueId>) -> std::ops::Range<usize> {
        let rank = output.rank();
        let weight = weight.and_then(|weight| self.fact_of(weight).shape().map(<[usize]>::len));
        match self.node.short() {
            "batch_norm" | "instance_norm" | "group_norm" => 1..2,
            "layer_norm" | "rms_norm" => {
                let normalised = self.ints("normalized_shape").map_or(rank, |shape| shape.len());
                rank.saturating_sub(normalised)..rank
            }
            "linear" | "addmm" | "bilinear" | "embedding" | "_grouped_mm" => rank.saturating_sub(1)..rank,
            // Behind the channels come as many axes as the weight has behind its first two.
            _ => {
                let channel = (rank + 1).saturating_sub(weight.unwrap_or(rank));
                channel..channel + 1
            }
        }
    }

    /// Whether the input is zero along the same axis as the output.
    fn input_zero_at(&self, input: Option<ValueId>, output: &Axes, axis: usize) -> bool {
        let Some((input, Fact::Tensor(own))) = input.map(|input| (input, self.fact_of(input))) else {
            return false;
        };
        let row = own.axes.row(axis).filter(|_| own.axes.rank() == output.rank());
        self.zero(input) && row.is_some_and(|row| !self.labels.is_stretched(row))
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
