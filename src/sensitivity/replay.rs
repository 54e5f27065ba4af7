//! Programs that run only what depends on a target.

use crate::graph::{Def, Graph, NodeId, ParamId, Type, ValueId};
use crate::runtime::{Device, Program, RuntimeError};
use std::collections::BTreeSet;

/// A target's descendants, from the values that they read to the outputs that are measured.
pub struct Replay {
    /// None when no output depends on the target: its cells are the baseline.
    pub program: Option<Program>,
    /// What the program reads: kept values, parameters and constants, in order.
    pub inputs: Vec<ValueId>,
}

/// The nodes that depend on any of these parameters.
pub fn descendants(graph: &Graph, params: &[ParamId]) -> Vec<bool> {
    let mut depends = vec![false; graph.values.len()];
    for value in graph.value_ids() {
        if let Def::Param(param) = graph.value(value).def {
            depends[value.0 as usize] = params.contains(&param);
        }
    }
    for node in &graph.nodes {
        if node.reads().iter().any(|value| depends[value.0 as usize]) {
            node.outputs.iter().for_each(|value| depends[value.0 as usize] = true);
        }
    }
    depends
}

/// What a target's program reads, kept values first.
///
/// Only tensors are kept: a number or a list that is read is made again from what it was made of.
pub fn reads(graph: &Graph, params: &[ParamId], outputs: &[ValueId]) -> Option<Vec<ValueId>> {
    let depends = descendants(graph, params);
    if !outputs.iter().any(|output| depends[output.0 as usize]) {
        return None;
    }
    let mut kept = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut waiting = outputs.to_vec();
    while let Some(value) = waiting.pop() {
        if !seen.insert(value) {
            continue;
        }
        let made = match graph.value(value).def {
            Def::Node { node, .. } => Some(node),
            _ => None,
        };
        let again = depends[value.0 as usize] || graph.value(value).ty != Type::Tensor;
        match made {
            Some(node) if again => waiting.extend(graph.node(node).reads()),
            _ => {
                kept.insert(value);
            }
        }
    }
    Some(kept.into_iter().collect())
}

/// Compiles a target's program.
pub fn compile(graph: &Graph, params: &[ParamId], outputs: &[ValueId], device: Device) -> Result<Replay, RuntimeError> {
    match reads(graph, params, outputs) {
        None => Ok(Replay {
            program: None,
            inputs: Vec::new(),
        }),
        Some(inputs) => Ok(Replay {
            program: Some(Program::compile_on(graph, &inputs, outputs, device)?),
            inputs,
        }),
    }
}

/// The nodes' values among some values: what the baseline must keep.
pub fn made_by_nodes(graph: &Graph, values: &[ValueId]) -> Vec<ValueId> {
    let node = |value: &ValueId| -> Option<NodeId> {
        match graph.value(*value).def {
            Def::Node { node, .. } => Some(node),
            _ => None,
        }
    };
    values.iter().copied().filter(|value| node(value).is_some()).collect()
}
