//! File formats below models and datasets: zip and tar archives, pickles, torch files, npy, npz, idx, safetensors and
//! Parquet.
//!
//! Owns bounded reading and deterministic writing: nothing is allocated because a header claims it, every number of a
//! file is checked before use, and nothing in a file is ever executed. Deliberately knows nothing of graphs, of
//! datasets and of what the tensors mean.

#[cfg(test)]
mod fixtures;
pub mod idx;
pub mod npy;
pub mod npz;
pub mod parquet;
pub mod pickle;
mod rows;
pub mod safetensors;
pub mod source;
pub mod tar;
pub mod torch_file;
pub mod torch_tensor;
pub mod zip;

pub use rows::{DataError, Header, Rows};
