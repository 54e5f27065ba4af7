//! The record of one run, as it lies in the store.

use super::{Git, Values};
use crate::pipeline::{Cells, InputRecord, StageRun, Versions};
use crate::store::{Artifact, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a run ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// At work.
    Running,
    /// Ended before it could say how. Never stored: the record says `running`, and its process is gone.
    Killed,
    Done,
    Failed,
    /// A gate failed; the results are valid.
    GateFailed,
    /// Stopped, or some steps failed under `--keep-going`.
    Incomplete,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Killed => "killed",
            Status::Done => "done",
            Status::Failed => "failed",
            Status::GateFailed => "gate failed",
            Status::Incomplete => "incomplete",
        }
    }
}

/// What a run was, from its start on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Of this form.
    pub version: u32,
    pub id: String,
    pub status: Status,
    /// The exit code, once there is one.
    pub exit: Option<u8>,
    /// When it began, UTC.
    pub started: String,
    pub seconds: Option<f64>,
    /// The pipeline's name.
    pub name: String,
    /// The pipeline file as it was named.
    pub file: String,
    /// The folder that the specification's paths are relative to.
    pub folder: String,
    /// The folder that received the results.
    pub output: String,
    pub git: Option<Git>,
    /// The specification with every default filled in.
    pub spec: Value,
    pub inputs: Vec<InputRecord>,
    pub stages: Vec<StageEntry>,
    pub versions: Versions,
    /// Whether its results stay whatever `gc` is told. Never stored with it.
    #[serde(skip)]
    pub pinned: bool,
}

/// What became of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageEntry {
    pub id: String,
    pub kind: String,
    /// As in `run.json`.
    pub status: String,
    pub key: Option<String>,
    pub cells: Cells,
    pub seconds: f64,
    /// What went wrong, or why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What a gate found beyond its bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// What the key is the hash of.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub document: Value,
    /// The digests of its files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Its numbers, where it measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
}

impl StageEntry {
    /// What became of a stage, its results looked up in the store.
    pub fn of(run: &StageRun, store: &Store) -> StageEntry {
        let mut entry = StageEntry {
            id: run.id.clone(),
            kind: run.kind.into(),
            status: run.status.name().into(),
            key: run.key.map(|key| key.to_string()),
            cells: run.cells,
            seconds: (run.seconds * 1000.0).round() / 1000.0,
            message: run.message.clone(),
            failures: run.failures.clone(),
            document: Value::Null,
            files: BTreeMap::new(),
            values: None,
        };
        let Some(key) = run.key.filter(|_| run.status.is_done()) else {
            return entry;
        };
        if let Some(document) = store.artifact_document(key) {
            entry.document = document.into();
        }
        if let Ok(Some(artifact)) = store.artifact(key) {
            entry.files = digests(&artifact);
            entry.values = Values::of(&artifact);
        }
        entry
    }

    /// Whether it left results.
    pub fn is_done(&self) -> bool {
        matches!(self.status.as_str(), "computed" | "cached")
    }
}

/// The digests of the files that an artifact puts into the output folder.
pub(super) fn digests(artifact: &Artifact) -> BTreeMap<String, String> {
    artifact
        .shown()
        .map(|(name, file)| (name.clone(), file.digest.to_string()))
        .collect()
}

impl RunRecord {
    /// The stage of an id.
    pub fn stage(&self, id: &str) -> Option<&StageEntry> {
        self.stages.iter().find(|stage| stage.id == id)
    }

    /// Whether any step that both runs finished left other results.
    pub fn differs_from(&self, other: &RunRecord) -> bool {
        let done = self.stages.iter().filter(|stage| stage.is_done());
        done.filter_map(|stage| Some((stage, other.stage(&stage.id).filter(|stage| stage.is_done())?)))
            .any(|(now, then)| now.files != then.files)
    }

    /// Whether the run reached its end with everything as it should be.
    pub fn succeeded(&self) -> bool {
        self.status == Status::Done
    }

    /// The record as it is stored.
    pub fn to_value(&self) -> Value {
        // The types hold strings, finite numbers and lists only, so this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}
