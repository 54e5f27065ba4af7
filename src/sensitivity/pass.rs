//! One micro-batch: the baseline, and the replay of each cell from the values that the baseline kept.
//!
//! Owns which values the baseline keeps, and what each program is given. Deliberately knows nothing of metrics, of the
//! order in which cells are measured and of what is known already.

use super::SensitivityError;
use super::model::{CellTensors, Model, Way};
use super::perturb::{Perturbation, Target};
use super::replay::{Replay, Source};
use crate::dataset::Batch;
use crate::graph::{Def, Graph, ValueId, graph_leaves};
use crate::lower::{self, Kernels, Shapes, lower};
use crate::runtime::{
    Device, DeviceTensor, Program, RuntimeError, Shared, from_torch, has_mkldnn, is_finite, to_torch, with_worker,
};
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

/// How a model is run.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// The outputs that are measured.
    pub outputs: &'a [ValueId],
    pub device: Device,
    /// Samples of one forward.
    pub micro_batch: usize,
    /// Whether a short batch is padded to `micro_batch`.
    pub pad: bool,
    /// What is known of the model's values; none to run the graph as it was read.
    pub lowering: Option<&'a Shapes>,
}

/// The programs of a model and its targets, and the parameters that they read: compiled and loaded once, when a pass
/// first needs them.
pub struct Programs<'a> {
    graph: &'a Graph,
    targets: &'a [Target],
    running: Running<'a>,
    model: Model,
    /// The baseline's program of the last pass.
    baseline: Option<Whole>,
}

/// The unmasked model's program.
struct Whole {
    program: Program,
    /// After the model's inputs.
    leaves: Vec<ValueId>,
    /// The measured outputs, then what is kept.
    outputs: Vec<ValueId>,
}

impl<'a> Programs<'a> {
    /// # Errors
    /// When nothing is measured, or lowering fails.
    pub fn new(
        graph: &'a Graph,
        targets: &'a [Target],
        running: Running<'a>,
    ) -> Result<Programs<'a>, SensitivityError> {
        if running.outputs.is_empty() {
            return Err(SensitivityError::NoOutput);
        }
        let model = match running.lowering {
            None => Model::new(graph.clone(), Vec::new(), running.outputs.to_vec(), running.device),
            Some(shapes) => lowered(graph, running, shapes)?,
        };
        Ok(Programs {
            graph,
            targets,
            running,
            model,
            baseline: None,
        })
    }

    /// Makes everything ready to measure these cells on any number of micro-batches.
    ///
    /// # Errors
    /// When a program does not compile.
    pub fn pass<'p>(&'p mut self, jobs: Vec<Job<'p>>) -> Result<Pass<'p>, SensitivityError> {
        let ways: Vec<Way> = jobs.iter().map(|job| self.way(job)).collect();
        let mut kept = BTreeSet::new();
        for (job, &way) in jobs.iter().zip(&ways) {
            let params = self.targets[job.target].params(self.graph);
            self.model.prepare(way, &params).map_err(fault(&job.name))?;
            let inputs = self.model.replay(way).map_or(&[][..], |replay| &replay.inputs);
            kept.extend(inputs.iter().filter_map(|source| match source {
                Source::Kept(value) => Some(*value),
                _ => None,
            }));
        }
        self.whole(&kept).map_err(fault(WHOLE))?;
        let model = &self.model;
        let cell = |(job, way): (&Job<'_>, &Way)| model.cell(*way, job.perturbation).map_err(fault(&job.name));
        let cells = jobs.iter().zip(&ways).map(cell).collect::<Result<Vec<_>, _>>()?;
        Ok(Pass {
            programs: self,
            jobs,
            ways,
            cells,
        })
    }

    fn way(&self, job: &Job<'_>) -> Way {
        let filters = job.perturbation.channels.as_ref().and(job.perturbation.changes.first());
        Way {
            target: job.target,
            filters: filters.map(|change| change.param),
        }
    }

    /// Compiles the baseline's program, unless the last one keeps all that is needed.
    fn whole(&mut self, kept: &BTreeSet<ValueId>) -> Result<(), RuntimeError> {
        let made = |value: &ValueId| !matches!(self.model.graph.value(*value).def, Def::Input(_));
        let needed: Vec<ValueId> = kept.iter().copied().filter(made).collect();
        if let Some(whole) = &self.baseline
            && needed.iter().all(|value| whole.outputs.contains(value))
        {
            return Ok(());
        }
        let graph = &self.model.graph;
        let mut outputs = self.model.outputs.clone();
        outputs.extend(needed.into_iter().filter(|value| !self.model.outputs.contains(value)));
        // What depends on parameters alone is computed once and given.
        let mut inputs = graph.inputs.clone();
        inputs.extend(lower::prelude(graph));
        let mut read = crate::graph::subset(graph, &inputs, &outputs);
        let reads = read.nodes.iter().flat_map(|&node| graph.node(node).reads());
        let read_prelude: BTreeSet<ValueId> = reads.chain(outputs.iter().copied()).collect();
        let mut leaves: Vec<ValueId> = inputs[graph.inputs.len()..]
            .iter()
            .copied()
            .filter(|value| read_prelude.contains(value))
            .collect();
        leaves.append(&mut read.leaves);
        let mut inputs = graph.inputs.clone();
        inputs.extend(&leaves);
        debug_assert!(graph_leaves(graph, &inputs, &outputs).is_empty());
        let program = Program::compile_on(graph, &inputs, &outputs, self.running.device)?;
        self.model.load(&leaves)?;
        self.baseline = Some(Whole {
            program,
            leaves,
            outputs,
        });
        Ok(())
    }
}

