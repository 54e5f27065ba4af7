//! A run on its way into the history: what is known when it starts, how it ended, and the commands that follow.
//!
//! History never decides how a run ends: a record that cannot be written is told of, and the run goes on.

use super::load::Loaded;
use super::{Exit, hooks};
use crate::history::{self, Git, RunRecord, StageEntry, Status};
use crate::pipeline::Run;
use crate::store::{self, Store};
use std::path::Path;
use std::time::Instant;

/// A run that is being recorded.
pub struct Recording<'a> {
    store: &'a Store,
    loaded: &'a Loaded,
    started: Instant,
    record: RunRecord,
    /// Held while the run is at work; none where no record can be written.
    held: Option<store::Recording>,
}

impl<'a> Recording<'a> {
    /// Writes that the run has begun.
    pub fn start(store: &'a Store, loaded: &'a Loaded, output: &Path) -> Recording<'a> {
        let now = jiff::Timestamp::now();
        let held = match store.start_record(now) {
            Ok(held) => Some(held),
            Err(error) => {
                tracing::warn!("this run leaves no record: {error}");
                None
            }
        };
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let base = match loaded.base() {
            base if base.as_os_str().is_empty() => Path::new("."),
            base => base,
        };
        let record = RunRecord {
            version: 1,
            id: held.as_ref().map_or_else(String::new, |held| held.id.clone()),
            status: Status::Running,
            exit: None,
            started: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seconds: None,
            name: loaded.name().to_owned(),
            file: loaded.file.display().to_string(),
            folder: whole(base).display().to_string(),
            output: output.display().to_string(),
            git: Git::of(&loaded.file),
            spec: loaded.resolved(),
            inputs: Vec::new(),
            stages: Vec::new(),
            versions: crate::stages::versions(),
            pinned: false,
        };
        let recording = Recording {
            store,
            loaded,
            started: Instant::now(),
            record,
            held,
        };
        recording.write();
        recording
    }

    fn write(&self) {
        let Some(held) = &self.held else { return };
        if let Err(error) = self.store.put_record(&held.id, &self.record.to_value()) {
            tracing::warn!("the record of this run is not up to date: {error}");
        }
    }

    /// Writes how the run ended, and runs the commands that are to follow.
    pub fn end(mut self, exit: Exit, run: Option<&Run>) {
        let stopped = run.is_some_and(|run| run.stopped);
        let stages = run.map(|run| &run.stages).into_iter().flatten();
        self.record.stages = stages.map(|stage| StageEntry::of(stage, self.store)).collect();
        self.record.inputs = self.loaded.inputs();
        self.record.exit = Some(exit.code());
        self.record.seconds = Some((self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0);
        self.record.status = match exit {
            Exit::Done => Status::Done,
            Exit::GateFailed => Status::GateFailed,
            Exit::Incomplete => Status::Incomplete,
            _ => Status::Failed,
        };
        self.write();
        // Whoever stopped the run waits for it to go.
        if !stopped {
            self.follow(exit);
        }
    }

    fn follow(&self, exit: Exit) {
        let (on_failure, on_change) = self.loaded.hooks();
        let run = |name, hook, record: &serde_json::Value| {
            hooks::run(name, hook, self.loaded.base(), &self.record.id, record);
        };
        let mut record = self.record.to_value();
        if let (Some(hook), true) = (on_failure, exit != Exit::Done) {
            run("on_failure", hook, &record);
        }
        if let Some(hook) = on_change
            && let Ok(Some(before)) = history::with_results_before(self.store, &self.record.name, &self.record.id)
            && self.record.differs_from(&before)
        {
            record["changed_since"] = before.id.into();
            run("on_change", hook, &record);
        }
    }
}
