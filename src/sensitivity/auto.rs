//! `precision: auto`: replays in bfloat16, and in float32 wherever that could change an answer.
//!
//! Owns the calibration of a cell's error, the choice of samples that are done again, and the audit of the others.
//! Deliberately knows no metric: how far an output may move before an answer changes is the metric's to say
//! ([`Decisions::margins`]); where one of several metrics cannot say, all is measured in float32.
//!
//! Every cell runs its first micro-batch in both formats. The largest error seen there, times [`SAFETY`], is the cell's
//! bound. From then on each sample whose margin is not beyond the bound is done again in float32, and of the others a
//! seeded hundredth as an audit. Whatever is done again is compared: one error beyond the bound (an answer that differs is
//! one), and the whole cell is measured again in float32. Samples of one layer's cells are done again together.

use super::SensitivityError;
use super::pass::{Baseline, Pass};
use crate::dataset::Batch;
use crate::metric::{Decisions, Forward, Metric};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many times the largest error of the first micro-batch is the bound for the others.
const SAFETY: f64 = 1.5;

/// One in so many samples that need no second run gets one.
const AUDIT: u64 = 100;

/// Margins within so much of a sample's largest output may be decided by float32's own rounding, which differs with the
/// samples that are run together: then the whole micro-batch is done again, as a float32 run does it.
const ROUNDING: f64 = 2e-5;

/// What replays in bfloat16 came to, in samples over all cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Replayed in bfloat16.
    pub samples: u64,
    /// In float32 as well: to find the bounds, because they were near, and to audit the others.
    pub calibrated: u64,
    pub redone: u64,
    pub audited: u64,
    /// Cells that were measured again as a whole.
    pub cells: u64,
}

impl std::ops::AddAssign for Effort {
    fn add_assign(&mut self, other: Effort) {
        self.samples += other.samples;
        self.calibrated += other.calibrated;
        self.redone += other.redone;
        self.audited += other.audited;
        self.cells += other.cells;
    }
}

/// The state of one pass in two formats.
pub struct Careful<'a> {
    decisions: Vec<&'a dyn Decisions>,
    /// Samples of one forward.
    micro_batch: usize,
    cells: Vec<CellState>,
    samples: AtomicU64,
    calibrated: AtomicU64,
    redone: AtomicU64,
    audited: AtomicU64,
}

struct CellState {
    /// Draws its audits.
    seed: u64,
    /// Infinite where the cell is measured in float32.
    bound: OnceLock<f64>,
    failed: AtomicBool,
}

/// One cell's outputs in bfloat16, and the samples of which more is to be known.
struct Doubt {
    at: usize,
    bound: f64,
    outputs: Vec<Tensor>,
    /// Each with whether it is near; the others are audited.
    rows: Vec<(usize, bool)>,
}

/// Takes a cell's outputs.
type Take<'t> = &'t (dyn Fn(usize, &[Tensor]) -> Result<(), SensitivityError> + Sync);

impl<'a> Careful<'a> {
    /// None where a metric is none of decisions.
    pub fn new(metrics: &[&'a dyn Metric], seed: u64, micro_batch: usize, pass: &Pass<'_>) -> Option<Careful<'a>> {
        let decisions: Option<Vec<_>> = metrics.iter().map(|metric| metric.decisions()).collect();
        let cell = |name: &str| {
            let digest = blake3::hash(name.as_bytes());
            let first = digest.as_bytes().first_chunk().copied().unwrap_or_default();
            CellState {
                seed: mixed(seed ^ u64::from_le_bytes(first)),
                bound: OnceLock::new(),
                failed: AtomicBool::new(false),
            }
        };
        Some(Careful {
            decisions: decisions?,
            micro_batch: micro_batch.max(1),
            cells: pass.jobs().iter().map(|job| cell(&job.name)).collect(),
            samples: AtomicU64::new(0),
            calibrated: AtomicU64::new(0),
            redone: AtomicU64::new(0),
            audited: AtomicU64::new(0),
        })
    }

