//! Channel labels: which positions of which parameter axes must go together.
//!
//! Owns the labels of every (parameter, axis, index), the union-find over them, the reason of every union, and
//! [`Axes`], the labels that a value carries along each of its axes. Deliberately knows no operator: the rules live in
//! `ops/`.
//!
//! A label is a number. [`FROZEN`] may not be removed; labels that stand for no parameter ([`Labels::fresh`]: padding,
//! zeros) go with whatever they meet. What remains of an axis must be a rectangle with the others, so a label varies along exactly one axis of a
//! value, and a value's labels are one optional row of labels an axis: no row means that the axis keeps its size.

mod axes;
mod elements;
mod paths;

pub use axes::{Axes, Keep, Row, Split, concat, reshape, spread};
pub use elements::{from_elements, to_elements};
pub use paths::{Freezing, Link, Paths};

use crate::graph::{NodeId, ParamId};
use std::collections::{BTreeMap, BTreeSet};

/// A class of positions that go together, before unions are applied.
pub type Label = u32;

/// The label of everything that may not be removed.
pub const FROZEN: Label = 0;
/// As many elements are labelled one by one, where an operator mixes axes; more are frozen.
pub const MOST_ELEMENTS: usize = 1 << 26;
/// As many labels are made. More need more memory than the labels of any model that would run.
const MOST_LABELS: usize = 1 << 27;
/// Stands for zeros while labels are moved element by element; no row of a value holds it.
const FREE: Label = 1;

/// Why two labels were united, or why one was frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The operator that asked for it; none for a rule of the whole model (its outputs).
    pub node: Option<NodeId>,
    /// A sentence fragment: `adds them`, `normalises over them`.
    pub what: &'static str,
}

/// One edge of the explanation: `a` and `b` go together because of `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Union {
    pub a: Label,
    pub b: Label,
    pub reason: Reason,
}

/// Blocks of labels that must lose equally many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub node: NodeId,
    pub blocks: Vec<Vec<Label>>,
}

/// A row of labels whose number must stay a multiple of `of`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiple {
    pub node: NodeId,
    pub row: Vec<Label>,
    pub of: usize,
}

/// Which axes of a node a choice is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Axes of its input that it merges into one.
    Merged,
    /// Axes of its output into which it splits one.
    Split,
}

/// Axes of which a node could keep the labels of one only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub node: NodeId,
    pub side: Side,
    /// The axes, outermost first.
    pub axes: Vec<usize>,
    /// The one that kept its labels, and those.
    pub kept: usize,
    pub row: Row,
}

/// The labels of two tensors that a node multiplies batch by batch, as they were before it united any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Product {
    /// Rows of axes that it goes through one by one.
    pub batch: Vec<Row>,
    /// Rows of all other axes.
    pub features: Vec<Row>,
}

/// A position that a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub param: ParamId,
    pub axis: usize,
    pub index: usize,
}

/// The union-find over all labels, with reasons.
#[derive(Clone, Debug)]
pub struct Labels {
    parent: Vec<Label>,
    size: Vec<u32>,
    /// Of each representative: whether its class stands for a position of a parameter.
    stands: Vec<bool>,
    /// First label and extent of each labelled parameter axis, in order of first use.
    axes: Vec<(ParamId, usize, Label, usize)>,
    first: BTreeMap<(ParamId, usize), Label>,
    unions: Vec<Union>,
    /// Unions of what was in one class already, and those that have been kept; none where nobody asks for them.
    spare: Vec<Union>,
    spares: Option<BTreeSet<(Label, Label, Reason)>>,
    balances: Vec<Balance>,
    multiples: Vec<Multiple>,
    choices: Vec<Choice>,
    products: Vec<Product>,
    /// The labels of stretched axes, in order.
    stretches: Vec<std::ops::Range<Label>>,
    /// Whether nothing freezes and every part of a split axis has labels of its own.
    tracing: bool,
    divisors: BTreeSet<(ParamId, usize)>,
    mixed: Vec<Label>,
}

impl Default for Labels {
    fn default() -> Self {
        Labels {
            parent: vec![FROZEN, FREE],
            size: vec![1, 1],
            stands: vec![true, false],
            axes: Vec::new(),
            first: BTreeMap::new(),
            unions: Vec::new(),
            spare: Vec::new(),
            spares: None,
            balances: Vec::new(),
            multiples: Vec::new(),
            choices: Vec::new(),
            products: Vec::new(),
            stretches: Vec::new(),
            tracing: false,
            divisors: BTreeSet::new(),
            mixed: Vec::new(),
        }
    }
}

