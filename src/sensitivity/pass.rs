//! One micro-batch: the baseline, and the replay of each cell from the values that the baseline kept.
//!
//! Owns compiled programs and the tensors that they read. Deliberately knows nothing of metrics, of the order in which
//! cells are measured and of what is known already.

use super::SensitivityError;
use super::perturb::{Perturbation, Target};
use super::replay::{Replay, compile, made_by_nodes};
use crate::dataset::Batch;
use crate::graph::{Def, Graph, ParamId, ValueId, graph_leaves};
use crate::runtime::{Device, DeviceTensor, Program, RuntimeError, Shared, from_torch, to_torch, with_worker};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// What errors call the model as it is.
pub const WHOLE: &str = "the unmasked model";

/// One cell to be measured.
#[derive(Clone)]
pub struct Job<'a> {
    /// What to call it in errors.
    pub name: String,
    /// Index of its target.
    pub target: usize,
    pub perturbation: &'a Perturbation,
}

/// The programs of a model and its targets, and the parameters that they read: compiled and loaded once, when a pass
/// first needs them.
pub struct Programs<'a> {
    graph: &'a Graph,
    targets: &'a [Target],
    device: Device,
    /// The number of samples that a short batch is padded to, where the model takes one number only.
    padded: Option<usize>,
    /// The outputs that are measured.
    measured: Vec<ValueId>,
    replays: BTreeMap<usize, Replay>,
    leaves: BTreeMap<ValueId, Shared>,
    value_of: BTreeMap<ParamId, ValueId>,
}

impl<'a> Programs<'a> {
    /// `measured` are the outputs that are asked for.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(
        graph: &'a Graph,
        targets: &'a [Target],
        measured: &[ValueId],
        device: Device,
        padded: Option<usize>,
    ) -> Result<Programs<'a>, SensitivityError> {
        if measured.is_empty() {
            return Err(SensitivityError::NoOutput);
        }
        let value_of = graph
            .value_ids()
            .filter_map(|value| Some((graph.param_of(value)?, value)))
            .collect();
        Ok(Programs {
            graph,
            targets,
            device,
            padded,
            measured: measured.to_vec(),
            replays: BTreeMap::new(),
            leaves: BTreeMap::new(),
            value_of,
        })
    }

    /// Makes everything ready to measure these cells on any number of micro-batches.
    ///
    /// # Errors
    /// When a program does not compile.
    pub fn pass<'p>(&'p mut self, jobs: Vec<Job<'p>>) -> Result<Pass<'p>, SensitivityError> {
        for job in &jobs {
            if !self.replays.contains_key(&job.target) {
                let params = self.targets[job.target].params(self.graph);
                let replay = compile(self.graph, &params, &self.measured, self.device);
                self.replays.insert(job.target, replay.map_err(fault(&job.name))?);
            }
        }
        let read: Vec<ValueId> = jobs
            .iter()
            .flat_map(|job| &self.replays[&job.target].inputs)
            .copied()
            .collect();
        let kept: BTreeSet<ValueId> = made_by_nodes(self.graph, &read).into_iter().collect();
        let mut outputs = self.measured.clone();
        outputs.extend(kept.into_iter().filter(|value| !self.measured.contains(value)));
        let mut inputs = self.graph.inputs.clone();
        let leaves = graph_leaves(self.graph, &inputs, &outputs);
        inputs.extend(&leaves);
        self.load(leaves.into_iter().chain(read)).map_err(fault("the model"))?;
        let program = Program::compile_on(self.graph, &inputs, &outputs, self.device).map_err(fault(WHOLE))?;
        let masked = jobs.iter().map(|job| self.masked(job)).collect::<Result<Vec<_>, _>>()?;
        Ok(Pass {
            programs: self,
            program,
            inputs,
            outputs,
            jobs,
            masked,
        })
    }

    /// Puts parameters and constants on the device.
    fn load(&mut self, values: impl Iterator<Item = ValueId>) -> Result<(), RuntimeError> {
        for value in values {
            let tensor = match self.graph.value(value).def {
                Def::Param(param) => &self.graph.param(param).tensor,
                Def::Constant(index) => &self.graph.constants[index as usize],
                _ => continue,
            };
            if !self.leaves.contains_key(&value) {
                let tensor = to_torch(tensor, self.device)?;
                self.leaves.insert(value, Shared::new(tensor));
            }
        }
        Ok(())
    }

    /// The parameters that a job changes, by value.
    fn masked(&self, job: &Job<'_>) -> Result<BTreeMap<ValueId, Shared>, SensitivityError> {
        let mut masked = BTreeMap::new();
        for change in &job.perturbation.changes {
            let Some(&value) = self.value_of.get(&change.param) else {
                continue;
            };
            let tensor = change.apply(&self.graph.param(change.param).tensor);
            let tensor = to_torch(&tensor, self.device).map_err(fault(&job.name))?;
            masked.insert(value, Shared::new(tensor));
        }
        Ok(masked)
    }
}

