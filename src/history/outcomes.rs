//! Which cells of the store a table is made of, and what is known of their samples one by one.
//!
//! Deliberately knows no metric: a cell has outcomes where whoever measured it could tell them.

use crate::outcomes::Outcomes;
use crate::store::{Artifact, Key, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file of an artifact that names the table's cells in the store; it is not put into the output folder.
pub const CELLS_FILE: &str = ".cells.json";

/// The field of a cell with its outcomes.
pub const OUTCOMES: &str = "outcomes";

/// The keys of a table's cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellKeys {
    baseline: String,
    /// By layer and sparsity.
    cells: BTreeMap<String, BTreeMap<String, String>>,
}

impl CellKeys {
    /// A table of which only the unmasked model's cell is known.
    pub fn new(baseline: Key) -> CellKeys {
        CellKeys {
            baseline: baseline.to_string(),
            cells: BTreeMap::new(),
        }
    }

    pub fn insert(&mut self, layer: &str, sparsity: f64, key: Key) {
        let row = self.cells.entry(layer.to_owned()).or_default();
        row.insert(sparsity.to_string(), key.to_string());
    }

    /// The keys that an artifact names, where it does.
    pub fn of(artifact: &Artifact) -> Option<CellKeys> {
        serde_json::from_slice(&artifact.read(CELLS_FILE).ok()??).ok()
    }

    /// The key of a cell, or of the unmasked model's.
    pub fn key(&self, cell: Option<(&str, f64)>) -> Option<Key> {
        let text = match cell {
            None => &self.baseline,
            Some((layer, sparsity)) => self.cells.get(layer)?.get(&sparsity.to_string())?,
        };
        Key::parse(text)
    }
}

/// Why a cell has no outcomes to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacking {
    /// The cell is no longer in the store.
    Gone,
    /// Its metric is not 0 or 1 for each sample, or does not tell.
    Untold,
}

/// The outcomes of a cell.
pub(super) fn of_cell(store: &Store, key: Key) -> Result<Outcomes, Lacking> {
    let cell = store.cell(key).ok().flatten().ok_or(Lacking::Gone)?;
    let text = cell.get(OUTCOMES).and_then(|text| text.as_str());
    text.and_then(Outcomes::parse).ok_or(Lacking::Untold)
}
