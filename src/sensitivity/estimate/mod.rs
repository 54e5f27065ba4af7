//! Sensitivity by samples: cells end as soon as they are known well enough.
//!
//! Owns the rule by which a cell ends, the loop over micro-batches in random order, and going on from what was sampled
//! before. Deliberately knows no statistics (they are `confidence/`'s), draws no numbers (the order is `dataset/`'s), and
//! keeps nothing itself: that is a [`Samples`]' business.
//!
//! All cells see the samples in one random order. A cell's values are paired with the unmasked model's on the same samples;
//! a confidence sequence of the mean difference says, after each micro-batch, where that mean lies in the whole dataset. A
//! cell ends when the interval is narrow enough, when early stop's comparison is decided, or when it has seen every sample:
//! then its value is exact, the same as [`super::measure`] gives. Cells end at fixed numbers of micro-batches and what they
//! are told depends on their own samples alone, so neither threads nor what was known before change a result.

mod cell;
mod drive;

use super::engine::{Settings, measure};
use super::perturb::Target;
use super::programs::Programs;
use super::table::{self, Asked};
use super::{EarlyStop, Memory, SensitivityError, Table};
use crate::confidence::{Aim, Interval};
use crate::dataset::Dataset;
use crate::graph::Graph;
use crate::metric::{Form, Metric, PerSample};
use cell::{Ends, Running};
use drive::Drive;
use std::collections::BTreeMap;

/// Bytes of changed parameters up to which cells are measured together; some cells always are.
const TOGETHER: usize = 512 << 20;
const TOGETHER_CELLS: usize = 64;

/// How a mean is estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    pub aim: Aim,
    /// Whether metrics without bounds are estimated, by what holds in the limit of many samples.
    pub asymptotic: bool,
    /// Draws the order.
    pub seed: u64,
}

/// What was sampled before, and where samples go.
pub trait Samples: Memory {
    /// The values of the first samples in the random order under a perturbation's digest, as many as there are; `None`
    /// stands for the unmasked model. `ends` are the numbers of samples that may have been kept, ascending.
    fn sampled(&self, digest: Option<&str>, ends: &[usize]) -> Option<Vec<f64>>;

    /// Keeps the values of the first samples.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn keep_sampled(&self, cells: &[(Option<String>, &[f64])]) -> Result<(), String>;
}

/// What is known of one cell beside its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimated {
    /// Where the metric of the whole dataset lies.
    pub interval: Interval,
    /// How many samples say so.
    pub samples: usize,
}

/// A table whose values are estimates, and what is known of each of its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimates {
    pub table: Table,
    pub cells: Vec<Estimated>,
    /// Samples that cells were replayed on in this run.
    pub replayed: u64,
}

/// Whether a metric's mean can be estimated, else why not.
///
/// # Errors
/// Says what is wrong.
pub fn estimable(metric: &dyn Metric, asymptotic: bool) -> Result<(), String> {
    let name = metric.name();
    match metric.form() {
        Form::Aggregate(_) => Err(format!(
            "{name} is a number of all samples together, so that no part of them estimates it"
        )),
        Form::PerSample(judge) if judge.bounds().is_none() && !asymptotic => Err(format!(
            "{name} has no bounds, so that no interval for its mean holds for certain"
        )),
        Form::PerSample(_) => Ok(()),
    }
}

fn judge(metric: &dyn Metric) -> Result<&dyn PerSample, SensitivityError> {
    match metric.form() {
        Form::PerSample(judge) => Ok(judge),
        Form::Aggregate(_) => Err(SensitivityError::Estimate {
            message: estimable(metric, true).err().unwrap_or_default(),
        }),
    }
}

/// Estimates a table. Work is spread over the current rayon pool.
///
/// # Errors
/// As [`measure`], and when the metric cannot be estimated.
pub fn estimate(
    graph: &Graph,
    targets: &[Target],
    dataset: &Dataset,
    metric: &dyn Metric,
    memory: &dyn Samples,
    settings: &Settings,
    sampling: &Sampling,
) -> Result<Estimates, SensitivityError> {
    estimable(metric, sampling.asymptotic).map_err(|message| SensitivityError::Estimate { message })?;
    // The unmasked model is measured whole: it is one row, and everybody looks at it.
    let whole = measure(graph, &[], dataset, metric, memory, settings)?;
    let mut survey = Survey::new(graph, targets, dataset, metric, memory, settings, sampling, &whole)?;
    let rows = table::walk(graph, targets, settings, |cells| {
        survey.fill(cells)?;
        let found = |cell: &Asked| {
            let (value, estimated) = survey.of(cell)?;
            Some((vec![value.into()], estimated))
        };
        Ok((Some(whole.baseline), cells.iter().map(found).collect()))
    })?;
    if survey.elsewhere > 0 {
        return Err(SensitivityError::Elsewhere {
            computed: survey.computed,
            reused: survey.reused,
            missing: survey.elsewhere,
        });
    }
    let (cells, estimated) = rows.into_iter().unzip();
    Ok(Estimates {
        table: Table {
            baseline: whole.baseline,
            baselines: whole.baselines,
            cells,
            computed: survey.computed,
            reused: survey.reused,
            effort: None,
        },
        cells: estimated,
        replayed: survey.replayed,
    })
}

