//! The store: results under the hash of what they were computed from.
//!
//! Owns keys and their documents, artifacts, cells, remembered digests of inputs, leases, and how all of them survive
//! crashes. Deliberately knows nothing of stages, of pipelines and of tensors.
//!
//! ```text
//! FORMAT               one line, `secateur store 1`
//! artifacts/ab/<key>/  key.json (the document), manifest.json (each file's digest), files/
//! cells/ab/<key>       a line of JSON and its own hash
//! inputs.txt           digests of input files by (device, inode, size, mtime, ctime)
//! leases/<key>         a kernel lock while a stage computes
//! damaged/             what failed its digest, set aside
//! ```
//!
//! Everything but `inputs.txt` is written once and never changed: in a temporary file or folder of the same folder,
//! synced, renamed. A wrong byte is a miss, never a result. No guarantee depends on a lock.

mod artifact;
mod cells;
pub(crate) mod files;
mod inputs;
mod key;
mod lock;

pub use artifact::{Artifact, ArtifactFile, NewArtifact};
pub use cells::NewCell;
pub use inputs::{Digest, DigestError, digest_file};
pub use key::{Change, Document, Key, canonical};
pub use lock::{Busy, Lock, Wait};

use std::path::{Path, PathBuf};
use std::sync::Mutex;

const FORMAT: &str = "secateur store 1\n";

/// Why the store could not serve.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is no store that this version reads (its FORMAT says {found:?}): name another folder with --store", path.display())]
    Format { path: PathBuf, found: String },
    #[error("an artifact has a file {name:?}, but names are plain file names")]
    Name { name: String },
}

/// A folder of results.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    inputs: Mutex<inputs::Memo>,
}

impl Store {
    /// Opens the store at `root`, which is made when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made, or was written by a version that this one does not understand.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let format = root.join("FORMAT");
        match files::read(&format)? {
            Some(bytes) if bytes == FORMAT.as_bytes() => {}
            // A crash between making the file and filling it cannot happen (it is renamed), an empty disk can.
            Some(bytes) if !bytes.is_empty() => {
                return Err(StoreError::Format {
                    path: root.into(),
                    found: String::from_utf8_lossy(&bytes).trim().chars().take(80).collect(),
                });
            }
            _ => {
                files::make_folder(root)?;
                files::replace(&format, FORMAT.as_bytes())?;
                ignore_in_git(root)?;
            }
        }
        Ok(Store::at(root))
    }

    /// A store that is only read: nothing is made, and every look-up misses where there is none.
    pub fn peek(root: &Path) -> Store {
        Store::at(root)
    }

    fn at(root: &Path) -> Store {
        Store {
            root: root.into(),
            inputs: Mutex::new(inputs::Memo::read(&root.join("inputs.txt"))),
        }
    }

    /// Where the store lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }
}

/// The store lies in the user's checkout by default and is never meant to be committed.
fn ignore_in_git(root: &Path) -> Result<(), StoreError> {
    let path = root.join(".gitignore");
    if path.exists() {
        return Ok(());
    }
    files::replace(&path, b"*\n")
}
