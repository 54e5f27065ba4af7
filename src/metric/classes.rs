//! Metrics over classes: outputs hold one number a class on axis 1.
//!
//! Owns argmax and rank as PyTorch's `argmax` orders numbers (NaN above all, the lowest index first among equals), and the
//! loss of a softmax classifier. Deliberately refuses targets that are not classes instead of rounding them.

use crate::dataset::Batch;
use crate::tensor::{DType, Tensor};

use super::{Decisions, Form, Forward, Metric, MetricError, PerSample, row, samples};

/// The fraction of positions whose largest output is the target's.
pub(super) struct Accuracy;

/// The fraction of positions whose target is among the k largest outputs.
pub(super) struct TopK(pub usize);

/// The mean of −ln softmax(outputs)\[target\], in nats.
pub(super) struct CrossEntropy;

/// The fraction of positions whose largest output is the unmasked model's.
pub(super) struct Agreement;

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".into()
    }

    fn form(&self) -> Form<'_> {
        Form::PerSample(self)
    }

    fn maximize(&self) -> bool {
        true
    }

    fn check_targets(&self, targets: Option<DType>) -> Result<(), MetricError> {
        check_classes(self.name(), targets)
    }

    fn decisions(&self) -> Option<&dyn Decisions> {
        Some(self)
    }
}

impl Metric for TopK {
    fn name(&self) -> String {
        format!("top_{}", self.0)
    }

    fn form(&self) -> Form<'_> {
        Form::PerSample(self)
    }

    fn maximize(&self) -> bool {
        true
    }

    fn check_targets(&self, targets: Option<DType>) -> Result<(), MetricError> {
        check_classes(self.name(), targets)
    }

    fn decisions(&self) -> Option<&dyn Decisions> {
        Some(self)
    }
}

impl Metric for CrossEntropy {
    fn name(&self) -> String {
        "cross_entropy".into()
    }

    fn form(&self) -> Form<'_> {
        Form::PerSample(self)
    }

    fn maximize(&self) -> bool {
        false
    }

    fn check_targets(&self, targets: Option<DType>) -> Result<(), MetricError> {
        check_classes(self.name(), targets)
    }
}

impl Metric for Agreement {
    fn name(&self) -> String {
        "agreement".into()
    }

    fn form(&self) -> Form<'_> {
        Form::PerSample(self)
    }

    fn maximize(&self) -> bool {
        true
    }

    fn needs_targets(&self) -> bool {
        false
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    fn decisions(&self) -> Option<&dyn Decisions> {
        Some(self)
    }
}

impl PerSample for Accuracy {
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        by_class(&self.name(), forward, |logits, class| {
            f64::from(logits.argmax() == class)
        })
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        Some((0.0, 1.0))
    }
}

impl PerSample for TopK {
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        let (k, classes) = (self.0, forward.output()?.shape().get(1).copied());
        match classes {
            _ if k == 0 => Err(MetricError::NoK),
            Some(classes) if k > classes => Err(MetricError::TooManyClasses { k, classes }),
            _ => by_class(&self.name(), forward, |logits, class| f64::from(logits.rank(class) < k)),
        }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        Some((0.0, 1.0))
    }
}

impl PerSample for CrossEntropy {
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        by_class(&self.name(), forward, |logits, class| {
            let largest = logits.iter().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
            total.ln() - (logits.get(class) - largest)
        })
    }
}

impl PerSample for Agreement {
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        against_baseline(&self.name(), forward, |own, unmasked| {
            f64::from(own.argmax() == unmasked.argmax())
        })
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        Some((0.0, 1.0))
    }
}

/// Outputs taken apart: samples, classes, positions.
pub(super) struct Shape {
    pub(super) samples: usize,
    classes: usize,
    pub(super) positions: usize,
}

impl Shape {
    pub(super) fn new(metric: &str, outputs: &Tensor, batch: &Batch) -> Result<Shape, MetricError> {
        let samples = samples(outputs, batch)?;
        if !outputs.dtype().is_float() {
            return Err(MetricError::OutputType {
                metric: metric.to_owned(),
                found: outputs.dtype(),
            });
        }
        match &outputs.shape()[1..] {
            [classes, positions @ ..] if outputs.numel() > 0 || samples == 0 => Ok(Shape {
                samples,
                classes: *classes,
                positions: positions.iter().product(),
            }),
            _ => Err(MetricError::NoClasses {
                metric: metric.to_owned(),
                outputs: outputs.shape().to_vec(),
            }),
        }
    }

    /// The numbers of all classes at one position of a sample.
    pub(super) fn at<'a>(&self, sample: &'a [f64], position: usize) -> Logits<'a> {
        Logits {
            sample,
            position,
            positions: self.positions,
        }
    }
}

/// One number a class, at one position of a sample.
#[derive(Clone, Copy)]
pub(super) struct Logits<'a> {
    sample: &'a [f64],
    position: usize,
    positions: usize,
}

