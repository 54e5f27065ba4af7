//! Chains of unions: why labels are in one class.
//!
//! Owns the search for shortest chains over every union that was asked for. Deliberately knows neither layers nor words.

use super::{FROZEN, Label, Labels, Reason, Union};
use std::collections::{BTreeSet, VecDeque};

/// One step of a chain: `from` and `to` go together because of `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub from: Label,
    pub to: Label,
    pub reason: Reason,
}

/// The unions of all labels, ready to be searched.
pub struct Paths<'l> {
    labels: &'l Labels,
    /// Where each label's ends start.
    first: Vec<u32>,
    /// Unions by label, in the order in which they were asked for.
    ends: Vec<u32>,
}

/// The way from every frozen label to what froze it.
pub struct Freezing<'p> {
    paths: &'p Paths<'p>,
    /// The union that leads on, if any does.
    next: Vec<Option<u32>>,
}

impl<'l> Paths<'l> {
    pub fn new(labels: &'l Labels) -> Paths<'l> {
        let mut first = vec![0_u32; labels.len() + 1];
        for union in labels.all_unions() {
            first[union.a as usize + 1] += 1;
            first[union.b as usize + 1] += 1;
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        let mut free = first.clone();
        let mut ends = vec![0; first.last().map_or(0, |&end| end as usize)];
        for (index, union) in labels.all_unions().enumerate() {
            for label in [union.a, union.b] {
                ends[free[label as usize] as usize] = index as u32;
                free[label as usize] += 1;
            }
        }
        Paths { labels, first, ends }
    }

    /// The unions that meet in a label, with its other end.
    fn around(&self, label: Label) -> impl Iterator<Item = (u32, Label)> {
        let (start, end) = (self.first[label as usize], self.first[label as usize + 1]);
        let indices = self.ends[start as usize..end as usize].iter();
        indices.map(move |&index| {
            let union = self.union(index);
            (index, if union.a == label { union.b } else { union.a })
        })
    }

    fn union(&self, index: u32) -> Union {
        self.labels.union_at(index as usize)
    }

    /// The union by which every reached label was reached, breadth first. Nothing leads through the frozen class: it
    /// would couple everything frozen with everything else.
    fn search(&self, from: &[Label], goal: impl Fn(Label) -> bool) -> (Vec<Option<u32>>, Option<Label>) {
        let mut by = vec![None; self.first.len() - 1];
        let mut seen = vec![false; by.len()];
        let mut waiting: VecDeque<Label> = VecDeque::new();
        for &label in from {
            if !std::mem::replace(&mut seen[label as usize], true) {
                waiting.push_back(label);
            }
        }
        while let Some(label) = waiting.pop_front() {
            if goal(label) {
                return (by, Some(label));
            }
            for (index, other) in self.around(label) {
                if other != FROZEN && !std::mem::replace(&mut seen[other as usize], true) {
                    by[other as usize] = Some(index);
                    waiting.push_back(other);
                }
            }
        }
        (by, None)
    }

    /// The shortest chain from one of some labels to one of others, neither frozen; none when no class holds both. Of
    /// equally short ones the first: labels as they are given, unions as they were asked for.
    pub fn shortest(&self, from: &[Label], to: &BTreeSet<Label>) -> Option<Vec<Link>> {
        let live = |label: Label| self.labels.find(label) != FROZEN;
        let from: Vec<Label> = from.iter().copied().filter(|&label| live(label)).collect();
        let (by, found) = self.search(&from, |label| to.contains(&label));
        let mut at = found?;
        let mut chain = Vec::new();
        while let Some(index) = by[at as usize] {
            let union = self.union(index);
            let before = if union.a == at { union.b } else { union.a };
            chain.push(Link {
                from: before,
                to: at,
                reason: union.reason,
            });
            at = before;
        }
        chain.reverse();
        Some(chain)
    }

    /// The shortest ways to the frozen class, for all labels at once.
    pub fn freezing(&self) -> Freezing<'_> {
        let (next, _) = self.search(&[FROZEN], |_| false);
        Freezing { paths: self, next }
    }
}

impl Freezing<'_> {
    /// The shortest chain from a label to the frozen class; none when it is not frozen.
    pub fn chain(&self, label: Label) -> Option<Vec<Link>> {
        let mut at = label;
        let mut chain = Vec::new();
        while at != FROZEN {
            let union = self.paths.union(self.next.get(at as usize).copied().flatten()?);
            let to = if union.a == at { union.b } else { union.a };
            chain.push(Link {
                from: at,
                to,
                reason: union.reason,
            });
            at = to;
        }
        Some(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ParamId;
    use proptest::prelude::*;

    const WHY: Reason = Reason {
        node: None,
        what: "test",
    };

    #[test]
    fn the_shortest_chain_explains() {
        let mut labels = Labels::with_every_union();
        let row = labels.of_param(ParamId(0), 0, 5);
        for (a, b) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
            labels.unite(row[a], row[b], WHY);
        }
        labels.unite(row[4], FROZEN, WHY);
        let paths = Paths::new(&labels);
        let length = |a: usize, b: usize| {
            paths
                .shortest(&[row[a]], &BTreeSet::from([row[b]]))
                .map(|path| path.len())
        };
        // The last union joined nothing new, and is the shortest way all the same.
        assert_eq!((length(0, 2), length(0, 3), length(2, 2)), (Some(2), Some(1), Some(0)));
        assert_eq!((length(0, 4), length(4, 4)), (None, None));
        let freezing = paths.freezing();
        assert_eq!(freezing.chain(row[4]).map(|path| path.len()), Some(1));
        assert_eq!(freezing.chain(row[0]), None);
    }

    proptest! {
        /// Against the distances that relaxing every union over and over gives.
        #[test]
        fn no_chain_is_shorter(edges in prop::collection::vec((0_usize..12, 0_usize..12), 0..30)) {
            let mut labels = Labels::with_every_union();
            let row = labels.of_param(ParamId(0), 0, 11);
            let label = |at: usize| row.get(at).copied().unwrap_or(FROZEN);
            for &(a, b) in &edges {
                labels.unite(label(a), label(b), WHY);
            }
            let distances = |from: usize| {
                let mut distance = [usize::MAX; 12];
                distance[from] = 0;
                for _ in 0..12 {
                    for &(a, b) in edges.iter().chain(&edges.iter().map(|&(a, b)| (b, a)).collect::<Vec<_>>()) {
                        distance[b] = distance[b].min(distance[a].saturating_add(1));
                    }
                }
                distance
            };
            let paths = Paths::new(&labels);
            let freezing = paths.freezing();
            let to_frozen = distances(11);
            for (a, &nearest) in to_frozen.iter().enumerate().take(11) {
                let frozen = freezing.chain(label(a)).map(|chain| chain.len());
                prop_assert_eq!(frozen.unwrap_or(usize::MAX), nearest);
                for (b, &expected) in distances(a).iter().enumerate().take(11) {
                    let chain = paths.shortest(&[label(a)], &BTreeSet::from([label(b)]));
                    let expected = if frozen.is_some() { usize::MAX } else { expected };
                    prop_assert_eq!(chain.as_ref().map_or(usize::MAX, Vec::len), expected);
                    for (at, link) in chain.iter().flatten().enumerate() {
                        let asked = |&(x, y): &(usize, usize)| {
                            [(link.from, link.to), (link.to, link.from)].contains(&(label(x), label(y)))
                        };
                        prop_assert!(edges.iter().any(asked));
                        let before = if at == 0 { label(a) } else { chain.as_ref().map_or(0, |chain| chain[at - 1].to) };
                        prop_assert_eq!(before, link.from);
                    }
                }
            }
        }
    }
}
