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

pub use axes::{Axes, Row, Split, concat, reshape, spread};
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

/// An axis that a node split into parts, of which one kept its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    pub node: NodeId,
    /// The axes of the node's output that hold the parts, outermost first.
    pub axes: Vec<usize>,
    /// Their extents.
    pub extents: Vec<usize>,
    /// The labels of the part that kept them.
    pub row: Vec<Label>,
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
    /// First label and extent of each labelled parameter axis, in order of first use.
    axes: Vec<(ParamId, usize, Label, usize)>,
    first: BTreeMap<(ParamId, usize), Label>,
    unions: Vec<Union>,
    /// Unions of what was in one class already, and those that have been kept; none where nobody asks for them.
    spare: Vec<Union>,
    spares: Option<BTreeSet<(Label, Label, Reason)>>,
    balances: Vec<Balance>,
    multiples: Vec<Multiple>,
    parts: Vec<Parts>,
    products: Vec<(Label, usize)>,
    divisors: BTreeSet<(ParamId, usize)>,
    mixed: Vec<Label>,
}

impl Default for Labels {
    fn default() -> Self {
        Labels {
            parent: vec![FROZEN, FREE],
            size: vec![1, 1],
            axes: Vec::new(),
            first: BTreeMap::new(),
            unions: Vec::new(),
            spare: Vec::new(),
            spares: None,
            balances: Vec::new(),
            multiples: Vec::new(),
            parts: Vec::new(),
            products: Vec::new(),
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

    /// How many labels there are, the reserved ones included.
    fn len(&self) -> usize {
        self.parent.len()
    }

    /// The labels of one axis of a parameter; the same ones whenever they are asked for.
    pub fn of_param(&mut self, param: ParamId, axis: usize, extent: usize) -> Vec<Label> {
        let first = *self.first.entry((param, axis)).or_insert_with(|| {
            let first = self.parent.len() as Label;
            self.parent.extend(first..first + extent as Label);
            self.size.extend(std::iter::repeat_n(1, extent));
            self.axes.push((param, axis, first, extent));
            first
        });
        (first..first + extent as Label).collect()
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
        let first = self.parent.len() as Label;
        self.parent.extend(first..first + extent as Label);
        self.size.extend(std::iter::repeat_n(1, extent));
        (first..first + extent as Label).collect()
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

    /// Notes that a node split an axis into parts and tied all but one.
    pub fn note_parts(&mut self, parts: Parts) {
        self.parts.push(parts);
    }

    pub fn parts(&self) -> &[Parts] {
        &self.parts
    }

    /// Notes labels that a product of two activations, batch by batch, sums over or gives: those of attention heads.
    pub fn note_product(&mut self, row: &[Label]) {
        self.products.extend(row.first().map(|&first| (first, row.len())));
    }

    /// Rows of products of activations: the first label and the extent of each.
    pub fn products(&self) -> &[(Label, usize)] {
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
