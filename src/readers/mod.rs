//! Model files of every kind as one graph.
//!
//! Owns telling the kinds apart by their content and the errors that say what to do about a kind that is not read.
//! Deliberately knows nothing above the graph.

#[cfg(test)]
mod tests;
pub mod torchscript;

pub use torchscript::{Place, ReadError};

use crate::formats::source::Source;
use crate::formats::zip::{Archive, Limits};
use crate::graph::{Declare, Graph, NoSizes};
use crate::tensor::DType;
use bytes::Bytes;

/// Bytes at the start of a file by which its kind is told.
const START: u64 = 32;

/// How a model becomes a file that is read, in three lines of Python.
const HOW: &str = "save it with torch.jit.trace(model.eval(), example_input).save(\"model.pt\")";

/// Shape (batch included) and element type of each input that a model was traced with, where its file says so.
pub fn traced_inputs(source: &Source) -> Option<Vec<(Vec<usize>, DType)>> {
    let archive = Archive::open(source.clone(), &Limits::default()).ok()?;
    torchscript::traced_inputs(&archive)
}

/// Reads a model in memory, whose kind is told by its content.
///
/// # Errors
/// When it is of no kind that is read, is malformed, or asks for what a model may not ask.
pub fn read_model(bytes: Bytes) -> Result<Graph, ReadError> {
    read_model_with(bytes, &NoSizes)
}

/// Reads a model in memory whose inputs have sizes that are known: branches and loops on them fold.
///
/// # Errors
/// As [`read_model`].
pub fn read_model_with(bytes: Bytes, declared: &dyn Declare) -> Result<Graph, ReadError> {
    read_model_from(&bytes.into(), declared)
}

/// Reads what a model file says of its structure: headers, code, and numbers that decide what is built. The weights are
/// read when the graph is asked for them, from the file as it was opened.
///
/// # Errors
/// As [`read_model`], and when the file cannot be read or changes meanwhile.
pub fn read_model_from(source: &Source, declared: &dyn Declare) -> Result<Graph, ReadError> {
    let read = structure(source, declared);
    // What was read from two files proves nothing about either.
    source.unchanged()?;
    read
}

fn structure(source: &Source, declared: &dyn Declare) -> Result<Graph, ReadError> {
    let start = source.read(0, source.size().min(START))?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        let archive = Archive::open(source.clone(), &Limits::default())?;
        let has = |name: &str| archive.contains(name);
        if has("models/model.json") || has("archive_format") || has("serialized_exported_program.json") {
            return Err(unsupported("a torch.export program (.pt2), which is not read yet"));
        }
        if has("constants.pkl") || archive.names().any(|name| name.starts_with("code/")) {
            return torchscript::read_archive(&archive, declared);
        }
        if has("data.pkl") {
            return Err(unsupported(
                "a torch.save file (a state dict, or a pickled module): it holds weights but no code",
            ));
        }
        return Err(unsupported("a zip archive, but no model that PyTorch saved"));
    }
    Err(match start.first() {
        None => ReadError::Unsupported("the file is empty".into()),
        Some(0x80) => unsupported("a pickle (torch.save of an old version): it holds no code"),
        // A protobuf of ONNX opens with its ir_version: field 1, a small number.
        Some(0x08) if start.len() > 2 && start[1] < 0x20 => unsupported("an ONNX file, which is not read yet"),
        Some(b'{') => unsupported("a JSON file"),
        _ if start.len() > 16 && start[8] == b'{' => unsupported("a safetensors file: it holds weights but no code"),
        _ => unsupported("no model file that is known"),
    })
}

fn unsupported(what: &str) -> ReadError {
    ReadError::Unsupported(format!("the file is {what}; {HOW}"))
}
