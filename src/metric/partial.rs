//! The average over samples, made of parts.
//!
//! Owns a sum that is always taken in sample order: `((v0 + v1) + v2) + …` in float64. Values that directly follow the
//! summed ones are added and forgotten; values that came early wait. So any split into batches and any order of merging
//! give the same bits, and parts that come in order cost a few bytes. Deliberately knows nothing of metrics.

use std::collections::BTreeMap;

use super::{MetricError, Score, SoFar, Standing};
use crate::outcomes::Outcomes;

/// The values of some samples; a commutative monoid under [`Partial::merge`], with `Partial::default()` as its unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Samples `0..count` are in `sum`.
    count: usize,
    sum: f64,
    /// Which of them were 1 and which 0; behind `count` for good once a value was neither.
    outcomes: Outcomes,
    /// The first sample whose value was NaN.
    nan: Option<usize>,
    /// Runs of values that wait for those before them, by first sample.
    waiting: BTreeMap<usize, Vec<f64>>,
}

impl Partial {
    /// The values of the samples from `first` on.
    pub fn new(first: usize, values: Vec<f64>) -> Partial {
        let nan = values
            .iter()
            .position(|value| value.is_nan())
            .map(|index| first + index);
        let mut partial = Partial {
            nan,
            ..Partial::default()
        };
        if !values.is_empty() {
            partial.waiting.insert(first, values);
            partial.fold();
        }
        partial
    }

    /// Continues an average from where it stood; none from what is no average.
    pub fn resume(standing: &Standing) -> Option<Partial> {
        let SoFar::Sum { sum, outcomes } = &standing.so_far else {
            return None;
        };
        Some(Partial {
            count: standing.samples,
            sum: *sum,
            outcomes: outcomes.clone().unwrap_or_default(),
            ..Partial::default()
        })
    }

    /// Number of samples, those that wait included.
    pub fn count(&self) -> usize {
        self.count + self.waiting.values().map(Vec::len).sum::<usize>()
    }

    /// What goes on from here later, once no sample waits for one before it, unless one has failed already.
    pub fn standing(&self) -> Option<Standing> {
        let goes_on = self.waiting.is_empty() && self.nan.is_none();
        goes_on.then(|| Standing {
            samples: self.count,
            so_far: SoFar::Sum {
                sum: self.sum,
                outcomes: self.outcomes(),
            },
        })
    }

    /// The summed samples one by one, where each was 0 or 1.
    fn outcomes(&self) -> Option<Outcomes> {
        (self.outcomes.count() == self.count).then(|| self.outcomes.clone())
    }

    /// Takes the other's samples in.
    ///
    /// # Errors
    /// When a sample is in both.
    pub fn merge(&mut self, other: Partial) -> Result<(), MetricError> {
        if self.count > 0 && other.count > 0 {
            return Err(MetricError::Twice { sample: 0 });
        }
        if other.count > 0 {
            (self.count, self.sum, self.outcomes) = (other.count, other.sum, other.outcomes);
        }
        self.nan = self.nan.into_iter().chain(other.nan).min();
        for (first, values) in other.waiting {
            if self.waiting.contains_key(&first) {
                return Err(MetricError::Twice { sample: first });
            }
            self.waiting.insert(first, values);
        }
        let mut end = self.count;
        for (&first, values) in &self.waiting {
            if first < end {
                return Err(MetricError::Twice { sample: first });
            }
            end = first + values.len();
        }
        self.fold();
        Ok(())
    }

    /// Adds what directly follows the summed samples.
    fn fold(&mut self) {
        while let Some(values) = self.waiting.remove(&self.count) {
            for value in values {
                if self.outcomes.count() == self.count {
                    self.outcomes.push(value);
                }
                self.count += 1;
                self.sum += value;
            }
        }
    }

    /// The average.
    ///
    /// # Errors
    /// When a value is NaN, a sample is missing, or there is none.
    pub fn finish(&self) -> Result<f64, MetricError> {
        if let Some(sample) = self.nan {
            return Err(MetricError::NotANumber { sample });
        }
        if let Some((&from, _)) = self.waiting.first_key_value() {
            return Err(MetricError::Missing {
                from,
                missing: self.count,
            });
        }
        if self.count == 0 {
            return Err(MetricError::Empty);
        }
        let mean = self.sum / self.count as f64;
        if mean.is_nan() {
            Err(MetricError::NotANumberSum)
        } else {
            Ok(mean)
        }
    }

