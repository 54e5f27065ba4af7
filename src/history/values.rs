//! The numbers of a step that measures, small enough for a record.

use crate::store::Artifact;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A table of measured values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Values {
    pub metric: String,
    pub baseline: f64,
    /// In the order of the table.
    pub rows: Vec<Row>,
}

/// The values of one layer (or coupled group): pairs of sparsity and value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub layer: String,
    pub cells: Vec<(f64, f64)>,
}

impl Values {
    /// Reads the table of a sensitivity step; nothing where there is none, or one with values that JSON lacks.
    pub fn of(artifact: &Artifact) -> Option<Values> {
        let bytes = artifact.read("sensitivity.json").ok()??;
        Values::parse(&serde_json::from_slice(&bytes).ok()?)
    }

    fn parse(table: &Value) -> Option<Values> {
        let mut rows: Vec<Row> = Vec::new();
        for cell in table.get("cells")?.as_array()? {
            let layer = cell.get("layer")?.as_str()?;
            let pair = (cell.get("sparsity")?.as_f64()?, cell.get("value")?.as_f64()?);
            match rows.iter_mut().rev().find(|row| row.layer == layer) {
                Some(row) => row.cells.push(pair),
                None => rows.push(Row {
                    layer: layer.to_owned(),
                    cells: vec![pair],
                }),
            }
        }
        Some(Values {
            metric: table.get("metric")?.as_str()?.to_owned(),
            baseline: table.get("baseline")?.as_f64()?,
            rows,
        })
    }

    /// The value of a cell.
    pub fn cell(&self, layer: &str, sparsity: f64) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.layer == layer)?;
        row.cells
            .iter()
            .find(|(at, _)| *at == sparsity)
            .map(|(_, value)| *value)
    }

    /// Every cell: layer, sparsity, value.
    pub fn cells(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        let rows = self.rows.iter();
        rows.flat_map(|row| {
            row.cells
                .iter()
                .map(|&(sparsity, value)| (row.layer.as_str(), sparsity, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_becomes_rows() {
        let cell =
            |layer: &str, sparsity: f64, value: f64| json!({"layer": layer, "sparsity": sparsity, "value": value});
        let table = json!({
            "metric": "accuracy", "baseline": 0.9,
            "cells": [cell("a", 0.25, 0.8), cell("a", 0.5, 0.7), cell("b", 0.25, 0.6)],
        });
        let values = Values::parse(&table).unwrap();
        assert_eq!(values.rows.len(), 2);
        assert_eq!(values.cell("a", 0.5), Some(0.7));
        assert_eq!(values.cell("b", 0.5), None);
        assert_eq!(values.cells().count(), 3);
        assert_eq!(Values::parse(&json!({"cells": [{"layer": "a"}]})), None);
    }
}
