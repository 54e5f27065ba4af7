//! What becomes of zeros: whether a result is zero at a channel all of whose parameters are zero.
//!
//! A sum over activations loses a term when a channel is removed; it is the sum with the channel's parameters zeroed only
//! where that term is zero. Each operator says in the table how far its result stays zero; a product asks before it ties
//! what it sums over.

use super::{Fact, Site};
use crate::graph::{Arg, ValueId};
use crate::labels::Row;

/// When a result is zero at the channels that go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// Not known to be.
    Never,
    /// Zeros everywhere.
    Always,
    /// When the first argument is.
    First,
    /// When one of the arguments is.
    Any,
    /// When all are; a number counts as not zero.
    All,
    /// When the argument `weight` (or `mat2`) and the bias are; the first argument where there is no weight.
    Weight,
    /// When the state `hx` is, from which it starts.
    State,
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
    /// Whether an argument is zero at the channels that go.
    pub(super) fn zero_argument(&self, name: &str) -> bool {
        self.node.value(name).is_some_and(|value| self.is_zero(value, 0))
    }

    /// Ties what a product sums over, position by position. Where no factor is zero at the channels that go, the terms
    /// that they add would be lost with them.
    pub(super) fn sum_over(&mut self, a: Option<&Row>, b: Option<&Row>, zero: bool, what: &'static str) -> Option<Row> {
        if zero {
            return self.join(a, b, what);
        }
        let why = self.why("sums over values that are not zero where a channel is");
        for row in [a, b].into_iter().flatten() {
            self.labels.freeze(row, why);
        }
        None
    }

    fn is_zero(&self, value: ValueId, labelled: usize) -> bool {
        self.traits[value.0 as usize].zero && labels_in(self.fact_of(value)) >= labelled
    }

    /// Whether the first output is zero at the channels that go, after the rule has run.
    pub(super) fn gives_zero(&self, zeros: Zeros) -> bool {
        let labelled = self.outputs().first().map_or(0, labels_in);
        let tensors = self.node.reads();
        let mut tensors = tensors
            .into_iter()
            .filter(|&value| !matches!(self.fact_of(value), Fact::Number(_)));
        let numbers = ["self", "other"].into_iter().any(|name| {
            self.node
                .arg(name)
                .is_some_and(|arg| matches!(arg, Arg::Int(_) | Arg::Float(_)))
                || matches!(self.fact(name), Fact::Number(_))
        });
        match zeros {
            Zeros::Never => false,
            Zeros::Always => true,
            Zeros::First => tensors.next().is_some_and(|first| self.is_zero(first, 0)),
            Zeros::Any => tensors.any(|value| self.is_zero(value, labelled)),
            Zeros::State => {
                let mut zero = true;
                if let Some(arg) = self.node.arg("hx") {
                    arg.for_each_value(&mut |value| zero &= self.is_zero(value, 0));
                }
                zero
            }
            Zeros::All => !numbers && tensors.all(|value| self.is_zero(value, labelled)),
            Zeros::Weight => match self.node.value("weight").or(self.node.value("mat2")) {
                Some(weight) => {
                    let bias = self
                        .node
                        .value(if self.node.short() == "addmm" { "self" } else { "bias" });
                    let zero = |value: ValueId| self.traits[value.0 as usize].zero;
                    zero(weight) && bias.is_none_or(zero) && labelled <= 1
                }
                None => tensors.next().is_some_and(|first| self.is_zero(first, 0)),
            },
        }
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

/// How many axes of a value have labels.
fn labels_in(fact: &Fact) -> usize {
    match fact {
        Fact::Tensor(tensor) => tensor.axes.rows.iter().flatten().count(),
        Fact::List(items) => items.iter().map(labels_in).max().unwrap_or(0),
        _ => 0,
    }
}
