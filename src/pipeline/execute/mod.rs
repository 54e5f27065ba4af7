//! Running a pipeline: each stage is restored from the store or computed, in order.
//!
//! Owns which stages run, and what becomes of the rest when one fails or the run is stopped; one stage is [`work`]'s.
//! Stages run one after another; the parallelism is inside them.

mod work;

use super::{Cells, Dag, DagError, Event, Output, Read, Share, Sink, Stage, Status, Stop};
use crate::store::{Busy, Key, Store, StoreError, Wait};
use std::collections::BTreeSet;
use work::Work;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only these and what they read.
    pub only: Vec<String>,
    /// Compute again what is in the store.
    pub no_cache: bool,
    /// Go on with what does not depend on a failed stage.
    pub keep_going: bool,
    pub wait: Wait,
    /// Which cells to compute.
    pub share: Share,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// In running order.
    pub stages: Vec<StageRun>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

impl Run {
    /// Whether a gate found a bound broken.
    pub fn gate_failed(&self) -> bool {
        self.stages.iter().any(|stage| !stage.failures.is_empty())
    }

    pub fn failed(&self) -> bool {
        self.stages.iter().any(|stage| stage.status == Status::Failed)
    }
}

/// What became of one stage.
#[derive(Clone, Debug)]
pub struct StageRun {
    pub id: String,
    pub kind: &'static str,
    pub status: Status,
    /// None when it was not found out.
    pub key: Option<Key>,
    pub cells: Cells,
    /// See [`super::Outcome::precision`].
    pub precision: Option<serde_json::Value>,
    pub seconds: f64,
    /// Names of the files that it left.
    pub files: Vec<String>,
    pub summary: Vec<String>,
    /// Bounds that the results break.
    pub failures: Vec<String>,
    /// What went wrong, or why it was skipped.
    pub message: Option<String>,
}

/// Why a run could not be carried out at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Dag(#[from] DagError),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs the stages of a pipeline and fills its output folder.
///
/// # Errors
/// Only when the run as a whole is impossible; a failing stage is part of the result.
pub fn execute(
    dag: &Dag,
    store: &Store,
    output: &Output,
    options: &Options,
    stop: &Stop,
    sink: &dyn Sink,
) -> Result<Run, RunError> {
    let selected: Option<BTreeSet<String>> = match options.only.as_slice() {
        [] => None,
        ids => Some(dag.with_needs(ids)?),
    };
    let mut run = Run::default();
    let mut read = Read::new();
    let mut broken = false;
    let mut stale = BTreeSet::new();
    for stage in dag.stages() {
        let asked = selected.as_ref().is_none_or(|ids| ids.contains(stage.id()));
        let missing = stage.needs().into_iter().find(|need| !read.contains_key(need));
        let mut one = StageRun::of(stage);
        if !asked {
            one.message = Some("not asked for".into());
            one.key = left_alone(stage, store, output, &read, &mut stale)?;
            run.stages.push(one);
            continue;
        }
        if stop.is_set() {
            run.stopped = true;
            one.message = Some("stopped before it began".into());
        } else if broken && !options.keep_going {
            one.message = Some("a step before it failed".into());
        } else if let Some(need) = missing {
            one.message = Some(format!("it reads {need}, which has no results"));
        } else {
            let work = Work {
                stage,
                store,
                output,
                options,
                stop,
                sink,
                read: &read,
            };
            if let Some(artifact) = work.carry_out(&mut one)? {
                read.insert(stage.id().into(), artifact);
            }
            broken |= one.status == Status::Failed;
            // A part is no less a part for what others have to do.
            let is_part = matches!(options.share, Share::Part { .. }) && !stop.is_set();
            run.stopped |= one.status == Status::Skipped && !is_part;
        }
        if !one.status.is_done() && !stop.is_set() {
            output.clear_stale(stage, one.key)?;
        }
        for incident in store.incidents() {
            sink.event(&incident.into());
        }
        sink.event(&Event::StageFinished {
            id: one.id.clone(),
            kind: one.kind,
            status: one.status,
            cells: one.cells,
            seconds: one.seconds,
            message: one.message.clone(),
        });
        run.stages.push(one);
    }
    store.remember_digests();
    Ok(run)
}

/// What an earlier run left of a stage that is not asked for stays where it is what this run would leave, whose key is
/// given; what is of another model or other data goes, and so does what was made of that.
fn left_alone(
    stage: &dyn Stage,
    store: &Store,
    output: &Output,
    read: &Read,
    stale: &mut BTreeSet<String>,
) -> Result<Option<Key>, StoreError> {
    if !output.has(stage) {
        return Ok(None);
    }
    let needs = stage.needs();
    let key = match needs.iter().all(|need| read.contains_key(need)) {
        // What cannot be told is left.
        true => stage.document(store, read).ok().map(|document| document.key()),
        false => None,
    };
    let kept = match key {
        Some(key) => output.keep_only(stage, key, store)?,
        None if needs.iter().any(|need| stale.contains(need)) => {
            output.clear_stale(stage, None)?;
            false
        }
        None => true,
    };
    if !kept {
        stale.insert(stage.id().to_owned());
    }
    Ok(key.filter(|_| kept))
}

impl StageRun {
    fn of(stage: &dyn Stage) -> StageRun {
        StageRun {
            id: stage.id().into(),
            kind: stage.kind(),
            status: Status::Skipped,
            key: None,
            cells: Cells::default(),
            precision: None,
            seconds: 0.0,
            files: Vec::new(),
            summary: Vec::new(),
            failures: Vec::new(),
            message: None,
        }
    }
}

#[cfg(test)]
mod tests;
