//! The measurement: waves of cells, early stop, and what is known already.

use super::auto::{Careful, Effort};
use super::footprint::Budget;
use super::pass::{Baseline, Job, Pass, WHOLE};
use super::perturb::{Plan, Target};
use super::programs::{Precision, Programs, Running};
use super::standing::{Memory, Sums, take_up};
use super::table::{self, Asked, first};
use super::{EarlyStop, SensitivityError, Table};
use crate::dataset::{Batch, Dataset};
use crate::graph::{Graph, ValueId};
use crate::lower::Shapes;
use crate::metric::{self, Forward, Metric, MetricError, Score};
use crate::runtime::Device;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cells that one pass over the data measures at most, so that an interrupted run keeps what earlier passes found; one
/// baseline forward in so many replays costs little.
pub const WAVE: usize = 192;

/// What a measurement is told beside the model and its data.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    pub plan: Plan,
    /// The outputs that are measured.
    pub outputs: &'a [ValueId],
    /// What is measured beside the metric that steers.
    pub further: &'a [&'a dyn Metric],
    /// What is known of the model's values, so that it runs lowered; none to run it as it was read.
    pub lowering: Option<&'a Shapes>,
    pub precision: Precision,
    /// Draws the audits of [`Precision::Auto`].
    pub seed: u64,
    /// Ascending.
    pub sparsities: &'a [f64],
    pub early_stop: Option<EarlyStop>,
    /// Samples of one forward.
    pub micro_batch: usize,
    /// Whether a short batch is padded to `micro_batch`.
    pub pad: bool,
    pub device: Device,
    /// Whether the cell at a place is to be computed here, or left to others unless it is known; `None` stands for the
    /// unmasked model. Places are those of the table without repetitions, or of targets where rows may stop.
    pub mine: &'a (dyn Fn(Option<usize>) -> bool + Sync),
    /// How much is measured at once, and what it costs.
    pub budget: &'a Budget,
    /// Asked between micro-batches.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Told how much of how much of this run's arithmetic is done, by the budget's costs.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl<'a> Settings<'a> {
    /// How the model is run.
    pub(super) fn running(&self) -> Running<'a> {
        Running {
            outputs: self.outputs,
            device: self.device,
            micro_batch: self.micro_batch,
            pad: self.pad,
            lowering: self.lowering,
            precision: self.precision,
        }
    }
}

