//! The programs of a model: the baseline, and the replay of each target.
//!
//! Owns in which form a model is run, and which values its baseline keeps. Deliberately runs nothing but what depends on
//! parameters alone: micro-batches are `pass`'s.

use super::SensitivityError;
use super::model::{Model, Way};
use super::pass::{Job, Pass, Reduced, WHOLE};
use super::perturb::Target;
use super::replay::Source;
use crate::graph::{Def, Graph, ValueId, graph_leaves, subset};
use crate::lower::{self, Kernels, Lowered, Shapes, lower};
use crate::runtime::{Device, Program, RuntimeError, has_mkldnn, has_reduced_mkldnn, with_worker};
use std::collections::{BTreeMap, BTreeSet};

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
    pub precision: Precision,
}

impl Running<'_> {
    /// Without replays in bfloat16 beside float32.
    pub fn exact(self) -> Self {
        let precision = match self.precision {
            Precision::Auto => Precision::Float32,
            other => other,
        };
        Running { precision, ..self }
    }
}

/// The number format of a model's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Float32,
    Bfloat16,
    /// Float32's numbers, from replays in bfloat16 wherever that decides the same.
    Auto,
}

/// The programs of a model and its targets, and the parameters that they read: compiled and loaded once, when a pass
/// first needs them.
pub struct Programs<'a> {
    graph: &'a Graph,
    targets: &'a [Target],
    pub(super) running: Running<'a>,
    pub(super) model: Model,
    /// The same in bfloat16, for replays from what the float32 baseline keeps.
    reduced: Option<Model>,
    /// The baseline's program of the last pass.
    pub(super) baseline: Option<Whole>,
}

/// The unmasked model's program.
pub(super) struct Whole {
    pub program: Program,
    /// After the model's inputs.
    pub leaves: Vec<ValueId>,
    /// The measured outputs, then what is kept.
    pub outputs: Vec<ValueId>,
}

impl<'a> Programs<'a> {
    /// # Errors
    /// When nothing is measured, a weight of a lowered model is not finite, or lowering fails.
    pub fn new(
        graph: &'a Graph,
        targets: &'a [Target],
        running: Running<'a>,
    ) -> Result<Programs<'a>, SensitivityError> {
        if running.outputs.is_empty() {
            return Err(SensitivityError::NoOutput);
        }
        // Packed weights cannot be looked into later.
        if running.lowering.is_some() {
            for param in &graph.params {
                if !param.tensor.read()?.is_finite() {
                    return Err(SensitivityError::NotFinite);
                }
            }
        }
        let model = model(graph, running, running.precision == Precision::Bfloat16)?;
        let reduced = match running.precision {
            Precision::Auto => Some(self::model(graph, running, true)?),
            _ => None,
        };
        Ok(Programs {
            graph,
            targets,
            running,
            model,
            reduced,
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
        let mut mirrored = BTreeMap::new();
        for (job, &way) in jobs.iter().zip(&ways) {
            let params = self.targets[job.target].params(self.graph);
            self.model.prepare(way, &params).map_err(fault(&job.name))?;
            let inputs = self.model.replay(way).map_or(&[][..], |replay| &replay.inputs);
            kept.extend(inputs.iter().filter_map(Source::kept));
            if let Some(reduced) = &mut self.reduced {
                reduced.prepare(way, &params).map_err(fault(&job.name))?;
                let inputs = reduced.replay(way).map_or(&[][..], |replay| &replay.inputs);
                for value in inputs.iter().filter_map(Source::kept) {
                    // What the float32 graph lacks is missed when the replay is asked for: that one runs in float32.
                    let own = mirrored.entry(value);
                    let own = own.or_insert_with(|| self.model.named(&reduced.graph.value(value).name));
                    kept.extend(*own);
                }
            }
        }
        self.whole(&kept)?;
        let cells_of = |model: &Model| {
            let cell = |(job, way): (&Job<'_>, &Way)| model.cell(*way, job.perturbation).map_err(fault(&job.name));
            jobs.iter().zip(&ways).map(cell).collect::<Result<Vec<_>, _>>()
        };
        Ok(Pass {
            cells: cells_of(&self.model)?,
            reduced: match &self.reduced {
                None => None,
                Some(model) => Some(Reduced {
                    model,
                    cells: cells_of(model)?,
                    mirrored,
                }),
            },
            programs: self,
            jobs,
            ways,
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
    fn whole(&mut self, kept: &BTreeSet<ValueId>) -> Result<(), SensitivityError> {
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
        let mut read = subset(graph, &inputs, &outputs);
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
        let program = Program::compile_on(graph, &inputs, &outputs, self.running.device).map_err(fault(WHOLE))?;
        self.model.load(&leaves).map_err(fault(WHOLE))?;
        // What folding made of the weights.
        if self.running.lowering.is_some() && !with_worker(|| self.model.is_finite(&leaves)).map_err(fault(WHOLE))? {
            return Err(SensitivityError::NotFinite);
        }
        self.baseline = Some(Whole {
            program,
            leaves,
            outputs,
        });
        Ok(())
    }
}

/// The model as it is to be run.
fn model(graph: &Graph, running: Running<'_>, reduced: bool) -> Result<Model, SensitivityError> {
    let lowered = match running.lowering {
        None if reduced => lower::reduce(graph),
        None => Ok(Lowered {
            graph: graph.clone(),
            sites: Vec::new(),
        }),
        Some(shapes) => {
            let options = lower::Options {
                shapes: shapes.clone(),
                kernels: match running.device {
                    Device::Cpu if reduced && has_reduced_mkldnn() => Kernels::Mkldnn,
                    Device::Cpu if !reduced && has_mkldnn() => Kernels::Mkldnn,
                    _ => Kernels::Aten,
                },
                batch: running.micro_batch,
                reduced,
            };
            lower(graph, &options)
        }
    };
    let lowered = lowered.map_err(|fault| SensitivityError::Lowering(fault.to_string()))?;
    let (before, after) = (graph.output_values(), lowered.graph.output_values());
    let place = |output: &ValueId| before.iter().position(|value| value == output).map(|at| after[at]);
    let outputs: Option<Vec<ValueId>> = running.outputs.iter().map(place).collect();
    let outputs = outputs.ok_or(SensitivityError::NoOutput)?;
    Ok(Model::new(lowered, outputs, running.device, reduced))
}

pub(super) fn fault(cell: &str) -> impl Fn(RuntimeError) -> SensitivityError + '_ {
    move |source| SensitivityError::Runtime {
        cell: cell.into(),
        source,
    }
}
