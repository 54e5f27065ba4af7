//! One cell under way: its values so far, and whether it is over.
//!
//! Deliberately runs nothing: values come in.

use super::super::SensitivityError;
use super::super::pass::Job;
use super::{Estimated, Sampling};
use crate::confidence::{Aim, Asymptotic, Betting, Interval, Sequence};
use crate::metric::{Partial, Score};

/// Below twice so many micro-batches a cell may end at each; from there on at every second, from twice as many on at every
/// fourth, and so on: what was sampled is kept under its length, and few lengths are found fast.
const EACH: usize = 32;

/// Squared standard errors within half of an interval's width when cells mostly end; progress is foretold by it.
const USUAL_ERRORS: f64 = 8.0;

/// The numbers of samples after which a cell may end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    size: usize,
    micro_batch: usize,
}

impl Ends {
    pub fn new(size: usize, micro_batch: usize) -> Ends {
        Ends {
            size,
            micro_batch: micro_batch.max(1),
        }
    }

    /// Samples in `batches` micro-batches.
    pub fn samples(self, batches: usize) -> usize {
        batches.saturating_mul(self.micro_batch).min(self.size)
    }

    /// Micro-batches that hold these samples.
    pub fn batches(self, samples: usize) -> usize {
        samples.div_ceil(self.micro_batch)
    }

    fn is_end(self, samples: usize) -> bool {
        let batches = self.batches(samples);
        let step = (batches.max(1).ilog2()).saturating_sub(EACH.ilog2());
        samples == self.size || (samples > 0 && batches.is_multiple_of(1 << step))
    }

    /// The last end that these samples reach; 0 before the first.
    pub fn last(self, samples: usize) -> usize {
        let ends = (0..=self.batches(samples)).rev().map(|batches| self.samples(batches));
        ends.filter(|&end| end <= samples)
            .find(|&end| self.is_end(end))
            .unwrap_or(0)
    }

    /// All of them, ascending.
    pub fn all(self) -> Vec<usize> {
        let ends = (1..=self.batches(self.size)).map(|batches| self.samples(batches));
        ends.filter(|&end| self.is_end(end)).collect()
    }
}

/// A cell that is being sampled.
pub(super) struct Running<'a> {
    pub digest: &'a str,
    pub job: Job<'a>,
    aim: Aim,
    ends: Ends,
    /// The difference that early stop compares with.
    threshold: Option<f64>,
    sequence: Box<dyn Sequence + 'a>,
    /// Its values in random order; after an earlier run more than the sequence has needed.
    values: Vec<f64>,
    /// How many of them were known before.
    known: usize,
    /// How many have been kept.
    kept: usize,
    /// Sums of differences and of their squares.
    moments: (f64, f64),
    over: bool,
}

