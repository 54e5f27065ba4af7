//! The unions as a graph whose paths explain why two labels go together.
//!
//! Owns the search; what a path says in words is `topology/explain`'s. Built once and asked often: a network has hundreds
//! of layers to explain and hundreds of thousands of unions.

use super::{FROZEN, Label, Labels, Union};
use std::cell::OnceCell;
use std::collections::VecDeque;

/// The index of the union by which a search reached a label; [`START`] where it began, [`UNREACHED`] elsewhere.
type Reached = Vec<u32>;

const UNREACHED: u32 = u32::MAX;
const START: u32 = u32::MAX - 1;

/// Every union of some labels, found by the labels that it joined.
pub struct Paths<'l> {
    labels: &'l Labels,
    /// Where each label's edges start in `edges`; one more than there are labels.
    starts: Vec<u32>,
    /// Indices of unions, label by label, in the order in which they were made.
    edges: Vec<u32>,
    from_frozen: OnceCell<Reached>,
}

impl<'l> Paths<'l> {
    pub fn new(labels: &'l Labels) -> Paths<'l> {
        let unions = labels.unions();
        let mut starts = vec![0_u32; labels.parent.len() + 1];
        for union in unions {
            starts[union.a as usize + 1] += 1;
            starts[union.b as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut edges = vec![0; 2 * unions.len()];
        for (index, union) in unions.iter().enumerate() {
            for label in [union.a, union.b] {
                edges[next[label as usize] as usize] = index as u32;
                next[label as usize] += 1;
            }
        }
        Paths {
            labels,
            starts,
            edges,
            from_frozen: OnceCell::new(),
        }
    }

    /// The shortest chain of unions from one label to another (or to [`FROZEN`]); none when they are not in one class.
    pub fn between(&self, from: Label, to: Label) -> Option<Vec<Union>> {
        if self.labels.find(from) != self.labels.find(to) {
            return None;
        }
        if to == FROZEN {
            return self.back(self.from_frozen.get_or_init(|| self.reach(FROZEN, None)), from);
        }
        self.back(&self.reach(to, Some(from)), from)
    }

    /// Searches from one label, breadth first; as far as `wanted`, or everywhere.
    fn reach(&self, start: Label, wanted: Option<Label>) -> Reached {
        let mut reached = vec![UNREACHED; self.labels.parent.len()];
        reached[start as usize] = START;
        let mut waiting = VecDeque::from([start]);
        while let Some(label) = waiting.pop_front() {
            if Some(label) == wanted {
                break;
            }
            let own = self.starts[label as usize] as usize..self.starts[label as usize + 1] as usize;
            for &index in &self.edges[own] {
                let other = self.other_end(index, label);
                // A path through the frozen class would couple everything frozen with everything else.
                if reached[other as usize] == UNREACHED && other != FROZEN {
                    reached[other as usize] = index;
                    waiting.push_back(other);
                }
            }
        }
        reached
    }

    fn other_end(&self, index: u32, label: Label) -> Label {
        let union = self.labels.unions()[index as usize];
        if union.a == label { union.b } else { union.a }
    }

    /// The chain from a label back to where the search began.
    fn back(&self, reached: &Reached, from: Label) -> Option<Vec<Union>> {
        let mut path = Vec::new();
        let mut label = from;
        loop {
            match reached[label as usize] {
                START => return Some(path),
                UNREACHED => return None,
                index => {
                    path.push(self.labels.unions()[index as usize]);
                    label = self.other_end(index, label);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reason;
    use super::*;
    use crate::graph::ParamId;

    const WHY: Reason = Reason {
        node: None,
        what: "test",
    };

    #[test]
    fn the_chain_explains() {
        let mut labels = Labels::default();
        let row = labels.of_param(ParamId(0), 0, 6);
        for (a, b) in [(0, 1), (1, 2), (2, 3)] {
            labels.unite(row[a], row[b], WHY);
        }
        let paths = Paths::new(&labels);
        let path = paths.between(row[0], row[2]).unwrap_or_default();
        assert_eq!(path.iter().map(|union| union.a).collect::<Vec<_>>(), [row[0], row[1]]);
        assert_eq!(paths.between(row[0], FROZEN), None);
        assert_eq!(paths.between(row[0], row[4]), None);
    }

    #[test]
    fn no_chain_runs_through_what_is_frozen() {
        let mut labels = Labels::default();
        let row = labels.of_param(ParamId(0), 0, 4);
        labels.freeze(&row[..2], WHY);
        labels.unite(row[1], row[2], WHY);
        let paths = Paths::new(&labels);
        assert_eq!(paths.between(row[0], row[2]), None);
        let path = paths.between(row[2], FROZEN).unwrap_or_default();
        assert_eq!(path.len(), 2);
        assert_eq!(path[1].b, FROZEN);
    }
}
