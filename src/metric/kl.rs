//! How far the distribution over classes moves from the unmasked model's.
//!
//! Deliberately needs no labels.

use super::classes::against_baseline;
use super::{Form, Forward, Metric, MetricError, PerSample};

/// The mean of Σ p·ln(p/q) in nats: p is softmax of the unmasked model's outputs, q that of the outputs.
pub(super) struct Kl;

impl Metric for Kl {
    fn name(&self) -> String {
        "kl".into()
    }

    fn form(&self) -> Form<'_> {
        Form::PerSample(self)
    }

    fn maximize(&self) -> bool {
        false
    }

    fn needs_targets(&self) -> bool {
        false
    }

    fn needs_baseline(&self) -> bool {
        true
    }
}

impl PerSample for Kl {
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        against_baseline(&self.name(), forward, |own, unmasked| {
            divergence(
                &log_softmax(unmasked.iter().collect()),
                &log_softmax(own.iter().collect()),
            )
        })
    }
}

fn log_softmax(logits: Vec<f64>) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| logit - largest - total.ln()).collect()
}

/// A class that p does not take adds nothing, whatever q says of it.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let terms = p
        .iter()
        .zip(q)
        .map(|(&p, &q)| if p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) });
    terms.sum()
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, testing};
    use crate::dataset::Batch;
    use crate::tensor::Tensor;

    #[test]
    fn values_are_those_of_pytorch() {
        let base = Tensor::from_f32([3, 3], &[1.0, 2.0, 3.0, 0.5, -1.0, 4.0, 7.0, 7.0, 7.0]);
        let outputs = Tensor::from_f32([3, 3], &[3.0, 1.0, 2.0, 0.5, -1.0, 4.0, 0.0, 1.0, 0.0]);
        let batch = Batch::new(vec![base.clone()], None, 0);
        let metric = Kind::Kl.build();
        let values = testing::values(metric.as_ref(), &outputs, &batch, Some(&base)).unwrap();
        // torch.nn.functional.kl_div(outputs.log_softmax(1), base.log_softmax(1), log_target=True, reduction="none").sum(1)
        let expected = [0.729_908_280_488_858_6, 0.0, 0.119_499_091_930_608];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-9, "{values:?}");
        }
        let other = Tensor::from_f32([3, 2], &[0.0; 6]);
        assert!(testing::values(metric.as_ref(), &outputs, &batch, Some(&other)).is_err());
    }
}