/// Samples every cell of which some samples are known to its end, so that [`measure`] finds exact values; says how many
/// cells that were. It leaves nothing to others.
///
/// # Errors
/// As [`estimate`].
pub fn complete(
    graph: &Graph,
    targets: &[Target],
    dataset: &Dataset,
    metric: &dyn Metric,
    memory: &dyn Samples,
    settings: &Settings,
    seed: u64,
) -> Result<u64, SensitivityError> {
    let ends = Ends::new(dataset.len(), settings.micro_batch).all();
    if !matches!(metric.form(), Form::PerSample(_)) || memory.sampled(None, &ends).is_none() {
        return Ok(0);
    }
    let mut begun = Vec::new();
    for target in 0..targets.len() {
        for &sparsity in settings.sparsities {
            let asked = Asked::new(graph, targets, settings.plan, target, sparsity)?;
            let digest = asked.digest.as_deref();
            if digest.is_some() && memory.known(digest).is_none() && memory.sampled(digest, &ends).is_some() {
                begun.push(asked);
            }
        }
    }
    if begun.is_empty() {
        return Ok(0);
    }
    let whole = measure(graph, &[], dataset, metric, memory, settings)?;
    let sampling = Sampling {
        aim: Aim {
            margin: 0.0,
            relative: 0.0,
            confidence: 0.5,
        },
        asymptotic: true,
        seed,
    };
    let to_the_end = Settings {
        early_stop: None,
        ..*settings
    };
    let mut survey = Survey::new(graph, targets, dataset, metric, memory, &to_the_end, &sampling, &whole)?;
    survey.fill(&begun)?;
    Ok(survey.computed)
}

/// Bytes of the parameters that a cell changes.
fn bytes(graph: &Graph, cell: &Asked) -> usize {
    let changes = cell.perturbation.changes.iter();
    changes
        .map(|change| graph.param(change.param).tensor.bytes() as usize)
        .sum()
}

/// The difference from the baseline that early stop compares with: beyond it lies what triggers.
fn threshold(stop: EarlyStop, baseline: f64) -> f64 {
    match stop {
        EarlyStop::Minimize(bound) | EarlyStop::Maximize(bound) => bound - baseline,
        EarlyStop::Dropped(bound) => -bound,
        EarlyStop::Raised(bound) => bound,
    }
}

/// What has been found so far, and all that sampling needs.
struct Survey<'a> {
    graph: &'a Graph,
    targets: &'a [Target],
    /// In random order, and which of the dataset's samples each is.
    dataset: Dataset,
    order: Vec<usize>,
    metric: &'a dyn Metric,
    memory: &'a dyn Samples,
    settings: &'a Settings<'a>,
    sampling: &'a Sampling,
    baseline: f64,
    programs: Programs<'a>,
    ends: Ends,
    /// All numbers of samples after which a cell may end.
    all_ends: Vec<usize>,
    /// The unmasked model's values in random order, as far as they are known.
    unmasked: Vec<f64>,
    /// Whether an earlier run has sampled.
    sampled_before: bool,
    found: BTreeMap<String, (f64, Estimated)>,
    computed: u64,
    reused: u64,
    /// Cells left to others.
    elsewhere: u64,
    replayed: u64,
}

