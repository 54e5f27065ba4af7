//! Confidence sequences: intervals for the mean of a finite population that hold at all times at once.
//!
//! Owns the arithmetic behind estimates: a population of known size is sampled in random order without replacement, and
//! after any number of samples there is an [`Interval`] for its mean. With probability [`Aim::confidence`] *all* intervals
//! of the sequence hold together, so whoever looks at them may stop whenever he likes the width. Once every member has been
//! seen the interval is the mean itself. Deliberately knows nothing of metrics, models and random numbers: the order must be
//! random, and drawing it is `dataset/`'s.
//!
//! [`Betting`] is for values within known bounds and holds for every population. [`Asymptotic`] is for values without
//! bounds; it holds in the limit of many samples, and promises nothing before.

mod asymptotic;
mod betting;
#[cfg(test)]
mod tests;

pub use asymptotic::Asymptotic;
pub use betting::Betting;

/// Where the mean lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub fn contains(&self, mean: f64) -> bool {
        self.low <= mean && mean <= self.high
    }
}

/// How precisely the mean is wanted, and how surely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    /// Half of an interval's width that is always good enough.
    pub margin: f64,
    /// The fraction of the mean's size that is good enough.
    pub relative: f64,
    /// The probability that every interval holds.
    pub confidence: f64,
}

impl Aim {
    /// Half of the width that is good enough around this mean.
    pub fn half_width(&self, mean: f64) -> f64 {
        self.margin.max(self.relative * mean.abs())
    }
}

/// A mean that is being estimated.
///
/// Values come batch by batch, in the population's random order. The same values in the same batches give the same
/// intervals.
pub trait Sequence: Send + Sync {
    /// Takes the next values.
    fn extend(&mut self, values: &[f64]);

    /// How many values have come.
    fn count(&self) -> usize;

    /// Their mean; 0 before the first.
    fn mean(&self) -> f64;

    /// Whether the mean is, at the aimed confidence, above `bound`.
    fn above(&self, bound: f64) -> bool;

    /// Whether the mean is, at the aimed confidence, below `bound`.
    fn below(&self, bound: f64) -> bool;

    /// Where the mean lies.
    fn interval(&self) -> Interval;

    /// Whether the interval is as narrow as was aimed for; cheaper than [`Sequence::interval`].
    fn is_narrow(&self) -> bool;
}
