//! Stores made one: results of other stores taken in, and a run's results packed into one file and unpacked.
//!
//! Owns what is copied and how it is checked on the way. Deliberately trusts nobody: whatever comes from elsewhere is read
//! through its hashes, and what fails them is reported and left out.

use super::inventory::{Entry, Kind, Tally, name};
use super::{Artifact, Incident, Key, NewArtifact, Store, StoreError, cells, files};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Cells that are written together.
const TOGETHER: usize = 1000;

/// What taking in another store did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct United {
    pub cells: Tally,
    pub artifacts: Tally,
    pub runs: Tally,
    /// What was here already.
    pub present: u64,
    /// Results with the key of one here and other bytes; those here stay.
    pub differing: u64,
}

impl Store {
    /// Takes in whatever another store has and this one lacks. Damaged results are left out, as incidents of the other.
    ///
    /// # Errors
    /// When the other cannot be listed, or this one cannot be written.
    pub fn unite(&self, other: &Store) -> Result<United, StoreError> {
        let mut united = United::default();
        let mut waiting = Vec::new();
        for entry in other.entries()? {
            match (entry.kind, entry.key) {
                (Kind::Cell, Some(key)) => {
                    let Some(bytes) = other.cell_bytes(key)? else { continue };
                    match self.cell_bytes(key)? {
                        Some(own) if own == bytes => united.present += 1,
                        Some(_) => united.differs(&entry),
                        None => {
                            united.cells.add(entry.bytes);
                            waiting.push((key, bytes));
                        }
                    }
                    if waiting.len() == TOGETHER {
                        self.write_cells(waiting.drain(..))?;
                    }
                }
                (Kind::Artifact, Some(key)) => self.unite_artifact(other, key, &entry, &mut united)?,
                (Kind::Run, _) => self.unite_run(&entry, &mut united)?,
                _ => {}
            }
        }
        self.write_cells(waiting.drain(..))?;
        Ok(united)
    }

    /// The bytes of a cell's file that are what they should be.
    fn cell_bytes(&self, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
        // Whatever is damaged is dealt with, and reported, here.
        if self.own_cell(key)?.is_none() {
            return Ok(None);
        }
        let bytes = files::read(&self.cell_path(key))?;
        Ok(bytes.filter(|bytes| cells::decode(bytes, key).is_some()))
    }

    fn unite_artifact(&self, other: &Store, key: Key, entry: &Entry, united: &mut United) -> Result<(), StoreError> {
        let Some(theirs) = other.own_artifact(key)? else {
            return Ok(());
        };
        match self.own_artifact(key)? {
            Some(own) if own.content() == theirs.content() => united.present += 1,
            Some(_) => united.differs(entry),
            None => {
                let Some(document) = other.artifact_document(key) else {
                    return Ok(());
                };
                if let Some(new) = theirs.copy()? {
                    self.put_artifact(&document, &new)?;
                    united.artifacts.add(entry.bytes);
                }
            }
        }
        Ok(())
    }

    fn unite_run(&self, entry: &Entry, united: &mut United) -> Result<(), StoreError> {
        let target = self.runs_folder().join(name(&entry.path));
        // A pin is a wish of whoever keeps that store.
        if target.extension().is_none_or(|extension| extension != "json") {
            return Ok(());
        }
        if target.exists() {
            united.present += 1;
        } else if let Some(bytes) = files::read(&entry.path)? {
            self.write()?;
            files::make_folder(&self.runs_folder())?;
            files::replace(&target, &bytes).map_err(|error| self.unwritable(error))?;
            united.runs.add(entry.bytes);
        }
        Ok(())
    }

