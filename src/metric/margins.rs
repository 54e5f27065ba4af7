//! How far outputs may move before what a metric decides of a sample changes.
//!
//! Owns the margins of the metrics over classes. Deliberately knows nothing of number formats and of who asks.

use super::classes::{Accuracy, Agreement, Logits, TopK, each_against_baseline, each_position};
use super::per_class::PerClass;
use super::{Decisions, Forward, Metric, MetricError};

impl Decisions for Accuracy {
    fn margins(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        margins(&self.name(), forward, 1)
    }
}

impl Decisions for TopK {
    fn margins(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        margins(&self.name(), forward, self.0)
    }
}

impl Decisions for Agreement {
    fn margins(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        let mut margins = vec![f64::INFINITY; forward.batch.len()];
        each_against_baseline(&self.name(), forward, |sample, own, unmasked| {
            margins[sample] = nearer(margins[sample], margin(own, unmasked.argmax(), 1));
        })?;
        Ok(margins)
    }
}

impl Decisions for PerClass {
    fn margins(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        margins(&self.name(), forward, 1)
    }
}

/// Each sample's least margin over its positions, where it is decided whether the target is among the `k` largest.
fn margins(metric: &str, forward: &Forward<'_>, k: usize) -> Result<Vec<f64>, MetricError> {
    let mut margins = vec![f64::INFINITY; forward.batch.len()];
    each_position(metric, forward, |sample, logits, class| {
        margins[sample] = nearer(margins[sample], margin(logits, class, k));
    })?;
    Ok(margins)
}

/// The smaller of two margins; one that is no number is smaller than all.
fn nearer(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// How far all numbers may move before this class enters or leaves the `k` largest: half its distance to the number
/// that it would change places with. Not a number where one of them is not finite.
fn margin(logits: Logits<'_>, class: usize, k: usize) -> f64 {
    let own = logits.get(class);
    if !logits.iter().all(f64::is_finite) {
        return f64::NAN;
    }
    let others = logits.iter().enumerate().filter(|&(other, _)| other != class);
    let mut others: Vec<f64> = others.map(|(_, number)| number).collect();
    if k == 0 || k > others.len() {
        return f64::INFINITY;
    }
    let (_, rival, _) = others.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    (own - *rival).abs() / 2.0
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;
    use crate::dataset::Batch;
    use crate::tensor::Tensor;

    fn batch(samples: usize, targets: Option<Tensor>) -> Batch {
        Batch::new(vec![Tensor::from_f32([samples, 1], &vec![0.0; samples])], targets, 0)
    }

    #[test]
    fn margins_say_how_far_outputs_may_move() {
        let logits = Tensor::from_f32([2, 3], &[1.0, 4.0, 2.0, 0.5, 0.0, f32::NAN]);
        let batch = batch(2, Some(Tensor::from_i64([2], &[1, 0])));
        let forward = Forward {
            cell: "a cell",
            outputs: std::slice::from_ref(&logits),
            baseline: Some(std::slice::from_ref(&logits)),
            batch: &batch,
        };
        for (kind, margin) in [
            (Kind::Accuracy, Some(1.0)),
            (Kind::PerClass, Some(1.0)),
            (Kind::TopK(2), Some(1.5)),
            (Kind::TopK(3), Some(f64::INFINITY)),
            (Kind::Agreement, Some(1.0)),
            (Kind::CrossEntropy, None),
            (Kind::Mse, None),
            (Kind::Kl, None),
        ] {
            let metric = kind.build();
            let found = metric.decisions().map(|decisions| decisions.margins(&forward).unwrap());
            assert_eq!(found.as_ref().map(|margins| margins[0]), margin, "{kind:?}");
            let broken = found.is_none_or(|margins| margins[1].is_nan());
            assert!(broken, "what is no number is near everything: {kind:?}");
        }
    }

    /// Of many positions the nearest counts.
    #[test]
    fn margins_of_maps() {
        let logits = Tensor::from_f32([1, 2, 3], &[1.0, 4.0, 2.0, 0.0, 0.0, 2.5]);
        let batch = batch(1, Some(Tensor::from_i64([1, 3], &[0, 0, 0])));
        let forward = Forward {
            cell: "a cell",
            outputs: std::slice::from_ref(&logits),
            baseline: None,
            batch: &batch,
        };
        assert_eq!(Accuracy.margins(&forward).unwrap(), [0.25]);
    }
}
