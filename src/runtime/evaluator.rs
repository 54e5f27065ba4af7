//! The evaluator that topology asks: small graphs run once on host tensors.
//!
//! Owns a cache of programs by their text, for the same operator comes back with the same arguments in every block of a
//! network. Deliberately keeps no tensors.

use super::RuntimeError;
use super::convert::{from_torch, to_torch};
use super::program::Program;
use super::source::source;
use super::subset::graph_leaves;
use crate::graph::{Def, Evaluate, EvaluateError, Graph, ValueId};
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tch::Device;

/// Runs graphs on the CPU.
#[derive(Default)]
pub struct Runtime {
    programs: Mutex<BTreeMap<String, Arc<Program>>>,
}

impl Runtime {
    pub fn new() -> Runtime {
        Runtime::default()
    }

    fn program(&self, graph: &Graph, inputs: &[ValueId], outputs: &[ValueId]) -> Result<Arc<Program>, RuntimeError> {
        let text = source(graph, inputs, outputs, "cpu")?;
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = programs.get(&text) {
            return Ok(program.clone());
        }
        let program = Arc::new(Program::compile(graph, inputs, outputs)?);
        programs.insert(text, program.clone());
        Ok(program)
    }

    fn run(
        &self,
        graph: &Graph,
        inputs: &[(ValueId, Tensor)],
        outputs: &[ValueId],
    ) -> Result<Vec<Tensor>, RuntimeError> {
        let mut values: Vec<ValueId> = inputs.iter().map(|(value, _)| *value).collect();
        let mut tensors = Vec::with_capacity(values.len());
        for (_, tensor) in inputs {
            tensors.push(to_torch(tensor, Device::Cpu)?);
        }
        for leaf in graph_leaves(graph, &values.clone(), outputs) {
            let tensor = match graph.value(leaf).def {
                Def::Param(param) => &graph.param(param).tensor,
                Def::Constant(index) => &graph.constants[index as usize],
                _ => continue,
            };
            tensors.push(to_torch(tensor, Device::Cpu)?);
            values.push(leaf);
        }
        let program = self.program(graph, &values, outputs)?;
        program.run(&tensors)?.iter().map(from_torch).collect()
    }
}

impl Evaluate for Runtime {
    fn evaluate(
        &self,
        graph: &Graph,
        inputs: &[(ValueId, Tensor)],
        outputs: &[ValueId],
    ) -> Result<Vec<Tensor>, EvaluateError> {
        self.run(graph, inputs, outputs)
            .map_err(|fault| EvaluateError(fault.to_string()))
    }
}
