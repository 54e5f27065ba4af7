//! Blocks that must lose equally many units: settled before groups are formed, and listed with them.

use super::walk::Walked;
use crate::labels::{Balance, FROZEN, Label, Reason};
use std::collections::BTreeMap;

/// How often each class stands in each block.
fn counts(walked: &Walked, balance: &Balance) -> BTreeMap<Label, Vec<usize>> {
    let mut counts: BTreeMap<Label, Vec<usize>> = BTreeMap::new();
    for (at, block) in balance.blocks.iter().enumerate() {
        for &label in block {
            counts
                .entry(walked.labels.find(label))
                .or_insert_with(|| vec![0; balance.blocks.len()])[at] += 1;
        }
    }
    counts
}

/// Whether a class takes equally from every block by itself.
fn even(count: &[usize]) -> bool {
    count.windows(2).all(|pair| pair[0] == pair[1])
}

/// The block that a class takes from, when it is one alone.
fn only_block(count: &[usize]) -> Option<usize> {
    let mut blocks = count.iter().enumerate().filter(|&(_, &n)| n > 0);
    match (blocks.next(), blocks.next()) {
        (Some((block, _)), None) => Some(block),
        _ => None,
    }
}

/// Freezes what no choice of units could keep balanced: classes that take unequally from several blocks, and blocks of
/// which some positions are frozen and others not.
pub(super) fn settle(walked: &mut Walked) {
    loop {
        let mut frozen: Vec<(Label, Reason)> = Vec::new();
        for balance in walked.labels.balances() {
            let counts = counts(walked, balance);
            // Named by a position that the operator itself touches.
            let own = |root: Label| {
                let mut all = balance.blocks.iter().flatten().copied();
                all.find(|&label| walked.labels.find(label) == root).unwrap_or(root)
            };
            let why = Reason {
                node: Some(balance.node),
                what: "cannot lose equally many in each of its groups",
            };
            for (&root, count) in &counts {
                if root != FROZEN && !even(count) && only_block(count).is_none() {
                    frozen.push((own(root), why));
                }
            }
            // Of the classes that lie in one block each, every block needs equally many.
            let mut each = vec![0; balance.blocks.len()];
            for (&root, count) in &counts {
                if let (true, Some(block)) = (root != FROZEN && !even(count), only_block(count)) {
                    each[block] += count[block];
                }
            }
            if !even(&each) {
                let uneven = counts.iter().filter(|&(&root, count)| root != FROZEN && !even(count));
                frozen.extend(uneven.map(|(&root, _)| (own(root), why)));
            }
        }
        if frozen.is_empty() {
            return;
        }
        for (label, why) in frozen {
            walked.labels.unite(label, FROZEN, why);
        }
    }
}

/// The blocks of a group's units (given by their classes, in order) that must lose equally many. Empty when every choice
/// is balanced.
pub(super) fn blocks(walked: &Walked, roots: &[Label]) -> Vec<Vec<usize>> {
    let units: BTreeMap<Label, usize> = roots.iter().enumerate().map(|(unit, &root)| (root, unit)).collect();
    // Several constraints on one group hold together where each of their common parts loses equally many.
    let mut part_of: Vec<Vec<usize>> = vec![Vec::new(); roots.len()];
    for balance in walked.labels.balances() {
        let mut block_of = vec![None; roots.len()];
        for (root, count) in counts(walked, balance) {
            if let (Some(&unit), false) = (units.get(&root), even(&count)) {
                block_of[unit] = only_block(&count);
            }
        }
        if let Some(blocks) = block_of.into_iter().collect::<Option<Vec<usize>>>() {
            part_of
                .iter_mut()
                .zip(blocks)
                .for_each(|(part, block)| part.push(block));
        }
    }
    let mut parts: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for (unit, part) in part_of.into_iter().enumerate() {
        parts.entry(part).or_default().push(unit);
    }
    if parts.len() < 2 {
        Vec::new()
    } else {
        parts.into_values().collect()
    }
}