impl<'a> Survey<'a> {
    #[expect(clippy::too_many_arguments, reason = "what `estimate` was given, and the baseline")]
    fn new(
        graph: &'a Graph,
        targets: &'a [Target],
        dataset: &Dataset,
        metric: &'a dyn Metric,
        memory: &'a dyn Samples,
        settings: &'a Settings<'a>,
        sampling: &'a Sampling,
        whole: &Table,
    ) -> Result<Survey<'a>, SensitivityError> {
        let ends = Ends::new(dataset.len(), settings.micro_batch);
        let all_ends = ends.all();
        let unmasked = memory.sampled(None, &all_ends).unwrap_or_default();
        let (dataset, order) = dataset.shuffled(sampling.seed)?;
        Ok(Survey {
            graph,
            targets,
            dataset,
            order,
            metric,
            memory,
            settings,
            sampling,
            baseline: whole.baseline,
            // Cells need few samples, so that float32 is as fast as float32 and bfloat16.
            programs: Programs::new(graph, targets, settings.running().exact())?,
            sampled_before: !unmasked.is_empty(),
            unmasked,
            all_ends,
            ends,
            found: BTreeMap::new(),
            computed: whole.computed,
            reused: whole.reused,
            elsewhere: 0,
            replayed: 0,
        })
    }

    /// A cell's value and what is known of it; none when it is left to others. What changes nothing is the baseline.
    fn of(&self, cell: &Asked) -> Option<(f64, Estimated)> {
        match &cell.digest {
            None => Some(self.exact(self.baseline)),
            Some(digest) => self.found.get(digest).copied(),
        }
    }

    fn exact(&self, value: f64) -> (f64, Estimated) {
        let interval = Interval {
            low: value,
            high: value,
        };
        let samples = self.order.len();
        (value, Estimated { interval, samples })
    }

    /// Samples every cell until it ends.
    fn fill(&mut self, asked: &[Asked]) -> Result<(), SensitivityError> {
        let mut waiting: Vec<Running<'_>> = Vec::new();
        for (place, digest, cell) in table::distinct(asked, self.settings) {
            if self.found.contains_key(digest) {
                continue;
            }
            // An exact value that is known is not taken: a table is the same whatever has been measured before.
            let job = cell.job(self.targets);
            let threshold = self.settings.early_stop.map(|stop| threshold(stop, self.baseline));
            let mut running = Running::new(digest, job, self.sampling, self.bounds()?, self.ends, threshold);
            // Samples of a cell are worth nothing without those of the unmasked model.
            if let Some(known) = self
                .sampled_before
                .then(|| self.memory.sampled(Some(digest), &self.all_ends))
            {
                running.recall(known.unwrap_or_default(), &self.unmasked);
            }
            if running.is_over() {
                self.reused += 1;
                self.note(&running)?;
            } else if (self.settings.mine)(Some(place)) {
                waiting.push(running);
            } else {
                self.elsewhere += 1;
            }
        }
        let bytes: BTreeMap<&str, usize> = asked
            .iter()
            .filter_map(|cell| Some((cell.digest.as_deref()?, bytes(self.graph, cell))))
            .collect();
        while !waiting.is_empty() {
            let mut sum = 0;
            let fitting = waiting.iter().take_while(|cell| {
                sum += bytes.get(cell.digest).copied().unwrap_or(0);
                sum <= TOGETHER
            });
            let count = fitting.count().max(TOGETHER_CELLS).min(waiting.len());
            let rest = waiting.split_off(count);
            self.together(waiting)?;
            waiting = rest;
        }
        Ok(())
    }

    /// The bounds of one sample's difference, where there are such.
    fn bounds(&self) -> Result<Option<(f64, f64)>, SensitivityError> {
        let bounds = judge(self.metric)?.bounds();
        Ok(bounds.map(|(low, high)| (low - high, high - low)))
    }

    /// Samples these cells together.
    fn together(&mut self, mut cells: Vec<Running<'_>>) -> Result<(), SensitivityError> {
        let jobs = cells.iter().map(|cell| cell.job.clone()).collect();
        let drive = Drive {
            dataset: &self.dataset,
            order: &self.order,
            judge: judge(self.metric)?,
            pass: self.programs.pass(jobs)?,
            settings: self.settings,
            memory: self.memory,
            ends: self.ends,
        };
        let driven = drive.run(&mut cells, &mut self.unmasked);
        drop(drive);
        // Whatever ended it, what has been sampled is kept.
        self.replayed += cells.iter().map(|cell| cell.fresh() as u64).sum::<u64>();
        self.computed += cells.iter().filter(|cell| cell.is_over() && cell.fresh() > 0).count() as u64;
        match driven {
            Err(SensitivityError::Interrupted { .. }) => Err(SensitivityError::Interrupted {
                computed: self.computed,
                reused: self.reused,
            }),
            Err(error) => Err(error),
            Ok(()) => cells.iter().try_for_each(|cell| self.note(cell)),
        }
    }

    /// Takes the result of a cell that is over; exact values are kept as such.
    fn note(&mut self, cell: &Running<'_>) -> Result<(), SensitivityError> {
        let result = match cell.exact(&self.order)? {
            Some(score) => {
                let value = score.value;
                let kept = [(Some(cell.digest.to_owned()), vec![score])];
                self.memory.keep_scores(&kept).map_err(SensitivityError::Memory)?;
                self.exact(value)
            }
            None => cell.estimated(self.baseline, judge(self.metric)?.bounds()),
        };
        self.found.insert(cell.digest.to_owned(), result);
        Ok(())
    }
}
