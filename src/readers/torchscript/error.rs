//! Errors of the readers, and places in the code of an archive.

use crate::formats::pickle::PickleError;
use crate::formats::source::SourceError;
use crate::formats::zip::ZipError;

/// A place in the code of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The entry of the archive.
    pub file: String,
    pub line: u32,
    /// Dotted path of the module whose code it is; empty for the root.
    pub scope: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        match self.scope.as_str() {
            "" => Ok(()),
            scope => write!(f, " (module {scope})"),
        }
    }
}

/// Why a model file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Zip(#[from] ZipError),
    #[error("{entry}: {error}")]
    Pickle { entry: String, error: PickleError },
    /// The parts of the archive do not fit together.
    #[error("{0}")]
    Archive(String),
    /// The file is of a kind that is not read; the text says what it is and what to do.
    #[error("{0}")]
    Unsupported(String),
    #[error("{place}: {message}")]
    Code { place: Place, message: String },
    #[error("the model asks for too much: {what} above the limit of {limit}")]
    Limit { what: &'static str, limit: u64 },
    /// The weights carry no names.
    #[error(
        "the archive is frozen: its weights are constants without names, so no layer can be told; save the model \
         without torch.jit.freeze or optimize_for_inference (torch.jit.trace(model.eval(), input).save(path))"
    )]
    Frozen,
}

impl ReadError {
    /// The same error where what it says may go to a terminal: control characters, which texts of the file hold, are
    /// written as escapes.
    pub(super) fn printable(self) -> ReadError {
        let text = self.to_string();
        let controls = |char: char| char.is_control() && char != '\n';
        if !text.contains(controls) {
            return self;
        }
        let escaped = text.chars().map(|char| match controls(char) {
            true => char.escape_unicode().to_string(),
            false => char.to_string(),
        });
        ReadError::Archive(escaped.collect())
    }
}
