//! What can be wrong between outputs and targets.

use crate::tensor::DType;

/// Why a metric could not be computed.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum MetricError {
    #[error("{metric} needs targets, but the dataset has none")]
    NoTargets { metric: String },
    #[error("{metric} needs classes (integers) as targets, but they are {found}: use mse for such targets")]
    FloatTargets { metric: String, found: DType },
    #[error("the model gave no output")]
    NoOutput,
    #[error("{metric} needs the outputs of the unmasked model")]
    NoBaseline { metric: String },
    #[error("the model's first output has shape {outputs:?} for {samples} samples: its first axis must be the batch")]
    Batch { outputs: Vec<usize>, samples: usize },
    #[error(
        "{metric} needs an output of shape [batch, classes, ...], but the model's first output has shape {outputs:?}"
    )]
    NoClasses { metric: String, outputs: Vec<usize> },
    #[error("the model's first output is {found}: {metric} needs floating-point numbers")]
    OutputType { metric: String, found: DType },
    #[error("{origin}: class {class} is beyond the model's {classes} outputs (classes count from 0)")]
    Class { origin: String, class: i64, classes: usize },
    #[error("top_k asks for the best {k} classes, but the model has {classes} outputs: give a smaller k")]
    TooManyClasses { k: usize, classes: usize },
    #[error("top_k asks for the best 0 classes: give at least 1")]
    NoK,
    #[error(
        "{origin}: targets have shape {targets:?}, which does not fit outputs of shape {outputs:?} (without batch axis)"
    )]
    TargetShape {
        origin: String,
        targets: Vec<usize>,
        outputs: Vec<usize>,
    },
    #[error("outputs have shape {outputs:?}, but those of the unmasked model {baseline:?}")]
    BaselineShape { outputs: Vec<usize>, baseline: Vec<usize> },
    #[error("the metric is not a number (first at sample {sample})")]
    NotANumber { sample: usize },
    #[error("the average of the metric is not a number: infinite values of both signs")]
    NotANumberSum,
    #[error("the scripted metric {metric}: {message}")]
    Scripted { metric: String, message: String },
    #[error("the metric is not a number")]
    NotANumberScore,
    /// Of another process; `cell` is the one that it was asked about.
    #[error("{message}")]
    Foreign { cell: Option<String>, message: String },
    #[error("stopped")]
    Stopped,
    #[error("no sample was measured")]
    Empty,
    #[error("samples from {from} on were measured, but sample {missing} was not")]
    Missing { from: usize, missing: usize },
    #[error("sample {sample} was measured twice")]
    Twice { sample: usize },
}
