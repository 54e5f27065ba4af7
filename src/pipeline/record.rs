//! `run.json`: what a run did, and what the run before it left.

use super::{Cells, StageRun};
use crate::store::Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The content of `run.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub version: u32,
    pub name: String,
    /// The specification with every default filled in.
    pub spec: Value,
    pub inputs: Vec<InputRecord>,
    pub stages: Vec<StageRecord>,
    pub versions: Versions,
}

/// A file that the run read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// As the pipeline file has it.
    pub path: String,
    pub digest: String,
    pub bytes: u64,
}

/// What became of a stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageRecord {
    pub id: String,
    pub kind: String,
    pub status: &'static str,
    pub key: Option<Key>,
    pub cells: Cells,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Value>,
    pub seconds: f64,
    /// Bounds that a gate found broken.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub failures: Vec<String>,
}

/// What computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    pub secateur: String,
    pub libtorch: Option<String>,
    pub isa: String,
}

impl From<&StageRun> for StageRecord {
    fn from(run: &StageRun) -> StageRecord {
        StageRecord {
            id: run.id.clone(),
            kind: run.kind.into(),
            status: run.status.name(),
            key: run.key,
            cells: run.cells,
            precision: run.precision.clone(),
            // Milliseconds are enough for a person and keep the file readable.
            seconds: (run.seconds * 1000.0).round() / 1000.0,
            failures: run.failures.clone(),
        }
    }
}

impl Record {
    /// The bytes of `run.json`.
    pub fn text(&self) -> String {
        // The types above hold nothing that JSON cannot say.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// What an earlier `run.json` says about its stages, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Previous {
    /// By id.
    pub stages: BTreeMap<String, PreviousStage>,
}

/// One stage of an earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousStage {
    pub kind: String,
    /// The key of the results that lie in its folder; none when it left none.
    pub key: Option<Key>,
}

impl Previous {
    /// Reads what can be read; a file that is no `run.json` says nothing.
    pub fn parse(bytes: &[u8]) -> Previous {
        let record: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let stages = record.get("stages").and_then(Value::as_array).into_iter().flatten();
        let stages = stages.filter_map(|stage| {
            let text = |name: &str| stage.get(name).and_then(Value::as_str);
            let done = matches!(text("status"), Some("computed" | "cached"));
            let kind = text("kind")?.to_owned();
            let key = text("key").filter(|_| done).and_then(Key::parse);
            Some((text("id")?.to_owned(), PreviousStage { kind, key }))
        });
        Previous {
            stages: stages.collect(),
        }
    }
}
