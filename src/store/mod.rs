//! The store: results under the hash of what they were computed from.
//!
//! Owns keys and their documents, artifacts, cells, unfinished sums, remembered digests of inputs, locks, housekeeping,
//! and how all of them survive crashes. Deliberately knows nothing of stages, of pipelines and of tensors.
//! `docs/store.md` tells users the layout and what is guaranteed.
//!
//! ```text
//! FORMAT               one line, `secateur store 1`
//! LOCK                 a kernel lock: shared by runs, exclusive for housekeeping
//! artifacts/ab/<key>/  key.json (the document), manifest.json (each file's digest), files/
//! cells/ab/<key>       a line of JSON and its own hash
//! outlines/<key>       what a model was made of, for explanations alone
//! partial/<key>        sums of a pass that was interrupted
//! inputs.txt           digests of input files by (device, inode, size, mtime, ctime)
//! leases/<key>         a kernel lock while a stage computes, or a run is at work
//! runs/<id>.json       the record of a run; `<id>.pin` beside it keeps its results
//! damaged/             what failed its digest, set aside
//! ```
//!
//! Artifacts and cells are written once and never changed: in a temporary file or folder of the same folder, synced,
//! renamed. A wrong byte is a miss, never a result. No guarantee depends on a lock.

mod artifact;
mod cells;
mod faults;
pub(crate) mod files;
mod gc;
mod inputs;
mod inventory;
mod key;
#[cfg(test)]
mod laws;
mod lock;
mod outlines;
mod partial;
mod pins;
mod records;
mod sealed;
mod union;

pub use artifact::{Artifact, ArtifactFile, NewArtifact};
pub use cells::NewCell;
pub use gc::{Limits, Tidied};
pub use inputs::{Digest, DigestError, digest_file};
pub use inventory::{Entry, Kind, Tally, Verified};
pub use key::{Change, Document, Key, canonical};
pub use lock::{Busy, Lock, Patience, Wait};
pub use pins::Recorded;
pub use records::Recording;
pub use union::United;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The version of the layout above. It grows when an older secateur could misread what a newer one writes.
const VERSION: u32 = 1;

/// Why the store could not serve.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{action} {}: {source}{}", path.display(), advice(source.kind()))]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{} was written by a newer secateur (format {found}; this one reads {VERSION}): use that one, or name another \
         folder with --store", path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{} is no store of secateur (its FORMAT says {found:?}): name another folder with --store", path.display())]
    Foreign { path: PathBuf, found: String },
    #[error("there is no store in {}", path.display())]
    Missing { path: PathBuf },
    #[error(
        "the store {} cannot be written ({source}): name another with --store, and read this one with --also-store",
        path.display()
    )]
    ReadOnly { path: PathBuf, source: std::io::Error },
    #[error("cannot read {}, the record of a pinned run: delete it or its pin", path.display())]
    Pinned { path: PathBuf },
    #[error("{}", no_such_run(id, ids))]
    NoSuchRun { id: String, ids: Vec<String> },
    #[error("run {id}: its result {key} is not in the store any more: run its pipeline again")]
    Gone { id: String, key: Key },
    #[error("{} is no export of a run: it holds {entry:?}", path.display())]
    NoExport { path: PathBuf, entry: String },
    #[error("the file system of {} cannot lock, so nobody knows whether a run is at work there: nothing is deleted", path.display())]
    Unlocked { path: PathBuf },
    #[error("an artifact has a file {name:?}, but names are plain file names")]
    Name { name: String },
}

/// What a person can do about it.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; free some space and run again: what is finished is kept"
        }
        _ => "",
    }
}

fn no_such_run(id: &str, ids: &[String]) -> String {
    match ids {
        [] => format!("no run on record has an id that begins with {id:?}"),
        ids => format!("{id:?} is the beginning of several runs: {}", ids.join(", ")),
    }
}

/// Something in the store that was not what had been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: String,
    /// Where it lies now; none when it could not be moved.
    pub aside: Option<PathBuf>,
}

impl std::fmt::Display for Incident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Incident { path, fault, aside } = self;
        write!(f, "{} is damaged ({fault}) and not used", path.display())?;
        match aside {
            Some(aside) => write!(f, ": it lies in {} now", aside.display()),
            None => Ok(()),
        }
    }
}

