//! The mean squared error: averaged over a sample's elements first, then over samples.
//!
//! Deliberately never broadcasts: a target must have as many elements as the output, axes of size 1 aside.

use crate::tensor::Tensor;

use super::{Form, Forward, Metric, MetricError, PerSample, row, samples};

/// The mean of (output − target)² over a sample's elements.
pub(super) struct Mse;

impl Metric for Mse {
    fn name(&self) -> String {
        "mse".into()
    }

    fn form(&self) -> Form<'_> {
        Form::PerSample(self)
    }

    fn maximize(&self) -> bool {
        false
    }
}

impl PerSample for Mse {
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        let (outputs, batch) = (forward.output()?, forward.batch);
        let samples = samples(outputs, batch)?;
        let targets = batch
            .targets
            .as_ref()
            .ok_or_else(|| MetricError::NoTargets { metric: self.name() })?;
        fn elements(tensor: &Tensor) -> Vec<usize> {
            tensor
                .shape()
                .iter()
                .skip(1)
                .copied()
                .filter(|&extent| extent != 1)
                .collect()
        }
        if elements(targets) != elements(outputs) || targets.shape().first() != Some(&samples) {
            return Err(MetricError::TargetShape {
                origin: batch.origin(0),
                targets: targets.shape().get(1..).unwrap_or_default().to_vec(),
                outputs: outputs.shape()[1..].to_vec(),
            });
        }
        let mean = |index| {
            let (outputs, targets) = (row(outputs, index), row(targets, index));
            let squares = outputs
                .iter()
                .zip(&targets)
                .map(|(output, target)| (output - target) * (output - target));
            squares.sum::<f64>() / outputs.len() as f64
        };
        Ok((0..samples).map(mean).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::dataset::Batch;

    #[test]
    fn elements_are_averaged_first() {
        let outputs = Tensor::from_f32([2, 2], &[1.0, 2.0, 3.0, 5.0]);
        let batch = |targets| Batch::new(vec![outputs.clone()], Some(targets), 0);
        let values = testing::values(
            &Mse,
            &outputs,
            &batch(Tensor::from_f32([2, 2, 1], &[0.0, 0.0, 3.0, 4.0])),
            None,
        );
        assert_eq!(values, Ok(vec![2.5, 0.5]));
        assert!(testing::values(&Mse, &outputs, &batch(Tensor::from_f32([2], &[0.0; 2])), None).is_err());
    }
}
