//! What the metrics' tests share.

use super::{Form, Forward, Metric, MetricError};
use crate::dataset::Batch;
use crate::tensor::Tensor;

/// The values of one batch, of a metric that judges each sample for itself.
pub(super) fn values(
    metric: &dyn Metric,
    outputs: &Tensor,
    batch: &Batch,
    baseline: Option<&Tensor>,
) -> Result<Vec<f64>, MetricError> {
    let forward = Forward {
        cell: "a cell",
        outputs: std::slice::from_ref(outputs),
        baseline: baseline.map(std::slice::from_ref),
        batch,
    };
    match metric.form() {
        Form::PerSample(judge) => judge.values(&forward),
        Form::Aggregate(_) => panic!("{} is an aggregate", metric.name()),
    }
}