    /// The average, and the samples that it is of where each is 0 or 1.
    ///
    /// # Errors
    /// As [`Partial::finish`].
    pub fn score(&self) -> Result<Score, MetricError> {
        Ok(Score {
            value: self.finish()?,
            outcomes: self.outcomes(),
            ..Score::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_split_and_order_give_the_same_bits(
            values in prop::collection::vec(-1e6f64..1e6, 1..60),
            cuts in prop::collection::vec(0usize..60, 0..8),
            keys in prop::collection::vec(any::<u64>(), 10),
        ) {
            let expected = values.iter().fold(0.0, |sum, value| sum + value) / values.len() as f64;
            let mut bounds: Vec<usize> = cuts.into_iter().map(|cut| cut % values.len()).chain([0, values.len()]).collect();
            bounds.sort_unstable();
            let mut parts: Vec<Partial> =
                bounds.windows(2).map(|pair| Partial::new(pair[0], values[pair[0]..pair[1]].to_vec())).collect();
            let mut order: Vec<usize> = (0..parts.len()).collect();
            order.sort_by_key(|&index| keys[index]);

            // One after the other, in the shuffled order.
            let mut merged = Partial::default();
            for &index in &order {
                merged.merge(parts[index].clone()).unwrap();
            }
            prop_assert_eq!(merged.count(), values.len());
            prop_assert_eq!(merged.finish().unwrap().to_bits(), expected.to_bits());

            // As a tree, in order.
            while parts.len() > 1 {
                let right = parts.pop().unwrap();
                parts.last_mut().unwrap().merge(right).unwrap();
            }
            prop_assert_eq!(&parts[0], &merged);
        }
    }

    #[test]
    fn what_cannot_be_averaged_is_an_error() {
        let merged = |parts: &[(usize, &[f64])]| {
            let mut all = Partial::default();
            parts
                .iter()
                .try_for_each(|&(first, values)| all.merge(Partial::new(first, values.to_vec())))?;
            all.finish()
        };
        assert_eq!(merged(&[(2, &[3.0]), (0, &[1.0, 2.0])]), Ok(2.0));
        assert_eq!(merged(&[]), Err(MetricError::Empty));
        assert_eq!(
            merged(&[(0, &[1.0]), (2, &[f64::NAN, 1.0])]),
            Err(MetricError::NotANumber { sample: 2 })
        );
        assert_eq!(
            merged(&[(0, &[f64::INFINITY, f64::NEG_INFINITY])]),
            Err(MetricError::NotANumberSum)
        );
        assert_eq!(
            merged(&[(0, &[1.0]), (2, &[1.0])]),
            Err(MetricError::Missing { from: 2, missing: 1 })
        );
        assert_eq!(
            merged(&[(0, &[1.0]), (0, &[1.0])]),
            Err(MetricError::Twice { sample: 0 })
        );
        assert_eq!(
            merged(&[(0, &[1.0, 1.0]), (1, &[1.0])]),
            Err(MetricError::Twice { sample: 1 })
        );
        assert_eq!(
            merged(&[(4, &[1.0, 1.0]), (5, &[1.0])]),
            Err(MetricError::Twice { sample: 5 })
        );
    }

    #[test]
    fn a_checkpoint_continues() {
        for (begun, next) in [
            ([0.1, 0.2], 0.3),
            ([1.0, 0.0], 1.0),
            ([1.0, 0.0], 0.5),
            ([0.5, 1.0], 1.0),
        ] {
            let mut whole = Partial::new(0, begun.to_vec());
            let mut resumed = Partial::resume(&whole.standing().unwrap()).unwrap();
            for partial in [&mut whole, &mut resumed] {
                partial.merge(Partial::new(2, vec![next])).unwrap();
            }
            assert_eq!(whole.score(), resumed.score());
            let binary = [begun[0], begun[1], next]
                .iter()
                .all(|value| matches!(value, 0.0 | 1.0));
            assert_eq!(whole.score().unwrap().outcomes.is_some(), binary);
        }
        let waiting = Partial::new(1, vec![1.0]);
        assert_eq!(waiting.standing(), None);
    }
}
