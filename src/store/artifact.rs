//! Artifacts: the files that a stage leaves, in a folder under the stage's key.
//!
//! The folder is built beside its place and renamed as a whole, so an artifact is there wholly or not at all. Its
//! manifest names each file's digest, and reading verifies every one.

use super::files::{self, make_folder, sync_folder, write_new};
use super::sealed::{seal, unseal};
use super::{Document, Key, Store, StoreError, is_shortage};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// How often an artifact is written before whoever takes it away again has won.
const TRIES: u32 = 8;

/// What a stage leaves, to be stored.
#[derive(Clone, Debug, Default)]
pub struct NewArtifact {
    /// Contents by plain file name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What else is to be remembered with the files: counts and lines for the reader.
    pub notes: Value,
    /// The cells that it was made of, so that housekeeping keeps them with it.
    pub cells: BTreeSet<Key>,
}

/// A stored file, verified when it was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactFile {
    pub path: PathBuf,
    pub digest: Key,
    pub bytes: u64,
}

/// A stored artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    pub key: Key,
    /// By name.
    pub files: BTreeMap<String, ArtifactFile>,
    pub notes: Value,
    /// The cells that it was made of.
    pub cells: BTreeSet<Key>,
}

impl Artifact {
    /// The files for the user, by name. A name that begins with a dot stays in the store: it is for later comparisons.
    pub fn shown(&self) -> impl Iterator<Item = (&String, &ArtifactFile)> {
        self.files.iter().filter(|(name, _)| !name.starts_with('.'))
    }

    /// Reads one of its files, verified once more.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.files.get(name) else {
            return Ok(None);
        };
        Ok(files::read(&file.path)?.filter(|bytes| Key::of(bytes) == file.digest))
    }
}

impl Store {
    pub(super) fn artifact_path(&self, key: Key) -> PathBuf {
        self.root.join("artifacts").join(key.shard()).join(key.to_string())
    }

    /// The artifact under a key, if it is there and every byte is right. A damaged one is set aside and misses.
    ///
    /// # Errors
    /// When this process has too little memory or too few descriptors to look.
    pub fn artifact(&self, key: Key) -> Result<Option<Artifact>, StoreError> {
        for store in self.all() {
            if let Some(artifact) = store.own_artifact(key)? {
                if !store.read_only {
                    files::mark_used(&store.artifact_path(key).join("manifest.json"));
                }
                return Ok(Some(artifact));
            }
        }
        Ok(None)
    }

    pub(super) fn own_artifact(&self, key: Key) -> Result<Option<Artifact>, StoreError> {
        let folder = self.artifact_path(key);
        loop {
            let Some(seen) = files::identity(&folder) else {
                return Ok(None);
            };
            let fault = match load(&folder, key) {
                Ok(Ok(artifact)) => return Ok(Some(artifact)),
                Ok(Err(fault)) => fault,
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => error.to_string(),
            };
            if files::identity(&folder) == Some(seen) {
                self.set_aside(&folder, fault);
                return Ok(None);
            }
            // Another process has put a whole one there, or taken the damaged one away.
        }
    }

    /// The document of the artifact under a key, for explaining what changed since.
    pub fn artifact_document(&self, key: Key) -> Option<Document> {
        self.all().find_map(|store| {
            let bytes = files::read(&store.artifact_path(key).join("key.json")).ok()??;
            let document = Document::from_value(serde_json::from_slice(&bytes).ok()?)?;
            (document.key() == key).then_some(document)
        })
    }

    /// Stores an artifact under its document's key and returns it as [`Store::artifact`] would.
    ///
    /// Where the key is taken by the same bytes nothing is written; other bytes are replaced.
    pub fn put_artifact(&self, document: &Document, new: &NewArtifact) -> Result<Artifact, StoreError> {
        if let Some(name) = new.files.keys().find(|name| !plain(name)) {
            return Err(StoreError::Name { name: name.clone() });
        }
        self.write()?;
        self.write_artifact(document, new)
            .map_err(|error| self.unwritable(error))
    }

    fn write_artifact(&self, document: &Document, new: &NewArtifact) -> Result<Artifact, StoreError> {
        let key = document.key();
        let place = self.artifact_path(key);
        let parent = place.parent().map(PathBuf::from).unwrap_or_default();
        make_folder(&parent)?;
        let manifest = manifest(new);
        let mut tries = 0;
        loop {
            if let Some(present) = self.own_artifact(key)? {
                if files::read(&place.join("manifest.json"))?.as_deref() == Some(manifest.as_bytes()) {
                    return Ok(present);
                }
                files::set_aside(&place, &self.root.join("replaced"))?;
            }
            let temporary = files::temporary_folder(&parent)?;
            let inner = temporary.path().join("files");
            make_folder(&inner)?;
            for (name, bytes) in &new.files {
                write_new(&inner.join(name), bytes)?;
            }
            write_new(&temporary.path().join("key.json"), document.text().as_bytes())?;
            write_new(&temporary.path().join("manifest.json"), manifest.as_bytes())?;
            sync_folder(&inner)?;
            sync_folder(temporary.path())?;
            // The rename fails when another process has put a folder there; then that one is looked at.
            let fault = match files::rename(temporary.path(), &place) {
                Ok(()) => {
                    let _ = temporary.keep();
                    sync_folder(&parent)?;
                    match load(&place, key)? {
                        Ok(artifact) => return Ok(artifact),
                        // It was deleted, or taken for the damaged one that lay there before.
                        Err(fault) => std::io::Error::other(fault),
                    }
                }
                Err(error) => error,
            };
            tries += 1;
            if tries == TRIES || (fault.kind() != ErrorKind::Other && !place.exists()) {
                return Err(StoreError::Io {
                    action: "cannot store",
                    path: place,
                    source: fault,
                });
            }
        }
    }
}

