//! Running a pipeline: each stage is restored from the store or computed, in order.
//!
//! Stages run one after another; the parallelism is inside them.

use super::{Cells, Context, Dag, DagError, Event, Failure, Outcome, Output, Read, Sink, Stage, Status, Stop};
use crate::store::{Artifact, Busy, Document, Key, NewArtifact, Store, StoreError, Wait};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

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
    pub seconds: f64,
    /// Names of the files that it left.
    pub files: Vec<String>,
    pub summary: Vec<String>,
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
    for stage in dag.stages() {
        let asked = selected.as_ref().is_none_or(|ids| ids.contains(stage.id()));
        let missing = stage.needs().into_iter().find(|need| !read.contains_key(need));
        let mut one = StageRun::of(stage);
        if !asked {
            one.message = Some("not asked for".into());
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
            run.stopped |= one.status == Status::Skipped;
        }
        if !one.status.is_done() && !stop.is_set() {
            output.clear_stale(stage, one.key)?;
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

impl StageRun {
    fn of(stage: &dyn Stage) -> StageRun {
        StageRun {
            id: stage.id().into(),
            kind: stage.kind(),
            status: Status::Skipped,
            key: None,
            cells: Cells::default(),
            seconds: 0.0,
            files: Vec::new(),
            summary: Vec::new(),
            message: None,
        }
    }
}

/// One stage and all that it is run with.
struct Work<'a> {
    stage: &'a dyn Stage,
    store: &'a Store,
    output: &'a Output,
    options: &'a Options,
    stop: &'a Stop,
    sink: &'a dyn Sink,
    read: &'a Read,
}

impl Work<'_> {
    /// Restores or computes the stage; what happened goes into `one`.
    fn carry_out(&self, one: &mut StageRun) -> Result<Option<Artifact>, RunError> {
        let start = Instant::now();
        let result = self.obtain(one);
        one.seconds = start.elapsed().as_secs_f64();
        let failure = match result {
            Ok(artifact) => match self.output.place(self.stage, &artifact) {
                Ok(()) => {
                    self.tell(one, &artifact.notes);
                    one.files = artifact.files.keys().cloned().collect();
                    return Ok(Some(artifact));
                }
                Err(error) => Failure::of(error),
            },
            Err(Trouble::Stage(failure)) => failure,
            Err(Trouble::Busy(Busy::Stopped)) => Failure::Stopped(Cells::default()),
            Err(Trouble::Busy(Busy::Store(error))) => Failure::of(error),
            Err(Trouble::Busy(held)) => return Err(held.into()),
        };
        match failure {
            Failure::Stopped(cells) => {
                one.status = Status::Skipped;
                one.cells = cells;
                one.message = Some("stopped; what was finished is kept".into());
            }
            Failure::Failed(_) => {
                one.status = Status::Failed;
                one.message = Some(failure.text());
            }
        }
        Ok(None)
    }

    fn obtain(&self, one: &mut StageRun) -> Result<Artifact, Trouble> {
        let document = self.stage.document(self.store, self.read)?;
        let key = document.key();
        one.key = Some(key);
        if let Some(artifact) = self.stored(key, one)? {
            return Ok(artifact);
        }
        let id = self.stage.id();
        let mut waiting = || {
            let what = format!("another run, which computes {id}");
            self.sink.event(&Event::Waiting { what });
        };
        let _lease = self
            .store
            .lease(key, self.options.wait, &mut waiting, &|| self.stop.is_set())?;
        // Whoever held the lease may have left the very result.
        if let Some(artifact) = self.stored(key, one)? {
            return Ok(artifact);
        }
        self.compute(&document, one)
    }

    fn stored(&self, key: Key, one: &mut StageRun) -> Result<Option<Artifact>, Trouble> {
        if self.options.no_cache {
            return Ok(None);
        }
        let found = self.store.artifact(key)?;
        if let Some(artifact) = &found {
            one.status = Status::Cached;
            one.cells.reused = artifact.notes.get("cells").and_then(Value::as_u64).unwrap_or_default();
        }
        Ok(found)
    }

    fn compute(&self, document: &Document, one: &mut StageRun) -> Result<Artifact, Trouble> {
        self.sink.event(&Event::StageStarted {
            id: one.id.clone(),
            kind: one.kind,
        });
        let context = Context {
            store: self.store,
            stop: self.stop,
            read: self.read,
            fresh: self.options.no_cache,
            id: self.stage.id(),
            events: self.sink,
        };
        let Outcome {
            files,
            cells,
            summary,
            warnings,
        } = self.stage.run(&context)?;
        let notes = json!({"cells": cells.computed + cells.reused, "summary": summary, "warnings": warnings});
        let artifact = self.store.put_artifact(document, &NewArtifact { files, notes })?;
        one.status = Status::Computed;
        one.cells = cells;
        Ok(artifact)
    }

    /// Tells what is stored beside the files.
    fn tell(&self, one: &mut StageRun, notes: &Value) {
        let lines = |name: &str| -> Vec<String> {
            let lines = notes.get(name).and_then(Value::as_array).into_iter().flatten();
            lines.filter_map(|line| line.as_str().map(str::to_owned)).collect()
        };
        one.summary = lines("summary");
        for message in lines("warnings") {
            let id = one.id.clone();
            self.sink.event(&Event::Warning { id, message });
        }
    }
}

