//! Cells in the store: what a perturbation makes of each metric.
//!
//! Each metric's score is a cell of its own, under a key that names that metric alone: one more metric leaves what is
//! known of the others as it is. Owns the form of a score in JSON, and that of sums of a pass that is not over.

use super::runs;
use super::sensitivity::{CELL, KIND};
use super::shared::Shared;
use crate::history::OUTCOMES;
use crate::metric::{Score, SoFar};
use crate::outcomes::Outcomes;
use crate::sensitivity::{Memory, Samples, Standing};
use crate::store::{Document, Key, NewCell, Store};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Cells in the store.
pub struct Stored<'a> {
    store: &'a Store,
    shared: &'a Shared,
    /// Whether what is known is not asked for.
    fresh: bool,
    /// What the cells of each metric depend on beside their perturbation.
    grounds: Vec<Document>,
    /// The cells that were found or made.
    used: Mutex<BTreeSet<Key>>,
    /// When it was last kept where a pass stands, and how long that took.
    paused: Mutex<(Instant, Duration)>,
}

impl<'a> Stored<'a> {
    pub fn new(store: &'a Store, shared: &'a Shared, fresh: bool, grounds: Vec<Document>) -> Stored<'a> {
        Stored {
            store,
            shared,
            fresh,
            grounds,
            used: Mutex::default(),
            paused: Mutex::new((Instant::now(), Duration::ZERO)),
        }
    }

    /// The cells that were found or made.
    pub fn used(self) -> BTreeSet<Key> {
        self.used.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn uses(&self, keys: impl IntoIterator<Item = Key>) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }

    /// The cell of the metric that steers.
    pub fn key(&self, digest: Option<&str>) -> Option<Key> {
        Some(Self::document(self.grounds.first()?, digest).key())
    }

    fn put(&self, cells: Vec<NewCell>) -> Result<(), String> {
        // A file that changed while it was read must not leave values under its old content's keys.
        self.shared.unchanged(self.store).map_err(|fault| fault.text())?;
        self.store.put_cells(&cells).map_err(|fault| fault.to_string())?;
        self.uses(cells.iter().map(|cell| cell.document.key()));
        Ok(())
    }

    /// What the sums of a pass belong to.
    fn pass(&self, digests: &[Option<String>]) -> Document {
        let grounds: Vec<Value> = self.grounds.iter().map(Document::to_value).collect();
        Document::new()
            .with("pass", KIND)
            .with("algorithm", CELL)
            .with("grounds", grounds)
            .with("perturbations", json!(digests))
    }

    fn document(ground: &Document, digest: Option<&str>) -> Document {
        Document::new()
            .with("cell", KIND)
            .with("algorithm", CELL)
            .with("ground", ground.clone())
            .with("perturbation", json!(digest))
    }

    /// The first `count` samples of a cell, in random order, under the metric that steers.
    fn samples(&self, digest: Option<&str>, count: usize) -> Document {
        Document::new()
            .with("cell", "samples")
            .with("algorithm", CELL)
            .with("ground", self.grounds.first().cloned().unwrap_or_default())
            .with("perturbation", json!(digest))
            .with("order", json!(self.shared.spec.pipeline.seed))
            .with("samples", json!(count))
    }

    fn score(&self, ground: &Document, digest: Option<&str>) -> Option<Score> {
        if self.fresh {
            return None;
        }
        let key = Self::document(ground, digest).key();
        let cell = self.store.cell(key).ok().flatten()?;
        self.uses([key]);
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
            outcomes: None,
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
                value: whole(score),
            };
            self.grounds.iter().zip(scores).map(cell)
        });
        self.put(cells.collect())
    }

    fn pause(&self, pass: &[Option<String>], standing: &dyn Fn() -> Option<Vec<Standing>>) {
        let mut last = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, took) = *last;
        // Aggregates of other programs may have much to say: a twentieth of the time is for that, at most.
        let pace = match self.store.pace() {
            Duration::ZERO => Duration::ZERO,
            pace => pace.max(took * 20),
        };
        if at.elapsed() < pace {
            return;
        }
        let begun = Instant::now();
        let standing = standing();
        *last = (Instant::now(), begun.elapsed());
        let Some(standing) = standing else { return };
        // Sums only save time, so nothing that is wrong with them, or with an input, ends the run here.
        let unchanged = self.shared.unchanged(self.store).map_err(|fault| fault.text());
        let kept = unchanged.and_then(|()| {
            let sums = write_standing(&standing);
            let kept = self.store.put_partial(&self.pass(pass), &sums);
            kept.map_err(|fault| fault.to_string())
        });
        if let Err(fault) = kept {
            tracing::warn!("a crash would lose this pass: {fault}");
        }
        *last = (Instant::now(), begun.elapsed());
    }

    fn resume(&self, pass: &[Option<String>]) -> Option<Vec<Standing>> {
        if self.fresh {
            return None;
        }
        read_standing(&self.store.partial(self.pass(pass).key())?)
    }

    fn over(&self, pass: &[Option<String>]) {
        self.store.drop_partial(self.pass(pass).key());
    }
}