impl<'a> Logits<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = f64> + use<'a> {
        self.sample.iter().copied().skip(self.position).step_by(self.positions)
    }

    pub(super) fn get(self, class: usize) -> f64 {
        self.sample[class * self.positions + self.position]
    }

    /// The index of the largest number, the lowest among equals.
    pub(super) fn argmax(self) -> usize {
        let mut best = (0, f64::NEG_INFINITY);
        for (index, number) in self.iter().enumerate() {
            if larger(number, best.1) {
                best = (index, number);
            }
        }
        best.0
    }

    /// How many classes come before this one.
    fn rank(self, class: usize) -> usize {
        let own = self.get(class);
        let before = |(other, number): &(usize, f64)| larger(*number, own) || (*other < class && !larger(own, *number));
        self.iter().enumerate().filter(before).count()
    }
}

pub(super) fn check_classes(metric: String, targets: Option<DType>) -> Result<(), MetricError> {
    match targets {
        None => Err(MetricError::NoTargets { metric }),
        Some(found) if found.is_float() => Err(MetricError::FloatTargets { metric, found }),
        Some(_) => Ok(()),
    }
}

/// Each sample's mean of `value(logits, class)` over its positions.
pub(super) fn by_class(
    metric: &str,
    forward: &Forward<'_>,
    mut value: impl FnMut(Logits<'_>, usize) -> f64,
) -> Result<Vec<f64>, MetricError> {
    let mut sums = vec![0.0; forward.batch.len()];
    let positions = each_position(metric, forward, |sample, logits, class| {
        sums[sample] += value(logits, class);
    })?;
    Ok(sums.into_iter().map(|sum| sum / positions as f64).collect())
}

/// Shows each sample's logits and target, position by position; gives the number of positions.
pub(super) fn each_position(
    metric: &str,
    forward: &Forward<'_>,
    mut see: impl FnMut(usize, Logits<'_>, usize),
) -> Result<usize, MetricError> {
    let (outputs, batch) = (forward.output()?, forward.batch);
    check_classes(metric.to_owned(), batch.targets.as_ref().map(Tensor::dtype))?;
    let shape = Shape::new(metric, outputs, batch)?;
    let Some(targets) = &batch.targets else {
        return Err(MetricError::NoTargets {
            metric: metric.to_owned(),
        });
    };
    if targets.numel() != shape.samples * shape.positions || targets.shape().first() != Some(&shape.samples) {
        return Err(MetricError::TargetShape {
            origin: batch.origin(0),
            targets: targets.shape().get(1..).unwrap_or_default().to_vec(),
            outputs: outputs.shape()[1..].to_vec(),
        });
    }
    let targets = targets.to_i64();
    for index in 0..shape.samples {
        let logits = row(outputs, index);
        for position in 0..shape.positions {
            let class = targets[index * shape.positions + position];
            let Some(class) = usize::try_from(class).ok().filter(|&class| class < shape.classes) else {
                return Err(MetricError::Class {
                    origin: batch.origin(index),
                    class,
                    classes: shape.classes,
                });
            };
            see(index, shape.at(&logits, position), class);
        }
    }
    Ok(shape.positions)
}

/// Each sample's mean of `value(logits, the unmasked model's)` over its positions.
pub(super) fn against_baseline(
    metric: &str,
    forward: &Forward<'_>,
    value: impl Fn(Logits<'_>, Logits<'_>) -> f64,
) -> Result<Vec<f64>, MetricError> {
    let mut means = vec![0.0; forward.batch.len()];
    let positions = each_against_baseline(metric, forward, |sample, own, unmasked| {
        means[sample] += value(own, unmasked);
    })?;
    means.iter_mut().for_each(|sum| *sum /= positions as f64);
    Ok(means)
}

/// Shows each sample's logits and the unmasked model's, position by position; gives the positions of a sample.
pub(super) fn each_against_baseline(
    metric: &str,
    forward: &Forward<'_>,
    mut see: impl FnMut(usize, Logits<'_>, Logits<'_>),
) -> Result<usize, MetricError> {
    let (outputs, baseline) = (forward.output()?, forward.baseline(metric)?);
    if baseline.shape() != outputs.shape() {
        return Err(MetricError::BaselineShape {
            outputs: outputs.shape().to_vec(),
            baseline: baseline.shape().to_vec(),
        });
    }
    let shape = Shape::new(metric, outputs, forward.batch)?;
    for sample in 0..shape.samples {
        let (own, unmasked) = (row(outputs, sample), row(baseline, sample));
        for at in 0..shape.positions {
            see(sample, shape.at(&own, at), shape.at(&unmasked, at));
        }
    }
    Ok(shape.positions)
}

/// Whether `a` comes strictly before `b` when numbers are sorted downwards: NaN is the largest.
fn larger(a: f64, b: f64) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, testing};
    use super::*;

    fn batch(samples: usize, targets: Option<Tensor>) -> Batch {
        Batch::new(vec![Tensor::from_f32([samples, 1], &vec![0.0; samples])], targets, 10)
    }

    fn check(kind: Kind, shape: &[usize], outputs: &[f32], targets: &[i64], expected: &[f64]) {
        let mut target_shape = vec![shape[0]];
        target_shape.extend(&shape[2..]);
        let batch = batch(shape[0], Some(Tensor::from_i64(target_shape, targets)));
        let metric = kind.build();
        let values = testing::values(metric.as_ref(), &Tensor::from_f32(shape, outputs), &batch, None).unwrap();
        if let Form::PerSample(form) = metric.form()
            && let Some((low, high)) = form.bounds()
        {
            assert!(
                values.iter().all(|value| (low..=high).contains(value)),
                "{kind:?}: {values:?}"
            );
        }
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(expected) {
            assert!(
                (value - expected).abs() < 1e-12 || value == expected,
                "{kind:?}: {values:?}"
            );
        }
    }

    #[test]
    fn values_are_those_of_pytorch() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        check(
            Kind::Accuracy,
            &[3, 2],
            &[1.0, 2.0, 3.0, 3.0, 3.0, 3.0],
            &[1, 0, 1],
            &[1.0, 1.0, 0.0],
        );
        check(
            Kind::Accuracy,
            &[3, 3],
            &[9.0, nan, nan, -inf, -inf, -inf, 0.0, -0.0, 0.0],
            &[1, 0, 0],
            &[1.0; 3],
        );
        check(
            Kind::TopK(2),
            &[2, 4],
            &[1.0, 3.0, 3.0, 3.0, nan, 1.0, inf, nan],
            &[2, 3],
            &[1.0, 1.0],
        );
        check(
            Kind::TopK(2),
            &[2, 4],
            &[1.0, 3.0, 3.0, 3.0, nan, 1.0, inf, nan],
            &[3, 2],
            &[0.0, 0.0],
        );
        // Two positions a sample: [n, C, d].
        check(Kind::Accuracy, &[1, 2, 2], &[1.0, 5.0, 2.0, 4.0], &[1, 1], &[0.5]);
        check(Kind::CrossEntropy, &[1, 2], &[0.0, 0.0], &[0], &[2f64.ln()]);
        check(
            Kind::CrossEntropy,
            &[1, 3],
            &[1000.0, 1001.0, -inf],
            &[0],
            &[1.0f64.exp().ln_1p()],
        );
        check(Kind::CrossEntropy, &[1, 2], &[0.0, -inf], &[1], &[f64::INFINITY]);
    }

    #[test]
    fn cross_entropy_of_nan_is_nan() {
        let batch = batch(1, Some(Tensor::from_i64([1], &[0])));
        for logits in [[f32::NAN, 1.0], [1.0, f32::NAN], [f32::INFINITY, f32::INFINITY]] {
            let values = testing::values(&CrossEntropy, &Tensor::from_f32([1, 2], &logits), &batch, None).unwrap();
            assert!(values[0].is_nan(), "{logits:?}");
        }
    }

    #[test]
    fn agreement_needs_no_targets() {
        let outputs = Tensor::from_f32([2, 2], &[1.0, 2.0, 3.0, 0.0]);
        let baseline = Tensor::from_f32([2, 2], &[0.0, 9.0, 0.0, 1.0]);
        assert_eq!(
            testing::values(&Agreement, &outputs, &batch(2, None), Some(&baseline)),
            Ok(vec![1.0, 0.0])
        );
        assert!(testing::values(&Agreement, &outputs, &batch(2, None), None).is_err());
        assert!(Agreement.check_targets(None).is_ok());
    }

    #[test]
    fn errors_name_the_sample() {
        let outputs = Tensor::from_f32([2, 3], &[0.0; 6]);
        for (kind, targets, expected) in [
            (
                Kind::Accuracy,
                Some(Tensor::from_i64([2], &[0, 3])),
                "sample 11: class 3 is beyond the model's 3 outputs (classes count from 0)",
            ),
            (
                Kind::CrossEntropy,
                Some(Tensor::from_i64([2], &[-1, 0])),
                "sample 10: class -1 is beyond the model's 3 outputs (classes count from 0)",
            ),
            (Kind::Accuracy, None, "accuracy needs targets, but the dataset has none"),
            (
                Kind::TopK(4),
                Some(Tensor::from_i64([2], &[0, 0])),
                "top_k asks for the best 4 classes, but the model has 3 outputs: give a smaller k",
            ),
            (
                Kind::Accuracy,
                Some(Tensor::from_f32([2], &[0.0, 1.0])),
                "accuracy needs classes (integers) as targets, but they are float32: use mse for such targets",
            ),
            (
                Kind::Accuracy,
                Some(Tensor::from_i64([2, 2], &[0; 4])),
                "sample 10: targets have shape [2], which does not fit outputs of shape [3] (without batch axis)",
            ),
        ] {
            let error = testing::values(kind.build().as_ref(), &outputs, &batch(2, targets), None).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let flat = Tensor::from_f32([2], &[0.0; 2]);
        let targets = Some(Tensor::from_i64([2], &[0, 0]));
        assert!(testing::values(&Accuracy, &flat, &batch(2, targets.clone()), None).is_err());
        assert!(testing::values(&Accuracy, &outputs, &batch(1, targets), None).is_err());
    }
}
