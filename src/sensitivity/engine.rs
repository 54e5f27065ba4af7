//! The measurement: waves of cells, early stop, and what is known already.

use super::pass::{Baseline, Job, Pass, Programs, WHOLE};
use super::perturb::{Perturbation, Plan, Target};
use super::{Cell, EarlyStop, SensitivityError, Table};
use crate::dataset::{Batch, Dataset};
use crate::graph::{Graph, ValueId};
use crate::metric::{self, Accumulator, Forward, Metric, MetricError, Score};
use crate::runtime::Device;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
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

    /// The scores of all metrics under a perturbation's digest, where every one is known. By default there is one metric.
    fn scores(&self, digest: Option<&str>) -> Option<Vec<Score>> {
        Some(vec![self.known(digest)?.into()])
    }

    /// Keeps the scores of all metrics.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn keep_scores(&self, scores: &[(Option<String>, Vec<Score>)]) -> Result<(), String> {
        let first = |(digest, scores): &(Option<String>, Vec<Score>)| Some((digest.clone(), scores.first()?.value));
        self.keep(&scores.iter().filter_map(first).collect::<Vec<_>>())
    }
}

/// What a measurement is told beside the model and its data.
pub struct Settings<'a> {
    pub plan: Plan,
    /// The outputs that are measured.
    pub outputs: &'a [ValueId],
    /// What is measured beside the metric that steers.
    pub further: &'a [&'a dyn Metric],
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
            let scores = engine.found.get(&digest).unwrap_or(&baseline).clone();
            let value = first(&scores);
            let stop = settings
                .early_stop
                .is_some_and(|stop| stop.triggers(first(&baseline), value));
            live[target] &= !stop;
            let (pruned, of) = (perturbation.pruned, perturbation.of);
            rows[target].push(Cell {
                target,
                sparsity,
                value,
                scores,
                pruned,
                of,
                stop,
            });
        }
    }
    let baseline = engine.baseline()?;
    Ok(Table {
        baseline: first(&baseline),
        baselines: baseline,
        cells: rows.into_iter().flatten().collect(),
        computed: engine.computed,
        reused: engine.reused,
    })
}

/// The score that steers.
fn first(scores: &[Score]) -> f64 {
    scores.first().map_or(f64::NAN, |score| score.value)
}

/// One cell of the table.
struct Asked {
    target: usize,
    sparsity: f64,
    perturbation: Perturbation,
    /// None when nothing is changed.
    digest: Option<String>,
}