    /// Writes a run's record, its artifacts and the cells that they were made of into one file, a zip of their places in
    /// the store.
    ///
    /// # Errors
    /// When there is no such run, one of its results is not there any more, or the file cannot be written.
    pub fn export(&self, run: &str, target: &Path) -> Result<Tally, StoreError> {
        let run = self.find_run(run)?;
        let mut paths = vec![run.path.clone()];
        let mut cells = BTreeSet::new();
        for &key in &run.keys {
            let Some(artifact) = self.own_artifact(key)? else {
                return Err(StoreError::Gone { id: run.id, key });
            };
            let folder = self.artifact_path(key);
            paths.extend([folder.join("key.json"), folder.join("manifest.json")]);
            paths.extend(artifact.files.into_values().map(|file| file.path));
            cells.extend(artifact.cells);
        }
        for key in cells {
            // An artifact is a result without its cells too; those that are gone are only a loss of reuse.
            if self.own_cell(key)?.is_some() {
                paths.push(self.cell_path(key));
            }
        }
        let mut packed = Tally::default();
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        for path in paths {
            let Some(bytes) = files::read(&path)? else { continue };
            let name = path
                .strip_prefix(&self.root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            let written = zip.start_file(name, options).map_err(io::Error::from);
            let written = written.and_then(|()| io::Write::write_all(&mut zip, &bytes));
            files::at(written, "cannot write", target)?;
            packed.add(bytes.len() as u64);
        }
        let packed_bytes = files::at(zip.finish().map_err(io::Error::from), "cannot write", target)?;
        files::replace(target, packed_bytes.get_ref())?;
        Ok(packed)
    }

    /// Takes in what [`Store::export`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read or is no such file, or this store cannot be written.
    pub fn import(&self, source: &Path) -> Result<United, StoreError> {
        self.write()?;
        let folder = files::temporary_folder(&self.root).map_err(|error| self.unwritable(error))?;
        let mut archive = files::at(File::open(source), "cannot read", source)
            .and_then(|file| files::at(ZipArchive::new(file).map_err(io::Error::from), "cannot read", source))?;
        for index in 0..archive.len() {
            let mut entry = files::at(archive.by_index(index).map_err(io::Error::from), "cannot read", source)?;
            let place = entry
                .name()
                .map(|name| Path::new(&*name).to_owned())
                .unwrap_or_default();
            if !belongs(&place) {
                return Err(StoreError::NoExport {
                    path: source.into(),
                    entry: place.display().to_string(),
                });
            }
            let target = folder.path().join(&place);
            files::make_folder(target.parent().unwrap_or(folder.path()))?;
            let mut bytes = Vec::new();
            match entry.read_to_end(&mut bytes) {
                Ok(_) => {}
                // Not the bytes that were packed. Results are read through their hashes; a record is taken as it is.
                Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
                    if place.starts_with("runs") {
                        let incident = Incident {
                            path: source.join(&place),
                            fault: error.to_string(),
                            aside: None,
                        };
                        tracing::warn!("{incident}");
                        self.noted().push(incident);
                        continue;
                    }
                }
                Err(error) => return files::at(Err(error), "cannot read", source),
            }
            files::at(std::fs::write(&target, bytes), "cannot write", &target)?;
        }
        let packed = Store::peek(folder.path());
        let united = self.unite(&packed)?;
        for incident in packed.incidents() {
            self.noted().push(incident);
        }
        Ok(united)
    }
}

impl United {
    fn differs(&mut self, entry: &Entry) {
        tracing::warn!(
            "{} is another result of the same key; the one here stays",
            entry.path.display()
        );
        self.differing += 1;
    }
}

impl Artifact {
    /// What it holds, wherever it lies.
    fn content(&self) -> impl PartialEq + '_ {
        let files: Vec<(&String, Key)> = self.files.iter().map(|(name, file)| (name, file.digest)).collect();
        (files, &self.notes, &self.cells)
    }

    /// The artifact, to be stored elsewhere; none when it is no longer whole.
    fn copy(&self) -> Result<Option<NewArtifact>, StoreError> {
        let mut new = NewArtifact {
            notes: self.notes.clone(),
            cells: self.cells.clone(),
            ..NewArtifact::default()
        };
        for name in self.files.keys() {
            let Some(bytes) = self.read(name)? else { return Ok(None) };
            new.files.insert(name.clone(), bytes);
        }
        Ok(Some(new))
    }
}

/// Whether a name in an export is the place of a record, an artifact or a cell.
fn belongs(place: &Path) -> bool {
    let plain = place.components().all(|part| matches!(part, Component::Normal(_)));
    let first = place
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    plain && matches!(first.as_deref(), Some("runs" | "artifacts" | "cells"))
}
