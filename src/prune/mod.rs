//! A graph made smaller: units taken out of every parameter, and the sizes written in arguments brought in line.
//!
//! Owns removal and its counterpart, the same network with those units zeroed; the two must compute the same.
//! Deliberately chooses nothing: which units go is decided by the caller.

mod numbers;
mod proof;
mod proportion;
mod rewrite;

pub use proof::{Prover, difference, given, in_float64, proof};

use crate::graph::{Arg, Evaluate, Graph, NodeId, ParamId};
use crate::labels::{FROZEN, Label};
use crate::ops::Fact;
use crate::tensor::WeightError;
use crate::topology::{Options, Walked};
use std::collections::{BTreeMap, BTreeSet};

/// Why units cannot be removed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PruneError {
    #[error("channels {indices:?} of axis {axis} of {param} are frozen")]
    Frozen {
        param: String,
        axis: usize,
        indices: Vec<usize>,
    },
    #[error("nothing would be left of axis {axis} of {param}: keep at least one unit")]
    Empty { param: String, axis: usize },
    #[error("{place}: {message}")]
    Unfit { place: String, message: String },
    #[error(transparent)]
    Weight(#[from] WeightError),
}

/// The classes of labels that go, by representative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    roots: BTreeSet<Label>,
}

impl Removal {
    /// The classes of these labels.
    ///
    /// # Errors
    /// When one of them is frozen.
    pub fn of(walked: &Walked, labels: impl IntoIterator<Item = Label>) -> Result<Removal, PruneError> {
        let mut roots = BTreeSet::new();
        for label in labels {
            let root = walked.labels.find(label);
            if root == FROZEN {
                let place = walked.labels.position(label);
                return Err(PruneError::Frozen {
                    param: place.map_or_else(String::new, |at| walked.graph.param(at.param).name().to_owned()),
                    axis: place.map_or(0, |at| at.axis),
                    indices: place.map(|at| at.index).into_iter().collect(),
                });
            }
            roots.insert(root);
        }
        Ok(Removal { roots })
    }

    /// The classes that take the given positions of one axis of a parameter.
    ///
    /// # Errors
    /// When one of them is frozen, or was never met by the walk.
    pub fn of_indices(walked: &Walked, param: ParamId, axis: usize, indices: &[usize]) -> Result<Removal, PruneError> {
        let row = walked.labels.row(param, axis).unwrap_or_default();
        let labels: Option<Vec<Label>> = indices.iter().map(|&index| row.get(index).copied()).collect();
        match labels {
            Some(labels) => Removal::of(walked, labels),
            None => Err(PruneError::Frozen {
                param: walked.graph.param(param).name().to_owned(),
                axis,
                indices: indices.to_vec(),
            }),
        }
    }

    /// Both together.
    pub fn and(mut self, other: Removal) -> Removal {
        self.roots.extend(other.roots);
        self
    }

    fn takes(&self, walked: &Walked, label: Label) -> bool {
        self.roots.contains(&walked.labels.find(label))
    }

    /// Positions of a row that stay.
    fn kept(&self, walked: &Walked, row: &[Label]) -> Vec<usize> {
        (0..row.len()).filter(|&at| !self.takes(walked, row[at])).collect()
    }
}

/// A whole-number argument as the walk knew it.
fn whole_number(walked: &Walked, arg: &Arg) -> Option<i64> {
    match arg {
        Arg::Int(int) => Some(*int),
        Arg::Value(value) => match walked.fact(*value) {
            Fact::Number(number) => Some(number.as_i64()),
            _ => None,
        },
        _ => None,
    }
}

/// Positions that stay of each parameter's axis that loses any.
type Kept = BTreeMap<(ParamId, usize), Vec<usize>>;

fn kept_of_params(walked: &Walked, removal: &Removal) -> Result<Kept, PruneError> {
    let mut kept = Kept::new();
    for (index, param) in walked.graph.params.iter().enumerate() {
        let id = ParamId(index as u32);
        for axis in 0..param.tensor.shape().len() {
            let Some(row) = walked.labels.row(id, axis) else {
                continue;
            };
            let stay = removal.kept(walked, &row);
            if stay.is_empty() {
                return Err(PruneError::Empty {
                    param: param.name().to_owned(),
                    axis,
                });
            }
            if stay.len() < row.len() {
                kept.insert((id, axis), stay);
            }
        }
    }
    Ok(kept)
}