struct Engine<'a> {
    targets: &'a [Target],
    dataset: &'a Dataset,
    metrics: Vec<&'a dyn Metric>,
    memory: &'a dyn Memory,
    settings: &'a Settings<'a>,
    programs: Programs<'a>,
    /// Every metric's score by digest; the unmasked model's under None.
    found: BTreeMap<Option<String>, Vec<Score>>,
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
        let padded = settings.pad.then_some(settings.micro_batch);
        Ok(Engine {
            targets,
            dataset,
            metrics: std::iter::once(metric)
                .chain(settings.further.iter().copied())
                .collect(),
            memory,
            settings,
            programs: Programs::new(graph, targets, settings.outputs, settings.device, padded)?,
            found: BTreeMap::new(),
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
        let Some(scores) = self.memory.scores(digest.as_deref()) else {
            return false;
        };
        self.found.insert(digest, scores);
        self.reused += 1;
        true
    }

    fn baseline(&mut self) -> Result<Vec<Score>, SensitivityError> {
        if !self.recall(None) {
            self.total += self.batches();
            self.wave(&[])?;
        }
        Ok(self.found.get(&None).cloned().unwrap_or_default())
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
            let job = Job {
                name: format!("{} at sparsity {}", self.targets[cell.target].name, cell.sparsity),
                target: cell.target,
                perturbation: &cell.perturbation,
            };
            jobs.push((digest.as_str(), job));
        }
        self.total += self.batches() * (jobs.len() + jobs.len().div_ceil(WAVE)) as u64;
        for wave in jobs.chunks(WAVE) {
            self.wave(wave)?;
        }
        Ok(())
    }

    /// One pass over the data: the baseline, and every job (with its digest) from the values that it keeps.
    fn wave(&mut self, jobs: &[(&str, Job<'_>)]) -> Result<(), SensitivityError> {
        let pass = self.programs.pass(jobs.iter().map(|(_, job)| job.clone()).collect())?;
        let all = Wave {
            dataset: self.dataset,
            metrics: &self.metrics,
            settings: self.settings,
            pass,
            cells: (self.computed, self.reused),
            done: &self.done,
            total: self.total,
        }
        .run()?;
        let mut fault = None;
        let mut kept: Vec<(Option<String>, Vec<Score>)> = Vec::new();
        let digests = std::iter::once(None).chain(jobs.iter().map(|(digest, _)| Some((*digest).to_owned())));
        for (digest, scores) in digests.zip(all) {
            match scores {
                Ok(scores) if !self.found.contains_key(&digest) => {
                    self.found.insert(digest.clone(), scores.clone());
                    kept.push((digest, scores));
                }
                Ok(_) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        self.computed += kept.len() as u64;
        // One cell that is no number does not lose the others.
        self.memory.keep_scores(&kept).map_err(SensitivityError::Memory)?;
        fault.map_or(Ok(()), Err)
    }
}

/// One cell's metrics on their way.
type Sums<'a> = Vec<Box<dyn Accumulator + 'a>>;

/// The scores of one pass, the baseline's first.
type All = Vec<Result<Vec<Score>, SensitivityError>>;

/// One pass over the data.
struct Wave<'a> {
    dataset: &'a Dataset,
    metrics: &'a [&'a dyn Metric],
    settings: &'a Settings<'a>,
    pass: Pass<'a>,
    /// Computed and reused before this pass.
    cells: (u64, u64),
    done: &'a AtomicU64,
    total: u64,
}

impl Wave<'_> {
    fn run(&self) -> Result<All, SensitivityError> {
        let names = || std::iter::once(WHOLE).chain(self.pass.jobs().iter().map(|job| job.name.as_str()));
        let open = |cell| {
            let metrics = self.metrics.iter();
            metrics
                .map(|metric| metric::open(*metric, cell).map_err(fault(cell)))
                .collect()
        };
        let sums: Vec<Sums<'_>> = names().map(open).collect::<Result<_, _>>()?;
        let mut reader = self.dataset.batches(self.settings.micro_batch);
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
        let finished = sums.into_iter().zip(names()).map(|(sums, cell)| {
            let scores = sums.into_iter().map(|sum| sum.finish().map_err(fault(cell)));
            scores.collect()
        });
        Ok(finished.collect())
    }

    /// Tells that one more forward is done.
    fn tick(&self) {
        let now = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        (self.settings.progress)(now, self.total);
    }

    fn check_stop(&self) -> Result<(), SensitivityError> {
        if (self.settings.stop)() {
            let (computed, reused) = self.cells;
            return Err(SensitivityError::Interrupted { computed, reused });
        }
        Ok(())
    }

    fn batch(&self, batch: &Batch, sums: &[Sums<'_>]) -> Result<(), SensitivityError> {
        self.check_stop()?;
        let baseline = self.pass.baseline(batch)?;
        self.add(&sums[0], &baseline.outputs, batch, &baseline, WHOLE)?;
        self.tick();
        self.pass.jobs().par_iter().enumerate().try_for_each(|(at, job)| {
            self.check_stop()?;
            let outputs = self.pass.replay(at, batch, &baseline)?;
            self.add(&sums[at + 1], &outputs, batch, &baseline, &job.name)?;
            self.tick();
            Ok(())
        })
    }

    fn add(
        &self,
        sums: &Sums<'_>,
        outputs: &[Tensor],
        batch: &Batch,
        baseline: &Baseline,
        cell: &str,
    ) -> Result<(), SensitivityError> {
        let forward = Forward {
            cell,
            outputs,
            baseline: Some(&baseline.outputs),
            batch,
        };
        sums.iter().try_for_each(|sum| sum.add(&forward).map_err(fault(cell)))
    }
}

fn fault(cell: &str) -> impl Fn(MetricError) -> SensitivityError + '_ {
    move |source| SensitivityError::Metric {
        cell: cell.into(),
        source,
    }
}
