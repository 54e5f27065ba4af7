//! `secateur explain`: why layers go together, for the model of a pipeline.
//!
//! No step: nothing is written and nothing is cached. Heads are cut as the first `dependencies` step says.

use super::layers::named;
use super::shared::{Cut, Shared};
use crate::pipeline::Failure;
use crate::spec::Step;
use crate::topology::{self, Layer};

pub use crate::topology::{
    About, Channels, Coupled, Drawing, DrawnGroup, Explanation, FrozenPart, Member, Operator, Part, Side, Step as Link,
    ranges, shape,
};

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("{0}")]
    Unknown(String),
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Explains the layers of these names: one, two, or all coupled groups where there are none.
///
/// # Errors
/// When a name is no layer's, or the model cannot be read.
pub fn explain(shared: &Shared, names: &[String]) -> Result<Explanation, ExplainError> {
    let mut walked = shared.walk_cut(cut(shared))?;
    let layers: Vec<Layer> = names
        .iter()
        .map(|name| named(&walked, name).map_err(ExplainError::Unknown))
        .collect::<Result<_, _>>()?;
    let found = topology::coupling(&mut walked.walked);
    Ok(topology::explain(&walked, &found, &layers))
}

fn cut(shared: &Shared) -> Cut {
    let steps = shared.spec.pipeline.steps.iter();
    let mut dependencies = steps.filter_map(|step| match step {
        Step::Dependencies(step) => Some(step),
        _ => None,
    });
    let first = dependencies.next();
    Cut {
        heads: first.map(|step| step.heads).unwrap_or_default(),
        approximate: first.is_some_and(|step| step.approximate),
        every_reason: true,
        ..Cut::default()
    }
}
