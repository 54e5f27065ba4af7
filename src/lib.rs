//! secateur tells which parts of a neural network can be cut, and cuts them.

/// Zip, pickle, torch, npy, npz, idx and safetensors files: bounded reading, deterministic writing.
pub mod formats;
pub mod graph;
pub mod labels;
/// Mask sets, their files, the saliencies that choose them, and the repair of masks that contradict each other.
pub mod mask;
pub mod ops;
pub mod prune;
pub mod tensor;
pub mod topology;
