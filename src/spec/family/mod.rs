//! Families of experiments: what one file takes from others, from the environment and from its own lists.
//!
//! Owns `extends`, `vars` and `matrix`. They work on the tree, before it is checked: what they leave is a plain pipeline,
//! or several, in which every value still knows the file that wrote it. Files and variables come through [`Outside`];
//! nothing here opens one.

mod extends;
mod keys;
mod matrix;
mod vars;

pub(super) use extends::resolve as extend;
pub(super) use keys::{KEYS, add_to_schema};
pub(super) use matrix::expand;
pub(super) use vars::substitute;

use std::io;
use std::path::Path;

/// What a pipeline file may need beside its own text.
pub trait Outside {
    /// The content of a file; no more than [`super::LARGEST_FILE`] + 1 bytes of it are needed.
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// A variable of the environment.
    ///
    /// # Errors
    /// Why there is none, as a fragment: `is not set`.
    fn variable(&self, name: &str) -> Result<String, &'static str>;
}

/// No files and no variables: for a text that stands alone.
pub(super) struct Nothing;

impl Outside for Nothing {
    fn file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::Error::other("this text is read without other files"))
    }

    fn variable(&self, _: &str) -> Result<String, &'static str> {
        Err("is not read here")
    }
}
