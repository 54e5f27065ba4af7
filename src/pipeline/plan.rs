//! What a run would do, and why, without doing it.

use super::{Cells, Dag, DagError, Options, Previous, Read};
use crate::store::{Key, Store, StoreError};

/// What a run would do with a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it from the store.
    Cached,
    /// Compute it, for these reasons.
    Run { reasons: Vec<String> },
    /// Not known before these stages have run.
    Waits { needs: Vec<String> },
    /// Leave it alone.
    NotAsked,
    /// Fail, for this reason.
    Fails { message: String },
}

impl Verdict {
    /// Whether work is pending.
    pub fn is_pending(&self) -> bool {
        matches!(
            self,
            Verdict::Run { .. } | Verdict::Waits { .. } | Verdict::Fails { .. }
        )
    }
}

/// What `plan` says about one stage.
#[derive(Clone, Debug)]
pub struct Assessment {
    pub id: String,
    pub kind: &'static str,
    pub key: Option<Key>,
    pub verdict: Verdict,
    /// Cells that would be computed and that are there, where that is known.
    pub cells: Option<Cells>,
}

/// Finds out what a run would do; `previous` is what the last run into the same output folder left.
pub fn assess(
    dag: &Dag,
    store: &Store,
    previous: &Previous,
    options: &Options,
) -> Result<Vec<Assessment>, AssessError> {
    let selected = match options.only.as_slice() {
        [] => None,
        ids => Some(dag.with_needs(ids)?),
    };
    let mut read = Read::new();
    let mut assessments = Vec::new();
    for stage in dag.stages() {
        let mut one = Assessment {
            id: stage.id().into(),
            kind: stage.kind(),
            key: None,
            verdict: Verdict::NotAsked,
            cells: None,
        };
        let needs: Vec<String> = stage
            .needs()
            .into_iter()
            .filter(|need| !read.contains_key(need))
            .collect();
        if selected.as_ref().is_some_and(|ids| !ids.contains(stage.id())) {
            assessments.push(one);
            continue;
        }
        if !needs.is_empty() {
            one.verdict = Verdict::Waits { needs };
            assessments.push(one);
            continue;
        }
        match stage.document(store, &read) {
            Err(failure) => {
                one.verdict = Verdict::Fails {
                    message: failure.text(),
                }
            }
            Ok(document) => {
                let key = document.key();
                one.key = Some(key);
                let artifact = store.artifact(key)?;
                if let Some(artifact) = artifact.filter(|_| !options.no_cache) {
                    read.insert(one.id.clone(), artifact);
                    one.verdict = Verdict::Cached;
                } else {
                    one.cells = stage.pending(store, options.no_cache);
                    let before = previous.stages.get(stage.id()).and_then(|stage| stage.key);
                    let reasons = match before {
                        _ if options.no_cache => vec!["--no-cache".into()],
                        None => vec!["no results of an earlier run in this output folder".into()],
                        Some(before) if before == key => vec!["its results are no longer in the store".into()],
                        Some(before) => match store.artifact_document(before) {
                            None => vec!["what it was computed from last time is no longer in the store".into()],
                            Some(earlier) => document
                                .changes_since(&earlier)
                                .iter()
                                .map(ToString::to_string)
                                .collect(),
                        },
                    };
                    one.verdict = Verdict::Run { reasons };
                }
            }
        }
        assessments.push(one);
    }
    Ok(assessments)
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum AssessError {
    #[error(transparent)]
    Dag(#[from] DagError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
