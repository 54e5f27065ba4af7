//! Small graphs run on host tensors, for topology and proofs.
//!
//! Owns the answer to [`Evaluate`] and a cache of compiled programs by their text: a network has thousands of nodes but
//! few different ones.

use super::convert::to_host;
use super::{Program, RuntimeError, Source, source, to_torch, with_worker};
use crate::graph::{Def, Evaluate, EvaluateError, Graph, ValueId, graph_leaves};
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tch::Device;

/// How many programs are kept; beyond it all are forgotten.
const KEPT: usize = 512;

/// Runs graphs on the CPU, one thread inside operators.
#[derive(Default)]
pub struct Runtime {
    programs: Mutex<HashMap<Source, Arc<Program>>>,
}

impl Runtime {
    pub fn new() -> Runtime {
        Runtime::default()
    }

    /// [`Evaluate::evaluate`] with this module's error.
    ///
    /// # Errors
    /// When an input of the model is needed and not given, or the graph does not run on these tensors.
    pub fn run(
        &self,
        graph: &Graph,
        inputs: &[(ValueId, Tensor)],
        outputs: &[ValueId],
    ) -> Result<Vec<Tensor>, RuntimeError> {
        let mut ids: Vec<ValueId> = inputs.iter().map(|&(value, _)| value).collect();
        let mut tensors: Vec<Tensor> = inputs.iter().map(|(_, tensor)| tensor.clone()).collect();
        for leaf in graph_leaves(graph, &ids, outputs) {
            tensors.push(leaf_tensor(graph, leaf)?);
            ids.push(leaf);
        }
        let program = self.program(graph, &ids, outputs)?;
        with_worker(|| {
            let tensors: Result<Vec<tch::Tensor>, RuntimeError> =
                tensors.iter().map(|tensor| to_torch(tensor, Device::Cpu)).collect();
            program.run(&tensors?)?.iter().map(to_host).collect()
        })
    }

    fn program(&self, graph: &Graph, inputs: &[ValueId], outputs: &[ValueId]) -> Result<Arc<Program>, RuntimeError> {
        let source = source(graph, inputs, outputs, "cpu")?;
        // A thread that panicked while it held the lock left whole programs only.
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = programs.get(&source) {
            return Ok(program.clone());
        }
        let program = Arc::new(Program::from_source(&source, inputs.len(), Device::Cpu)?);
        if programs.len() >= KEPT {
            programs.clear();
        }
        programs.insert(source, program.clone());
        Ok(program)
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
            .map_err(|error| EvaluateError(error.to_string()))
    }
}

