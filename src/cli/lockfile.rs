//! `PIPELINE.lock`: what a pipeline's results are made of, to be committed beside the file, and refused when it differs.
//!
//! It holds, for each of the file's pipelines, the digests of inputs, each step's key with the document that it is the
//! hash of, and versions.

use super::load::Loaded;
use super::{CliError, say};
use crate::pipeline::Read;
use crate::store::{Document, Store};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the lock of a pipeline file lies: `night.lock` beside `night.yaml`.
pub fn path(file: &Path) -> PathBuf {
    file.with_extension("lock")
}

/// What one pipeline's results are made of, as far as that can be told now: a step that reads another's results waits for
/// them.
fn made_of(loaded: &Loaded, store: &Store) -> Result<Value, CliError> {
    let mut read = Read::new();
    let mut steps = Map::new();
    for stage in loaded.dag.stages() {
        if stage.needs().iter().any(|need| !read.contains_key(need)) {
            continue;
        }
        let document = stage
            .document(store, &read)
            .map_err(|failure| CliError::Stage(stage.id().to_owned(), failure.text()))?;
        if let Some(artifact) = store.artifact(document.key())? {
            read.insert(stage.id().to_owned(), artifact);
        }
        // What a gate holds against the past differs from run to run.
        if stage.depends_on_history() {
            continue;
        }
        let key = document.key();
        steps.insert(
            stage.id().to_owned(),
            json!({"key": key, "document": document.to_value()}),
        );
    }
    let inputs: Map<String, Value> = loaded
        .inputs()
        .into_iter()
        .map(|input| (input.path, json!({"digest": input.digest, "bytes": input.bytes})))
        .collect();
    Ok(json!({"inputs": inputs, "steps": steps, "versions": crate::stages::versions()}))
}

/// Writes the locks of files, each with all its pipelines, after they have run.
pub fn write(all: &[Loaded], store: &Store) -> Result<(), CliError> {
    let mut locks: BTreeMap<&Path, Map<String, Value>> = BTreeMap::new();
    for loaded in all {
        let made_of = made_of(loaded, store)?;
        locks
            .entry(&loaded.file)
            .or_default()
            .insert(loaded.name().to_owned(), made_of);
    }
    for (file, pipelines) in locks {
        let path = path(file);
        let text = format!("{:#}\n", json!({"version": 1, "pipelines": pipelines}));
        let fault = |source| CliError::File {
            path: path.clone(),
            source,
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut new = tempfile::Builder::new();
        let mut new = new.prefix(".secateur-lock-").tempfile_in(folder).map_err(fault)?;
        new.write_all(text.as_bytes()).map_err(fault)?;
        open_to_all(new.as_file()).map_err(fault)?;
        new.persist(&path).map_err(|error| fault(error.error))?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// A lock is committed, so others must be able to read it: temporary files are private.
#[cfg(unix)]
fn open_to_all(file: &std::fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn open_to_all(_: &std::fs::File) -> io::Result<()> {
    Ok(())
}

/// Refuses pipelines that differ from their locks, field by field. With `partial` a step whose document cannot be told yet
/// is let through.
pub fn hold(all: &[Loaded], store: &Store, partial: bool) -> Result<(), CliError> {
    let mut refused = false;
    let mut told: Vec<PathBuf> = Vec::new();
    for loaded in all {
        let path = path(&loaded.file);
        let lock = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Value>(&bytes)
                .ok()
                .filter(|lock| lock["version"] == 1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("there is no {}: write it with `secateur run --lock`", path.display());
                return Err(CliError::Usage(message));
            }
            Err(source) => return Err(CliError::File { path, source }),
        };
        let Some(lock) = lock else {
            let message = format!(
                "{} is no lock of this version: write it anew with --lock",
                path.display()
            );
            return Err(CliError::Usage(message));
        };
        let differences = match lock["pipelines"].get(loaded.name()) {
            None => vec![format!("the lock knows no pipeline {}", loaded.name())],
            Some(locked) => differences(locked, &made_of(loaded, store)?, partial),
        };
        for line in differences {
            if !told.contains(&path) {
                say(&format!(
                    "error: {} differs from {}",
                    loaded.file.display(),
                    path.display()
                ));
                told.push(path.clone());
            }
            say(&format!("  {}: {line}", loaded.name()));
            refused = true;
        }
    }
    match refused {
        true => Err(CliError::Locked),
        false => Ok(()),
    }
}

fn differences(locked: &Value, found: &Value, partial: bool) -> Vec<String> {
    let mut found = found.clone();
    let mut locked = locked.clone();
    for side in [&mut found, &mut locked] {
        for step in side["steps"]
            .as_object_mut()
            .into_iter()
            .flat_map(|steps| steps.values_mut())
        {
            // The document says what the key is the hash of.
            step["key"].take();
        }
    }
    if partial && let (Value::Object(wanted), Some(known)) = (&mut locked["steps"], found["steps"].as_object()) {
        wanted.retain(|id, _| known.contains_key(id));
    }
    let document = |value: Value| Document::from_value(value).unwrap_or_default();
    let changes = document(found).changes_since(&document(locked));
    changes.iter().map(ToString::to_string).collect()
}