fn fault(cell: &str) -> impl Fn(RuntimeError) -> SensitivityError + '_ {
    move |source| SensitivityError::Runtime {
        cell: cell.into(),
        source,
    }
}

/// Cells ready to be measured.
pub struct Pass<'a> {
    programs: &'a Programs<'a>,
    program: Program,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    jobs: Vec<Job<'a>>,
    masked: Vec<BTreeMap<ValueId, Shared>>,
}

/// What the unmasked model makes of one micro-batch.
pub struct Baseline {
    /// The measured outputs for the batch's own samples.
    pub outputs: Vec<Tensor>,
    kept: BTreeMap<ValueId, Shared>,
}

impl Pass<'_> {
    pub fn jobs(&self) -> &[Job<'_>] {
        &self.jobs
    }

    /// Runs the unmasked model, and keeps what the replays of these cells read.
    ///
    /// # Errors
    /// When it does not run.
    pub fn baseline(&self, batch: &Batch) -> Result<Baseline, SensitivityError> {
        let (kept, outputs) = with_worker(|| {
            let mut given = Vec::with_capacity(self.inputs.len());
            for input in &batch.inputs {
                given.push(to_torch(&self.padded(input), self.programs.device)?);
            }
            let samples: Vec<Shared> = given.iter().map(|tensor| Shared::new(tensor.shallow_clone())).collect();
            given.extend(
                self.inputs[given.len()..]
                    .iter()
                    .map(|value| self.programs.leaves[value].get()),
            );
            let results = self.program.run(&given)?;
            let measured = &results[..self.programs.measured.len()];
            let outputs = measured.iter().map(from_torch).collect::<Result<Vec<_>, _>>()?;
            let inputs = self.programs.graph.inputs.iter().copied().zip(samples);
            let kept: BTreeMap<ValueId, Shared> = self
                .outputs
                .iter()
                .copied()
                .zip(results.into_iter().map(Shared::new))
                .chain(inputs)
                .collect();
            Ok((kept, outputs))
        })
        .map_err(fault(WHOLE))?;
        Ok(Baseline {
            outputs: self.measured(outputs, batch),
            kept,
        })
    }

    /// The measured outputs for the batch's own samples under cell number `at`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn replay(&self, at: usize, batch: &Batch, baseline: &Baseline) -> Result<Vec<Tensor>, SensitivityError> {
        let job = &self.jobs[at];
        let replay = &self.programs.replays[&job.target];
        let Some(program) = &replay.program else {
            return Ok(baseline.outputs.clone());
        };
        let outputs: Result<Vec<Tensor>, RuntimeError> = with_worker(|| {
            let pick = |value: &ValueId| {
                let masked = self.masked[at].get(value).or_else(|| self.programs.leaves.get(value));
                masked.or_else(|| baseline.kept.get(value)).map(Shared::get)
            };
            let inputs: Option<Vec<DeviceTensor>> = replay.inputs.iter().map(pick).collect();
            let inputs = inputs.ok_or_else(|| RuntimeError::Leaf { name: job.name.clone() })?;
            program.run(&inputs)?.iter().map(from_torch).collect()
        });
        Ok(self.measured(outputs.map_err(fault(&job.name))?, batch))
    }

    /// A short batch with copies of its last sample behind it, where the model takes one size only.
    fn padded(&self, input: &Tensor) -> Tensor {
        let rows = input.shape()[0];
        match self.programs.padded {
            Some(wanted) if rows != wanted && rows > 0 => {
                let order: Vec<usize> = (0..wanted).map(|row| row.min(rows - 1)).collect();
                input.select(0, &order)
            }
            _ => input.clone(),
        }
    }

    /// Outputs of the batch's own samples.
    fn measured(&self, outputs: Vec<Tensor>, batch: &Batch) -> Vec<Tensor> {
        if self.programs.padded.is_none() {
            return outputs;
        }
        let own = |output: Tensor| output.rows(0, batch.len()).unwrap_or(output);
        outputs.into_iter().map(own).collect()
    }
}