impl Labels {
    /// Labels that keep every union, also between what is in one class already: so the shortest chain is known.
    pub fn with_every_union() -> Labels {
        Labels {
            spares: Some(BTreeSet::new()),
            ..Labels::default()
        }
    }

    /// Labels that only tell where axes go: nothing freezes, and of an axis that is split every part has labels of its own.
    pub fn tracing() -> Labels {
        Labels {
            tracing: true,
            ..Labels::default()
        }
    }

    /// Whether these labels only tell where axes go.
    pub fn traces(&self) -> bool {
        self.tracing
    }

    /// How many labels there are, the reserved ones included.
    fn len(&self) -> usize {
        self.parent.len()
    }

    /// The labels of one axis of a parameter; the same ones whenever they are asked for.
    pub fn of_param(&mut self, param: ParamId, axis: usize, extent: usize) -> Vec<Label> {
        if !self.first.contains_key(&(param, axis)) {
            let first = self.add(extent, true);
            self.axes.push((param, axis, first, extent));
            self.first.insert((param, axis), first);
        }
        self.row(param, axis).unwrap_or_default()
    }

    /// The labels of an axis that something has asked for before.
    pub fn row(&self, param: ParamId, axis: usize) -> Option<Vec<Label>> {
        let &first = self.first.get(&(param, axis))?;
        let at = self.axes.partition_point(|&(_, _, known, _)| known < first);
        Some((first..first + self.axes[at].3 as Label).collect())
    }

    /// Whether there is room for the labels of an axis of this extent. One without labels keeps its size.
    pub fn room(&self, extent: usize) -> bool {
        extent <= MOST_LABELS.saturating_sub(self.len())
    }

    /// New labels that stand for no parameter: padding and zeros, which go with whatever they meet.
    pub fn fresh(&mut self, extent: usize) -> Vec<Label> {
        let first = self.add(extent, false);
        (first..first + extent as Label).collect()
    }

    /// New labels that stand for no parameter, of an axis that holds one position's values all along.
    pub fn stretched(&mut self, extent: usize) -> Vec<Label> {
        let row = self.fresh(extent);
        self.stretches.push((self.len() - extent) as Label..self.len() as Label);
        row
    }

    /// Whether any label of a row is of an axis that holds one position's values all along: what class it is in by now
    /// says nothing of zeros there.
    pub fn is_stretched(&self, row: &[Label]) -> bool {
        row.iter().any(|label| {
            let after = self.stretches.partition_point(|known| known.start <= *label);
            after > 0 && self.stretches[after - 1].contains(label)
        })
    }

    /// New classes of one label each; the first label.
    fn add(&mut self, count: usize, stands: bool) -> Label {
        let first = self.parent.len() as Label;
        self.parent.extend(first..first + count as Label);
        self.size.extend(std::iter::repeat_n(1, count));
        self.stands.extend(std::iter::repeat_n(stands, count));
        first
    }

    /// Whether a label goes with no position of any parameter, and is not frozen.
    pub fn idle(&self, label: Label) -> bool {
        !self.stands[self.find(label) as usize]
    }

    /// The representative of a label's class; [`FROZEN`] represents its own.
    pub fn find(&self, label: Label) -> Label {
        let mut label = label;
        while self.parent[label as usize] != label {
            label = self.parent[label as usize];
        }
        label
    }

    fn find_and_shorten(&mut self, label: Label) -> Label {
        let root = self.find(label);
        let mut label = label;
        while self.parent[label as usize] != root {
            label = std::mem::replace(&mut self.parent[label as usize], root);
        }
        root
    }

    /// Puts two labels into one class.
    pub fn unite(&mut self, a: Label, b: Label, reason: Reason) {
        if self.tracing && (a == FROZEN || b == FROZEN) {
            return;
        }
        let (mut from, mut into) = (self.find_and_shorten(a), self.find_and_shorten(b));
        if from == into {
            self.keep_spare(Union { a, b, reason });
            return;
        }
        // The frozen class keeps its name; otherwise the smaller class joins the larger.
        if from == FROZEN || (into != FROZEN && self.size[from as usize] > self.size[into as usize]) {
            std::mem::swap(&mut from, &mut into);
        }
        self.parent[from as usize] = into;
        self.size[into as usize] += self.size[from as usize];
        self.stands[into as usize] |= self.stands[from as usize];
        self.unions.push(Union { a, b, reason });
    }

    /// Keeps a union that joined nothing new, once.
    fn keep_spare(&mut self, union: Union) {
        let Some(known) = &mut self.spares else { return };
        if union.a != union.b && known.insert((union.a.min(union.b), union.a.max(union.b), union.reason)) {
            self.spare.push(union);
        }
    }

