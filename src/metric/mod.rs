//! What is measured: one number a sample, averaged.
//!
//! Owns the metrics of the pipeline file and the average over samples ([`Partial`]), which comes out the same to the bit
//! whatever the batches, the threads and the order in which parts are merged. Deliberately runs no model and stops
//! nothing: early stop and baselines are `sensitivity/`'s.
//!
//! A metric sees the model's first output, `[n, C]` or `[n, C, d1, …]`; in the second case a sample's value is the mean
//! over its positions. All arithmetic is in float64.

mod classes;
mod error;
mod mse;
mod partial;

pub use error::MetricError;
pub use partial::Partial;

use crate::dataset::Batch;
use crate::tensor::{DType, Tensor};

/// One way to judge a sample's output.
pub trait Metric: Send + Sync {
    /// The name in outputs: `accuracy`, `top_5`, …
    fn name(&self) -> String;

    /// One value for each sample of the batch, in order. `outputs` is the model's first output; `baseline` that of the
    /// unmasked model on the same samples, for metrics that say [`Metric::needs_baseline`].
    ///
    /// # Errors
    /// When outputs, targets and baseline do not fit together; the message names the sample.
    fn per_sample(&self, outputs: &Tensor, batch: &Batch, baseline: Option<&Tensor>) -> Result<Vec<f64>, MetricError>;

    /// Whether more is better.
    fn maximize(&self) -> bool;

    fn needs_targets(&self) -> bool {
        true
    }

    fn needs_baseline(&self) -> bool {
        false
    }

    /// Whether targets of this type can be used; to be asked before anything is run.
    fn check_targets(&self, targets: Option<DType>) -> Result<(), MetricError>;
}

/// The metrics by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Accuracy,
    CrossEntropy,
    Mse,
    TopK(usize),
    Agreement,
}

impl Kind {
    /// The metric itself.
    pub fn build(self) -> Box<dyn Metric> {
        match self {
            Kind::Accuracy => Box::new(classes::Accuracy),
            Kind::CrossEntropy => Box::new(classes::CrossEntropy),
            Kind::Mse => Box::new(mse::Mse),
            Kind::TopK(k) => Box::new(classes::TopK(k)),
            Kind::Agreement => Box::new(classes::Agreement),
        }
    }

    pub fn name(self) -> String {
        self.build().name()
    }

    pub fn needs_targets(self) -> bool {
        self.build().needs_targets()
    }
}

/// Number of samples in outputs; it must be that of the batch.
fn samples(outputs: &Tensor, batch: &Batch) -> Result<usize, MetricError> {
    let found = outputs.shape().first().copied();
    match found {
        Some(found) if found == batch.len() => Ok(found),
        _ => Err(MetricError::Batch {
            outputs: outputs.shape().to_vec(),
            samples: batch.len(),
        }),
    }
}

/// One row of a tensor as float64.
fn row(tensor: &Tensor, index: usize) -> Vec<f64> {
    tensor.rows(index, index + 1).map_or_else(Vec::new, |row| row.to_f64())
}
