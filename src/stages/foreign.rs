//! The dataset's plug-in, which a key asks for its word on its data and a stage for its samples.
//!
//! Owns how long it lives: it is started when it is first asked for, serves every step of the pipeline, and is started again
//! after a fault. Deliberately knows nothing of how it is started.

use crate::pipeline::{Cells, Failure};
use crate::plugin::{CommandDataset, DatasetHello, Fault, PluginError};
use std::sync::{Arc, Mutex, PoisonError};

/// The plug-in while it is there, and what it said of itself.
#[derive(Default)]
pub struct Foreign(Mutex<State>);

#[derive(Default)]
struct State {
    running: Option<Arc<CommandDataset>>,
    said: Option<DatasetHello>,
}

impl Foreign {
    /// The plug-in; it is started if it does not run.
    ///
    /// # Errors
    /// When it does not start, or says something else than it said before: one run is of one content.
    pub fn get(
        &self,
        start: impl FnOnce() -> Result<CommandDataset, PluginError>,
    ) -> Result<Arc<CommandDataset>, Failure> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = state.running.as_ref().filter(|running| !running.has_failed()) {
            return Ok(Arc::clone(running));
        }
        let started = Arc::new(start().map_err(failure)?);
        if state.said.get_or_insert_with(|| started.hello().clone()) != started.hello() {
            return Err(Failure::of(
                "the dataset's plug-in says something else of its data than when the run began",
            ));
        }
        state.running = Some(Arc::clone(&started));
        Ok(started)
    }

    /// Lets the plug-in go as soon as nobody reads from it any more.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).running = None;
    }
}

/// A plug-in's fault as a stage's end.
fn failure(error: PluginError) -> Failure {
    match *error.fault {
        Fault::Stopped => Failure::Stopped(Cells::default()),
        _ => Failure::of(error),
    }
}
