//! Values without bounds, by the central limit theorem at all times at once.
//!
//! With `r = N − i` values left before the one numbered `i`, its expectation under the mean `m` is
//! `(N·m − sum of those seen) / r`. The sum of the differences from these expectations is a martingale that is linear in
//! `m`, so that the mean is estimated by `B/A` with `A = Σ N/r` and `B = Σ (x + (sum of those seen)/r)`. Robbins' mixture
//! bounds the martingale by `√((tρ² + 1)/ρ² · ln((tρ² + 1)/α²))` standard deviations of a value, at all times `t` at once;
//! divided by `A` that is half of the interval's width. The deviation is the sample's, so it all holds in the limit only.
//!
//! Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
//! sequences", Annals of Statistics 52 (2024); the linear form for sampling without replacement is that of Waudby-Smith and
//! Ramdas, "Confidence sequences for sampling without replacement", NeurIPS 2020.

use super::{Aim, Interval, Sequence};

/// Values before which the sample's deviation is not believed.
const LEAST: usize = 64;

/// The part of the population at which the interval is to be narrowest.
const TUNED: f64 = 0.1;

/// The mean of a population of any values.
#[derive(Clone, Debug)]
pub struct Asymptotic {
    size: usize,
    aim: Aim,
    count: usize,
    /// Mean and summed squared deviations (Welford).
    mean: f64,
    deviations: f64,
    sum: f64,
    slope: f64,
    offset: f64,
}

impl Asymptotic {
    /// A population of `size` values.
    pub fn new(size: usize, aim: Aim) -> Asymptotic {
        Asymptotic {
            size,
            aim,
            count: 0,
            mean: 0.0,
            deviations: 0.0,
            sum: 0.0,
            slope: 0.0,
            offset: 0.0,
        }
    }

    /// `ρ²` for which the bound is nearly the least at `t`.
    fn rho_squared(&self) -> f64 {
        let alpha = 1.0 - self.aim.confidence;
        let tuned = (TUNED * self.size as f64).max(1.0);
        let once = -2.0 * alpha.ln();
        (once + once.ln_1p() + 1.0) / tuned
    }
}

impl Sequence for Asymptotic {
    fn extend(&mut self, values: &[f64]) {
        for value in values {
            let left = self.size.saturating_sub(self.count) as f64;
            if left > 0.0 {
                self.slope += self.size as f64 / left;
                self.offset += value + self.sum / left;
            }
            self.sum += value;
            self.count += 1;
            let from_mean = value - self.mean;
            self.mean += from_mean / self.count as f64;
            self.deviations += from_mean * (value - self.mean);
        }
    }

    fn count(&self) -> usize {
        self.count
    }

    fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum / self.count as f64
        }
    }

    fn above(&self, bound: f64) -> bool {
        self.interval().low > bound
    }

    fn below(&self, bound: f64) -> bool {
        self.interval().high < bound
    }

    fn interval(&self) -> Interval {
        let mean = self.mean();
        if self.count >= self.size {
            return Interval { low: mean, high: mean };
        }
        if self.count < LEAST {
            return Interval {
                low: f64::NEG_INFINITY,
                high: f64::INFINITY,
            };
        }
        let alpha = 1.0 - self.aim.confidence;
        let rho_squared = self.rho_squared();
        let grown = self.count as f64 * rho_squared + 1.0;
        let deviation = (self.deviations / self.count as f64).sqrt();
        let half = deviation * (grown / rho_squared * (grown / (alpha * alpha)).ln()).sqrt() / self.slope;
        let centre = self.offset / self.slope;
        Interval {
            low: centre - half,
            high: centre + half,
        }
    }

    fn is_narrow(&self) -> bool {
        let Interval { low, high } = self.interval();
        high - low <= 2.0 * self.aim.half_width(self.mean())
    }
}
