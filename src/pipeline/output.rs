//! The output folder: one folder a step, and `run.json`.
//!
//! Owns what is replaced, left alone and deleted there. Only files that a step may write, in folders that an earlier
//! `run.json` names, are ever deleted; whatever else lies there is the user's.

use super::{Previous, Record, Stage, StageRun};
use crate::store::{Artifact, Busy, Key, Lock, Patience, Store, StoreError, files};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A pipeline's output folder, locked.
pub struct Output {
    folder: PathBuf,
    /// What the last run left there.
    pub previous: Previous,
    _lock: Lock,
}

impl Output {
    /// Makes the folder if need be, and locks it.
    pub fn open(folder: &Path, patience: &mut Patience<'_>) -> Result<Output, Busy> {
        files::make_folder(folder)?;
        let lock = Lock::folder(folder, patience)?;
        remove_rubbish(folder)?;
        let previous = Output::previous(folder);
        Ok(Output {
            folder: folder.into(),
            previous,
            _lock: lock,
        })
    }

    /// What the last run left in a folder, which need not be there.
    pub fn previous(folder: &Path) -> Previous {
        match files::read(&folder.join("run.json")) {
            Ok(Some(bytes)) => Previous::parse(&bytes),
            _ => Previous::default(),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts an artifact's files into the step's folder; files whose bytes are right are not touched. False when the
    /// artifact is no longer in the store as it was.
    pub(super) fn place(&self, stage: &dyn Stage, artifact: &Artifact) -> Result<bool, StoreError> {
        let folder = self.folder.join(stage.id());
        files::make_folder(&folder)?;
        remove_rubbish(&folder)?;
        let mut changed = false;
        for (name, _) in artifact.shown() {
            let target = folder.join(name);
            let Some(bytes) = artifact.read(name)? else {
                return Ok(false);
            };
            if files::read(&target).ok().flatten().as_ref() == Some(&bytes) {
                continue;
            }
            files::replace_unsynced(&target, &bytes)?;
            changed = true;
        }
        for name in written(&folder, stage.names())? {
            if !artifact.files.contains_key(&name) {
                changed |= remove_file(&folder.join(name))?;
            }
        }
        if changed {
            files::sync_folder(&folder)?;
        }
        Ok(true)
    }

    /// Deletes a step's results where they are not those of `key` (none: whatever they are).
    pub(super) fn clear_stale(&self, stage: &dyn Stage, key: Option<Key>) -> Result<(), StoreError> {
        let Some(previous) = self.previous.stages.get(stage.id()) else {
            return Ok(());
        };
        if key.is_some() && previous.key == key {
            return Ok(());
        }
        remove_step(&self.folder.join(stage.id()), stage.names())
    }

    /// Deletes a step's results that are not those of `key`, whatever run left them; false where there are none now.
    ///
    /// The record tells, or, where the step was not asked for in the run before either, the artifact of that key.
    pub(super) fn keep_only(&self, stage: &dyn Stage, key: Key, store: &Store) -> Result<bool, StoreError> {
        let known = self.previous.stages.get(stage.id()).and_then(|before| before.key);
        if known == Some(key) {
            return Ok(true);
        }
        if known.is_none()
            && let Some(artifact) = store.artifact(key)?
            && self.holds(stage, &artifact)?
        {
            return Ok(true);
        }
        self.clear_stale(stage, None)?;
        Ok(false)
    }

    /// Whether a step's folder holds an artifact's files as they are.
    fn holds(&self, stage: &dyn Stage, artifact: &Artifact) -> Result<bool, StoreError> {
        let folder = self.folder.join(stage.id());
        for (name, file) in artifact.shown() {
            if files::read(&folder.join(name))?.is_none_or(|bytes| Key::of(&bytes) != file.digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether an earlier run left a folder of this step.
    pub(super) fn has(&self, stage: &dyn Stage) -> bool {
        self.previous.stages.contains_key(stage.id()) && self.folder.join(stage.id()).is_dir()
    }

    /// Deletes what steps of an earlier run left that this pipeline has not, or has as another kind.
    ///
    /// `names` tells which files a kind of step writes.
    pub fn remove_gone(
        &self,
        stages: &[StageRun],
        names: &dyn Fn(&str) -> &'static [&'static str],
    ) -> Result<(), StoreError> {
        for (id, before) in &self.previous.stages {
            let plain = !id.is_empty() && !id.contains('/') && id != "." && id != "..";
            if !plain {
                continue;
            }
            let folder = self.folder.join(id);
            match stages.iter().find(|stage| stage.id == *id) {
                None => remove_step(&folder, names(&before.kind))?,
                Some(now) if now.kind != before.kind => {
                    let kept = names(now.kind);
                    let gone: Vec<&str> = names(&before.kind)
                        .iter()
                        .copied()
                        .filter(|name| !kept.contains(name))
                        .collect();
                    remove_files(&folder, &gone)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Writes `run.json`, last.
    pub fn write_record(&self, record: &Record) -> Result<(), StoreError> {
        files::replace(&self.folder.join("run.json"), record.text().as_bytes())
    }
}

/// The names of a step's files, those of a form (`sensitivity.*.csv`) by what lies in the folder.
fn written(folder: &Path, names: &[&str]) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for name in names {
        let Some((start, end)) = name.split_once('*') else {
            found.push((*name).to_owned());
            continue;
        };
        for entry in files::at(fs::read_dir(folder), "cannot read", folder)?.flatten() {
            let entry = entry.file_name().to_string_lossy().into_owned();
            if entry.len() > start.len() + end.len() && entry.starts_with(start) && entry.ends_with(end) {
                found.push(entry);
            }
        }
    }
    Ok(found)
}

/// Deletes files of a step; false where it has no folder.
fn remove_files(folder: &Path, names: &[&str]) -> Result<bool, StoreError> {
    // Never through a link: what it points at was not made here.
    if !fs::symlink_metadata(folder).is_ok_and(|data| data.is_dir()) {
        return Ok(false);
    }
    for name in written(folder, names)? {
        remove_file(&folder.join(name))?;
    }
    Ok(true)
}

/// Deletes a step's files, and its folder when nothing of the user's is in it.
fn remove_step(folder: &Path, names: &[&str]) -> Result<(), StoreError> {
    if !remove_files(folder, names)? {
        return Ok(());
    }
    remove_rubbish(folder)?;
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            tracing::warn!("{} is left, for it holds files that no step wrote", folder.display());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => files::at(other, "cannot delete", folder),
    }
}

/// Deletes what runs that were killed left under temporary names.
fn remove_rubbish(folder: &Path) -> Result<(), StoreError> {
    for entry in files::at(fs::read_dir(folder), "cannot read", folder)?.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_string_lossy().starts_with(files::TEMPORARY) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Deletes a file and says whether it was there.
fn remove_file(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => files::at(other, "cannot delete", path).map(|()| true),
    }
}
