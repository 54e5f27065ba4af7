//! A pipeline as a graph of stages, and how it is run.
//!
//! Owns the order of stages, what is taken from the store and what is computed, the output folder, the record of a
//! run, and the events that tell of it. Deliberately prints nothing, and knows nothing of models and tensors.

mod dag;
mod events;
mod execute;
mod output;
mod plan;
mod record;
mod share;

pub use dag::{Dag, DagError, dot, mermaid};
pub use events::{Event, Sink, Stop, Waiting};
pub use execute::{Options, Run, RunError, StageRun, execute};
pub use output::Output;
pub use plan::{AssessError, Assessment, Past, PastCost, Verdict, assess};
pub use record::{InputRecord, Previous, Record, StageRecord, Versions};
pub use share::Share;

use crate::store::{Artifact, Change, Document, Key, Lock, Store};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Artifacts of the stages that a stage reads, by id.
pub type Read = BTreeMap<String, Artifact>;

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It ran.
    Computed,
    /// Its artifact came from the store.
    Cached,
    /// It ran into an error.
    Failed,
    /// It did not run to its end: not asked for, a stage that it reads failed, or the run was stopped.
    Skipped,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Computed => "computed",
            Status::Cached => "cached",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
        }
    }

    /// Whether there are results.
    pub fn is_done(self) -> bool {
        matches!(self, Status::Computed | Status::Cached)
    }
}

/// How many cells a stage computed, and how many it found in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    pub computed: u64,
    pub reused: u64,
}

/// What a stage with cells has still to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    pub cells: Cells,
    /// Whether fewer may turn out to be enough: a row may end early.
    pub at_most: bool,
    /// Multiply-accumulates, where they are known.
    pub macs: Option<u64>,
    /// The cells to compute: layer and sparsity.
    pub listed: Vec<(String, f64)>,
}

/// What a stage leaves.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Contents by plain file name.
    pub files: BTreeMap<String, Vec<u8>>,
    pub cells: Cells,
    /// The cells that went into the files, so that they are kept as long.
    pub used: BTreeSet<Key>,
    /// A few lines for a person: what was found.
    pub summary: Vec<String>,
    /// What a person should know; stored with the files, so that a cached stage warns as well.
    pub warnings: Vec<String>,
    /// Bounds that the results break: they are valid, and the run ends with an exit code of its own.
    pub failures: Vec<String>,
    /// In which number format the stage computed, where that was its choice, and what it took; for `run.json`.
    pub precision: Option<serde_json::Value>,
}

/// Why a stage left nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The run was stopped; what was finished is in the store.
    #[error("stopped")]
    Stopped(Cells),
    /// The run's share of the cells is done, and so many are others'.
    #[error("{missing} cells are not there")]
    Elsewhere { cells: Cells, missing: u64 },
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    /// A failure of any error.
    pub fn of(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        Failure::Failed(error.into())
    }

    /// The error and its causes in one line.
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        text
    }
}

/// What a running stage may use.
pub struct Context<'a> {
    pub store: &'a Store,
    pub stop: &'a Stop,
    /// What the stages that it reads left.
    pub read: &'a Read,
    /// Whether everything is to be computed again (`--no-cache`).
    pub fresh: bool,
    /// Which cells are this run's to compute.
    pub share: Share,
    id: &'a str,
    lease: &'a Lock,
    events: &'a dyn Sink,
}

impl Context<'_> {
    /// Tells how far the stage is: `done` of `total` pieces of work that this run has to do.
    pub fn progress(&self, done: u64, total: u64) {
        self.lease.tell(self.id, done, total);
        self.events.event(&Event::Progress {
            id: self.id.into(),
            done,
            total,
        });
    }
}

/// One step of a pipeline, ready to run.
pub trait Stage: Send + Sync {
    /// Unique in the pipeline; names the folder of its output.
    fn id(&self) -> &str;
    fn kind(&self) -> &'static str;
    /// Ids of the stages whose artifacts it reads.
    fn needs(&self) -> Vec<String> {
        Vec::new()
    }
    /// Every file name that this kind may ever leave, so that stale files can be told from the user's own.
    fn names(&self) -> &'static [&'static str];
    /// Exactly what the result depends on.
    fn document(&self, store: &Store, read: &Read) -> Result<Document, Failure>;
    /// What two runs should not be at together: the result, or more where results have parts in common.
    fn lease(&self, document: &Document) -> Key {
        document.key()
    }
    fn run(&self, context: &Context<'_>) -> Result<Outcome, Failure>;
    /// The most memory that it is expected to take with so many threads, in bytes, where that can be told; for `plan`.
    fn memory(&self) -> Option<u64> {
        None
    }
    /// What would be computed, where the stage has cells; for `plan`.
    fn pending(&self, _store: &Store, _fresh: bool) -> Option<Pending> {
        None
    }
    /// Whether its document tells of earlier runs, so that it differs from run to run.
    fn depends_on_history(&self) -> bool {
        false
    }
    /// A change of the document in better words than its own, where there are such; for `plan`.
    fn explain(&self, _store: &Store, _change: &Change, _pending: Option<&Pending>) -> Option<Vec<String>> {
        None
    }
}

#[cfg(test)]
mod fake;