impl<'a> Running<'a> {
    /// `bounds` are those of one sample's difference.
    pub fn new(
        digest: &'a str,
        job: Job<'a>,
        sampling: &Sampling,
        bounds: Option<(f64, f64)>,
        ends: Ends,
        threshold: Option<f64>,
    ) -> Running<'a> {
        let sequence: Box<dyn Sequence> = match bounds {
            Some((low, high)) => Box::new(Betting::new(ends.size, low, high, sampling.aim)),
            None => Box::new(Asymptotic::new(ends.size, sampling.aim)),
        };
        Running {
            digest,
            job,
            aim: sampling.aim,
            ends,
            threshold,
            sequence,
            values: Vec::new(),
            known: 0,
            kept: 0,
            moments: (0.0, 0.0),
            over: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Values that this run has added.
    pub fn fresh(&self) -> usize {
        self.values.len() - self.known
    }

    /// The micro-batch that it needs next.
    pub fn next(&self) -> usize {
        self.ends.batches(self.values.len())
    }

    /// Takes values in that an earlier run has kept, one micro-batch after the other, as if they came now. `unmasked` are
    /// the unmasked model's.
    pub fn recall(&mut self, values: Vec<f64>, unmasked: &[f64]) {
        self.known = self.ends.last(values.len().min(unmasked.len()));
        self.kept = self.known;
        self.values = values;
        self.values.truncate(self.known);
        let mut first = 0;
        while first < self.known && !self.over {
            let end = self.ends.samples(self.ends.batches(first) + 1);
            self.weigh(first, end, unmasked);
            first = end;
        }
    }

    /// Takes the values of the next micro-batch in.
    pub fn take(&mut self, values: &[f64], unmasked: &[f64]) {
        let first = self.values.len();
        self.values.extend_from_slice(values);
        self.weigh(first, self.values.len(), unmasked);
    }

    fn weigh(&mut self, first: usize, end: usize, unmasked: &[f64]) {
        let pairs = self.values[first..end].iter().zip(&unmasked[first..end]);
        let differences: Vec<f64> = pairs.map(|(own, other)| own - other).collect();
        for difference in &differences {
            self.moments.0 += difference;
            self.moments.1 += difference * difference;
        }
        self.sequence.extend(&differences);
        self.over = self.ends.is_end(end) && (end == self.ends.size || self.is_known());
    }

    /// Whether the interval is narrow enough, or early stop's comparison decided.
    fn is_known(&self) -> bool {
        let decided = |bound| self.sequence.below(bound) || self.sequence.above(bound);
        self.sequence.is_narrow() || self.threshold.is_some_and(decided)
    }

    /// Micro-batches that it will probably take yet.
    pub fn expected(&self) -> u64 {
        let (count, size) = (self.values.len() as f64, self.ends.size as f64);
        if self.over {
            return 0;
        }
        let mean = self.moments.0 / count.max(1.0);
        let variance = (self.moments.1 / count.max(1.0) - mean * mean).max(0.0);
        let half = self.aim.half_width(mean);
        let endless = USUAL_ERRORS * variance / (half * half) + USUAL_ERRORS / half;
        // What is left of the population shrinks the error.
        let needed = if endless.is_finite() {
            endless / (1.0 + endless / size)
        } else {
            size
        };
        let left = self.ends.batches(needed as usize).saturating_sub(self.next());
        left.max(1) as u64
    }

    /// What an earlier run would need to go on, if it is not kept yet.
    pub fn unkept(&mut self) -> Option<&[f64]> {
        let end = self.ends.last(self.values.len());
        let new = end > self.kept;
        self.kept = end;
        new.then(|| &self.values[..end])
    }

    /// The exact score, where every sample has been seen: the average in the order of the dataset.
    pub fn exact(&self, order: &[usize]) -> Result<Option<Score>, SensitivityError> {
        if self.sequence.count() < self.ends.size {
            return Ok(None);
        }
        let mut values = vec![0.0; order.len()];
        for (&sample, value) in order.iter().zip(&self.values) {
            values[sample] = *value;
        }
        let average = Partial::new(0, values).score();
        average.map(Some).map_err(|source| SensitivityError::Metric {
            cell: self.job.name.clone(),
            source,
        })
    }

    /// The estimate, within what the metric can be.
    pub fn estimated(&self, baseline: f64, bounds: Option<(f64, f64)>) -> (f64, Estimated) {
        let (least, most) = bounds.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let Interval { low, high } = self.sequence.interval();
        let interval = Interval {
            low: (baseline + low).max(least),
            high: (baseline + high).min(most),
        };
        let value = (baseline + self.sequence.mean()).clamp(interval.low, interval.high);
        let samples = self.sequence.count();
        (value, Estimated { interval, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_end_at_few_lengths() {
        let ends = Ends::new(10_000, 64);
        let all = ends.all();
        assert_eq!((all[0], all[63], all[64], all[65]), (64, 64 * 64, 66 * 64, 68 * 64));
        assert_eq!(all.last(), Some(&10_000));
        assert!(all.len() < 120 && all.is_sorted());
        for samples in [0, 63, 64, 100, 4097, 9_999, 10_000] {
            let before = all.iter().copied().filter(|&end| end <= samples).max().unwrap_or(0);
            assert_eq!(ends.last(samples), before, "{samples}");
        }
        assert_eq!(Ends::new(5, 8).all(), [5]);
    }
}
