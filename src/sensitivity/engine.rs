//! The measurement: waves of cells over micro-batches.

use super::perturb::{Perturbation, Plan, Target};
use super::replay::{Replay, compile, made_by_nodes};
use super::{Cell, EarlyStop, SensitivityError, Table};
use crate::dataset::{Batch, Dataset};
use crate::graph::{Def, Graph, ParamId, ValueId, graph_leaves};
use crate::metric::{Metric, MetricError, Partial};
use crate::runtime::{Device, DeviceTensor, Program, RuntimeError, Shared, from_torch, to_torch, with_worker};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cells that one pass over the data measures at most, so that an interrupted run keeps what earlier passes found; one
/// baseline forward in so many replays costs little.
const WAVE: usize = 64;

/// What is already known, and where results go.
pub trait Memory: Sync {
    /// The value under a perturbation's digest; `None` stands for the unmasked model.
    fn known(&self, digest: Option<&str>) -> Option<f64>;

    /// Keeps values.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn keep(&self, values: &[(Option<String>, f64)]) -> Result<(), String>;
}

/// What a measurement is told beside the model and its data.
pub struct Settings<'a> {
    pub plan: Plan,
    /// Ascending.
    pub sparsities: &'a [f64],
    pub early_stop: Option<EarlyStop>,
    /// Samples of one forward.
    pub micro_batch: usize,
    /// Whether a short batch is padded to `micro_batch`.
    pub pad: bool,
    pub device: Device,
    /// Asked between micro-batches.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Told how many of how many forwards of this run are done.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Measures a table. Work is spread over the current rayon pool.
///
/// # Errors
/// When the run is stopped, data cannot be read, a program does not run, or a metric is not a number.
pub fn measure(
    graph: &Graph,
    targets: &[Target],
    dataset: &Dataset,
    metric: &dyn Metric,
    memory: &dyn Memory,
    settings: &Settings,
) -> Result<Table, SensitivityError> {
    let mut engine = Engine::new(graph, targets, dataset, metric, memory, settings)?;
    let last = settings.sparsities.len();
    // With early stop the next sparsity of a target depends on the last one's value: one wave a sparsity.
    let waves: Vec<std::ops::Range<usize>> = match settings.early_stop {
        None => std::iter::once(0..last).collect(),
        Some(_) => (0..last).map(|at| at..at + 1).collect(),
    };
    let mut live = vec![true; targets.len()];
    let mut rows: Vec<Vec<Cell>> = vec![Vec::new(); targets.len()];
    for wave in waves {
        let mut cells = Vec::new();
        for (target, _) in live.iter().enumerate().filter(|(_, live)| **live) {
            for &sparsity in &settings.sparsities[wave.clone()] {
                let perturbation = targets[target].perturbation(graph, settings.plan, sparsity)?;
                let digest = (!perturbation.changes.is_empty()).then(|| perturbation.digest(graph));
                cells.push(Asked {
                    target,
                    sparsity,
                    perturbation,
                    digest,
                });
            }
        }
        engine.fill(&cells)?;
        let baseline = engine.baseline()?;
        for Asked {
            target,
            sparsity,
            perturbation,
            digest,
        } in cells
        {
            // What changes nothing has no digest and is the baseline.
            let value = engine.found.get(&digest).copied().unwrap_or(baseline);
            let stop = settings.early_stop.is_some_and(|stop| stop.triggers(baseline, value));
            live[target] &= !stop;
            let (pruned, of) = (perturbation.pruned, perturbation.of);
            rows[target].push(Cell {
                target,
                sparsity,
                value,
                pruned,
                of,
                stop,
            });
        }
    }
    Ok(Table {
        baseline: engine.baseline()?,
        cells: rows.into_iter().flatten().collect(),
        computed: engine.computed,
        reused: engine.reused,
    })
}

/// One cell of the table.
struct Asked {
    target: usize,
    sparsity: f64,
    perturbation: Perturbation,
    /// None when nothing is changed.
    digest: Option<String>,
}