/// What may go wrong with one stage.
enum Trouble {
    Stage(Failure),
    Busy(Busy),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Stage(failure)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Stage(Failure::of(error))
    }
}

impl From<Busy> for Trouble {
    fn from(busy: Busy) -> Trouble {
        Trouble::Busy(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Act, Fake};
    use super::super::{InputRecord, Record, StageRecord, Verdict, Versions, assess};
    use super::*;
    use std::path::Path;

    type Checked = Result<(), Box<dyn std::error::Error>>;

    fn options() -> Options {
        Options {
            only: Vec::new(),
            no_cache: false,
            keep_going: false,
            wait: Wait::Yes,
        }
    }

    /// Runs in `folder` and writes the record, as the command does.
    fn run(folder: &Path, stages: Vec<Fake>, options: &Options) -> Result<Run, Box<dyn std::error::Error>> {
        let dag = Dag::new(
            stages
                .into_iter()
                .map(|stage| Box::new(stage) as Box<dyn Stage>)
                .collect(),
        )?;
        let store = Store::open(&folder.join("store"))?;
        let output = Output::open(&folder.join("out"), Wait::No, &mut || {}, &|| false)?;
        let run = execute(&dag, &store, &output, options, &Stop::default(), &|_: &Event| {})?;
        let ids: Vec<&str> = dag.stages().map(Stage::id).collect();
        output.remove_gone(&ids, &|_| &["out.txt", "old.txt"])?;
        output.write_record(&Record {
            version: 1,
            name: "test".into(),
            spec: json!({}),
            inputs: Vec::<InputRecord>::new(),
            stages: run.stages.iter().map(StageRecord::from).collect(),
            versions: Versions {
                secateur: "0".into(),
                libtorch: None,
                isa: "x".into(),
            },
        })?;
        Ok(run)
    }

    fn statuses(run: &Run) -> Vec<(String, &'static str, u64, u64)> {
        let stages = run.stages.iter();
        stages
            .map(|stage| {
                (
                    stage.id.clone(),
                    stage.status.name(),
                    stage.cells.computed,
                    stage.cells.reused,
                )
            })
            .collect()
    }

    fn two(parameter: u64) -> Vec<Fake> {
        let first = Fake {
            parameter,
            ..Fake::new("a", &[])
        };
        vec![first, Fake::new("b", &["a"])]
    }

    #[test]
    fn the_second_run_computes_nothing() -> Checked {
        let folder = tempfile::tempdir()?;
        let first = run(folder.path(), two(1), &options())?;
        assert_eq!(
            statuses(&first),
            [("a".into(), "computed", 4, 0), ("b".into(), "computed", 0, 4)]
        );
        let second = run(folder.path(), two(1), &options())?;
        assert_eq!(
            statuses(&second),
            [("a".into(), "cached", 0, 4), ("b".into(), "cached", 0, 4)]
        );
        assert_eq!(second.stages[0].summary, ["found"]);
        assert_eq!(std::fs::read_to_string(folder.path().join("out/b/out.txt"))?, "0\n1\n");
        // Results come back though the output is gone or wrong.
        std::fs::write(folder.path().join("out/a/out.txt"), "wrong")?;
        std::fs::remove_dir_all(folder.path().join("out/b"))?;
        run(folder.path(), two(1), &options())?;
        assert_eq!(std::fs::read_to_string(folder.path().join("out/a/out.txt"))?, "1\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("out/b/out.txt"))?, "0\n1\n");
        Ok(())
    }

    #[test]
    fn no_cache_computes_again() -> Checked {
        let folder = tempfile::tempdir()?;
        run(folder.path(), two(1), &options())?;
        let again = Options {
            no_cache: true,
            ..options()
        };
        let second = run(folder.path(), two(1), &again)?;
        assert_eq!(
            statuses(&second),
            [("a".into(), "computed", 4, 0), ("b".into(), "computed", 4, 0)]
        );
        Ok(())
    }

    #[test]
    fn only_runs_what_is_needed() -> Checked {
        let folder = tempfile::tempdir()?;
        let only = Options {
            only: vec!["b".into()],
            ..options()
        };
        let mut stages = two(1);
        stages.push(Fake::new("c", &[]));
        let run = run(folder.path(), stages, &only)?;
        let found: Vec<&str> = run.stages.iter().map(|stage| stage.status.name()).collect();
        assert_eq!(found, ["computed", "computed", "skipped"]);
        assert!(!folder.path().join("out/c").exists());
        Ok(())
    }

    #[test]
    fn failures_stop_or_are_gone_around() -> Checked {
        let stages = || {
            let bad = Fake {
                act: Act::Fail,
                ..Fake::new("bad", &[])
            };
            vec![bad, Fake::new("reader", &["bad"]), Fake::new("other", &[])]
        };
        let folder = tempfile::tempdir()?;
        let stopped = run(folder.path(), stages(), &options())?;
        let found: Vec<&str> = stopped.stages.iter().map(|stage| stage.status.name()).collect();
        assert_eq!(found, ["failed", "skipped", "skipped"]);
        assert_eq!(stopped.stages[0].message.as_deref(), Some("it broke"));
        assert!(stopped.failed() && !stopped.stopped);
        let going = Options {
            keep_going: true,
            ..options()
        };
        let run = run(folder.path(), stages(), &going)?;
        let found: Vec<&str> = run.stages.iter().map(|stage| stage.status.name()).collect();
        assert_eq!(found, ["failed", "skipped", "computed"]);
        Ok(())
    }

    #[test]
    fn a_stopped_run_keeps_its_cells() -> Checked {
        let folder = tempfile::tempdir()?;
        let stages = |act| {
            let first = Fake {
                act,
                ..Fake::new("a", &[])
            };
            vec![first, Fake::new("b", &[])]
        };
        let stopped = run(folder.path(), stages(Act::Interrupt), &options())?;
        assert!(stopped.stopped && !stopped.failed());
        assert_eq!(
            statuses(&stopped),
            [("a".into(), "skipped", 2, 0), ("b".into(), "skipped", 0, 0)]
        );
        let second = run(folder.path(), stages(Act::Succeed), &options())?;
        assert_eq!(statuses(&second)[0], ("a".into(), "computed", 2, 2));
        Ok(())
    }

    #[test]
    fn stale_results_go_and_the_users_stay() -> Checked {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("out");
        run(folder.path(), two(1), &options())?;
        std::fs::write(out.join("a/mine.txt"), "x")?;
        std::fs::create_dir(out.join("mine"))?;
        std::fs::write(out.join("mine/out.txt"), "x")?;
        // The file that an earlier version of the step wrote goes, the user's own does not.
        let changed = Fake {
            parameter: 9,
            ..Fake::new("a", &[])
        };
        run(folder.path(), vec![changed], &options())?;
        assert!(out.join("a/old.txt").exists() && !out.join("a/out.txt").exists());
        assert!(!out.join("b").exists() && out.join("a/mine.txt").exists() && out.join("mine/out.txt").exists());
        // A step that fails with other parameters leaves nothing of the old ones.
        let failing = Fake {
            parameter: 3,
            act: Act::Fail,
            ..Fake::new("a", &[])
        };
        run(folder.path(), vec![failing], &options())?;
        assert!(!out.join("a/old.txt").exists() && out.join("a/mine.txt").exists());
        Ok(())
    }

    #[test]
    fn plans_say_why() -> Checked {
        let folder = tempfile::tempdir()?;
        run(folder.path(), two(1), &options())?;
        let plan = |parameter| -> Result<Vec<Verdict>, Box<dyn std::error::Error>> {
            let stages = two(parameter)
                .into_iter()
                .map(|stage| Box::new(stage) as Box<dyn Stage>);
            let dag = Dag::new(stages.collect())?;
            let store = Store::peek(&folder.path().join("store"));
            let previous = Output::previous(&folder.path().join("out"));
            let assessments = assess(&dag, &store, &previous, &options())?;
            Ok(assessments.into_iter().map(|one| one.verdict).collect())
        };
        assert_eq!(plan(1)?, [Verdict::Cached, Verdict::Cached]);
        let run = Verdict::Run {
            reasons: vec!["parameter: 1 → 2".into()],
        };
        let waits = Verdict::Waits {
            needs: vec!["a".into()],
        };
        assert_eq!(plan(2)?, [run, waits]);
        Ok(())
    }
}
