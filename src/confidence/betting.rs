//! Bounded values, by betting.
//!
//! Whoever doubts that the mean is `m` may bet against it. If it *is* `m`, then the next of the remaining `r` values is
//! expected to be `μ = (N·m − sum of those seen) / r`, and capital that is multiplied by `1 − c + c·x/μ` with any fraction
//! `c` chosen before `x` is seen does not grow on average (values are scaled to `x` in [0, 1]). By Ville's inequality it
//! ever reaches `2/α` with probability at most `α/2`. So the means against which such capital has not been made form a
//! confidence sequence; one gambler bets that the mean is larger, one that it is smaller (`1 − c + c·(1−x)/(1−μ)`).
//! Both capitals are monotone in `m`, so the sequence consists of intervals.
//!
//! Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024), section 5 and its
//! supplement on sampling without replacement.
//!
//! The choice of `c` decides how fast intervals shrink, never whether they hold. To exclude a mean at distance `h` from the
//! true one, at variance `v`, capital grows fastest with stakes of `h/(v + h²)` a unit of value, and by `N/r` more as the
//! population runs out, since what has been seen then weighs on what remains. `h` is what the aim asks for, `v` comes from
//! the values of earlier batches, and a mixture of stakes around that (each gambler begins with equal parts) makes up for
//! not knowing them.

use super::{Aim, Interval, Sequence};

/// Multiples of the best stake, and the part of the first capital that bets with each.
const STAKES: [f64; 3] = [0.5, 0.9, 1.6];
const PARTS: [f64; 3] = [0.05, 0.9, 0.05];

/// The largest fraction of the capital that is put at risk.
const MOST: f64 = 0.9;

/// Values that a guess of the variance counts for, before there are real ones.
const GUESS_WEIGHT: f64 = 16.0;

/// The guessed variance, as a fraction of the squared range.
const GUESS: f64 = 1.0 / 64.0;

/// Conditional means nearer to the bounds than this are taken to be there.
const TINY: f64 = 1e-9;

/// Standard errors that no such interval goes below: narrower ones need not be looked for.
const LEAST_ERRORS: f64 = 2.0;

/// Steps of the bisection that finds an end of the interval.
const STEPS: usize = 48;

/// The mean of a population of bounded values.
#[derive(Clone, Debug)]
pub struct Betting {
    size: usize,
    low: f64,
    range: f64,
    aim: Aim,
    /// Scaled to [0, 1].
    values: Vec<f64>,
    sum: f64,
    squares: f64,
    batches: Vec<Batch>,
}

/// Values that came together; their stakes were chosen before.
#[derive(Clone, Copy, Debug)]
struct Batch {
    end: usize,
    /// The gamblers' fractions, before the population's shrinking is counted: on larger, and on smaller.
    larger: f64,
    smaller: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Larger,
    Smaller,
}

impl Betting {
    /// A population of `size` values between `low` and `high`.
    pub fn new(size: usize, low: f64, high: f64, aim: Aim) -> Betting {
        Betting {
            size,
            low,
            range: high - low,
            aim,
            values: Vec::new(),
            sum: 0.0,
            squares: 0.0,
            batches: Vec::new(),
        }
    }

    fn is_whole(&self) -> bool {
        self.values.len() >= self.size
    }

    /// The mean of the scaled values, and the variance, a guess mixed in.
    fn moments(&self) -> (f64, f64) {
        let count = self.values.len() as f64;
        if self.values.is_empty() {
            return (0.5, GUESS);
        }
        let mean = self.sum / count;
        let spread = (self.squares - count * mean * mean).max(0.0);
        (mean, (spread + GUESS_WEIGHT * GUESS) / (count + GUESS_WEIGHT))
    }

    /// The fractions that the next batch is bet with.
    fn stakes(&self) -> (f64, f64) {
        let (mean, variance) = self.moments();
        let left = (self.size - self.values.len().min(self.size - 1)) as f64;
        let distance = self.aim.half_width(self.mean()) / self.range * self.size as f64 / left;
        let stake = 2.0 * distance / (variance + variance.hypot(distance));
        (stake * mean, stake * (1.0 - mean))
    }

