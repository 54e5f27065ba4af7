//! What an executor tells while it works, and how it is told to stop.

use super::{Cells, Status};
use crate::store::{Incident, Store};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
    /// Something in the store was not what had been written; it is not used.
    Damaged {
        path: PathBuf,
        fault: String,
        /// Where it lies now.
        aside: Option<PathBuf>,
    },
    /// A gate found results beyond a bound.
    BoundBroken {
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

impl From<Incident> for Event {
    fn from(Incident { path, fault, aside }: Incident) -> Event {
        Event::Damaged { path, fault, aside }
    }
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

/// How often those who wait hear how far the other run is.
const NEWS: Duration = Duration::from_secs(5);

/// Tells that another run is waited for, and now and then how far it is.
pub struct Waiting<'a> {
    sink: &'a dyn Sink,
    store: &'a Store,
    /// What the other run does: `computes sens`.
    what: String,
    next: Duration,
    last: Option<String>,
}

impl<'a> Waiting<'a> {
    pub fn new(sink: &'a dyn Sink, store: &'a Store, what: String) -> Waiting<'a> {
        Waiting {
            sink,
            store,
            what,
            next: Duration::ZERO,
            last: None,
        }
    }

    /// To be called while waiting, with how long it has lasted.
    pub fn tell(mut self) -> impl FnMut(Duration) {
        move |waited| {
            if waited < self.next {
                return;
            }
            let news = self.store.at_work();
            if self.next.is_zero() || (news.is_some() && news != self.last) {
                let far = news.iter().map(|news| format!(" ({news})")).collect::<String>();
                let what = format!("another run, which {}{far}", self.what);
                self.sink.event(&Event::Waiting { what });
            }
            self.last = news;
            self.next = waited + NEWS;
        }
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
