//! The accuracy of each class, and their mean: every class counts alike, however many samples it has.
//!
//! Owns counts only, so that no order of batches matters.

use std::sync::{Mutex, PoisonError};

use crate::tensor::DType;

use super::classes::{by_class, check_classes};
use super::{Accumulator, Aggregate, Decisions, Form, Forward, Metric, MetricError, Score};

/// The mean over classes of the fraction of positions of that class whose largest output is at it.
pub(super) struct PerClass;

impl Metric for PerClass {
    fn name(&self) -> String {
        "per_class".into()
    }

    fn form(&self) -> Form<'_> {
        Form::Aggregate(self)
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

impl Aggregate for PerClass {
    fn open(&self, _: &str) -> Result<Box<dyn Accumulator + '_>, MetricError> {
        Ok(Box::new(Counts::default()))
    }
}

/// Hits and positions of each class so far.
#[derive(Default)]
struct Counts(Mutex<Vec<(u64, u64)>>);

impl Accumulator for Counts {
    fn add(&self, forward: &Forward<'_>) -> Result<(), MetricError> {
        let mut seen = Vec::new();
        by_class("per_class", forward, |logits, class| {
            seen.push((class, logits.argmax() == class));
            0.0
        })?;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (class, hit) in seen {
            if counts.len() <= class {
                counts.resize(class + 1, (0, 0));
            }
            counts[class].0 += u64::from(hit);
            counts[class].1 += 1;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Score, MetricError> {
        let counts = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let there = counts.iter().enumerate().filter(|(_, (_, all))| *all > 0);
        let parts: Vec<(String, f64)> = there
            .map(|(class, &(hits, all))| (class.to_string(), hits as f64 / all as f64))
            .collect();
        if parts.is_empty() {
            return Err(MetricError::Empty);
        }
        let value = parts.iter().map(|(_, accuracy)| accuracy).sum::<f64>() / parts.len() as f64;
        Ok(Score {
            value,
            parts,
            outcomes: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, open};
    use super::*;
    use crate::dataset::Batch;
    use crate::tensor::Tensor;

    #[test]
    fn classes_count_alike() {
        let metric = Kind::PerClass.build();
        let cell = open(metric.as_ref(), "a cell").unwrap();
        // Class 0 three times, hit twice; class 2 once, hit; class 1 never.
        for (first, logits, classes) in [
            (2, vec![0.0, 0.0, 1.0, 9.0, 0.0, 0.0], vec![0, 0]),
            (0, vec![0.0, 0.0, 1.0, 9.0, 0.0, 0.0], vec![2, 0]),
        ] {
            let outputs = Tensor::from_f32([2, 3], &logits);
            let batch = Batch::new(vec![outputs.clone()], Some(Tensor::from_i64([2], &classes)), first);
            let forward = Forward {
                cell: "a cell",
                outputs: std::slice::from_ref(&outputs),
                baseline: None,
                batch: &batch,
            };
            cell.add(&forward).unwrap();
        }
        let score = cell.finish().unwrap();
        assert_eq!(score.value, (2.0 / 3.0 + 1.0) / 2.0);
        assert_eq!(score.parts, [("0".to_owned(), 2.0 / 3.0), ("2".to_owned(), 1.0)]);
        assert_eq!(
            open(metric.as_ref(), "a cell").unwrap().finish(),
            Err(MetricError::Empty)
        );
    }
}
