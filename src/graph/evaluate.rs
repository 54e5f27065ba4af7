//! The traits through which a graph's values are known before it is whole, or run: topology asks for results of operators
//! and the runtime answers; the readers ask for sizes and topology answers.

use super::{Arg, Graph, ValueId};
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

/// What is known of a value of a graph that grows.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// A number or flag, as a literal.
    Number(Arg),
    /// A tensor of so many dimensions.
    Rank(usize),
    /// A list of so many elements.
    Length(usize),
}

/// The sizes that a model's inputs are declared to have, before anything of the model is read.
pub trait Declare: Sync {
    /// Begins with a graph that has nothing but its inputs.
    fn sizes(&self) -> Box<dyn Sizes + '_>;
}

/// Tells what declared sizes make of a graph that a reader is adding nodes to.
pub trait Sizes {
    /// What is known of a value, whatever the batch size is.
    fn known(&mut self, graph: &Graph, value: ValueId) -> Option<Known>;
}

/// Where no sizes are declared.
pub struct NoSizes;

impl Declare for NoSizes {
    fn sizes(&self) -> Box<dyn Sizes + '_> {
        Box::new(NoSizes)
    }
}

impl Sizes for NoSizes {
    fn known(&mut self, _: &Graph, _: ValueId) -> Option<Known> {
        None
    }
}
