//! What is measured: one number of a model on a dataset.
//!
//! Owns what a metric is ([`Metric`]), the metrics of the pipeline file that need no other process, and the average over
//! samples ([`Partial`]), which comes out the same to the bit whatever the batches, the threads and the order in which
//! parts are merged. Deliberately runs no model and stops nothing: early stop and baselines are `sensitivity/`'s.
//!
//! A metric has one of two forms ([`Form`]). One that judges each sample for itself is averaged here; an aggregate (F1,
//! mAP, BLEU) sees all batches of a cell and gives its number in the end. Whoever measures opens one [`Accumulator`] a
//! cell, whatever the form, adds the micro-batches in any order and from any thread, and finishes it.
//!
//! The metrics here see the model's first output, `[n, C]` or `[n, C, d1, …]`; in the second case a sample's value is
//! the mean over its positions. All arithmetic is in float64.

mod average;
mod classes;
mod error;
mod kl;
mod margins;
mod mse;
mod partial;
mod per_class;
mod scripted;
#[cfg(test)]
mod testing;

use average::Average;
pub use error::MetricError;
pub use partial::Partial;
pub use scripted::Scripted;

use crate::dataset::Batch;
use crate::outcomes::Outcomes;
use crate::tensor::{DType, Tensor};

/// What one forward of one cell gave.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// What to call the cell: in messages, and towards other processes.
    pub cell: &'a str,
    /// The model's output tensors, batch axis first.
    pub outputs: &'a [Tensor],
    /// Those of the unmasked model on the same samples; for metrics that say [`Metric::needs_baseline`].
    pub baseline: Option<&'a [Tensor]>,
    /// The samples.
    pub batch: &'a Batch,
}

impl<'a> Forward<'a> {
    /// The first output.
    fn output(&self) -> Result<&'a Tensor, MetricError> {
        self.outputs.first().ok_or(MetricError::NoOutput)
    }

    /// The first output of the unmasked model.
    fn baseline(&self, metric: &str) -> Result<&'a Tensor, MetricError> {
        let first = self.baseline.and_then(<[Tensor]>::first);
        first.ok_or_else(|| MetricError::NoBaseline { metric: metric.into() })
    }
}

/// One way to judge a model.
pub trait Metric: Send + Sync {
    /// The name in outputs: `accuracy`, `top_5`, …
    fn name(&self) -> String;

    /// How it comes to its number.
    fn form(&self) -> Form<'_>;

    /// Whether more is better.
    fn maximize(&self) -> bool;

    fn needs_targets(&self) -> bool {
        true
    }

    fn needs_baseline(&self) -> bool {
        false
    }

    /// Whether it looks at more than the model's first output.
    fn takes_all_outputs(&self) -> bool {
        false
    }

    /// Whether targets of this type can be used; to be asked before anything is run.
    ///
    /// # Errors
    /// When they cannot, or there are none where some are needed.
    fn check_targets(&self, targets: Option<DType>) -> Result<(), MetricError> {
        match targets {
            None if self.needs_targets() => Err(MetricError::NoTargets { metric: self.name() }),
            _ => Ok(()),
        }
    }

    /// What it decides of each sample, where small movements of outputs mostly change nothing.
    fn decisions(&self) -> Option<&dyn Decisions> {
        None
    }
}

