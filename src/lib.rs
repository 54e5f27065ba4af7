//! secateur tells which parts of a neural network can be cut, and cuts them.

/// Samples for a model: array files and folders of images, in batches read ahead.
pub mod dataset;
/// Zip, pickle, torch, npy, npz, idx and safetensors files: bounded reading, deterministic writing.
pub mod formats;
pub mod graph;
pub mod labels;
/// What is measured: accuracy, losses and agreement, averaged over samples.
pub mod metric;
pub mod ops;
pub mod prune;
/// Model files as graphs: TorchScript archives.
pub mod readers;
/// Parts of a graph, compiled and run by libtorch.
pub mod runtime;
pub mod tensor;
pub mod topology;
