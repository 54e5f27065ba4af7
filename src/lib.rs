//! secateur tells which parts of a neural network can be cut, and cuts them.

pub mod graph;
pub mod labels;
pub mod ops;
pub mod pipeline;
pub mod prune;
pub mod store;
pub mod tensor;
pub mod topology;