    /// Whether the gambler on this side has made enough capital against the scaled mean `null`.
    fn refuted(&self, null: f64, side: Side) -> bool {
        let total = null * self.size as f64;
        // The other side is this one seen in a mirror.
        let (mut remaining, mut expected, mirrored) = match side {
            Side::Larger => (self.size as f64, total, false),
            Side::Smaller => (self.size as f64, self.size as f64 - total, true),
        };
        let needed = 2.0 / (1.0 - self.aim.confidence);
        let size = self.size as f64;
        let mut capital = PARTS;
        // Powers of two taken out of `capital`, so that it stays within what numbers hold.
        let mut scale = 0_i32;
        let mut first = 0;
        for batch in &self.batches {
            let stake = if mirrored { batch.smaller } else { batch.larger };
            let stakes = STAKES.map(|times| (stake * times).min(MOST));
            for value in &self.values[first..batch.end] {
                let value = if mirrored { 1.0 - value } else { *value };
                let mean = expected / remaining;
                if mean < -TINY {
                    return true;
                }
                if mean > TINY {
                    let ratio = value / mean - 1.0;
                    for (capital, stake) in capital.iter_mut().zip(stakes) {
                        *capital *= 1.0 + stake * ratio;
                    }
                }
                expected -= value;
                remaining -= 1.0;
            }
            first = batch.end;
            let most = capital.iter().fold(0.0_f64, |most, &part| most.max(part));
            // Capital beyond all numbers has been made; what is lost does not come back.
            if most == 0.0 || most.is_infinite() {
                return most > 0.0;
            }
            if !(1e-100..1e100).contains(&most) {
                let power = most.log2() as i32;
                capital.iter_mut().for_each(|part| *part *= 2.0_f64.powi(-power));
                scale += power;
            }
        }
        // What remains cannot be less than nothing.
        expected < -TINY * size || capital.iter().sum::<f64>().log2() + f64::from(scale) >= needed.log2()
    }

    fn scaled(&self, bound: f64) -> f64 {
        (bound - self.low) / self.range
    }

    /// The nearest refuted mean on one side of the sample's: an end of the interval.
    fn end(&self, side: Side) -> f64 {
        let count = self.values.len() as f64;
        let left = self.size as f64 - count;
        // What is left may be all at the bounds.
        let (least, most) = (self.sum / self.size as f64, (self.sum + left) / self.size as f64);
        let mean = if self.values.is_empty() { 0.5 } else { self.sum / count };
        let (mut out, mut inside) = match side {
            Side::Larger => (least, mean),
            Side::Smaller => (most, mean),
        };
        for _ in 0..STEPS {
            let middle = out.midpoint(inside);
            if self.refuted(middle, side) {
                out = middle;
            } else {
                inside = middle;
            }
        }
        self.low + self.range * out
    }
}

impl Sequence for Betting {
    fn extend(&mut self, values: &[f64]) {
        let (larger, smaller) = self.stakes();
        for value in values {
            let value = ((value - self.low) / self.range).clamp(0.0, 1.0);
            self.sum += value;
            self.squares += value * value;
            self.values.push(value);
        }
        self.batches.push(Batch {
            end: self.values.len(),
            larger,
            smaller,
        });
    }

    fn count(&self) -> usize {
        self.values.len()
    }

    fn mean(&self) -> f64 {
        if self.values.is_empty() {
            return 0.0;
        }
        self.low + self.range * (self.sum / self.values.len() as f64)
    }

    fn above(&self, bound: f64) -> bool {
        if self.is_whole() {
            return self.mean() > bound;
        }
        self.mean() > bound && self.refuted(self.scaled(bound), Side::Larger)
    }

    fn below(&self, bound: f64) -> bool {
        if self.is_whole() {
            return self.mean() < bound;
        }
        self.mean() < bound && self.refuted(self.scaled(bound), Side::Smaller)
    }

    fn interval(&self) -> Interval {
        if self.is_whole() {
            let mean = self.mean();
            return Interval { low: mean, high: mean };
        }
        Interval {
            low: self.end(Side::Larger),
            high: self.end(Side::Smaller),
        }
    }

    fn is_narrow(&self) -> bool {
        if self.is_whole() {
            return true;
        }
        if self.values.is_empty() {
            return false;
        }
        let mean = self.mean();
        let half = self.aim.half_width(mean);
        let count = self.values.len() as f64;
        let left = 1.0 - count / self.size as f64;
        let scaled = self.sum / count;
        let variance = (self.squares / count - scaled * scaled).max(0.0);
        if LEAST_ERRORS * (variance / count * left).sqrt() * self.range > half {
            return false;
        }
        self.above(mean - half) && self.below(mean + half)
    }
}