    /// The cells that are to be measured again as a whole.
    pub fn failed(&self) -> Vec<usize> {
        let failed = |&at: &usize| self.cells[at].failed.load(Ordering::Relaxed);
        (0..self.cells.len()).filter(failed).collect()
    }

    pub fn effort(&self) -> Effort {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Effort {
            samples: read(&self.samples),
            calibrated: read(&self.calibrated),
            redone: read(&self.redone),
            audited: read(&self.audited),
            cells: self.failed().len() as u64,
        }
    }

    /// Hands every cell's outputs for one micro-batch on, in float32 wherever it matters. One micro-batch comes before all
    /// others, and is over before they begin.
    pub fn batch(
        &self,
        pass: &Pass<'_>,
        batch: &Batch,
        baseline: &Baseline,
        take: Take<'_>,
    ) -> Result<(), SensitivityError> {
        let one = One {
            careful: self,
            pass,
            batch,
            baseline,
            take,
        };
        let mut groups = pass.together();
        let cost = |cells: &Vec<usize>| cells.iter().map(|&at| pass.cost(at)).sum::<usize>();
        groups.sort_by_key(|cells| std::cmp::Reverse(cost(cells)));
        groups.par_iter().with_max_len(1).try_for_each(|cells| one.group(cells))
    }
}

/// One micro-batch.
struct One<'a> {
    careful: &'a Careful<'a>,
    pass: &'a Pass<'a>,
    batch: &'a Batch,
    baseline: &'a Baseline,
    take: Take<'a>,
}

