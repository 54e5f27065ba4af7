//! The trait through which operators are run for their results: topology asks, the runtime answers.

use super::{Graph, ValueId};
use crate::tensor::Tensor;

/// Runs small graphs on host tensors.
pub trait Evaluate {
    /// Computes `outputs` of `graph` from `inputs` (any values; parameters and constants that are needed and not given
    /// are taken from the graph). Results of type `List[Tensor]` or tuples of tensors are flattened in order.
    ///
    /// # Errors
    /// When the graph does not run on these tensors.
    fn evaluate(
        &self,
        graph: &Graph,
        inputs: &[(ValueId, Tensor)],
        outputs: &[ValueId],
    ) -> Result<Vec<Tensor>, EvaluateError>;
}

/// Why an evaluation gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EvaluateError(pub String);

/// Evaluates nothing: what cannot be derived without running an operator stays opaque.
pub struct NoEvaluator;

impl Evaluate for NoEvaluator {
    fn evaluate(&self, _: &Graph, _: &[(ValueId, Tensor)], _: &[ValueId]) -> Result<Vec<Tensor>, EvaluateError> {
        Err(EvaluateError("no runtime to run it".into()))
    }
}
