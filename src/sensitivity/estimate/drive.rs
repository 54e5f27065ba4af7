//! The loop over micro-batches in random order, until every cell is over.
//!
//! Owns how work is spread over threads and when samples are kept. Deliberately decides nothing about cells.

use super::super::SensitivityError;
use super::super::engine::Settings;
use super::super::pass::{Baseline, Pass, WHOLE};
use super::Samples;
use super::cell::{Ends, Running};
use crate::dataset::{Batch, Dataset};
use crate::metric::{Forward, MetricError, PerSample};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often what has been sampled is kept while cells are under way.
const KEEP: Duration = Duration::from_secs(15);

/// Replays for each thread that are wanted ready at once.
const AHEAD: usize = 2;

/// Everything that sampling some cells needs.
pub(super) struct Drive<'a> {
    /// In random order.
    pub dataset: &'a Dataset,
    /// Which of the dataset's samples each is.
    pub order: &'a [usize],
    pub judge: &'a dyn PerSample,
    pub pass: Pass<'a>,
    pub settings: &'a Settings<'a>,
    pub memory: &'a dyn Samples,
    pub ends: Ends,
}

/// A micro-batch whose baseline has been run.
struct Ready {
    number: usize,
    batch: Batch,
    baseline: Baseline,
    values: Vec<f64>,
}

/// For each micro-batch the cells that were replayed on it, and their values.
type Replayed = Vec<Vec<(usize, Vec<f64>)>>;

