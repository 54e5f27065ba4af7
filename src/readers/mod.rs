//! Model files of every kind as one graph.
//!
//! Owns telling the kinds apart by their content and the errors that say what to do about a kind that is not read.
//! Deliberately knows nothing above the graph.

pub mod torchscript;

pub use torchscript::{Place, ReadError};

use crate::formats::zip::{Archive, Limits};
use crate::graph::{Declare, Graph, NoSizes};
use bytes::Bytes;

/// How a model becomes a file that is read, in three lines of Python.
const HOW: &str = "save it with torch.jit.trace(model.eval(), example_input).save(\"model.pt\")";

/// Reads a model file, whose kind is told by its content.
///
/// # Errors
/// When the file is of no kind that is read, is malformed, or asks for what a model may not ask.
pub fn read_model(bytes: Bytes) -> Result<Graph, ReadError> {
    read_model_with(bytes, &NoSizes)
}

/// Reads a model file whose inputs have sizes that are known: branches and loops on them fold.
///
/// # Errors
/// As [`read_model`].
pub fn read_model_with(bytes: Bytes, declared: &dyn Declare) -> Result<Graph, ReadError> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        let archive = Archive::read(bytes, &Limits::default())?;
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
    Err(match bytes.first() {
        None => ReadError::Unsupported("the file is empty".into()),
        Some(0x80) => unsupported("a pickle (torch.save of an old version): it holds no code"),
        // A protobuf of ONNX opens with its ir_version: field 1, a small number.
        Some(0x08) if bytes.len() > 2 && bytes[1] < 0x20 => unsupported("an ONNX file, which is not read yet"),
        Some(b'{') => unsupported("a JSON file"),
        _ if bytes.len() > 16 && bytes[8] == b'{' => unsupported("a safetensors file: it holds weights but no code"),
        _ => unsupported("no model file that is known"),
    })
}

fn unsupported(what: &str) -> ReadError {
    ReadError::Unsupported(format!("the file is {what}; {HOW}"))
}
