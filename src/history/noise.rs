//! Whether chance alone explains how a table moved.
//!
//! Owns the test of each cell that moved and what is said where there can be none. The two models are paired on the same
//! samples; among those on which exactly one of them is right, each is as likely to be right where nothing changed
//! (McNemar's exact test). Holm's correction makes the many tests of a step as careful as one; cells that are the same cell
//! of the store were not tested, and those that are not but have equal values count with probability 1.

use super::outcomes::{CellKeys, Lacking, of_cell};
use super::{CellMove, StageEntry};
use crate::outcomes::{holm, mcnemar};
use crate::store::{Key, Store};

/// Beyond this (corrected) probability a difference is within noise.
pub const NOISE: f64 = 0.05;

/// A part of what decided a stage's results.
fn part<'e>(entry: &'e StageEntry, path: &str) -> Option<&'e serde_json::Value> {
    entry.document.pointer(path)
}

/// The cells of two tables of one step.
pub(super) struct Pairs<'a> {
    store: &'a Store,
    before: CellKeys,
    after: CellKeys,
}

impl<'a> Pairs<'a> {
    /// # Errors
    /// Says why there is nothing to compare.
    pub fn new(before: &StageEntry, after: &StageEntry, store: &'a Store) -> Result<Pairs<'a>, &'static str> {
        if part(before, "/ground/data") != part(after, "/ground/data") {
            return Err("they were measured on different samples");
        }
        if [before, after]
            .iter()
            .any(|entry| part(entry, "/step/estimate").is_some_and(|rule| !rule.is_null()))
        {
            return Err("values are estimates, which come with intervals of their own");
        }
        let keys = |entry: &StageEntry| {
            let key = Key::parse(entry.key.as_deref()?)?;
            CellKeys::of(&store.artifact(key).ok()??)
        };
        let gone = "the store no longer has the tables' cells";
        Ok(Pairs {
            store,
            before: keys(before).ok_or(gone)?,
            after: keys(after).ok_or(gone)?,
        })
    }

    /// Whether both tables have the very same cell.
    pub fn is_same(&self, cell: Option<(&str, f64)>) -> bool {
        self.before.key(cell) == self.after.key(cell)
    }

    /// The probability that the two differ as much as they do by chance.
    fn probability(&self, cell: &CellMove) -> Result<f64, Lacking> {
        let place = cell.layer.as_deref().zip(cell.sparsity);
        let outcomes = |keys: &CellKeys| of_cell(self.store, keys.key(place).ok_or(Lacking::Gone)?);
        let (before, after) = (outcomes(&self.before)?, outcomes(&self.after)?);
        let (lost, won) = before.against(&after).ok_or(Lacking::Gone)?;
        Ok(mcnemar(lost, won))
    }

    /// Says of each number that moved whether that is within noise; `unmoved` others were measured twice and came out
    /// equal. The answer is why some could not be tested.
    pub fn test(&self, moved: &mut [&mut CellMove], unmoved: usize) -> Option<&'static str> {
        let mut lacking = None;
        let mut tested: Vec<(usize, f64)> = Vec::new();
        for (at, cell) in moved.iter().enumerate() {
            match self.probability(cell) {
                Ok(p) => tested.push((at, p)),
                Err(why) => lacking = lacking.or(Some(why)),
            }
        }
        let untested = std::iter::repeat_n(1.0, unmoved);
        let all: Vec<f64> = tested.iter().map(|(_, p)| *p).chain(untested).collect();
        for ((at, _), p) in tested.iter().zip(holm(&all)) {
            moved[*at].p = Some(p);
            moved[*at].within_noise = Some(p > NOISE);
        }
        lacking.map(|why| match why {
            Lacking::Gone => "the store no longer has every cell",
            Lacking::Untold => "the metric is not 0 or 1 for each sample, so nothing is stored of single samples",
        })
    }
}
