//! The accumulator of every metric that judges each sample for itself.
//!
//! Owns nothing but the lock: values are computed before it is taken, the order of the sum is [`Partial`]'s.

use std::sync::{Mutex, PoisonError};

use super::{Accumulator, Forward, MetricError, Partial, PerSample, Score, Standing};

/// A cell's average so far.
pub(super) struct Average<'a> {
    judge: &'a dyn PerSample,
    partial: Mutex<Partial>,
}

impl<'a> Average<'a> {
    pub(super) fn new(judge: &'a dyn PerSample) -> Average<'a> {
        let partial = Mutex::default();
        Average { judge, partial }
    }

    /// Goes on from where an average stood.
    pub(super) fn resumed(judge: &'a dyn PerSample, partial: Partial) -> Average<'a> {
        let partial = Mutex::new(partial);
        Average { judge, partial }
    }
}

impl Accumulator for Average<'_> {
    fn add(&self, forward: &Forward<'_>) -> Result<(), MetricError> {
        let values = self.judge.values(forward)?;
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        partial.merge(Partial::new(forward.batch.first, values))
    }

    fn standing(&self) -> Option<Standing> {
        let partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        partial.standing()
    }

    fn finish(self: Box<Self>) -> Result<Score, MetricError> {
        let partial = self.partial.into_inner().unwrap_or_else(PoisonError::into_inner);
        partial.score()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, open};
    use super::*;
    use crate::dataset::Batch;
    use crate::tensor::Tensor;

    #[test]
    fn batches_may_come_in_any_order() {
        let metric = Kind::Mse.build();
        // A sum that depends on its order: 1e16 + 1 + … loses the ones, 1 + … + 1e16 keeps them.
        let squares = [1e16, 1.0, 1.0, 1.0, 1.0, 1.0];
        let expected = squares.iter().fold(0.0, |sum, square| sum + square) / 6.0;
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let cell = open(metric.as_ref(), "conv1 at sparsity 0.5").unwrap();
            for at in order {
                let outputs: Vec<f64> = squares[2 * at..2 * at + 2]
                    .iter()
                    .map(|square: &f64| square.sqrt())
                    .collect();
                let outputs = Tensor::from_f64([2, 1], &outputs);
                let targets = Tensor::from_f64([2, 1], &[0.0, 0.0]);
                let forward = Forward {
                    cell: "conv1 at sparsity 0.5",
                    outputs: std::slice::from_ref(&outputs),
                    baseline: None,
                    batch: &Batch::new(vec![outputs.clone()], Some(targets), 2 * at),
                };
                cell.add(&forward).unwrap();
            }
            let score = cell.finish().unwrap();
            assert_eq!((score.value.to_bits(), score.parts.len()), (expected.to_bits(), 0));
        }
        assert_eq!(
            open(metric.as_ref(), "a cell").unwrap().finish(),
            Err(MetricError::Empty)
        );
    }
}