/// A name that stays inside its folder.
fn plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(part)) if part == name) && components.next().is_none()
}

fn manifest(new: &NewArtifact) -> String {
    let files: serde_json::Map<String, Value> = new
        .files
        .iter()
        .map(|(name, bytes)| {
            let entry = json!({"digest": Key::of(bytes).to_string(), "bytes": bytes.len()});
            (name.clone(), entry)
        })
        .collect();
    let mut manifest = json!({"files": files, "notes": new.notes});
    if !new.cells.is_empty() {
        manifest["cells"] = json!(new.cells);
    }
    seal(&super::canonical(&manifest))
}

/// The artifact in a folder, or what is wrong with it.
pub(super) fn load(folder: &Path, key: Key) -> Result<Result<Artifact, String>, StoreError> {
    let document = files::read(&folder.join("key.json"))?;
    if document.is_none_or(|bytes| Key::of(&bytes) != key) {
        return Ok(Err("its key document is not the one that was hashed".into()));
    }
    let listed = files::read(&folder.join("manifest.json"))?.and_then(|bytes| Manifest::parse(&bytes));
    let Some(Manifest { files, notes, cells }) = listed else {
        return Ok(Err("its manifest is not what was written".into()));
    };
    let mut found = BTreeMap::new();
    for (name, digest) in files {
        let path = folder.join("files").join(&name);
        let Some(bytes) = files::read(&path)? else {
            return Ok(Err(format!("{name} is missing")));
        };
        if Key::of(&bytes) != digest {
            return Ok(Err(format!("{name} has other bytes than were written")));
        }
        let bytes = bytes.len() as u64;
        found.insert(name, ArtifactFile { path, digest, bytes });
    }
    Ok(Ok(Artifact {
        key,
        files: found,
        notes,
        cells,
    }))
}

/// What a manifest lists.
pub(super) struct Manifest {
    pub files: BTreeMap<String, Key>,
    pub notes: Value,
    pub cells: BTreeSet<Key>,
}

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Option<Manifest> {
        let mut manifest: Value = serde_json::from_str(unseal(bytes)?).ok()?;
        let notes = manifest.get_mut("notes").map(Value::take).unwrap_or_default();
        let files = manifest.get("files")?.as_object()?.iter();
        let files = files.map(|(name, entry)| {
            let digest = Key::parse(entry.get("digest")?.as_str()?)?;
            plain(name).then(|| (name.clone(), digest))
        });
        let cells = manifest.get("cells").and_then(Value::as_array).into_iter().flatten();
        Some(Manifest {
            files: files.collect::<Option<_>>()?,
            notes,
            cells: cells.map(|cell| Key::parse(cell.as_str()?)).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(text: &str) -> NewArtifact {
        NewArtifact {
            files: BTreeMap::from([
                ("a.csv".to_owned(), text.as_bytes().to_vec()),
                ("b.json".into(), b"{}".to_vec()),
            ]),
            notes: json!({"cells": 3}),
            cells: BTreeSet::from([Key::of(b"a cell")]),
        }
    }

    type Checked = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn artifacts_come_back() -> Checked {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let document = Document::new().with("kind", "test");
        assert_eq!(store.artifact(document.key())?, None);
        let stored = store.put_artifact(&document, &artifact("x"))?;
        assert_eq!(store.artifact(document.key())?.as_ref(), Some(&stored));
        assert_eq!(stored.read("a.csv")?, Some(b"x".to_vec()));
        assert_eq!(stored.notes, json!({"cells": 3}));
        assert_eq!(stored.cells, BTreeSet::from([Key::of(b"a cell")]));
        assert_eq!(store.artifact_document(document.key()), Some(document.clone()));
        assert_eq!(store.put_artifact(&document, &artifact("x"))?, stored);
        let other = store.put_artifact(&document, &artifact("y"))?;
        assert_eq!(other.read("a.csv")?, Some(b"y".to_vec()));
        Ok(())
    }

    #[test]
    fn any_wrong_byte_is_a_miss() -> Checked {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let document = Document::new().with("kind", "test");
        for name in ["key.json", "manifest.json", "files/a.csv", "files/b.json"] {
            store.put_artifact(&document, &artifact("content"))?;
            let path = store.artifact_path(document.key()).join(name);
            let mut bytes = std::fs::read(&path)?;
            bytes[0] ^= 1;
            std::fs::write(&path, bytes)?;
            assert_eq!(store.artifact(document.key())?, None, "{name}");
            store.put_artifact(&document, &artifact("content"))?;
            std::fs::remove_file(&path)?;
            assert_eq!(store.artifact(document.key())?, None, "{name} gone");
        }
        Ok(())
    }

    #[test]
    fn names_stay_inside() {
        assert!(plain("a.csv"));
        for name in ["", ".", "..", "a/b", "/a", "a/"] {
            assert!(!plain(name), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_umask_allows() -> Checked {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir()?;
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "")?;
        let store = Store::open(&folder.path().join("store"))?;
        let stored = store.put_artifact(&Document::new(), &artifact("x"))?;
        let mode = |path: &Path| std::fs::metadata(path).map(|data| data.permissions().mode() & 0o777);
        assert_eq!(mode(&stored.files["a.csv"].path)?, mode(&plain)?);
        assert_eq!(mode(&store.root().join("FORMAT"))?, mode(&plain)?);
        Ok(())
    }
}
