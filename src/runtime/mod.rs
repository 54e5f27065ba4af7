//! Programs: the only way to compute, and the only user of tch.
//!
//! A graph is run by handing it back to libtorch. Some of its nodes, with chosen inputs and outputs, are printed as one
//! method of a TorchScript module without attributes, packed into an archive in memory, and loaded. Weights are
//! arguments, so a masked or pruned variant is the same program with other tensors.
//!
//! Owns printing, compiling, running, conversions from and to host tensors, devices and threads. Deliberately knows
//! nothing of files, datasets, masks and what programs are for.

mod archive;
mod compare;
mod convert;
mod device;
mod evaluate;
mod memory;
mod probe;
mod program;
mod shared;
mod source;

pub use compare::{Comparison, compare};
pub use convert::{from_torch, is_finite, rows_of, stacked, to_bfloat16, to_torch};
pub use device::{device, init, isa_class, libtorch_version, with_worker};
pub use evaluate::Runtime;
pub use memory::{free_memory, peak_memory, used_memory};
pub use probe::{faster_in_bfloat16, has_mkldnn, has_reduced_mkldnn, native_bfloat16};
pub use program::Program;
pub use shared::Shared;
pub use source::{Source, source};
/// A device, and a tensor that lies on one; the names under which other modules pass them on.
pub use tch::{Device, Tensor as DeviceTensor};

use crate::tensor::WeightError;

/// Why a program could not be made or run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("value {name} is neither computed by the program nor among its inputs")]
    Leaf { name: String },
    #[error("{node}: {op} cannot be run: {message}")]
    Unprintable { node: String, op: String, message: String },
    #[error("libtorch refuses the program: {message}")]
    Compile { message: String },
    #[error("a program of {wanted} inputs was given {found}")]
    Count { wanted: usize, found: usize },
    #[error("running the model failed: {message}")]
    Run { message: String },
    #[error("element type {kind} has no place in a host tensor")]
    Kind { kind: String },
    #[error("device {name} {message}")]
    Device { name: String, message: String },
    #[error(transparent)]
    Weight(#[from] WeightError),
}

impl From<tch::TchError> for RuntimeError {
    fn from(error: tch::TchError) -> RuntimeError {
        RuntimeError::Run { message: brief(&error) }
    }
}

/// libtorch's message without its C++ stack.
fn brief(error: &tch::TchError) -> String {
    let text = error.to_string();
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("Exception raised from"));
    lines
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}
