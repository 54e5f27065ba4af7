//! Sensitivity: what the metric becomes when one layer at a time loses weights.
//!
//! Owns the targets (layers, or coupled groups), what a cell does to the parameters ([`Perturbation`]), the programs that
//! run only what depends on a target, the waves in which cells are measured, and early stop. Deliberately knows nothing
//! of YAML, stages and stores: what is already known comes from a [`Memory`], and results are data.
//!
//! Per micro-batch one baseline forward keeps the values that replays read; then each live cell runs the descendants of
//! its target only. Every program runs with one thread inside operators and on the same micro-batches, and averages are
//! taken in sample order, so no result depends on how many threads work.

mod auto;
mod batching;
mod engine;
mod estimate;
mod footprint;
mod model;
mod pass;
mod perturb;
mod programs;
mod replay;
mod standing;
mod table;

pub use auto::Effort;
pub use batching::{Batching, micro_batch, shapes, size_that_runs};
pub use engine::{Settings, WAVE, measure};
pub use estimate::{Estimated, Estimates, Samples, Sampling, complete, estimable, estimate};
pub use footprint::{Budget, Footprint, UNBOUNDED};
pub use perturb::{Change, Perturbation, Plan, Target, group_targets, layer_targets};
pub use programs::Precision;
pub use replay::descendants;
pub use standing::{Memory, Standing};

use crate::dataset::DatasetError;
use crate::metric::{MetricError, Score};
use crate::runtime::RuntimeError;
use crate::tensor::WeightError;

/// When a target's row ends early. All comparisons are strict, and the value that triggers is part of the row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EarlyStop {
    /// Below the bound.
    Minimize(f64),
    /// Above the bound.
    Maximize(f64),
    /// Below the baseline by more than the bound.
    Dropped(f64),
    /// Above the baseline by more than the bound.
    Raised(f64),
}

impl EarlyStop {
    /// Whether a value ends its row.
    pub fn triggers(self, baseline: f64, value: f64) -> bool {
        match self {
            EarlyStop::Minimize(bound) => value < bound,
            EarlyStop::Maximize(bound) => value > bound,
            EarlyStop::Dropped(bound) => value < baseline - bound,
            EarlyStop::Raised(bound) => value > baseline + bound,
        }
    }
}

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Index of its target.
    pub target: usize,
    pub sparsity: f64,
    /// The score that steers.
    pub value: f64,
    /// Every metric's score, that one first.
    pub scores: Vec<Score>,
    /// Filters, weights or units masked, of how many.
    pub pruned: usize,
    pub of: usize,
    /// Whether this value ended the row.
    pub stop: bool,
    /// What is done to the weights; none when nothing is.
    pub digest: Option<String>,
}

/// A table of cells, target by target, sparsities ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub baseline: f64,
    /// Every metric's score of the unmasked model.
    pub baselines: Vec<Score>,
    pub cells: Vec<Cell>,
    /// Cells whose value was computed now, and those that were known (cells with equal masks count once).
    pub computed: u64,
    pub reused: u64,
    /// What replays in bfloat16 came to, where there were such beside float32.
    pub effort: Option<Effort>,
}

/// Why a table could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum SensitivityError {
    #[error("interrupted")]
    Interrupted { computed: u64, reused: u64 },
    #[error("{missing} cells are others' to compute")]
    Elsewhere { computed: u64, reused: u64, missing: u64 },
    #[error("{cell}: {source}")]
    Metric { cell: String, source: MetricError },
    #[error("{cell}: {source}")]
    Runtime { cell: String, source: RuntimeError },
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error("the model has no output tensor")]
    NoOutput,
    #[error("the model does not run with batches of 1, 2 or 3 samples, nor with any that was tried: {0}")]
    NoBatch(String),
    #[error(
        "{op} in {scope} mixes the samples of a batch, so a sample's output depends on its neighbours (a batch size is \
         written into a shape, or a norm is in training mode): take sizes from the input, as in x.shape[0], and trace \
         the model again after .eval()"
    )]
    Neighbours { op: String, scope: String },
    #[error(
        "something that the model reads or makes is infinite or not a number; --no-lowering shows what becomes of it"
    )]
    NotFinite,
    #[error("the model cannot be lowered ({0}); --no-lowering runs it as it is")]
    Lowering(String),
    #[error("{layer}: {message}")]
    Layer { layer: String, message: String },
    #[error(transparent)]
    Weight(#[from] WeightError),
    #[error("cannot estimate: {message}")]
    Estimate { message: String },
    #[error("cannot keep results: {0}")]
    Memory(String),
}