/// A folder of results.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Whether it is only looked at.
    read_only: bool,
    /// Stores that are asked when this one has nothing.
    also: Vec<Store>,
    inputs: Mutex<inputs::Memo>,
    incidents: Mutex<Vec<Incident>>,
}

impl Store {
    /// Opens the store at `root`, which is made when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made, or was written by a version that this one does not understand.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        if !is_store(root)? {
            make(root)?;
        }
        Ok(Store::at(root, false))
    }

    /// Opens a store that is there.
    ///
    /// # Errors
    /// As [`Store::open`], and when there is none.
    pub fn existing(root: &Path) -> Result<Store, StoreError> {
        match is_store(root)? {
            true => Ok(Store::at(root, false)),
            false => Err(StoreError::Missing { path: root.into() }),
        }
    }

    /// Opens a store that is there, only to read it.
    ///
    /// # Errors
    /// When there is none, or none that this version reads.
    pub fn readable(root: &Path) -> Result<Store, StoreError> {
        match is_store(root)? {
            true => Ok(Store::peek(root)),
            false => Err(StoreError::Missing { path: root.into() }),
        }
    }

    /// A store that is only read: nothing is made or moved, and every look-up misses where there is none.
    pub fn peek(root: &Path) -> Store {
        Store::at(root, true)
    }

    /// This store, and others that are asked when it has nothing; nothing is written to them.
    ///
    /// # Errors
    /// When one of them is no store.
    pub fn with_also(mut self, roots: &[PathBuf]) -> Result<Store, StoreError> {
        for root in roots {
            self.also.push(Store::readable(root)?);
        }
        Ok(self)
    }

    fn at(root: &Path, read_only: bool) -> Store {
        let memory = root.join("inputs.txt");
        let remembered = inputs::Memo::read(&memory);
        let damaged = remembered.is_none();
        let store = Store {
            root: root.into(),
            read_only,
            also: Vec::new(),
            inputs: Mutex::new(remembered.unwrap_or_default()),
            incidents: Mutex::default(),
        };
        if damaged {
            store.set_aside(&memory, "its bytes are not what was written".into());
        }
        store
    }

    /// Where the store lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// This store, then those that are asked when it has nothing.
    fn all(&self) -> impl Iterator<Item = &Store> {
        std::iter::once(self).chain(&self.also)
    }

    /// What was found damaged since this was last asked, here and in the stores beside.
    pub fn incidents(&self) -> Vec<Incident> {
        self.all()
            .flat_map(|store| std::mem::take(&mut *store.noted()))
            .collect()
    }

    fn noted(&self) -> MutexGuard<'_, Vec<Incident>> {
        self.incidents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves something damaged out of the way and reports it.
    fn set_aside(&self, path: &Path, fault: String) {
        let aside = match self.read_only {
            true => None,
            false => files::set_aside(path, &self.root.join("damaged")).ok(),
        };
        let incident = Incident {
            path: path.into(),
            fault,
            aside,
        };
        tracing::warn!("{incident}");
        self.noted().push(incident);
    }

    /// Prepares for writing. A store that was deleted meanwhile is made again.
    fn write(&self) -> Result<(), StoreError> {
        if !self.read_only && self.root.join("FORMAT").exists() {
            return Ok(());
        }
        if self.read_only {
            let source = ErrorKind::ReadOnlyFilesystem.into();
            return Err(StoreError::ReadOnly {
                path: self.root.clone(),
                source,
            });
        }
        tracing::warn!("the store {} is gone; it is made again", self.root.display());
        make(&self.root)
    }

    /// What a failed write means for the store as a whole.
    fn unwritable(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Io { source, .. }
                if matches!(
                    source.kind(),
                    ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
                ) =>
            {
                StoreError::ReadOnly {
                    path: self.root.clone(),
                    source,
                }
            }
            other => other,
        }
    }
}

/// Whether a folder is a store that this version reads.
fn is_store(root: &Path) -> Result<bool, StoreError> {
    let Some(bytes) = files::read(&root.join("FORMAT"))? else {
        return Ok(false);
    };
    let text = String::from_utf8_lossy(&bytes);
    // A power cut may leave less than was written of a file that the disk said was safe.
    if format().starts_with(&*text) {
        return Ok(text == format());
    }
    let version = text
        .strip_prefix("secateur store ")
        .and_then(|rest| rest.strip_suffix('\n')?.parse().ok());
    let path = root.into();
    match version {
        Some(found) if found > VERSION => Err(StoreError::Newer { path, found }),
        _ => Err(StoreError::Foreign {
            path,
            found: text.trim().chars().take(80).collect(),
        }),
    }
}