/// The tensor of a parameter or constant.
pub(super) fn leaf_tensor(graph: &Graph, leaf: ValueId) -> Result<Tensor, RuntimeError> {
    let constant = match graph.value(leaf).def {
        Def::Param(param) => return Ok(graph.param(param).tensor.read()?.clone()),
        Def::Constant(constant) => graph.constants.get(constant as usize).cloned(),
        Def::Input(_) | Def::Node { .. } => None,
    };
    constant.ok_or_else(|| RuntimeError::Leaf {
        name: graph.value(leaf).name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{Builder, ints};
    use crate::graph::{Arg, Type};

    fn run(graph: &Graph, x: Tensor, outputs: &[ValueId]) -> Vec<Tensor> {
        Runtime::new().run(graph, &[(graph.inputs[0], x)], outputs).unwrap()
    }

    #[test]
    fn a_network_runs_whole() {
        let mut net = Builder::default();
        let x = net.input();
        let conv = net.conv("conv", x, 2, 4, 2);
        let normed = net.batch_norm("bn", conv, 4);
        let active = net.unary("relu", normed, &[]);
        let sum = net.binary("add", active, normed);
        let flat = net.unary("flatten", sum, &[("start_dim", Arg::Int(1)), ("end_dim", Arg::Int(-1))]);
        let out = net.linear("fc", flat, 16, 3);
        let graph = net.finish(out);
        let x = Tensor::from_f32([1, 2, 2, 2], &[0.5; 8]);
        let outputs = run(&graph, x.clone(), &[active, out]);
        assert_eq!(outputs[1].shape(), [1, 3]);
        // The second half alone, from the activation on, gives the same.
        let normed_value = run(&graph, x, &[normed]).remove(0);
        let inputs = [(active, outputs[0].clone()), (normed, normed_value)];
        assert_eq!(Runtime::new().run(&graph, &inputs, &[out]).unwrap()[0], outputs[1]);
    }

    #[test]
    fn lists_and_numbers_are_outputs_too() {
        let mut net = Builder::default();
        let x = net.input();
        let list = net.op_of(
            "chunk",
            &[("self", Arg::Value(x)), ("chunks", Arg::Int(2)), ("dim", Arg::Int(0))],
            Type::List(Box::new(Type::Tensor)),
        );
        let parts = net.unpack(list, 2);
        let size = net.op_of(
            "size",
            &[("self", Arg::Value(parts[1])), ("dim", Arg::Int(0))],
            Type::Int,
        );
        let sizes = net.op_of("size", &[("self", Arg::Value(x))], Type::List(Box::new(Type::Int)));
        let both = net.op(
            "cat",
            &[
                ("tensors", Arg::List(vec![Arg::Value(parts[1]), Arg::Value(parts[0])])),
                ("dim", Arg::Int(0)),
            ],
        );
        let graph = net.finish(both);
        let outputs = run(
            &graph,
            Tensor::from_f64([4], &[1.0, 2.0, 3.0, 4.0]),
            &[both, list, size, sizes],
        );
        let numbers: Vec<Vec<f64>> = outputs.iter().map(Tensor::to_f64).collect();
        assert_eq!(
            numbers,
            [
                vec![3.0, 4.0, 1.0, 2.0],
                vec![1.0, 2.0],
                vec![3.0, 4.0],
                vec![2.0],
                vec![4.0]
            ]
        );
    }

    #[test]
    fn operators_have_todays_meaning() {
        let mut net = Builder::default();
        let x = net.input();
        let half = net.op("div", &[("self", Arg::Value(x)), ("other", Arg::Int(2))]);
        let float = net.unary("gelu", half, &[("approximate", Arg::Str("tanh".into()))]);
        let full = net.op(
            "full",
            &[
                ("size", ints(&[1])),
                ("fill_value", Arg::Int(3)),
                ("dtype", Arg::None),
                ("layout", Arg::None),
                ("device", Arg::Device("cuda:7".into())),
                ("pin_memory", Arg::None),
            ],
        );
        let graph = net.finish(float);
        let outputs = run(&graph, Tensor::from_i64([1], &[3]), &[half, float, full]);
        assert_eq!(outputs[0].to_f64(), [1.5]);
        assert!(
            (outputs[1].to_f64()[0] - 1.399_572).abs() < 1e-5,
            "{:?}",
            outputs[1].to_f64()
        );
        assert_eq!(outputs[2], Tensor::from_i64([1], &[3]));
    }

    #[test]
    fn a_missing_input_is_named() {
        let mut net = Builder::default();
        let x = net.input();
        let out = net.unary("relu", x, &[]);
        let graph = net.finish(out);
        let error = Runtime::new().run(&graph, &[], &[out]).unwrap_err();
        assert!(error.to_string().starts_with("value x "), "{error}");
    }

    #[test]
    fn what_libtorch_says_reaches_the_caller() {
        let mut net = Builder::default();
        let x = net.input();
        let wrong = net.unary("no_such_operator", x, &[]);
        let graph = net.finish(wrong);
        let input = (graph.inputs[0], Tensor::from_f32([1], &[1.0]));
        let error = Runtime::new().run(&graph, &[input], &[wrong]).unwrap_err();
        assert!(
            matches!(&error, RuntimeError::Compile { message } if message.contains("no_such_operator")),
            "{error}"
        );
    }
}
