//! Which axis keeps its labels where a node can keep those of one only: heads, and what else is split or merged.
//!
//! Owns what one walk teaches the next. A first walk keeps the innermost axis everywhere. Where it met products batch by
//! batch, a second one, in which nothing freezes and every part of a split axis has labels of its own, tells which parts
//! products go through one by one: those are heads, however the model spells them. Heads are then cut as the caller asks.
//! Any other choice that left nothing to remove is made again, one axis further out. What such a choice kept was frozen,
//! or one class throughout, and so was everything that met it, so another choice only ever frees.

use super::walk::Walked;
use crate::graph::{NodeId, ValueId};
use crate::labels::{Choice, FROZEN, Keep, Label, Labels, Row, Side, Split};
use crate::ops::Fact;
use std::collections::{BTreeMap, BTreeSet};

/// A node that splits channels into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSplit {
    /// The axis of its output that counts heads.
    pub axis: usize,
    /// How many heads there are along it.
    pub count: usize,
    /// Features of each.
    pub size: usize,
}

/// Where channels are split into heads and put together again.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads {
    pub splits: BTreeMap<NodeId, HeadSplit>,
    cuts: Vec<Cut>,
}

/// The axes that one node keeps, by the way in which heads are cut.
#[derive(Clone, Debug)]
struct Cut {
    node: NodeId,
    side: Side,
    axes: Vec<usize>,
    within: usize,
    whole: usize,
}

impl Heads {
    /// Reads heads off a walk whose labels tell where axes go.
    pub fn of(traced: &Walked) -> Heads {
        let labels = &traced.labels;
        let batches = Met::new(labels.products().iter().flat_map(|product| &product.batch));
        let features = Met::new(labels.products().iter().flat_map(|product| &product.features));
        let met = batches.rows_of.keys().map(|&label| labels.find(label));
        let heads: BTreeSet<Label> = met.filter(|&root| root != FROZEN).collect();
        let mut found = Heads::default();
        for choice in labels.choices() {
            let counts = |axis: usize| {
                let row = row(traced, choice, axis);
                row.is_some_and(|row| row.iter().any(|&label| heads.contains(&labels.find(label))))
            };
            let (outer, inner): (Vec<usize>, Vec<usize>) = choice.axes.iter().partition(|&&axis| counts(axis));
            // Without features beside it, a head has no inside to be cut.
            let (Some(&whole), Some(&within)) = (outer.first(), inner.last()) else {
                continue;
            };
            if choice.side == Side::Split {
                let split = HeadSplit {
                    axis: whole,
                    count: batches.count(row(traced, choice, whole)),
                    size: features.count(inner.iter().filter_map(|&axis| row(traced, choice, axis))),
                };
                found.splits.insert(choice.node, split);
            }
            found.cuts.push(Cut {
                node: choice.node,
                side: choice.side,
                axes: choice.axes.clone(),
                within,
                whole,
            });
        }
        found
    }
}

/// The labels of an axis that a node chose from.
fn row<'w>(walked: &'w Walked, choice: &Choice, axis: usize) -> Option<&'w Row> {
    let node = walked.graph.node(choice.node);
    let value: ValueId = match choice.side {
        Side::Merged => node.args.first()?.1.as_value()?,
        Side::Split => *node.outputs.first()?,
    };
    match walked.fact(value) {
        Fact::Tensor(tensor) => tensor.axes.row(axis),
        _ => None,
    }
}

/// Labels that stand beside each other where tensors are multiplied.
struct Met {
    /// The rows that hold a label, by number.
    rows_of: BTreeMap<Label, Vec<usize>>,
}

impl Met {
    fn new<'r>(rows: impl Iterator<Item = &'r Row>) -> Met {
        let mut rows_of: BTreeMap<Label, Vec<usize>> = BTreeMap::new();
        for (number, row) in rows.enumerate() {
            for label in row.iter().copied().collect::<BTreeSet<Label>>() {
                rows_of.entry(label).or_default().push(number);
            }
        }
        Met { rows_of }
    }

    /// How many labels of some axes stand in one row; where none does, how many there are.
    fn count<'r>(&self, own: impl IntoIterator<Item = &'r Row>) -> usize {
        let own: BTreeSet<Label> = own.into_iter().flat_map(|row| row.iter().copied()).collect();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for number in own.iter().filter_map(|label| self.rows_of.get(label)).flatten() {
            *counts.entry(*number).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(own.len())
    }
}

/// What every node keeps, and what has been tried.
#[derive(Debug, Default)]
pub(super) struct Kept {
    keeps: BTreeMap<NodeId, Keep>,
    settled: BTreeSet<(NodeId, Side)>,
    tried: BTreeSet<(NodeId, Side, usize)>,
}

impl Kept {
    /// Cuts heads in one way; whether that differs from what a walk does that knows of no heads.
    pub fn cut(&mut self, heads: &Heads, split: Split) -> bool {
        let mut differs = false;
        for cut in &heads.cuts {
            let axis = match split {
                Split::Within => cut.within,
                Split::Whole => cut.whole,
            };
            let keep = self.keeps.entry(cut.node).or_default();
            keep.prefer(cut.side, axis, &cut.axes);
            self.settled.insert((cut.node, cut.side));
            differs |= cut.axes.last() != Some(&axis);
        }
        differs
    }

    /// Chooses again wherever a choice left nothing to remove; whether there is anything new to try.
    pub fn again(&mut self, labels: &Labels) -> bool {
        let mut differs = false;
        for choice in labels.choices() {
            let mut roots = choice.row.iter().map(|&label| labels.find(label));
            let first = roots.next();
            if self.settled.contains(&(choice.node, choice.side)) || roots.any(|root| Some(root) != first) {
                continue;
            }
            self.tried.insert((choice.node, choice.side, choice.kept));
            let mut further = choice.axes.iter().rev();
            let next = further.find(|&&axis| !self.tried.contains(&(choice.node, choice.side, axis)));
            if let Some(&axis) = next {
                let keep = self.keeps.entry(choice.node).or_default();
                keep.prefer(choice.side, axis, &choice.axes);
                differs = true;
            }
        }
        differs
    }

    pub fn of(&self, node: NodeId) -> Option<&Keep> {
        self.keeps.get(&node)
    }
}
