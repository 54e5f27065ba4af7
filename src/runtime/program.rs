//! Programs: parts of a graph that libtorch has compiled.
//!
//! Owns compilation and the call. Deliberately holds no weights: everything that a program reads is an argument, so
//! every variant of a model is the same program with other tensors.

use super::archive::archive;
use super::source::{Source, source};
use super::{RuntimeError, device::init};
use crate::graph::{Graph, ValueId};
use tch::{CModule, Device, IValue, Tensor};

/// A compiled part of a graph. It may be run by many threads at once.
pub struct Program {
    module: CModule,
    inputs: usize,
}

impl Program {
    /// Compiles what makes `outputs` from `inputs`, for the CPU.
    ///
    /// Inputs may be any values: the model's inputs, parameters, constants, or intermediate values. An input that is a
    /// number is given as a tensor of one element. Outputs that are lists or tuples are flattened, numbers become
    /// tensors.
    ///
    /// # Errors
    /// When the outputs need a leaf that is not listed (see [`crate::graph::graph_leaves`]), or libtorch refuses the program.
    pub fn compile(graph: &Graph, inputs: &[ValueId], outputs: &[ValueId]) -> Result<Program, RuntimeError> {
        Program::compile_on(graph, inputs, outputs, Device::Cpu)
    }

    /// [`Program::compile`] for a device: device literals in the graph become that device.
    pub fn compile_on(
        graph: &Graph,
        inputs: &[ValueId],
        outputs: &[ValueId],
        device: Device,
    ) -> Result<Program, RuntimeError> {
        let name = match device {
            Device::Cuda(index) => format!("cuda:{index}"),
            Device::Mps => "mps".into(),
            _ => "cpu".into(),
        };
        Program::from_source(&source(graph, inputs, outputs, &name)?, inputs.len(), device)
    }

    /// Loads what [`source`] printed; its numbers lie on the device.
    pub(super) fn from_source(source: &Source, inputs: usize, device: Device) -> Result<Program, RuntimeError> {
        init();
        let archive = archive(source)?;
        let module = CModule::load_data_on_device(&mut archive.as_slice(), device);
        let module = module.map_err(|error| RuntimeError::Compile {
            message: super::brief(&error),
        })?;
        Ok(Program { module, inputs })
    }

    /// Runs the program on tensors in the order of its inputs.
    ///
    /// # Errors
    /// When the number of tensors is wrong or an operator refuses its arguments.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        self.run_refs(&inputs)
    }

    /// [`Program::run`] on borrowed tensors.
    pub fn run_refs(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        if inputs.len() != self.inputs {
            return Err(RuntimeError::Count {
                wanted: self.inputs,
                found: inputs.len(),
            });
        }
        let _guard = tch::no_grad_guard();
        let list = IValue::TensorList(inputs.iter().map(|tensor| tensor.shallow_clone()).collect());
        match self.module.method_is("run", &[list])? {
            IValue::TensorList(outputs) => Ok(outputs),
            other => Err(RuntimeError::Run {
                message: format!("a program returned {other:?} instead of tensors"),
            }),
        }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Program of {} inputs", self.inputs)
    }
}