fn lowered(graph: &Graph, running: Running<'_>, shapes: &Shapes) -> Result<Model, SensitivityError> {
    // Packed weights cannot be looked into later.
    if !graph.params.iter().all(|param| param.tensor.is_finite()) {
        return Err(SensitivityError::NotFinite);
    }
    let options = lower::Options {
        shapes: shapes.clone(),
        kernels: match running.device {
            Device::Cpu if has_mkldnn() => Kernels::Mkldnn,
            _ => Kernels::Aten,
        },
        batch: running.micro_batch,
    };
    let lowered = lower(graph, &options).map_err(|fault| SensitivityError::Lowering(fault.to_string()))?;
    let (before, after) = (graph.output_values(), lowered.graph.output_values());
    let place = |output: &ValueId| before.iter().position(|value| value == output).map(|at| after[at]);
    let outputs: Option<Vec<ValueId>> = running.outputs.iter().map(place).collect();
    let outputs = outputs.ok_or(SensitivityError::NoOutput)?;
    Ok(Model::new(lowered.graph, lowered.sites, outputs, running.device))
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
    jobs: Vec<Job<'a>>,
    ways: Vec<Way>,
    cells: Vec<CellTensors>,
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

    /// Operators that a cell's replay runs: what takes long has many.
    pub fn cost(&self, at: usize) -> usize {
        self.replay_of(at).map_or(0, |replay| replay.cost)
    }

    fn replay_of(&self, at: usize) -> Option<&Replay> {
        self.programs.model.replay(self.ways[at])
    }

    /// Runs the unmasked model, and keeps what the replays of these cells read.
    ///
    /// # Errors
    /// When it does not run, or where a lowered model meets what is not finite: fused activations take that for a bound
    /// of theirs.
    pub fn baseline(&self, batch: &Batch) -> Result<Baseline, SensitivityError> {
        let model = &self.programs.model;
        let (kept, outputs, finite) = with_worker(|| {
            // `Programs::pass` compiled it.
            let whole = self
                .programs
                .baseline
                .as_ref()
                .ok_or_else(|| RuntimeError::Leaf { name: WHOLE.into() })?;
            let mut given = Vec::with_capacity(model.graph.inputs.len() + whole.leaves.len());
            for input in &batch.inputs {
                given.push(to_torch(&self.padded(input), self.programs.running.device)?);
            }
            let samples: Vec<Shared> = given.iter().map(|tensor| Shared::new(tensor.shallow_clone())).collect();
            given.extend(whole.leaves.iter().filter_map(|&value| model.fixed(value)));
            let results = whole.program.run(&given)?;
            let mut seen = given.iter().chain(&results);
            let finite = self.programs.running.lowering.is_none() || {
                seen.try_fold(true, |finite, tensor| {
                    Ok::<_, RuntimeError>(finite && is_finite(tensor)?)
                })?
            };
            let measured = &results[..model.outputs.len()];
            let outputs = measured.iter().map(from_torch).collect::<Result<Vec<_>, _>>()?;
            let inputs = model.graph.inputs.iter().copied().zip(samples);
            let kept: BTreeMap<ValueId, Shared> = whole
                .outputs
                .iter()
                .copied()
                .zip(results.into_iter().map(Shared::new))
                .chain(inputs)
                .collect();
            Ok((kept, outputs, finite))
        })
        .map_err(fault(WHOLE))?;
        if !finite {
            return Err(SensitivityError::NotFinite);
        }
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
        let (Some(replay), cell) = (self.replay_of(at), &self.cells[at]) else {
            return Ok(baseline.outputs.clone());
        };
        let Some(program) = &replay.program else {
            return Ok(baseline.outputs.clone());
        };
        let outputs: Result<Vec<Tensor>, RuntimeError> = with_worker(|| {
            let pick = |source: &Source| match *source {
                Source::Kept(value) => baseline.kept.get(&value).map(Shared::get),
                Source::Fixed(value) => self.programs.model.fixed(value),
                Source::Cell(at) => cell.made.get(at).map(Shared::get),
                Source::Keep => cell.keep.as_ref().map(Shared::get),
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
        match self.programs.running {
            Running {
                pad: true,
                micro_batch: wanted,
                ..
            } if rows != wanted && rows > 0 => {
                let order: Vec<usize> = (0..wanted).map(|row| row.min(rows - 1)).collect();
                input.select(0, &order)
            }
            _ => input.clone(),
        }
    }

    /// Outputs of the batch's own samples.
    fn measured(&self, outputs: Vec<Tensor>, batch: &Batch) -> Vec<Tensor> {
        if !self.programs.running.pad {
            return outputs;
        }
        let own = |output: Tensor| output.rows(0, batch.len()).unwrap_or(output);
        outputs.into_iter().map(own).collect()
    }
}