    /// Unites two rows position by position.
    pub fn unite_rows(&mut self, a: &[Label], b: &[Label], reason: Reason) {
        for (&a, &b) in a.iter().zip(b) {
            self.unite(a, b, reason);
        }
    }

    /// Freezes every label of a row.
    pub fn freeze(&mut self, row: &[Label], reason: Reason) {
        for &label in row {
            self.unite(label, FROZEN, reason);
        }
    }

    /// Asks that each block loses equally many.
    pub fn balance(&mut self, node: NodeId, blocks: Vec<Vec<Label>>) {
        self.balances.push(Balance { node, blocks });
    }

    /// Notes that a row's number must stay a multiple, as groups ask; the labels themselves already see to it.
    pub fn note_multiple(&mut self, node: NodeId, row: &[Label], of: usize) {
        self.multiples.push(Multiple {
            node,
            row: row.to_vec(),
            of,
        });
    }

    pub fn multiples(&self) -> &[Multiple] {
        &self.multiples
    }

    /// Notes that a node could keep the labels of one of several axes.
    pub fn note_choice(&mut self, choice: Choice) {
        self.choices.push(choice);
    }

    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// Notes a product of two tensors, batch by batch: attention goes through its heads in this way.
    pub fn note_product(&mut self, product: Product) {
        self.products.push(product);
    }

    pub fn products(&self) -> &[Product] {
        &self.products
    }

    /// Notes labels that a norm mixes and that may go all the same: what is left is not exactly the network without them.
    pub fn note_mixed(&mut self, row: &[Label]) {
        self.mixed.extend_from_slice(row);
    }

    pub fn mixed(&self) -> &[Label] {
        &self.mixed
    }

    /// Notes that something is divided by the norm of each position of a parameter's axis: none may become zero.
    pub fn note_divisor(&mut self, param: ParamId, axis: usize) {
        self.divisors.insert((param, axis));
    }

    /// Whether something is divided by the norm of each position of a parameter's axis.
    pub fn divides(&self, param: ParamId, axis: usize) -> bool {
        self.divisors.contains(&(param, axis))
    }

    pub fn balances(&self) -> &[Balance] {
        &self.balances
    }

    /// Every union that joined two classes, in order, then those that joined nothing new, where they are kept.
    pub fn all_unions(&self) -> impl Iterator<Item = Union> {
        self.unions.iter().chain(&self.spare).copied()
    }

    fn union_at(&self, index: usize) -> Union {
        match index.checked_sub(self.unions.len()) {
            None => self.unions[index],
            Some(at) => self.spare[at],
        }
    }

    /// What a label stands for; none for the reserved ones.
    pub fn position(&self, label: Label) -> Option<Position> {
        let after = self.axes.partition_point(|&(_, _, first, _)| first <= label);
        let &(param, axis, first, extent) = self.axes.get(after.checked_sub(1)?)?;
        let index = (label - first) as usize;
        (index < extent).then_some(Position { param, axis, index })
    }

    /// All labelled positions with their labels, ordered by parameter, axis and index.
    pub fn positions(&self) -> impl Iterator<Item = (Position, Label)> {
        self.first.keys().flat_map(|&(param, axis)| {
            let row = self.row(param, axis).unwrap_or_default();
            row.into_iter()
                .enumerate()
                .map(move |(index, label)| (Position { param, axis, index }, label))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHY: Reason = Reason {
        node: None,
        what: "test",
    };

    #[test]
    fn frozen_absorbs() {
        let mut labels = Labels::default();
        let row = labels.of_param(ParamId(0), 0, 3);
        labels.unite(row[0], row[1], WHY);
        assert_eq!(labels.find(row[0]), labels.find(row[1]));
        assert_ne!(labels.find(row[2]), labels.find(row[0]));
        labels.unite(row[1], FROZEN, WHY);
        assert_eq!(labels.find(row[0]), FROZEN);
        assert_ne!(labels.find(row[2]), FROZEN);
    }

    #[test]
    fn positions_are_found_back() {
        let mut labels = Labels::default();
        labels.of_param(ParamId(1), 0, 2);
        let row = labels.of_param(ParamId(0), 1, 2);
        assert_eq!(
            labels.position(row[1]),
            Some(Position {
                param: ParamId(0),
                axis: 1,
                index: 1
            })
        );
        assert_eq!(labels.position(FROZEN), None);
        assert!(
            labels
                .positions()
                .all(|(position, label)| labels.position(label) == Some(position))
        );
        assert_eq!(labels.positions().count(), 4);
    }
}