/// One cell to be measured.
struct Job<'a> {
    digest: &'a str,
    /// What to call it in errors.
    name: String,
    target: usize,
    perturbation: &'a Perturbation,
}

struct Engine<'a> {
    graph: &'a Graph,
    targets: &'a [Target],
    dataset: &'a Dataset,
    metric: &'a dyn Metric,
    memory: &'a dyn Memory,
    settings: &'a Settings<'a>,
    output: ValueId,
    /// Values by digest; the unmasked model's under None.
    found: BTreeMap<Option<String>, f64>,
    replays: BTreeMap<usize, Replay>,
    leaves: BTreeMap<ValueId, Shared>,
    value_of: BTreeMap<ParamId, ValueId>,
    computed: u64,
    reused: u64,
    /// Forwards done, of those asked for so far.
    done: AtomicU64,
    total: u64,
}

impl<'a> Engine<'a> {
    fn new(
        graph: &'a Graph,
        targets: &'a [Target],
        dataset: &'a Dataset,
        metric: &'a dyn Metric,
        memory: &'a dyn Memory,
        settings: &'a Settings<'a>,
    ) -> Result<Engine<'a>, SensitivityError> {
        let &output = graph.output_values().first().ok_or(SensitivityError::NoOutput)?;
        let value_of = graph
            .value_ids()
            .filter_map(|value| Some((graph.param_of(value)?, value)))
            .collect();
        Ok(Engine {
            graph,
            targets,
            dataset,
            metric,
            memory,
            settings,
            output,
            found: BTreeMap::new(),
            replays: BTreeMap::new(),
            leaves: BTreeMap::new(),
            value_of,
            computed: 0,
            reused: 0,
            done: AtomicU64::new(0),
            total: 0,
        })
    }

    /// Forwards that one cell takes.
    fn batches(&self) -> u64 {
        self.dataset.len().div_ceil(self.settings.micro_batch.max(1)) as u64
    }

    /// Takes a value from memory; true when it is known.
    fn recall(&mut self, digest: Option<String>) -> bool {
        if self.found.contains_key(&digest) {
            return true;
        }
        let Some(value) = self.memory.known(digest.as_deref()) else {
            return false;
        };
        self.found.insert(digest, value);
        self.reused += 1;
        true
    }

    fn baseline(&mut self) -> Result<f64, SensitivityError> {
        if !self.recall(None) {
            self.total += self.batches();
            self.wave(&[])?;
        }
        Ok(self.found.get(&None).copied().unwrap_or(f64::NAN))
    }

    /// Measures every cell that is not known.
    fn fill(&mut self, cells: &[Asked]) -> Result<(), SensitivityError> {
        self.recall(None);
        let mut seen = BTreeSet::new();
        let mut jobs = Vec::new();
        for cell in cells {
            let Some(digest) = &cell.digest else { continue };
            if !seen.insert(digest) || self.recall(Some(digest.clone())) {
                continue;
            }
            jobs.push(Job {
                digest,
                name: format!("{} at sparsity {}", self.targets[cell.target].name, cell.sparsity),
                target: cell.target,
                perturbation: &cell.perturbation,
            });
        }
        self.total += self.batches() * (jobs.len() + jobs.len().div_ceil(WAVE)) as u64;
        for wave in jobs.chunks(WAVE) {
            self.wave(wave)?;
        }
        Ok(())
    }

    fn fault(cell: &str) -> impl Fn(RuntimeError) -> SensitivityError + '_ {
        move |source| SensitivityError::Runtime {
            cell: cell.into(),
            source,
        }
    }

    /// One pass over the data: the baseline, and every job from the values that it keeps.
    fn wave(&mut self, jobs: &[Job<'_>]) -> Result<(), SensitivityError> {
        for job in jobs {
            if !self.replays.contains_key(&job.target) {
                let params = self.targets[job.target].params(self.graph);
                let replay = compile(self.graph, &params, self.output, self.settings.device);
                self.replays.insert(job.target, replay.map_err(Self::fault(&job.name))?);
            }
        }
        let read: Vec<ValueId> = jobs
            .iter()
            .flat_map(|job| &self.replays[&job.target].inputs)
            .copied()
            .collect();
        let kept: BTreeSet<ValueId> = made_by_nodes(self.graph, &read).into_iter().collect();
        let mut outputs = vec![self.output];
        outputs.extend(kept.into_iter().filter(|&value| value != self.output));
        let mut inputs = self.graph.inputs.clone();
        let leaves = graph_leaves(self.graph, &inputs, &outputs);
        inputs.extend(&leaves);
        self.load(leaves.into_iter().chain(read))
            .map_err(Self::fault("the model"))?;
        let program = Program::compile_on(self.graph, &inputs, &outputs, self.settings.device)
            .map_err(Self::fault("the unmasked model"))?;
        let replays: Vec<&Replay> = jobs.iter().map(|job| &self.replays[&job.target]).collect();
        let masked = jobs.iter().map(|job| self.masked(job)).collect::<Result<Vec<_>, _>>()?;

        let pass = Pass {
            engine: self,
            program,
            inputs,
            outputs,
            jobs,
            replays,
            masked,
        };
        let averages = pass.run()?;
        let mut fault = None;
        let mut values: Vec<(Option<String>, f64)> = Vec::new();
        let digests = std::iter::once(None).chain(jobs.iter().map(|job| Some(job.digest.to_owned())));
        for (digest, average) in digests.zip(averages) {
            match average {
                Ok(value) if !self.found.contains_key(&digest) => {
                    self.found.insert(digest.clone(), value);
                    values.push((digest, value));
                }
                Ok(_) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        self.computed += values.len() as u64;
        // One cell that is no number does not lose the others.
        self.memory.keep(&values).map_err(SensitivityError::Memory)?;
        fault.map_or(Ok(()), Err)
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
                let tensor = to_torch(tensor, self.settings.device)?;
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
            let tensor = to_torch(&tensor, self.settings.device).map_err(Self::fault(&job.name))?;
            masked.insert(value, Shared::new(tensor));
        }
        Ok(masked)
    }
}

/// The averages of one pass, the baseline's first.
type Averages = Vec<Result<f64, SensitivityError>>;

/// One pass over the data.
struct Pass<'a> {
    engine: &'a Engine<'a>,
    program: Program,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    jobs: &'a [Job<'a>],
    replays: Vec<&'a Replay>,
    masked: Vec<BTreeMap<ValueId, Shared>>,
}