/// Sums as JSON: samples, and the sum's bits, which no decimal has to carry, with the samples one by one where they are
/// known, or an aggregate's state.
fn write_standing(standing: &[Standing]) -> Value {
    let one = |one: &Standing| match &one.so_far {
        SoFar::Sum { sum, outcomes } => {
            let outcomes = outcomes.as_ref().map(Outcomes::to_text);
            json!([one.samples, format!("{:016x}", sum.to_bits()), outcomes])
        }
        SoFar::State(state) => json!([one.samples, {"state": state}]),
    };
    standing.iter().map(one).collect()
}

fn read_standing(value: &Value) -> Option<Vec<Standing>> {
    let one = |one: &Value| {
        let samples = usize::try_from(one[0].as_u64()?).ok()?;
        if let Some(state) = one[1]["state"].as_str() {
            let so_far = SoFar::State(state.to_owned());
            return Some(Standing { samples, so_far });
        }
        let sum = f64::from_bits(u64::from_str_radix(one[1].as_str()?, 16).ok()?);
        let outcomes = match &one[2] {
            Value::Null => None,
            text => Some(Outcomes::parse(text.as_str()?).filter(|outcomes| outcomes.count() == samples)?),
        };
        let so_far = SoFar::Sum { sum, outcomes };
        Some(Standing { samples, so_far })
    };
    value.as_array()?.iter().map(one).collect()
}

impl Samples for Stored<'_> {
    fn sampled(&self, digest: Option<&str>, ends: &[usize]) -> Option<Vec<f64>> {
        if self.fresh {
            return None;
        }
        // A cell that was sampled on is kept under each of its lengths: each is a result that never changes.
        ends.iter().rev().find_map(|&count| {
            let key = self.samples(digest, count).key();
            let value = self.store.cell(key).ok().flatten()?;
            let values = runs::read(&value["values"]).filter(|values| values.len() == count)?;
            self.uses([key]);
            Some(values)
        })
    }

    fn keep_sampled(&self, cells: &[(Option<String>, &[f64])]) -> Result<(), String> {
        let cell = |(digest, values): &(Option<String>, &[f64])| NewCell {
            document: self.samples(digest.as_deref(), values.len()),
            value: json!({"values": runs::write(values)}),
        };
        self.put(cells.iter().map(cell).collect())
    }
}

/// A cell: the score, and the samples that it is the average of where each is 0 or 1.
fn whole(score: &Score) -> Value {
    let mut cell = written(score, "value");
    if let Some(outcomes) = &score.outcomes {
        cell[OUTCOMES] = outcomes.to_text().into();
    }
    cell
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_back() {
        let mut outcomes = Outcomes::default();
        [1.0, 0.0, 1.0].into_iter().for_each(|value| outcomes.push(value));
        let standing = |sum, outcomes| Standing {
            samples: 3,
            so_far: SoFar::Sum { sum, outcomes },
        };
        let all = [standing(2.0, Some(outcomes)), standing(0.1 + 0.2, None)];
        let written = write_standing(&all);
        assert_eq!(read_standing(&written).as_deref(), Some(&all[..]));
        // Outcomes of another number of samples belong to another sum.
        let other = written.to_string().replacen("[3,", "[4,", 1);
        assert_eq!(read_standing(&serde_json::from_str(&other).unwrap_or_default()), None);
    }
}
