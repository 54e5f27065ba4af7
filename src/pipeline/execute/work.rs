//! One stage: its artifact from the store, or computed under a lease.

use super::{Options, RunError, StageRun};
use crate::pipeline::{
    Cells, Context, Event, Failure, Outcome, Output, Read, Share, Sink, Stage, Status, Stop, Waiting,
};
use crate::store::{Artifact, Busy, Document, Key, Lock, NewArtifact, Patience, Store, StoreError};
use serde_json::{Value, json};
use std::time::Instant;

/// One stage and all that it is run with.
pub(super) struct Work<'a> {
    pub stage: &'a dyn Stage,
    pub store: &'a Store,
    pub output: &'a Output,
    pub options: &'a Options,
    pub stop: &'a Stop,
    pub sink: &'a dyn Sink,
    pub read: &'a Read,
}

impl Work<'_> {
    /// Restores or computes the stage; what happened goes into `one`.
    pub fn carry_out(&self, one: &mut StageRun) -> Result<Option<Artifact>, RunError> {
        let start = Instant::now();
        let result = self.obtain_and_place(one);
        one.seconds = start.elapsed().as_secs_f64();
        let failure = match result {
            Ok(artifact) => {
                self.tell(one, &artifact.notes);
                one.files = artifact.shown().map(|(name, _)| name.clone()).collect();
                return Ok(Some(artifact));
            }
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
            Failure::Elsewhere { cells, missing } => {
                one.status = Status::Skipped;
                one.cells = cells;
                one.message = Some(match self.options.share {
                    Share::Part { .. } => format!(
                        "shard {} is computed; {missing} cells are other shards', and `secateur merge` makes the table",
                        self.options.share
                    ),
                    _ => format!(
                        "{missing} cells are in none of the stores: run the shards that are missing, and merge again"
                    ),
                });
            }
            Failure::Failed(_) => {
                one.status = Status::Failed;
                one.message = Some(failure.text());
            }
        }
        Ok(None)
    }

    /// Once more when the store is taken away under the run.
    fn obtain_and_place(&self, one: &mut StageRun) -> Result<Artifact, Trouble> {
        for _ in 0..3 {
            let artifact = self.obtain(one)?;
            if self.output.place(self.stage, &artifact)? {
                return Ok(artifact);
            }
        }
        let root = self.store.root().display();
        Err(Failure::of(format!("somebody deletes from {root} while this run is at work")).into())
    }

    fn obtain(&self, one: &mut StageRun) -> Result<Artifact, Trouble> {
        let document = self.stage.document(self.store, self.read)?;
        let key = document.key();
        one.key = Some(key);
        if let Some(artifact) = self.stored(key, one)? {
            return Ok(artifact);
        }
        let lease = self.store.lease(
            self.lease_of(&document),
            &mut Patience {
                wait: self.options.wait,
                waiting: &mut Waiting::new(self.sink, self.store, format!("computes {}", self.stage.id())).tell(),
                stopped: &|| self.stop.is_set(),
            },
        )?;
        // Whoever held the lease may have left the very result.
        if let Some(artifact) = self.stored(key, one)? {
            return Ok(artifact);
        }
        self.compute(&document, &lease, one)
    }

    /// Shards are at disjoint cells.
    fn lease_of(&self, document: &Document) -> Key {
        let key = self.stage.lease(document);
        match self.options.share {
            part @ Share::Part { .. } => Key::of(format!("{key} shard {part}").as_bytes()),
            _ => key,
        }
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

    fn compute(&self, document: &Document, lease: &Lock, one: &mut StageRun) -> Result<Artifact, Trouble> {
        self.sink.event(&Event::StageStarted {
            id: one.id.clone(),
            kind: one.kind,
        });
        let context = Context {
            store: self.store,
            stop: self.stop,
            read: self.read,
            fresh: self.options.no_cache,
            share: self.options.share,
            id: self.stage.id(),
            lease,
            events: self.sink,
        };
        let Outcome {
            files,
            cells,
            used,
            summary,
            warnings,
            failures,
            precision,
        } = self.stage.run(&context)?;
        let notes = json!({
            "cells": cells.computed + cells.reused,
            "summary": summary,
            "warnings": warnings,
            "failures": failures,
            "precision": precision,
        });
        let new = NewArtifact {
            files,
            notes,
            cells: used,
        };
        let artifact = self.store.put_artifact(document, &new)?;
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
        one.failures = lines("failures");
        one.precision = notes.get("precision").filter(|told| !told.is_null()).cloned();
        for message in &one.failures {
            let (id, message) = (one.id.clone(), message.clone());
            self.sink.event(&Event::BoundBroken { id, message });
        }
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