/// A metric of decisions, such as which class a sample is in.
pub trait Decisions: Send + Sync {
    /// How far every output of a sample may move, either way, before anything that is decided of it can change; not a
    /// number where that cannot be said.
    ///
    /// # Errors
    /// As [`PerSample::values`].
    fn margins(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError>;
}

/// How a metric comes to its number.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    /// The average of one value a sample.
    PerSample(&'a dyn PerSample),
    /// A number of all samples together.
    Aggregate(&'a dyn Aggregate),
}

/// A metric that judges each sample for itself.
pub trait PerSample: Send + Sync {
    /// One value for each sample of the batch, in order.
    ///
    /// # Errors
    /// When outputs, targets and baseline do not fit together; the message names the sample.
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError>;

    /// The least and the largest value that a sample can have, where there are such.
    fn bounds(&self) -> Option<(f64, f64)> {
        None
    }

    /// How to have whole cells measured without waiting for each batch, where values come from elsewhere.
    fn in_background(&self) -> Option<&dyn Aggregate> {
        None
    }
}

/// A metric of all samples together.
pub trait Aggregate: Send + Sync {
    /// Begins a cell.
    ///
    /// # Errors
    /// When the metric cannot be had.
    fn open(&self, cell: &str) -> Result<Box<dyn Accumulator + '_>, MetricError>;

    /// Takes a cell up from where it stood; none where it cannot.
    fn reopen(&self, _cell: &str, _standing: &Standing) -> Option<Box<dyn Accumulator + '_>> {
        None
    }
}

/// One cell on its way to its number.
pub trait Accumulator: Send + Sync {
    /// Takes a micro-batch in. Each comes once, in any order and from any thread; the number does not depend on it.
    ///
    /// # Errors
    /// As [`PerSample::values`]; and when samples came before.
    fn add(&self, forward: &Forward<'_>) -> Result<(), MetricError>;

    /// Where it stands, if it can be taken up from there later ([`reopen`]): when there is no gap between its samples. May
    /// wait for values that others compute.
    fn standing(&self) -> Option<Standing> {
        None
    }

    /// The number.
    ///
    /// # Errors
    /// When it is NaN, a sample is missing, or there is none.
    fn finish(self: Box<Self>) -> Result<Score, MetricError>;
}

/// Where a cell stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Samples from the first on that are in it.
    pub samples: usize,
    pub so_far: SoFar,
}

/// What the samples of a cell came to so far.
#[derive(Clone, Debug, PartialEq)]
pub enum SoFar {
    /// The sum of an average, and the samples one by one where each was 0 or 1.
    Sum { sum: f64, outcomes: Option<Outcomes> },
    /// What an aggregate's own words for it are.
    State(String),
}

/// What a metric says in the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    pub value: f64,
    /// The number's parts where a metric tells them, such as one a class, by name and in the metric's order.
    pub parts: Vec<(String, f64)>,
    /// The samples one by one, where the number is their average and each is 0 or 1. Not kept with a table.
    pub outcomes: Option<Outcomes>,
}

impl Score {
    /// The number and its parts alone.
    pub fn without_outcomes(&self) -> Score {
        Score {
            value: self.value,
            parts: self.parts.clone(),
            outcomes: None,
        }
    }
}

impl From<f64> for Score {
    fn from(value: f64) -> Score {
        Score {
            value,
            ..Score::default()
        }
    }
}

/// Begins a cell of any metric.
///
/// # Errors
/// When the metric cannot be had.
pub fn open<'a>(metric: &'a dyn Metric, cell: &str) -> Result<Box<dyn Accumulator + 'a>, MetricError> {
    match metric.form() {
        Form::PerSample(judge) => match judge.in_background() {
            Some(elsewhere) => elsewhere.open(cell),
            None => Ok(Box::new(Average::new(judge))),
        },
        Form::Aggregate(aggregate) => aggregate.open(cell),
    }
}

/// Takes a cell up from where it stood; none where the metric cannot.
pub fn reopen<'a>(metric: &'a dyn Metric, cell: &str, standing: &Standing) -> Option<Box<dyn Accumulator + 'a>> {
    match metric.form() {
        Form::PerSample(judge) => match judge.in_background() {
            Some(elsewhere) => elsewhere.reopen(cell, standing),
            None => Some(Box::new(Average::resumed(judge, Partial::resume(standing)?))),
        },
        Form::Aggregate(aggregate) => aggregate.reopen(cell, standing),
    }
}

/// The metrics by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Accuracy,
    CrossEntropy,
    Mse,
    TopK(usize),
    Agreement,
    Kl,
    PerClass,
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
            Kind::Kl => Box::new(kl::Kl),
            Kind::PerClass => Box::new(per_class::PerClass),
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