impl One<'_> {
    fn group(&self, cells: &[usize]) -> Result<(), SensitivityError> {
        let first = cells.par_iter().with_max_len(1).map(|&at| self.cell(at));
        let doubts: Vec<Doubt> = first.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let rows = |doubt: &Doubt| doubt.rows.iter().map(|&(row, _)| (doubt.at, row)).collect::<Vec<_>>();
        let rows: Vec<(usize, usize)> = doubts.iter().flat_map(rows).collect();
        let exact = rows
            .chunks(self.careful.micro_batch)
            .map(|rows| self.pass.replay_rows(rows, self.batch, self.baseline))
            .collect::<Option<Vec<_>>>();
        let Some(exact) = exact else {
            return doubts.iter().try_for_each(|doubt| self.whole(doubt.at));
        };
        let mut exact = Exact {
            chunks: &exact,
            each: self.careful.micro_batch,
            first: 0,
        };
        for doubt in doubts {
            let count = doubt.rows.len();
            self.settle(doubt, &exact)?;
            exact.first += count;
        }
        Ok(())
    }

    /// Measures a cell as far as bfloat16 tells; gives what is left to be settled.
    fn cell(&self, at: usize) -> Result<Option<Doubt>, SensitivityError> {
        let Careful { cells, .. } = self.careful;
        let state = &cells[at];
        let Some(&bound) = state.bound.get() else {
            self.calibrate(at)?;
            return Ok(None);
        };
        let outputs = match bound.is_finite() && !state.failed.load(Ordering::Relaxed) {
            true => self.pass.replay_reduced(at, self.batch, self.baseline),
            false => None,
        };
        let Some(outputs) = outputs else {
            self.whole(at)?;
            return Ok(None);
        };
        let size = self.batch.len();
        self.careful.samples.fetch_add(size as u64, Ordering::Relaxed);
        let margins = self.margins(at, &outputs)?;
        let near = |row: usize| is_near(margins[row], bound);
        let nearer = (0..size).filter(|&row| near(row)).count();
        if nearer * 2 > size {
            self.whole(at)?;
            return Ok(None);
        }
        let asked = |&row: &usize| near(row) || is_audited(state.seed, self.batch.first + row);
        let rows: Vec<(usize, bool)> = (0..size).filter(asked).map(|row| (row, near(row))).collect();
        if rows.is_empty() {
            (self.take)(at, &outputs)?;
            return Ok(None);
        }
        self.careful.redone.fetch_add(nearer as u64, Ordering::Relaxed);
        let audited = (rows.len() - nearer) as u64;
        self.careful.audited.fetch_add(audited, Ordering::Relaxed);
        Ok(Some(Doubt {
            at,
            bound,
            outputs,
            rows,
        }))
    }

    /// Finds a cell's bound.
    fn calibrate(&self, at: usize) -> Result<(), SensitivityError> {
        let exact = self.pass.replay(at, self.batch, self.baseline)?;
        let size = self.batch.len() as u64;
        let bound = match self.pass.replay_reduced(at, self.batch, self.baseline) {
            None => f64::INFINITY,
            Some(reduced) => {
                self.careful.samples.fetch_add(size, Ordering::Relaxed);
                self.careful.calibrated.fetch_add(size, Ordering::Relaxed);
                let bound = SAFETY * largest_error(&exact, &reduced);
                let margins = self.margins(at, &exact)?;
                let near = margins.iter().filter(|&&margin| is_near(margin, bound)).count();
                // Where most would be done again, one run is cheaper than two.
                if near * 2 > margins.len() { f64::INFINITY } else { bound }
            }
        };
        // Set once: one micro-batch comes first.
        let _ = self.careful.cells[at].bound.set(bound);
        (self.take)(at, &exact)
    }

    /// Compares what was done again, and puts it in its place.
    fn settle(&self, doubt: Doubt, exact: &Exact<'_>) -> Result<(), SensitivityError> {
        let Doubt {
            at,
            bound,
            outputs,
            rows,
        } = doubt;
        let merged: Vec<Tensor> = outputs
            .iter()
            .enumerate()
            .map(|(output, reduced)| exact.merged(reduced, output, &rows))
            .collect();
        let (Some(before), Some(after)) = (outputs.first(), merged.first()) else {
            return self.whole(at);
        };
        let row = |tensor: &Tensor, row| tensor.rows(row, row + 1).map(|row| row.to_f64()).unwrap_or_default();
        let too_far = |&(sample, _): &(usize, bool)| error(&row(after, sample), &row(before, sample)) > bound;
        if rows.iter().any(too_far) {
            self.careful.cells[at].failed.store(true, Ordering::Relaxed);
            return self.whole(at);
        }
        let margins = self.margins(at, &merged)?;
        let undecided = |&(sample, near): &(usize, bool)| {
            let outputs = row(after, sample);
            let largest = outputs.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            near && is_near(margins[sample], ROUNDING * largest)
        };
        if rows.iter().any(undecided) {
            return self.whole(at);
        }
        (self.take)(at, &merged)
    }

    /// Measures a cell in float32, as if there were nothing else.
    fn whole(&self, at: usize) -> Result<(), SensitivityError> {
        self.careful
            .redone
            .fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        let exact = self.pass.replay(at, self.batch, self.baseline)?;
        (self.take)(at, &exact)
    }

    /// The least margin of each sample under any of the metrics.
    fn margins(&self, at: usize, outputs: &[Tensor]) -> Result<Vec<f64>, SensitivityError> {
        let cell = &self.pass.jobs()[at].name;
        let forward = Forward {
            cell,
            outputs,
            baseline: Some(&self.baseline.outputs),
            batch: self.batch,
        };
        let mut least = vec![f64::INFINITY; self.batch.len()];
        for decisions in &self.careful.decisions {
            let margins = decisions.margins(&forward).map_err(|source| SensitivityError::Metric {
                cell: cell.clone(),
                source,
            })?;
            for (least, margin) in least.iter_mut().zip(margins) {
                if is_near(margin, *least) {
                    *least = margin;
                }
            }
        }
        Ok(least)
    }
}