impl Drive<'_> {
    /// Samples the cells, which are the pass's jobs in order, until all are over. `unmasked` holds the unmasked model's
    /// values of the first samples, and grows.
    pub fn run(&self, cells: &mut [Running<'_>], unmasked: &mut Vec<f64>) -> Result<(), SensitivityError> {
        let driven = self.drive(cells, unmasked);
        let kept = self.keep(cells, unmasked);
        driven.and(kept)
    }

    fn drive(&self, cells: &mut [Running<'_>], unmasked: &mut Vec<f64>) -> Result<(), SensitivityError> {
        let done = AtomicU64::new(0);
        let mut ready = Vec::new();
        let mut kept = Instant::now();
        while let Some(first) = next(cells) {
            if ready.is_empty() {
                ready = self.prepare(first, self.width(cells))?;
            }
            let numbers = ready.iter().map(|one: &Ready| one.number);
            let following = numbers.max().map_or(first, |last| last + 1);
            let left = cells.iter().map(|cell| self.cost(cell, cell.expected()));
            let total = done.load(Ordering::Relaxed) + left.sum::<u64>();
            // The next ones are made ready meanwhile, if memory allows.
            let ahead = self.settings.budget.at_once.saturating_sub(ready.len());
            let (prepared, replayed) = rayon::join(
                || self.prepare(following, self.width(cells).min(ahead)),
                || self.replay(&ready, cells, &done, total),
            );
            for (one, values) in ready.iter().zip(replayed?) {
                let place = self.ends.samples(one.number);
                if place == unmasked.len() {
                    unmasked.extend_from_slice(&one.values);
                }
                for (at, values) in values {
                    // A cell that ended at an earlier micro-batch of these takes no more.
                    if !cells[at].is_over() {
                        cells[at].take(&values, unmasked);
                    }
                }
            }
            ready = prepared?;
            // What no cell needs any more (all that needed it are over) is skipped.
            let first = next(cells).unwrap_or(usize::MAX);
            ready.retain(|one| one.number >= first);
            if kept.elapsed() > KEEP {
                self.keep(cells, unmasked)?;
                kept = Instant::now();
            }
        }
        Ok(())
    }

    /// How many micro-batches are replayed at once: enough for every thread, and no more, since a cell that is over
    /// after the first of them needs none of the others.
    fn width(&self, cells: &[Running<'_>]) -> usize {
        let threads = rayon::current_num_threads();
        let live = cells.iter().filter(|cell| !cell.is_over()).count().max(1);
        let wanted = (threads * AHEAD).div_ceil(live).min(threads);
        wanted.min(self.settings.budget.at_once).max(1)
    }

    /// What replaying a cell on so many micro-batches costs.
    fn cost(&self, cell: &Running<'_>, batches: u64) -> u64 {
        self.settings.budget.replay(cell.job.target) * batches * self.settings.micro_batch as u64
    }

    fn check_stop(&self) -> Result<(), SensitivityError> {
        if (self.settings.stop)() {
            // Whoever counts cells fills the numbers in.
            return Err(SensitivityError::Interrupted { computed: 0, reused: 0 });
        }
        Ok(())
    }

    /// Reads micro-batches and runs the unmasked model on them.
    fn prepare(&self, first: usize, count: usize) -> Result<Vec<Ready>, SensitivityError> {
        let last = self.ends.batches(self.dataset.len());
        (first..(first + count).min(last))
            .into_par_iter()
            .map(|number| {
                self.check_stop()?;
                let samples = self.ends.samples(number)..self.ends.samples(number + 1);
                let batch = self.dataset.read(samples).or_else(|fault| {
                    self.check_stop()?;
                    Err(SensitivityError::from(fault))
                })?;
                let baseline = self.pass.baseline(&batch)?;
                let values = self.values(&baseline.outputs, &batch, &baseline, WHOLE)?;
                Ok(Ready {
                    number,
                    batch,
                    baseline,
                    values,
                })
            })
            .collect()
    }

    /// The values of every cell that needs one of these micro-batches, by micro-batch.
    fn replay(
        &self,
        ready: &[Ready],
        cells: &[Running<'_>],
        done: &AtomicU64,
        total: u64,
    ) -> Result<Replayed, SensitivityError> {
        let live = |one: &Ready| -> Vec<usize> {
            let needs = |cell: &Running<'_>| !cell.is_over() && cell.next() <= one.number;
            (0..cells.len()).filter(|&at| needs(&cells[at])).collect()
        };
        ready
            .par_iter()
            .map(|one| {
                live(one)
                    .into_par_iter()
                    .map(|at| {
                        self.check_stop()?;
                        let outputs = self.pass.replay(at, &one.batch, &one.baseline)?;
                        let values = self.values(&outputs, &one.batch, &one.baseline, &cells[at].job.name)?;
                        let cost = self.cost(&cells[at], 1);
                        let now = done.fetch_add(cost, Ordering::Relaxed) + cost;
                        (self.settings.progress)(now, total.max(now));
                        Ok((at, values))
                    })
                    .collect()
            })
            .collect()
    }

    fn values(
        &self,
        outputs: &[Tensor],
        batch: &Batch,
        baseline: &Baseline,
        cell: &str,
    ) -> Result<Vec<f64>, SensitivityError> {
        let forward = Forward {
            cell,
            outputs,
            baseline: Some(&baseline.outputs),
            batch,
        };
        let fault = |source| SensitivityError::Metric {
            cell: cell.into(),
            source,
        };
        let values = self.judge.values(&forward).map_err(fault)?;
        match values.iter().position(|value| value.is_nan()) {
            Some(at) => Err(fault(MetricError::NotANumber {
                sample: self.order[batch.first + at],
            })),
            None => Ok(values),
        }
    }

    /// Keeps what has been sampled since the last time.
    fn keep(&self, cells: &mut [Running<'_>], unmasked: &[f64]) -> Result<(), SensitivityError> {
        let whole = (None, &unmasked[..self.ends.last(unmasked.len())]);
        let new = cells.iter_mut().filter_map(|cell| {
            let digest = cell.digest.to_owned();
            Some((Some(digest), cell.unkept()?))
        });
        let mut all: Vec<(Option<String>, &[f64])> = new.collect();
        if !all.is_empty() {
            all.push(whole);
        }
        self.memory.keep_sampled(&all).map_err(SensitivityError::Memory)
    }
}

/// The micro-batch that some cell needs first.
fn next(cells: &[Running<'_>]) -> Option<usize> {
    cells.iter().filter(|cell| !cell.is_over()).map(Running::next).min()
}
