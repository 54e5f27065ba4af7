//! Which part of a graph a program needs.
//!
//! Owns the walk from outputs back to inputs. Deliberately knows nothing of how nodes are printed or run.

use super::{Def, Graph, NodeId, ValueId};
use std::collections::BTreeSet;

/// The nodes between some inputs and some outputs.
#[derive(Debug, PartialEq, Eq)]
pub struct Subset {
    /// In the graph's order.
    pub nodes: Vec<NodeId>,
    /// Model inputs, parameters and constants that the nodes or the outputs read and that are not among the inputs;
    /// in the order of their ids.
    pub leaves: Vec<ValueId>,
}

/// Finds what must run to make `outputs` when `inputs` are given.
pub fn subset(graph: &Graph, inputs: &[ValueId], outputs: &[ValueId]) -> Subset {
    let given: BTreeSet<ValueId> = inputs.iter().copied().collect();
    let (mut nodes, mut leaves) = (BTreeSet::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    let mut pending = outputs.to_vec();
    while let Some(value) = pending.pop() {
        if given.contains(&value) || !seen.insert(value) {
            continue;
        }
        match graph.value(value).def {
            Def::Node { node, .. } => {
                if nodes.insert(node) {
                    pending.extend(graph.node(node).reads());
                }
            }
            Def::Input(_) | Def::Param(_) | Def::Constant(_) => {
                leaves.insert(value);
            }
        }
    }
    Subset {
        nodes: nodes.into_iter().collect(),
        leaves: leaves.into_iter().collect(),
    }
}

/// The model inputs, parameters and constants that must be given besides `inputs` to make `outputs`.
pub fn graph_leaves(graph: &Graph, inputs: &[ValueId], outputs: &[ValueId]) -> Vec<ValueId> {
    subset(graph, inputs, outputs).leaves
}
