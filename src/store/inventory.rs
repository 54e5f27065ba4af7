//! What lies in a store: a list, its sizes, and whether every byte is what was written.
//!
//! Owns the walk over folders. Deliberately deletes nothing; what is damaged is set aside as any reader would.

use super::{Key, Store, StoreError, files, inputs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A kind of thing that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Artifact,
    Cell,
    /// Sums of an interrupted pass.
    Partial,
    /// A run's record.
    Run,
    /// Damaged results, set aside.
    Damaged,
    /// What a crash left on its way.
    Rubbish,
    /// Memories and marks.
    Other,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Artifact,
        Kind::Cell,
        Kind::Partial,
        Kind::Run,
        Kind::Damaged,
        Kind::Rubbish,
        Kind::Other,
    ];

    /// What several of them are called.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Artifact => "artifacts",
            Kind::Cell => "cells",
            Kind::Partial => "interrupted passes",
            Kind::Run => "records of runs",
            Kind::Damaged => "damaged results, set aside",
            Kind::Rubbish => "left by crashes",
            Kind::Other => "other files",
        }
    }
}

/// One thing in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// Of artifacts, cells and sums; none where the name is no key.
    pub key: Option<Key>,
    pub path: PathBuf,
    pub bytes: u64,
    /// When it was last used, as far as that was marked.
    pub used: SystemTime,
}

/// How many and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    pub bytes: u64,
}

impl Tally {
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What reading everything found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub whole: u64,
    pub damaged: u64,
}

impl Store {
    /// Everything in the store, sorted by path. What vanishes meanwhile is left out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        for path in list(&self.root)? {
            let name = name(&path);
            match name.as_str() {
                "artifacts" => self.sharded(&path, Kind::Artifact, &mut found)?,
                "cells" => self.sharded(&path, Kind::Cell, &mut found)?,
                "partial" => list(&path)?
                    .iter()
                    .for_each(|path| push(&mut found, Kind::Partial, path)),
                "runs" => list(&path)?.iter().for_each(|path| push(&mut found, Kind::Run, path)),
                "damaged" | "replaced" => list(&path)?
                    .iter()
                    .for_each(|path| push(&mut found, Kind::Damaged, path)),
                "leases" => list(&path)?
                    .iter()
                    .for_each(|path| push(&mut found, Kind::Rubbish, path)),
                _ => push(&mut found, Kind::Other, &path),
            }
        }
        Ok(found)
    }

    fn sharded(&self, folder: &Path, kind: Kind, found: &mut Vec<Entry>) -> Result<(), StoreError> {
        for shard in list(folder)? {
            if shard.is_dir() {
                list(&shard)?.iter().for_each(|path| push(found, kind, path));
            } else {
                push(found, Kind::Rubbish, &shard);
            }
        }
        Ok(())
    }

    /// How much of each kind there is.
    ///
    /// # Errors
    /// As [`Store::entries`].
    pub fn size(&self) -> Result<BTreeMap<Kind, Tally>, StoreError> {
        let mut sizes = BTreeMap::<Kind, Tally>::new();
        for entry in self.entries()? {
            sizes.entry(entry.kind).or_default().add(entry.bytes);
        }
        Ok(sizes)
    }

    /// Reads everything through its hashes. What is damaged is reported as an incident, and set aside.
    ///
    /// # Errors
    /// When a folder cannot be read, or this process has too little memory or too few descriptors.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        for entry in self.entries()? {
            let before = self.noted().len();
            match (entry.kind, entry.key) {
                (Kind::Cell, Some(key)) if entry.path == self.cell_path(key) => drop(self.own_cell(key)?),
                (Kind::Artifact, Some(key)) if entry.path == self.artifact_path(key) => drop(self.own_artifact(key)?),
                (Kind::Partial, Some(key)) => drop(self.partial(key)),
                (Kind::Cell | Kind::Artifact | Kind::Partial, _) => {
                    self.set_aside(&entry.path, "it lies where its name does not belong".into());
                }
                (Kind::Other, _) if name(&entry.path) == "inputs.txt" => {
                    if inputs::Memo::read(&entry.path).is_none() {
                        self.set_aside(&entry.path, "its bytes are not what was written".into());
                    }
                }
                _ => continue,
            }
            match self.noted().len() == before {
                true => verified.whole += 1,
                false => verified.damaged += 1,
            }
        }
        Ok(verified)
    }
}

fn push(found: &mut Vec<Entry>, kind: Kind, path: &Path) {
    let name = name(path);
    let kind = if name.starts_with(files::TEMPORARY) {
        Kind::Rubbish
    } else {
        kind
    };
    if let Some((bytes, used)) = weigh(path) {
        found.push(Entry {
            kind,
            key: Key::parse(&name),
            path: path.into(),
            bytes,
            used,
        });
    }
}

/// Bytes of a file or of all files in a folder, and when it was last used: an artifact's manifest tells that.
fn weigh(path: &Path) -> Option<(u64, SystemTime)> {
    let data = std::fs::symlink_metadata(path).ok()?;
    let used = data.modified().ok()?;
    if !data.is_dir() {
        return Some((data.len(), used));
    }
    let inside = list(path).ok()?;
    let bytes = inside
        .iter()
        .filter_map(|path| weigh(path))
        .map(|(bytes, _)| bytes)
        .sum();
    let manifest = std::fs::metadata(path.join("manifest.json")).and_then(|data| data.modified());
    Some((bytes, manifest.unwrap_or(used)))
}

/// A folder's entries in order; none where there is no such folder.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => files::at(other, "cannot read", folder)?,
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
