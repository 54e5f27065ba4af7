//! What a run would do, and why, without doing it.

use super::{Dag, DagError, Options, Pending, Read, Stage};
use crate::store::{Change, Document, Key, Store, StoreError};
use serde_json::Value;
use std::collections::BTreeMap;

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

    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Cached => "cached",
            Verdict::Run { .. } => "run",
            Verdict::Waits { .. } => "waits",
            Verdict::NotAsked => "not_asked",
            Verdict::Fails { .. } => "fails",
        }
    }
}

/// What is known of a stage from earlier runs of the same pipeline.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The key of its last results, and what that is the hash of.
    pub key: Option<Key>,
    pub document: Option<Document>,
    /// The last time that it was computed.
    pub cost: Option<PastCost>,
}

/// What computing a stage took.
#[derive(Clone, Debug, PartialEq)]
pub struct PastCost {
    /// The run that tells.
    pub run: String,
    pub seconds: f64,
    pub cells: u64,
}

/// What `plan` says about one stage.
#[derive(Clone, Debug)]
pub struct Assessment {
    pub id: String,
    pub kind: &'static str,
    pub key: Option<Key>,
    pub verdict: Verdict,
    /// What would be computed, where that is known.
    pub pending: Option<Pending>,
    /// The most memory that it is expected to take, in bytes.
    pub memory: Option<u64>,
    /// How long that takes, if as long as the last time.
    pub seconds: Option<f64>,
    /// The run that told.
    pub told_by: Option<String>,
}

/// Finds out what a run would do; `past` is what earlier runs tell, by stage.
pub fn assess(
    dag: &Dag,
    store: &Store,
    past: &BTreeMap<String, Past>,
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
            pending: None,
            memory: None,
            seconds: None,
            told_by: None,
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
                    let earlier = past.get(stage.id()).cloned().unwrap_or_default();
                    one.pending = stage.pending(store, options.no_cache);
                    // What only gathers cells that are stored runs no model.
                    let computes = one.pending.as_ref().is_none_or(|pending| pending.cells.computed > 0);
                    one.memory = if computes { stage.memory() } else { None };
                    one.expect(earlier.cost.as_ref());
                    let reasons = match options.no_cache {
                        true => vec!["--no-cache".into()],
                        false => reasons(stage, store, &document, &earlier, one.pending.as_ref()),
                    };
                    one.verdict = Verdict::Run { reasons };
                }
            }
        }
        assessments.push(one);
    }
    Ok(assessments)
}

impl Assessment {
    /// Takes the time that the stage took, or each of its cells.
    fn expect(&mut self, cost: Option<&PastCost>) {
        let Some(cost) = cost else { return };
        self.seconds = match &self.pending {
            Some(pending) if cost.cells > 0 => Some(cost.seconds * pending.cells.computed as f64 / cost.cells as f64),
            Some(_) => return,
            None => Some(cost.seconds),
        };
        self.told_by = Some(cost.run.clone());
    }
}

/// Why a stage is not simply taken from the store.
fn reasons(
    stage: &dyn Stage,
    store: &Store,
    document: &Document,
    past: &Past,
    pending: Option<&Pending>,
) -> Vec<String> {
    let Some(before) = past.key else {
        return vec!["no results of an earlier run are known".into()];
    };
    if before == document.key() {
        return vec!["its results are no longer in the store".into()];
    }
    let Some(earlier) = &past.document else {
        return vec!["what it was computed from last time is no longer known".into()];
    };
    let mut reasons: Vec<String> = Vec::new();
    for change in document.changes_since(earlier) {
        let told = stage.explain(store, &change, pending);
        for reason in told.unwrap_or_else(|| vec![reason(&change)]) {
            // A version may stand in several places of a document.
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    reasons
}

/// Parts of a document that are no part of the pipeline file.
const WRAPPING: [&str; 4] = ["ground.", "step.", "topology.", "model."];

/// A change in the words of the pipeline file.
fn reason(change: &Change) -> String {
    let mut path = change.path.as_str();
    while let Some(rest) = WRAPPING.iter().find_map(|part| path.strip_prefix(part)) {
        path = rest;
    }
    let path = match path.strip_prefix("data.") {
        Some(rest) => format!("dataset.{rest}"),
        None => path.to_owned(),
    };
    let named = Change {
        path: path.clone(),
        ..change.clone()
    };
    match (path.as_str(), &change.before, &change.after) {
        ("libtorch" | "isa", Some(Value::String(before)), Some(Value::String(after))) => {
            format!("{path} {before} → {after}")
        }
        ("algorithm" | "cell" | "reader", ..) => format!("this version of secateur computes differently ({named})"),
        _ => named.to_string(),
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum AssessError {
    #[error(transparent)]
    Dag(#[from] DagError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasons_are_in_the_words_of_the_file() {
        for (path, before, after, expected) in [
            (
                "ground.model.libtorch",
                json!("2.13.0"),
                json!("2.14.0"),
                "libtorch 2.13.0 → 2.14.0",
            ),
            ("isa", json!("avx2"), json!("avx512"), "isa avx2 → avx512"),
            ("step.sparsities", json!([0.5]), json!([0.5, 0.95]), "sparsities: +0.95"),
            ("topology.input", json!([1, 2]), json!([1, 3]), "input: -2 +3"),
            (
                "ground.data.samples.count",
                json!(5),
                json!(6),
                "dataset.samples.count: 5 → 6",
            ),
            (
                "ground.metric",
                json!("accuracy"),
                json!({"top_k": 5}),
                "metric: accuracy → {\"top_k\":5}",
            ),
            (
                "cell",
                json!(1),
                json!(2),
                "this version of secateur computes differently (cell: 1 → 2)",
            ),
        ] {
            let change = Change {
                path: path.into(),
                before: Some(before),
                after: Some(after),
            };
            assert_eq!(reason(&change), expected);
        }
    }
}
