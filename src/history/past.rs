//! What earlier runs tell of each step of a pipeline.

use super::reference::runs;
use super::{HistoryError, StageEntry};
use crate::pipeline::{Past, PastCost, Previous};
use crate::store::{Document, Key, Store};
use std::collections::BTreeMap;

/// What is known of each stage of a pipeline: its last results, those in the output folder before all others, and what
/// computing it took.
pub fn past(store: &Store, name: &str, previous: &Previous) -> Result<BTreeMap<String, Past>, HistoryError> {
    let mut all: BTreeMap<String, Past> = BTreeMap::new();
    for run in runs(store, Some(name))? {
        for stage in run.stages.iter().filter(|stage| stage.is_done()) {
            let past = all.entry(stage.id.clone()).or_default();
            past.key = stage.key.as_deref().and_then(Key::parse);
            past.document =
                Document::from_value(stage.document.clone()).filter(|document| Some(document.key()) == past.key);
            if let Some(cost) = cost(&run.id, stage) {
                past.cost = Some(cost);
            }
        }
    }
    for (id, stage) in &previous.stages {
        let past = all.entry(id.clone()).or_default();
        if stage.key.is_some() && stage.key != past.key {
            past.key = stage.key;
            past.document = None;
        }
    }
    for past in all.values_mut() {
        if let (None, Some(key)) = (&past.document, past.key) {
            past.document = store.artifact_document(key);
        }
    }
    Ok(all)
}

/// What a computed stage took; one that found most of its cells says nothing.
fn cost(run: &str, stage: &StageEntry) -> Option<PastCost> {
    let told = stage.status == "computed" && (stage.cells.computed > 0 || stage.cells.reused == 0);
    told.then(|| PastCost {
        run: run.to_owned(),
        seconds: stage.seconds,
        cells: stage.cells.computed,
    })
}
