//! secateur tells which parts of a neural network can be cut, and cuts them.

pub mod graph;
pub mod tensor;
pub mod store;
pub mod pipeline;
