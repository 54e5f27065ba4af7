//! Cells in the store: what a perturbation makes of each metric.
//!
//! Each metric's score is a cell of its own, under a key that names that metric alone: one more metric leaves what is
//! known of the others as it is. Owns the form of a score in JSON.

use super::sensitivity::{CELL, KIND};
use crate::metric::Score;
use crate::sensitivity::Memory;
use crate::store::{Document, NewCell, Store};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Cells in the store.
pub struct Stored<'a> {
    pub store: &'a Store,
    /// Whether what is known is asked for.
    pub fresh: bool,
    /// What the cells of each metric depend on beside their perturbation.
    pub grounds: Vec<Document>,
}

impl Stored<'_> {
    fn document(ground: &Document, digest: Option<&str>) -> Document {
        Document::new()
            .with("cell", KIND)
            .with("algorithm", CELL)
            .with("ground", ground.clone())
            .with("perturbation", json!(digest))
    }

    fn score(&self, ground: &Document, digest: Option<&str>) -> Option<Score> {
        if self.fresh {
            return None;
        }
        let cell = self.store.cell(Self::document(ground, digest).key()).ok().flatten()?;
        let parts = match cell.get("parts") {
            None => Some(Vec::new()),
            Some(parts) => parts
                .as_object()?
                .iter()
                .map(|(name, part)| Some((name.clone(), read(part)?)))
                .collect(),
        };
        Some(Score {
            value: read(&cell["value"])?,
            parts: parts?,
        })
    }
}

impl Memory for Stored<'_> {
    fn known(&self, digest: Option<&str>) -> Option<f64> {
        let ground = self.grounds.first()?;
        self.score(ground, digest).map(|score| score.value)
    }

    fn keep(&self, values: &[(Option<String>, f64)]) -> Result<(), String> {
        let scores = |(digest, value): &(Option<String>, f64)| (digest.clone(), vec![Score::from(*value)]);
        self.keep_scores(&values.iter().map(scores).collect::<Vec<_>>())
    }

    fn scores(&self, digest: Option<&str>) -> Option<Vec<Score>> {
        self.grounds.iter().map(|ground| self.score(ground, digest)).collect()
    }

    fn keep_scores(&self, scores: &[(Option<String>, Vec<Score>)]) -> Result<(), String> {
        let cells = scores.iter().flat_map(|(digest, scores)| {
            let cell = |(ground, score): (&Document, &Score)| NewCell {
                document: Self::document(ground, digest.as_deref()),
                value: written(score, "value"),
            };
            self.grounds.iter().zip(scores).map(cell)
        });
        let cells: Vec<NewCell> = cells.collect();
        self.store.put_cells(&cells).map_err(|fault| fault.to_string())
    }
}

/// A score as an object, its number under the given name.
pub fn written(score: &Score, name: &str) -> Value {
    let mut fields = Map::from_iter([(name.to_owned(), number(score.value))]);
    if !score.parts.is_empty() {
        let parts = score.parts.iter().map(|(name, part)| (name.clone(), number(*part)));
        fields.insert("parts".into(), Value::Object(parts.collect()));
    }
    Value::Object(fields)
}

/// Infinities have no JSON number.
fn number(value: f64) -> Value {
    if value.is_finite() {
        json!(value)
    } else {
        json!(value.to_string())
    }
}

fn read(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        number => number.as_f64(),
    }
}

/// The parts of the score that steers, by name.
pub struct Parts<'a>(&'a [(String, f64)]);

impl<'a> Parts<'a> {
    pub fn of(scores: &'a [Score]) -> Parts<'a> {
        Parts(scores.first().map_or(&[], |score| &score.parts))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, part)| (name, part)))
    }
}
