//! From what the code computed to what the outputs need.
//!
//! Owns the model's outputs, the removal of nodes that nothing reads, and the final numbering of values: inputs,
//! parameters, constants, then results in order. Parameters stay even when nothing reads them.

use super::ReadError;
use super::inline::Inliner;
use super::value::{Val, Walk};
use crate::graph::{Def, Graph, Node, NodeId, Output, Type, ValueId};
use crate::tensor::Tensor;

impl Inliner<'_, '_> {
    /// What the model returns.
    pub(super) fn output(&mut self, value: &Val) -> Result<Output, ReadError> {
        self.output_within(value, &mut Walk::default())
    }

    fn output_within(&mut self, value: &Val, walk: &mut Walk) -> Result<Output, ReadError> {
        if walk.enter().is_none() {
            return self.error("the model's output is too large or nested too deep");
        }
        let value = &value.now();
        let found = match value {
            Val::None => Output::None,
            Val::Tensor(cell) => Output::Value(self.read(*cell)?),
            Val::Dynamic(value) => Output::Value(*value),
            Val::Views(_) | Val::Shape(_) => match self.argument(value)? {
                crate::graph::Arg::Value(value) => Output::Value(value),
                _ => Output::None,
            },
            // A number that is known already is handed on as a 0-dim tensor.
            Val::Bool(_) | Val::Int(_) => self.constant(Tensor::from_i64([], &[value.as_int().unwrap_or(0)])),
            Val::Float(float) => self.constant(Tensor::from_f64([], &[*float])),
            Val::List(items) => {
                let items = items.borrow().clone();
                Output::List(self.outputs_within(&items, walk)?)
            }
            Val::Tuple(tuple) => Output::Tuple(self.outputs_within(&tuple.items, walk)?),
            Val::Dict(items) => {
                let items = items.borrow().clone();
                let mut found = Vec::with_capacity(items.len());
                for (key, value) in &items {
                    let Some(key) = key.text().filter(|key| !key.contains(char::is_control)) else {
                        return self.error("the model returns a dict whose keys are not known");
                    };
                    found.push((key, self.output_within(value, walk)?));
                }
                Output::Dict(found)
            }
            Val::Unset | Val::Unknown(_) => return Err(self.unknown_fault(value)),
            other => return self.error(format!("the model returns {}, which is not read", other.describe())),
        };
        walk.leave();
        Ok(found)
    }

    fn outputs_within(&mut self, items: &[Val], walk: &mut Walk) -> Result<Vec<Output>, ReadError> {
        items.iter().map(|item| self.output_within(item, walk)).collect()
    }

    fn constant(&mut self, tensor: Tensor) -> Output {
        let id = self.builder.graph.constants.len() as u32;
        self.builder.graph.constants.push(tensor);
        Output::Value(self.builder.value("constant", Type::Tensor, Def::Constant(id), false))
    }
}

/// Drops what no output needs and numbers values anew.
pub fn finish(mut graph: Graph) -> Graph {
    let mut needed = vec![false; graph.values.len()];
    for value in graph.output_values() {
        needed[value.0 as usize] = true;
    }
    let mut kept = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        kept[index] = node.outputs.iter().any(|output| needed[output.0 as usize]);
        if kept[index] {
            node.reads().iter().for_each(|value| needed[value.0 as usize] = true);
        }
    }

    let old = std::mem::take(&mut graph.values);
    let constants = std::mem::take(&mut graph.constants);
    let mut ids: Vec<Option<ValueId>> = vec![None; old.len()];
    let place = |index: usize, def: Def, graph: &mut Graph, ids: &mut Vec<Option<ValueId>>| {
        let value = &old[index];
        ids[index] = Some(graph.add_value(value.name.clone(), value.ty.clone(), def));
    };
    for kind in 0..3 {
        for (index, value) in old.iter().enumerate() {
            match (kind, value.def) {
                (0, Def::Input(_)) | (1, Def::Param(_)) => place(index, value.def, &mut graph, &mut ids),
                (2, Def::Constant(constant)) if needed[index] => {
                    let def = Def::Constant(graph.constants.len() as u32);
                    graph.constants.push(constants[constant as usize].clone());
                    place(index, def, &mut graph, &mut ids);
                }
                _ => {}
            }
        }
    }
    let nodes = std::mem::take(&mut graph.nodes);
    for (node, kept) in nodes.into_iter().zip(kept) {
        if !kept {
            continue;
        }
        let id = NodeId(graph.nodes.len() as u32);
        for (output, value) in node.outputs.iter().enumerate() {
            let output = output as u32;
            place(value.0 as usize, Def::Node { node: id, output }, &mut graph, &mut ids);
        }
        // Every value that a kept node reads was placed before it.
        let renumber = |value: ValueId| ids[value.0 as usize].unwrap_or(value);
        let mut node = Node {
            outputs: node.outputs.iter().map(|value| renumber(*value)).collect(),
            ..node
        };
        for (_, arg) in &mut node.args {
            arg.map_values(&mut |value| renumber(value));
        }
        graph.nodes.push(node);
    }
    let renumber = |value: ValueId| ids[value.0 as usize].unwrap_or(value);
    graph.inputs.iter_mut().for_each(|value| *value = renumber(*value));
    graph
        .outputs
        .iter_mut()
        .for_each(|output| renumber_output(output, &renumber));
    graph
}

fn renumber_output(output: &mut Output, renumber: &impl Fn(ValueId) -> ValueId) {
    match output {
        Output::Value(value) => *value = renumber(*value),
        Output::Tuple(items) | Output::List(items) => items.iter_mut().for_each(|item| renumber_output(item, renumber)),
        Output::Dict(items) => items.iter_mut().for_each(|(_, item)| renumber_output(item, renumber)),
        Output::None => {}
    }
}
