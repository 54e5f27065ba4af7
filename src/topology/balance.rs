//! Units that are alike, and which of them must go in equal numbers.
//!
//! Owns what a grouped convolution asks of a choice of units: each of its groups must lose equally many. Groups are
//! formed so that each may lose units alone; what no choice could keep balanced is frozen here.

use super::walk::Walked;
use crate::graph::ParamId;
use crate::labels::{FROZEN, Label, Position, Reason};
use std::collections::BTreeMap;

/// A class of labels that may go.
pub(super) struct Unit {
    pub root: Label,
    pub positions: Vec<Position>,
    /// The constraints under which it takes from one block alone: which, and the block.
    blocks: Vec<(usize, usize)>,
}

/// Units that take equally many positions from the same axes, and from one block alone under the same constraints.
pub(super) struct Alike {
    /// Parameter, axis and number of positions.
    pub takes: Vec<(ParamId, usize, usize)>,
    pub units: Vec<Unit>,
    /// Blocks of units, equally long, that must lose equally many. Empty when every choice is balanced.
    pub balance: Vec<Vec<usize>>,
}

/// What a class takes from the blocks of one constraint.
struct Count {
    /// A position that the operator itself touches.
    own: Label,
    of_block: Vec<usize>,
}

impl Count {
    fn even(&self) -> bool {
        even(&self.of_block)
    }

    /// The block that it takes from, when it is one alone.
    fn only_block(&self) -> Option<usize> {
        let mut blocks = self.of_block.iter().enumerate().filter(|&(_, &n)| n > 0);
        match (blocks.next(), blocks.next()) {
            (Some((block, _)), None) => Some(block),
            _ => None,
        }
    }
}

fn even<T: PartialEq>(numbers: &[T]) -> bool {
    numbers.windows(2).all(|pair| pair[0] == pair[1])
}

/// How often each class stands in each block of each constraint.
fn counts(walked: &Walked) -> Vec<BTreeMap<Label, Count>> {
    let count = |blocks: &[Vec<Label>]| {
        let mut counts: BTreeMap<Label, Count> = BTreeMap::new();
        for (at, block) in blocks.iter().enumerate() {
            for &label in block {
                let count = counts.entry(walked.labels.find(label)).or_insert_with(|| Count {
                    own: label,
                    of_block: vec![0; blocks.len()],
                });
                count.of_block[at] += 1;
            }
        }
        counts.remove(&FROZEN);
        counts
    };
    let balances = walked.labels.balances().iter();
    balances.map(|balance| count(&balance.blocks)).collect()
}

/// The units that may go, alike by alike. What no choice of units could keep balanced is frozen: classes that take
/// unequally from several blocks, and those whose likes do not fill every block equally.
pub(super) fn settle(walked: &mut Walked) -> Vec<Alike> {
    let counts = counts(walked);
    let mut blocks: BTreeMap<Label, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, counts) in counts.iter().enumerate() {
        for (&root, count) in counts.iter().filter(|(_, count)| !count.even()) {
            match count.only_block() {
                Some(block) => blocks.entry(root).or_default().push((at, block)),
                None => freeze(walked, at, count.own),
            }
        }
    }
    let mut units: BTreeMap<Label, Vec<Position>> = BTreeMap::new();
    for (position, label) in walked.labels.positions() {
        let root = walked.labels.find(label);
        if root != FROZEN {
            units.entry(root).or_default().push(position);
        }
    }
    type Signature = (Vec<(ParamId, usize, usize)>, Vec<usize>);
    let mut alike: BTreeMap<Signature, Vec<Unit>> = BTreeMap::new();
    for (root, positions) in units {
        let mut takes: Vec<(ParamId, usize, usize)> = Vec::new();
        for position in &positions {
            match takes.last_mut() {
                Some((param, axis, count)) if (*param, *axis) == (position.param, position.axis) => *count += 1,
                _ => takes.push((position.param, position.axis, 1)),
            }
        }
        let blocks = blocks.remove(&root).unwrap_or_default();
        let constraints = blocks.iter().map(|&(constraint, _)| constraint).collect();
        alike.entry((takes, constraints)).or_default().push(Unit {
            root,
            positions,
            blocks,
        });
    }
    let mut settled = Vec::new();
    for ((takes, constraints), mut units) in alike {
        units.sort_by_key(|unit| unit.positions[0]);
        match balanced(walked, &constraints, &units) {
            Ok(balance) => settled.push(Alike { takes, units, balance }),
            Err(constraint) => {
                for unit in units {
                    freeze(walked, constraint, counts[constraint][&unit.root].own);
                }
            }
        }
    }
    settled
}

fn freeze(walked: &mut Walked, constraint: usize, label: Label) {
    let why = Reason {
        node: Some(walked.labels.balances()[constraint].node),
        what: "cannot lose equally many in each of its groups",
    };
    walked.labels.unite(label, FROZEN, why);
}

/// The blocks of units that must lose equally many, or the constraint that no such blocks satisfy.
///
/// Several constraints hold together where each part that lies in one block of every constraint loses equally many, as
/// long as every block is made of equally many parts.
fn balanced(walked: &Walked, constraints: &[usize], units: &[Unit]) -> Result<Vec<Vec<usize>>, usize> {
    let Some(&first) = constraints.first() else {
        return Ok(Vec::new());
    };
    let mut parts: BTreeMap<&[(usize, usize)], Vec<usize>> = BTreeMap::new();
    for (at, unit) in units.iter().enumerate() {
        parts.entry(&unit.blocks).or_default().push(at);
    }
    for (at, &constraint) in constraints.iter().enumerate() {
        let mut each = vec![0; walked.labels.balances()[constraint].blocks.len()];
        parts.keys().for_each(|blocks| each[blocks[at].1] += 1);
        if !even(&each) {
            return Err(constraint);
        }
    }
    let parts: Vec<Vec<usize>> = parts.into_values().collect();
    let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
    if even(&lengths) { Ok(parts) } else { Err(first) }
}
