//! What an executor tells while it works, and how it is told to stop.

use super::{Cells, Status};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        name: String,
        /// Ids in the order in which they run.
        stages: Vec<String>,
    },
    /// Another process holds what the run needs.
    Waiting {
        what: String,
    },
    StageStarted {
        id: String,
        kind: &'static str,
    },
    Progress {
        id: String,
        done: u64,
        total: u64,
    },
    Warning {
        id: String,
        message: String,
    },
    StageFinished {
        id: String,
        kind: &'static str,
        status: Status,
        cells: Cells,
        seconds: f64,
        /// What went wrong, or why it was skipped.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    RunFinished {
        name: String,
        seconds: f64,
    },
}

/// Who listens.
pub trait Sink: Sync {
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Sync> Sink for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// The flag that asks everything to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The flag itself, for signal handlers.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
