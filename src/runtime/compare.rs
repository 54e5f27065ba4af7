//! A graph against the file that it was read from: both run, outputs compared.
//!
//! Owns the check that reading and printing lost nothing. It runs the file's own code, so it is for tests and benches
//! on files that are trusted.

use super::evaluate::leaf_tensor;
use super::{Program, RuntimeError, from_torch, to_torch, with_worker};
use crate::graph::{Graph, graph_leaves};
use crate::tensor::Tensor;
use std::time::{Duration, Instant};
use tch::{CModule, Device, IValue};

/// How far a graph is from its file.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Tensors among the outputs.
    pub outputs: usize,
    /// The largest difference, relative to the largest magnitude of that output.
    pub relative: f64,
    pub compile: Duration,
    /// One run of the program, after a first one.
    pub program: Duration,
    /// One run of the file's `forward`, after a first one.
    pub forward: Duration,
}

/// Runs the bytes of a TorchScript archive and the graph read from it on the same inputs.
///
/// # Errors
/// When either does not run, or when their outputs differ in number or shape.
pub fn compare(archive: &[u8], graph: &Graph, inputs: &[Tensor]) -> Result<Comparison, RuntimeError> {
    with_worker(|| {
        let given: Result<Vec<tch::Tensor>, RuntimeError> =
            inputs.iter().map(|input| to_torch(input, Device::Cpu)).collect();
        let given = given?;
        let outputs = graph.output_values();
        let mut ids = graph.inputs.clone();
        let mut tensors: Vec<tch::Tensor> = given.iter().map(tch::Tensor::shallow_clone).collect();
        for leaf in graph_leaves(graph, &ids, &outputs) {
            tensors.push(to_torch(&leaf_tensor(graph, leaf)?, Device::Cpu)?);
            ids.push(leaf);
        }
        let start = Instant::now();
        let program = Program::compile(graph, &ids, &outputs)?;
        let compile = start.elapsed();
        program.run(&tensors)?;
        let start = Instant::now();
        let ours = program.run(&tensors)?;
        let program = start.elapsed();

        let mut module = CModule::load_data(&mut &archive[..])?;
        module.f_set_eval()?;
        let arguments: Vec<IValue> = given.into_iter().map(IValue::Tensor).collect();
        module.forward_is(&arguments)?;
        let start = Instant::now();
        let result = module.forward_is(&arguments)?;
        let forward = start.elapsed();
        let mut theirs = Vec::new();
        flatten(result, &mut theirs);

        if ours.len() != theirs.len() {
            return Err(RuntimeError::Run {
                message: format!("the graph has {} outputs, the file {}", ours.len(), theirs.len()),
            });
        }
        let mut relative: f64 = 0.0;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            relative = relative.max(difference(&from_torch(ours)?, &from_torch(theirs)?)?);
        }
        Ok(Comparison {
            outputs: ours.len(),
            relative,
            compile,
            program,
            forward,
        })
    })
}

fn difference(ours: &Tensor, theirs: &Tensor) -> Result<f64, RuntimeError> {
    if ours.shape() != theirs.shape() || ours.dtype() != theirs.dtype() {
        return Err(RuntimeError::Run {
            message: format!("the graph gives {ours:?}, the file {theirs:?}"),
        });
    }
    let (ours, theirs) = (ours.to_f64(), theirs.to_f64());
    let largest = theirs
        .iter()
        .fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let far = |(&a, &b): (&f64, &f64)| {
        if a == b || (a.is_nan() && b.is_nan()) {
            0.0
        } else if a.is_finite() && b.is_finite() {
            (a - b).abs() / largest
        } else {
            f64::INFINITY
        }
    };
    Ok(ours.iter().zip(&theirs).map(far).fold(0.0, f64::max))
}

/// The tensors of a result, in order.
fn flatten(value: IValue, found: &mut Vec<tch::Tensor>) {
    match value {
        IValue::Tensor(tensor) => found.push(tensor),
        IValue::TensorList(tensors) => found.extend(tensors),
        IValue::Tuple(items) | IValue::GenericList(items) => items.into_iter().for_each(|item| flatten(item, found)),
        IValue::GenericDict(items) => items.into_iter().for_each(|(_, item)| flatten(item, found)),
        _ => {}
    }
}