fn format() -> String {
    format!("secateur store {VERSION}\n")
}

fn make(root: &Path) -> Result<(), StoreError> {
    files::make_folder(root)?;
    // The store lies in the user's checkout by default and is never meant to be committed.
    let ignored = root.join(".gitignore");
    if !ignored.exists() {
        files::replace(&ignored, b"*\n")?;
    }
    files::replace(&root.join("FORMAT"), format().as_bytes())
}

/// Whether reading failed for want of something that this process has not enough of: no fault of the file.
fn is_shortage(error: &StoreError) -> bool {
    const SHORT: [i32; 3] = [12, 23, 24]; // ENOMEM, ENFILE, EMFILE, the same on Linux and macOS
    matches!(error, StoreError::Io { source, .. }
        if source.kind() == ErrorKind::OutOfMemory || source.raw_os_error().is_some_and(|code| SHORT.contains(&code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Checked = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn formats_are_told_apart() -> Checked {
        let folder = tempfile::tempdir()?;
        let open = |text: &str| std::fs::write(folder.path().join("FORMAT"), text).map(|()| Store::open(folder.path()));
        assert!(open("secateur store 1\n")?.is_ok());
        assert!(matches!(
            open("secateur store 2\n")?,
            Err(StoreError::Newer { found: 2, .. })
        ));
        for foreign in [
            "secateur store 0\n",
            "secateur store x\n",
            "something else",
            "secateur store 1\n\n",
        ] {
            assert!(matches!(open(foreign)?, Err(StoreError::Foreign { .. })), "{foreign:?}");
        }
        // What a power cut leaves of the right text is made whole.
        for torn in ["", "secateur sto"] {
            assert!(open(torn)?.is_ok());
            assert_eq!(
                std::fs::read_to_string(folder.path().join("FORMAT"))?,
                "secateur store 1\n"
            );
        }
        let newer = StoreError::Newer {
            path: "s".into(),
            found: 2,
        }
        .to_string();
        assert_eq!(
            newer,
            "s was written by a newer secateur (format 2; this one reads 1): use that one, or name another folder with \
             --store"
        );
        Ok(())
    }

    #[test]
    fn a_second_store_is_asked_and_never_written() -> Checked {
        let (own, other, none) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
        let cell = |name: &str| NewCell {
            document: Document::new().with("cell", name),
            value: serde_json::json!(name),
        };
        let second = Store::open(other.path())?;
        second.put_cells(&[cell("there")])?;
        let artifact = second.put_artifact(&Document::new().with("kind", "a"), &NewArtifact::default())?;
        let store = Store::open(own.path())?.with_also(&[other.path().into()])?;
        store.put_cells(&[cell("here")])?;
        for name in ["here", "there"] {
            assert_eq!(store.cell(cell(name).document.key())?, Some(serde_json::json!(name)));
        }
        assert_eq!(store.artifact(artifact.key)?, Some(artifact));
        assert_eq!(second.cell(cell("here").document.key())?, None);
        // A damaged result there is reported and left where it is.
        let path = second.cell_path(cell("there").document.key());
        std::fs::write(&path, "rubbish")?;
        assert_eq!(store.cell(cell("there").document.key())?, None);
        let incidents = store.incidents();
        assert_eq!(
            (incidents.len(), &incidents[0].path, &incidents[0].aside),
            (1, &path, &None)
        );
        assert!(path.exists() && !other.path().join("damaged").exists());
        let missing = Store::open(own.path())?.with_also(&[none.path().into()]);
        assert!(matches!(missing, Err(StoreError::Missing { .. })));
        assert!(matches!(
            Store::peek(own.path()).put_cells(&[cell("no")]),
            Err(StoreError::ReadOnly { .. })
        ));
        Ok(())
    }

    #[test]
    fn a_deleted_store_comes_back() -> Checked {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("store");
        let store = Store::open(&root)?;
        std::fs::remove_dir_all(&root)?;
        let cell = NewCell {
            document: Document::new(),
            value: serde_json::json!(1),
        };
        assert_eq!(store.cell(cell.document.key())?, None);
        store.put_cells(std::slice::from_ref(&cell))?;
        assert_eq!(
            Store::open(&root)?.cell(cell.document.key())?,
            Some(serde_json::json!(1))
        );
        Ok(())
    }
}