/// Removes units: smaller parameters, rewritten sizes. The result is walked again and every value's axes are held
/// against what the labels say must be left of them.
///
/// # Errors
/// When an axis would be left empty, the groups of a convolution would lose unequally many, or an operator cannot follow.
pub fn remove(
    walked: &Walked,
    options: &Options,
    removal: &Removal,
    evaluator: &dyn Evaluate,
) -> Result<Graph, PruneError> {
    let kept = kept_of_params(walked, removal)?;
    balanced(walked, removal)?;
    let mut graph = walked.graph.clone();
    for (&(param, axis), stay) in &kept {
        let tensor = &mut graph.params[param.0 as usize].tensor;
        *tensor = tensor.read()?.select(axis, stay).into();
    }
    let moved = rewrite::sizes(walked, removal, &mut graph)?;
    let again = walked.walk_smaller(&graph, &moved, options, evaluator);
    check(walked, &again, removal, &kept)?;
    Ok(graph)
}

/// Holds that each group of a grouped convolution loses equally many filters: of a weight that lost others, the shapes
/// may fit all the same, but the filters that stay would read another group's inputs.
fn balanced(walked: &Walked, removal: &Removal) -> Result<(), PruneError> {
    for balance in walked.labels.balances() {
        let lost = |block: &Vec<Label>| block.iter().filter(|&&label| removal.takes(walked, label)).count();
        let lost: Vec<usize> = balance.blocks.iter().map(lost).collect();
        if lost.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(PruneError::Unfit {
                place: crate::topology::place(walked.graph, balance.node),
                message: format!("its groups would lose {lost:?} filters, and must lose equally many"),
            });
        }
    }
    Ok(())
}

/// The same network with every parameter and buffer of the units zeroed.
pub fn zero(walked: &Walked, removal: &Removal) -> Result<Graph, PruneError> {
    let kept = kept_of_params(walked, removal)?;
    let mut graph = walked.graph.clone();
    for ((param, axis), stay) in kept {
        // What is divided by its own norm is scaled to zero by another parameter of the same units.
        if walked.labels.divides(param, axis) {
            continue;
        }
        let tensor = &mut graph.params[param.0 as usize].tensor;
        let gone: Vec<usize> = (0..tensor.shape()[axis])
            .filter(|at| stay.binary_search(at).is_err())
            .collect();
        *tensor = tensor.read()?.zeroed(axis, &gone).into();
    }
    Ok(graph)
}

/// Compares the smaller graph with what must be left, value by value: shapes and labels.
fn check(walked: &Walked, again: &Walked, removal: &Removal, kept: &Kept) -> Result<(), PruneError> {
    let graph = again.graph;
    let unfit = |value: crate::graph::ValueId, message: String| {
        let place = match walked.graph.value(value).def {
            crate::graph::Def::Node { node, .. } => crate::topology::place(walked.graph, node),
            _ => walked.graph.value(value).name.clone(),
        };
        Err(PruneError::Unfit { place, message })
    };
    let known: BTreeSet<&str> = walked.issues.iter().map(|issue| issue.node.as_str()).collect();
    if let Some(issue) = again.issues.iter().find(|issue| !known.contains(issue.node.as_str())) {
        let node = graph.nodes().find(|(_, node)| {
            node.outputs
                .first()
                .is_some_and(|&out| graph.value(out).name == issue.node)
        });
        let place = node.map_or_else(
            || issue.node.clone(),
            |(id, _): (NodeId, _)| crate::topology::place(graph, id),
        );
        return Err(PruneError::Unfit {
            place,
            message: issue.message.clone(),
        });
    }
    for value in walked.graph.value_ids() {
        let (Fact::Tensor(before), Fact::Tensor(after)) = (walked.fact(value), again.fact(value)) else {
            continue;
        };
        for axis in 0..before.axes.rank() {
            let row = before.axes.row(axis);
            let expected = row.map(|row| removal.kept(walked, row));
            let extent = expected.as_ref().map_or(before.axes.shape[axis], Vec::len);
            if after.axes.shape.get(axis) != Some(&extent) {
                let found = &after.axes.shape;
                return unfit(value, format!("axis {axis} of {found:?} should have extent {extent}"));
            }
            let (Some(row), Some(expected), Some(now)) = (row, expected, after.axes.row(axis)) else {
                continue;
            };
            for (&at, &label) in expected.iter().zip(now.iter()) {
                let Some(position) = again.labels.position(label) else {
                    continue;
                };
                let index = match kept.get(&(position.param, position.axis)) {
                    Some(stay) => stay[position.index],
                    None => position.index,
                };
                let old = walked
                    .labels
                    .row(position.param, position.axis)
                    .and_then(|row| row.get(index).copied());
                if old.map(|old| walked.labels.find(old)) != Some(walked.labels.find(row[at])) {
                    return unfit(
                        value,
                        format!("axis {axis} would hold other channels than those that stay"),
                    );
                }
            }
        }
    }
    Ok(())
}