impl Pass<'_> {
    fn run(&self) -> Result<Averages, SensitivityError> {
        let settings = self.engine.settings;
        let dataset = self.engine.dataset;
        let sums: Vec<Mutex<Partial>> = (0..=self.jobs.len()).map(|_| Mutex::default()).collect();
        let mut reader = dataset.batches(settings.micro_batch);
        // As many micro-batches at once as there are threads: their kept values are what takes memory.
        let width = rayon::current_num_threads().max(1);
        loop {
            let mut together: Vec<Batch> = Vec::with_capacity(width);
            while together.len() < width {
                match reader.next() {
                    Some(batch) => together.push(batch?),
                    None => break,
                }
            }
            if together.is_empty() {
                break;
            }
            together.par_iter().try_for_each(|batch| self.batch(batch, &sums))?;
        }
        let names = std::iter::once("the unmasked model").chain(self.jobs.iter().map(|job| job.name.as_str()));
        let finished = sums.iter().zip(names).map(|(sum, cell)| {
            let partial = sum
                .lock()
                .map_err(|_| SensitivityError::Memory("a worker panicked".into()))?;
            partial.finish().map_err(|source| SensitivityError::Metric {
                cell: cell.into(),
                source,
            })
        });
        Ok(finished.collect())
    }

    /// Tells that one more forward is done.
    fn tick(&self) {
        let now = self.engine.done.fetch_add(1, Ordering::Relaxed) + 1;
        (self.engine.settings.progress)(now, self.engine.total);
    }

    fn check_stop(&self) -> Result<(), SensitivityError> {
        if (self.engine.settings.stop)() {
            let (computed, reused) = (self.engine.computed, self.engine.reused);
            return Err(SensitivityError::Interrupted { computed, reused });
        }
        Ok(())
    }

    fn batch(&self, batch: &Batch, sums: &[Mutex<Partial>]) -> Result<(), SensitivityError> {
        self.check_stop()?;
        let whole = "the unmasked model";
        let fault = Engine::fault(whole);
        let (kept, baseline) = with_worker(|| {
            let mut given = Vec::with_capacity(self.inputs.len());
            for input in &batch.inputs {
                given.push(to_torch(&self.padded(input), self.engine.settings.device)?);
            }
            let samples: Vec<Shared> = given.iter().map(|tensor| Shared::new(tensor.shallow_clone())).collect();
            given.extend(
                self.inputs[given.len()..]
                    .iter()
                    .map(|value| self.engine.leaves[value].get()),
            );
            let results = self.program.run(&given)?;
            let baseline = from_torch(&results[0])?;
            let inputs = self.engine.graph.inputs.iter().copied().zip(samples);
            let kept: BTreeMap<ValueId, Shared> = self
                .outputs
                .iter()
                .copied()
                .zip(results.into_iter().map(Shared::new))
                .chain(inputs)
                .collect();
            Ok((kept, baseline))
        })
        .map_err(&fault)?;
        let baseline = self.measured(&baseline, batch);
        self.add(&sums[0], &baseline, batch, &baseline, whole)?;
        self.tick();
        (0..self.jobs.len()).into_par_iter().try_for_each(|at| {
            self.check_stop()?;
            let job = &self.jobs[at];
            let outputs = match &self.replays[at].program {
                None => baseline.clone(),
                Some(program) => {
                    let outputs = with_worker(|| {
                        let pick = |value: &ValueId| {
                            let masked = self.masked[at].get(value).or_else(|| self.engine.leaves.get(value));
                            masked.or_else(|| kept.get(value)).map(Shared::get)
                        };
                        let inputs: Option<Vec<DeviceTensor>> = self.replays[at].inputs.iter().map(pick).collect();
                        let inputs = inputs.ok_or_else(|| RuntimeError::Leaf { name: job.name.clone() })?;
                        from_torch(&program.run(&inputs)?[0])
                    });
                    self.measured(&outputs.map_err(Engine::fault(&job.name))?, batch)
                }
            };
            self.add(&sums[at + 1], &outputs, batch, &baseline, &job.name)?;
            self.tick();
            Ok(())
        })
    }

    /// A short batch with copies of its last sample behind it, where the model takes one size only.
    fn padded(&self, input: &Tensor) -> Tensor {
        let (rows, wanted) = (input.shape()[0], self.engine.settings.micro_batch);
        if !self.engine.settings.pad || rows == wanted || rows == 0 {
            return input.clone();
        }
        let order: Vec<usize> = (0..wanted).map(|row| row.min(rows - 1)).collect();
        input.select(0, &order)
    }

    /// Outputs of the batch's own samples.
    fn measured(&self, outputs: &Tensor, batch: &Batch) -> Tensor {
        match outputs.rows(0, batch.len()) {
            Some(rows) if self.engine.settings.pad => rows,
            _ => outputs.clone(),
        }
    }

    fn add(
        &self,
        sum: &Mutex<Partial>,
        outputs: &Tensor,
        batch: &Batch,
        baseline: &Tensor,
        cell: &str,
    ) -> Result<(), SensitivityError> {
        let fault = |source: MetricError| SensitivityError::Metric {
            cell: cell.into(),
            source,
        };
        let values = self
            .engine
            .metric
            .per_sample(outputs, batch, Some(baseline))
            .map_err(fault)?;
        let mut sum = sum
            .lock()
            .map_err(|_| SensitivityError::Memory("a worker panicked".into()))?;
        sum.merge(Partial::new(batch.first, values)).map_err(fault)
    }
}
