//! secateur tells which parts of a neural network can be cut, and cuts them.

#[cfg(feature = "torch")]
pub mod cli;
pub mod dataset;
pub mod formats;
pub mod graph;
pub mod labels;
pub mod metric;
pub mod ops;
pub mod pipeline;
pub mod prune;
pub mod readers;
pub mod report;
#[cfg(feature = "torch")]
pub mod runtime;
pub mod spec;
#[cfg(feature = "torch")]
pub mod stages;
pub mod store;
pub mod tensor;
pub mod topology;
