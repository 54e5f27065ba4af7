//! What runs on record need: which results each made or took, and which of the runs are pinned.
//!
//! Deliberately looks at no more of a record than housekeeping and merging have to know.

use super::inventory::name;
use super::{Key, Store, StoreError, files};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What housekeeping has to know of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub id: String,
    pub path: PathBuf,
    /// When it was written.
    pub time: SystemTime,
    /// Whether its results stay whatever the limits.
    pub pinned: bool,
    /// The artifacts that it made or took from the store.
    pub keys: BTreeSet<Key>,
    /// Where its pipeline file lay.
    pub file: Option<PathBuf>,
}

impl Store {
    /// Where records lie.
    pub fn runs_folder(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// All runs on record, by id.
    ///
    /// # Errors
    /// When the folder cannot be read, or a pinned run's record.
    pub fn recorded(&self) -> Result<Vec<Recorded>, StoreError> {
        let mut found = Vec::new();
        for path in super::inventory::list(&self.runs_folder())? {
            let name = name(&path);
            let Some(id) = name.strip_suffix(".json").filter(|id| !id.starts_with('.')) else {
                continue;
            };
            let pinned = self.is_pinned(id);
            let time = std::fs::metadata(&path).and_then(|data| data.modified());
            let record = files::read(&path)
                .ok()
                .flatten()
                .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            let record = record.as_ref().and_then(|whole| whole.get("record"));
            match (record, time) {
                (Some(record), Ok(time)) => found.push(Recorded {
                    id: id.into(),
                    keys: keys(record),
                    file: file(record),
                    path,
                    time,
                    pinned,
                }),
                _ if pinned => return Err(StoreError::Pinned { path }),
                _ => tracing::warn!("{} is no record of a run that can be read", path.display()),
            }
        }
        Ok(found)
    }

    fn pin_path(&self, id: &str) -> PathBuf {
        self.runs_folder().join(format!("{id}.pin"))
    }

    /// Whether a run's results stay whatever the limits.
    pub fn is_pinned(&self, id: &str) -> bool {
        self.pin_path(id).exists()
    }

    /// Keeps a run's results from going, or lets them go again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn pin(&self, id: &str, pinned: bool) -> Result<(), StoreError> {
        let path = self.pin_path(id);
        let done = match pinned {
            true => files::replace(&path, b""),
            false => files::remove(&path),
        };
        done.map_err(|error| self.unwritable(error))
    }

    /// The run whose id is, or begins with, `id`.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn find_run(&self, id: &str) -> Result<Recorded, StoreError> {
        let mut found: Vec<Recorded> = self
            .recorded()?
            .into_iter()
            .filter(|run| run.id.starts_with(id))
            .collect();
        if let Some(whole) = found.iter().position(|run| run.id == id) {
            return Ok(found.swap_remove(whole));
        }
        let ids: Vec<String> = found.iter().map(|run| run.id.clone()).collect();
        match (found.pop(), ids.len()) {
            (Some(run), 1) => Ok(run),
            _ => Err(StoreError::NoSuchRun { id: id.into(), ids }),
        }
    }
}

fn keys(record: &Value) -> BTreeSet<Key> {
    let stages = record.get("stages").and_then(Value::as_array).into_iter().flatten();
    let done = stages.filter(|stage| matches!(stage["status"].as_str(), Some("computed" | "cached")));
    done.filter_map(|stage| Key::parse(stage["key"].as_str()?)).collect()
}

fn file(record: &Value) -> Option<PathBuf> {
    let name = Path::new(record["file"].as_str()?).file_name()?;
    Some(Path::new(record["folder"].as_str()?).join(name))
}
