//! TorchScript archives (`torch.jit.save` of a trace or a script) as graphs.
//!
//! Owns the way from the archive's entries to a [`Graph`]: `lexer` and `parser` read the code, `library` finds names in
//! it, `objects` reads the module tree, `storage` the tensors when they are asked for, `inline` and its neighbours run the
//! code on values that stand for results, and `finish` keeps what the outputs need. Nothing of the file is executed but the
//! folding of numbers, lists and branches that are known; operators are admitted by name (see `graph::allow_list`).
//! Deliberately knows nothing of libtorch.
//!
//! What the inputs are declared to be decides branches and loops on sizes, the batch size excepted (see `branch` for those
//! that only a run can tell). Checks that only raise are dropped, `assert` and `warn` likewise: the graph says what the
//! model computes, not which inputs it rejects. `empty` becomes `zeros`. Writes in place become new values.

mod alias;
mod ast;
mod branch;
mod build;
mod containers;
mod dtypes;
mod error;
mod eval;
mod finish;
mod fold;
mod inline;
mod lexer;
mod library;
mod notes;
mod objects;
mod operators;
mod parser;
mod pieces;
mod ranks;
mod shapes;
mod storage;
mod traced;
mod tree;
mod value;

#[cfg(test)]
mod tests;

pub use error::{Place, ReadError};
pub use traced::traced_inputs;

use crate::formats::zip::Archive;
use crate::graph::{Declare, Graph};

/// Stack of the thread that reads: code may be nested deeper than a main thread's stack allows.
const STACK: usize = 256 << 20;

/// Reads an archive whose directory is read already. What its parameters and buffers hold is read when the graph is asked
/// for it.
///
/// # Errors
/// When the archive is malformed, asks for an operator that is no arithmetic, or for what no graph can hold; the error
/// names the entry, the line and the module.
pub fn read_archive(archive: &Archive, declared: &dyn Declare) -> Result<Graph, ReadError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let reader = thread.spawn_scoped(scope, || read_here(archive, declared));
        let reader = reader.map_err(|error| ReadError::Archive(format!("no thread to read the model in: {error}")))?;
        match reader.join() {
            Ok(found) => found.map_err(ReadError::printable),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn read_here(archive: &Archive, declared: &dyn Declare) -> Result<Graph, ReadError> {
    for entry in ["data.pkl", "constants.pkl"] {
        if !archive.contains(entry) {
            return Err(ReadError::Archive(format!(
                "the archive has no entry {entry:?}, so it is no TorchScript archive or is incomplete"
            )));
        }
    }
    if archive.contains("byteorder") {
        let order = archive.get("byteorder")?;
        if order.trim_ascii() != b"little" {
            return Err(ReadError::Unsupported(
                "the archive was saved on a big-endian machine, which is not read".into(),
            ));
        }
    }
    let version = version(archive)?;
    let mut library = library::Library::new(archive);
    let mut loader = objects::Loader::new(archive, &mut library);
    let root = loader.load("data.pkl", "data")?.root;
    let constants = loader.load("constants.pkl", "constants")?.root;
    let (objects, tensors) = (loader.objects, loader.tensors);
    tree::inline_root(tree::Loaded {
        library,
        root,
        constants,
        objects,
        tensors,
        version,
        traced: traced::given(archive),
        declared: &mut *declared.sizes(),
    })
}

/// The version of the file's operators.
fn version(archive: &Archive) -> Result<u64, ReadError> {
    let entry = if archive.contains(".data/version") {
        ".data/version"
    } else {
        "version"
    };
    let bytes = archive.get(entry)?;
    let text = String::from_utf8_lossy(&bytes);
    let version = text
        .trim()
        .parse::<u64>()
        .ok()
        .filter(|version| (1..=10_000).contains(version));
    version.ok_or_else(|| ReadError::Archive(format!("the entry {entry:?} holds no version: {:?}", text.trim())))
}
