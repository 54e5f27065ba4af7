//! secateur tells which parts of a neural network can be cut, and cuts them.

/// Zip, pickle, torch, npy, npz, idx and safetensors files: bounded reading, deterministic writing.
pub mod formats;
pub mod graph;
pub mod labels;
pub mod ops;
pub mod prune;
/// Model files as graphs: TorchScript archives.
pub mod readers;
pub mod tensor;
pub mod topology;