/// Measures a table. Work is spread over the current rayon pool.
///
/// # Errors
/// When the run is stopped, data cannot be read, a program does not run, a metric is not a number, or cells are left to
/// others.
pub fn measure(
    graph: &Graph,
    targets: &[Target],
    dataset: &Dataset,
    metric: &dyn Metric,
    memory: &dyn Memory,
    settings: &Settings,
) -> Result<Table, SensitivityError> {
    let mut engine = Engine::new(graph, targets, dataset, metric, memory, settings)?;
    let cells = table::walk(graph, targets, settings, |cells| {
        engine.fill(cells)?;
        // What changes nothing has no digest and is the baseline.
        let baseline = engine.baseline()?.map(|scores| first(&scores));
        let found = |cell: &Asked| Some((engine.found.get(&cell.digest)?.clone(), ()));
        Ok((baseline, cells.iter().map(found).collect()))
    })?;
    let baseline = engine.baseline()?;
    let (Some(baseline), 0) = (&baseline, engine.elsewhere) else {
        return Err(SensitivityError::Elsewhere {
            computed: engine.computed,
            reused: engine.reused,
            missing: engine.elsewhere + u64::from(baseline.is_none()),
        });
    };
    Ok(Table {
        baseline: first(baseline),
        baselines: baseline.clone(),
        cells: cells.into_iter().map(|(cell, ())| cell).collect(),
        computed: engine.computed,
        reused: engine.reused,
        effort: engine.effort,
    })
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
    effort: Option<Effort>,
    /// Cells left to others.
    elsewhere: u64,
    /// Arithmetic done, of what is asked for so far.
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
        Ok(Engine {
            targets,
            dataset,
            metrics: std::iter::once(metric)
                .chain(settings.further.iter().copied())
                .collect(),
            memory,
            settings,
            programs: Programs::new(graph, targets, settings.running())?,
            found: BTreeMap::new(),
            computed: 0,
            reused: 0,
            effort: None,
            elsewhere: 0,
            done: AtomicU64::new(0),
            total: 0,
        })
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

    /// The unmasked model's scores; none when they are left to others.
    fn baseline(&mut self) -> Result<Option<Vec<Score>>, SensitivityError> {
        if !self.recall(None) && (self.settings.mine)(None) {
            self.total += self.settings.budget.whole * self.dataset.len() as u64;
            self.wave(&[])?;
        }
        Ok(self.found.get(&None).cloned())
    }

    /// Measures every cell that is not known and not left to others.
    fn fill(&mut self, cells: &[Asked]) -> Result<(), SensitivityError> {
        self.recall(None);
        let mut jobs = Vec::new();
        for (place, digest, cell) in table::distinct(cells, self.settings) {
            if self.recall(Some(digest.to_owned())) {
                continue;
            }
            if !(self.settings.mine)(Some(place)) {
                self.elsewhere += 1;
                continue;
            }
            jobs.push((digest, cell.job(self.targets)));
        }
        let budget = self.settings.budget;
        let replays: u64 = jobs.iter().map(|(_, job)| budget.replay(job.target)).sum();
        let baselines = budget.whole * jobs.len().div_ceil(WAVE) as u64;
        self.total += (replays + baselines) * self.dataset.len() as u64;
        for wave in jobs.chunks(WAVE) {
            self.wave(wave)?;
        }
        Ok(())
    }

    /// Measures the baseline, and every job (with its digest) from the values that it keeps. What bfloat16 is not to be
    /// trusted with is measured again in float32.
    fn wave(&mut self, jobs: &[(&str, Job<'_>)]) -> Result<(), SensitivityError> {
        let failed = self.pass(jobs, self.settings.precision == Precision::Auto && !jobs.is_empty())?;
        if failed.is_empty() {
            return Ok(());
        }
        let again: Vec<(&str, Job<'_>)> = failed.into_iter().map(|at| jobs[at].clone()).collect();
        let budget = self.settings.budget;
        let replays: u64 = again.iter().map(|(_, job)| budget.replay(job.target)).sum();
        self.total += (budget.whole + replays) * self.dataset.len() as u64;
        self.pass(&again, false).map(drop)
    }

    /// One pass over the data; gives the jobs that are to be measured again. `careful` says whether to replay in bfloat16
    /// where that decides the same.
    fn pass(&mut self, jobs: &[(&str, Job<'_>)], careful: bool) -> Result<Vec<usize>, SensitivityError> {
        let digests: Vec<Option<String>> = std::iter::once(None)
            .chain(jobs.iter().map(|(digest, _)| Some((*digest).to_owned())))
            .collect();
        let pass = self.programs.pass(jobs.iter().map(|(_, job)| job.clone()).collect())?;
        let Settings { seed, micro_batch, .. } = *self.settings;
        let careful = careful.then(|| Careful::new(&self.metrics, seed, micro_batch, &pass));
        let wave = Wave {
            dataset: self.dataset,
            metrics: &self.metrics,
            memory: self.memory,
            settings: self.settings,
            digests: &digests,
            pass,
            careful: careful.flatten(),
            cells: (self.computed, self.reused),
            done: &self.done,
            total: self.total,
        };
        let all = wave.run()?;
        let mut failed = Vec::new();
        if let Some(careful) = wave.careful {
            *self.effort.get_or_insert_default() += careful.effort();
            failed = careful.failed();
        }
        let mut fault = None;
        let mut kept: Vec<(Option<String>, Vec<Score>)> = Vec::new();
        for (at, (digest, scores)) in digests.iter().zip(all).enumerate() {
            match scores {
                _ if at > 0 && failed.contains(&(at - 1)) => {}
                Ok(scores) if !self.found.contains_key(digest) => {
                    let plain = scores.iter().map(Score::without_outcomes).collect();
                    self.found.insert(digest.clone(), plain);
                    kept.push((digest.clone(), scores));
                }
                Ok(_) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        self.computed += kept.len() as u64;
        // One cell that is no number does not lose the others.
        self.memory.keep_scores(&kept).map_err(SensitivityError::Memory)?;
        self.memory.over(&digests);
        fault.map_or(Ok(failed), Err)
    }
}

/// The scores of one pass, the baseline's first.
type All = Vec<Result<Vec<Score>, SensitivityError>>;

/// One pass over the data.
struct Wave<'a> {
    dataset: &'a Dataset,
    metrics: &'a [&'a dyn Metric],
    memory: &'a dyn Memory,
    settings: &'a Settings<'a>,
    /// The cells, the unmasked model first.
    digests: &'a [Option<String>],
    pass: Pass<'a>,
    careful: Option<Careful<'a>>,
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
        let (sums, first): (Vec<Sums<'_>>, usize) =
            match take_up(names(), self.metrics, self.memory, self.digests, self.dataset.len()) {
                Some(taken_up) => taken_up,
                None => (names().map(open).collect::<Result<_, _>>()?, 0),
            };
        let budget = self.settings.budget;
        let replays: u64 = self.pass.jobs().iter().map(|job| budget.replay(job.target)).sum();
        self.done
            .fetch_add((budget.whole + replays) * first as u64, Ordering::Relaxed);
        let mut reader = self.dataset.batches_from(self.settings.micro_batch, first);
        // As many micro-batches at once as there are threads, if memory allows: their kept values are what takes it.
        let all = rayon::current_num_threads().min(budget.at_once).max(1);
        // The first one finds the bounds for the others.
        let mut width = if self.careful.is_some() { 1 } else { all };
        loop {
            let mut together: Vec<Batch> = Vec::with_capacity(width);
            while together.len() < width {
                match reader.next() {
                    Some(Ok(batch)) => together.push(batch),
                    Some(Err(fault)) => {
                        // Whoever holds the samples may have heard of the stop first.
                        self.check_stop()?;
                        return Err(fault.into());
                    }
                    None => break,
                }
            }
            if together.is_empty() {
                break;
            }
            together.par_iter().try_for_each(|batch| self.batch(batch, &sums))?;
            width = all;
            // What is to be measured again is not to be gone on with.
            if self.careful.as_ref().is_none_or(|careful| careful.failed().is_empty()) {
                let standing = || sums.iter().flatten().map(|sum| sum.standing()).collect();
                self.memory.pause(self.digests, &standing);
            }
        }
        let finished = sums.into_iter().zip(names()).map(|(sums, cell)| {
            let scores = sums
                .into_iter()
                .map(|sum| sum.finish().map_err(|source| self.fault(cell, source)));
            scores.collect()
        });
        Ok(finished.collect())
    }

    /// Tells that one more forward of a batch is done, at the cost of one sample.
    fn tick(&self, cost: u64, batch: &Batch) {
        let cost = cost * batch.len() as u64;
        let now = self.done.fetch_add(cost, Ordering::Relaxed) + cost;
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
        self.tick(self.settings.budget.whole, batch);
        if let Some(careful) = &self.careful {
            return careful.batch(&self.pass, batch, &baseline, &|at, outputs| {
                let job = &self.pass.jobs()[at];
                self.check_stop()?;
                self.add(&sums[at + 1], outputs, batch, &baseline, &job.name)?;
                self.tick(self.settings.budget.replay(job.target), batch);
                Ok(())
            });
        }
        // The longest first, so that no thread waits long for the others in the end.
        let mut order: Vec<usize> = (0..self.pass.jobs().len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.pass.cost(at)));
        order.into_par_iter().with_max_len(1).try_for_each(|at| {
            let job = &self.pass.jobs()[at];
            self.check_stop()?;
            let outputs = self.pass.replay(at, batch, &baseline)?;
            self.add(&sums[at + 1], &outputs, batch, &baseline, &job.name)?;
            self.tick(self.settings.budget.replay(job.target), batch);
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
        sums.iter()
            .try_for_each(|sum| sum.add(&forward).map_err(|source| self.fault(cell, source)))
    }

    fn fault(&self, cell: &str, source: MetricError) -> SensitivityError {
        match (source, self.check_stop()) {
            (MetricError::Stopped, Err(interrupted)) => interrupted,
            (source, _) => fault(cell)(source),
        }
    }
}

fn fault(cell: &str) -> impl Fn(MetricError) -> SensitivityError + '_ {
    move |source| {
        // Another process may have failed on another cell than the one that notices.
        let culprit = match &source {
            MetricError::Foreign { cell: Some(other), .. } => other,
            _ => cell,
        };
        SensitivityError::Metric {
            cell: culprit.into(),
            source,
        }
    }
}