/// Whether a margin is not beyond a bound; one that is no number never is.
fn is_near(margin: f64, bound: f64) -> bool {
    margin.is_nan() || margin <= bound
}

fn is_audited(seed: u64, sample: usize) -> bool {
    mixed(seed.wrapping_add(sample as u64)).is_multiple_of(AUDIT)
}

/// A number in which every bit depends on every bit (splitmix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// The largest error of any sample.
fn largest_error(exact: &[Tensor], reduced: &[Tensor]) -> f64 {
    let (Some(exact), Some(reduced)) = (exact.first(), reduced.first()) else {
        return f64::INFINITY;
    };
    let samples = exact.shape().first().copied().unwrap_or(0).max(1);
    let (exact, reduced) = (exact.to_f64(), reduced.to_f64());
    let each = (exact.len() / samples).max(1);
    let samples = exact.chunks(each).zip(reduced.chunks(each));
    samples
        .map(|(exact, reduced)| error(exact, reduced))
        .fold(0.0, f64::max)
}

/// A sample's error: half the range of its outputs' errors, since an error that all outputs share decides nothing.
/// Infinite where it is no number.
fn error(exact: &[f64], reduced: &[f64]) -> f64 {
    let errors = exact.iter().zip(reduced).map(|(exact, reduced)| exact - reduced);
    let (low, high) = errors.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), error| {
        match error.is_nan() {
            true => (f64::NEG_INFINITY, f64::INFINITY),
            false => (low.min(error), high.max(error)),
        }
    });
    (high - low) / 2.0
}

/// Samples in float32, chunk by chunk.
struct Exact<'a> {
    chunks: &'a [Vec<Tensor>],
    /// Samples of a chunk.
    each: usize,
    /// The first that is meant.
    first: usize,
}

impl Exact<'_> {
    /// `rows` of an output replaced by what was done again.
    fn merged(&self, reduced: &Tensor, output: usize, rows: &[(usize, bool)]) -> Tensor {
        let count = reduced.shape().first().copied().unwrap_or(0).max(1);
        let each = (reduced.numel() / count) * reduced.dtype().size();
        let mut data = reduced.data().to_vec();
        for (at, &(row, _)) in (self.first..).zip(rows) {
            let from = at % self.each * each;
            let exact = &self.chunks[at / self.each][output];
            data[row * each..(row + 1) * each].copy_from_slice(&exact.data()[from..from + each]);
        }
        // Shape and type are the old ones.
        Tensor::new(reduced.dtype(), reduced.shape().to_vec(), data).unwrap_or_else(|_| reduced.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_errors_decide_nothing() {
        let exact = [Tensor::from_f32([2, 3], &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0])];
        let error = |reduced: &[f32]| largest_error(&exact, &[Tensor::from_f32([2, 3], reduced)]);
        assert_eq!(error(&[1.5, 2.5, 3.5, 0.25, -0.25, 0.0]), 0.25);
        assert!(error(&[1.5, f32::NAN, 3.5, 0.25, -0.25, 0.0]).is_infinite());
    }

    #[test]
    fn rows_are_replaced() {
        let reduced = Tensor::from_f32([3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let chunks = [
            vec![Tensor::from_f32([2, 2], &[7.0, 7.0, 9.0, 8.0])],
            vec![Tensor::from_f32([1, 2], &[7.0, 6.0])],
        ];
        let exact = Exact {
            chunks: &chunks,
            each: 2,
            first: 1,
        };
        let merged = exact.merged(&reduced, 0, &[(2, true), (0, false)]);
        assert_eq!(merged.to_f64(), [7.0, 6.0, 2.0, 3.0, 9.0, 8.0]);
    }

    #[test]
    fn a_hundredth_is_audited() {
        let audited = (0..100_000).filter(|&sample| is_audited(mixed(7), sample)).count();
        assert!((900..1100).contains(&audited), "{audited}");
    }
}
