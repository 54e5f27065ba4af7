//! The cells of a table: which there are, wave by wave, and where rows end.
//!
//! Owns the walk that [`super::measure`] and [`super::estimate`] have in common. Deliberately measures nothing: values come
//! from whoever walks.

use super::engine::Settings;
use super::pass::Job;
use super::perturb::{Perturbation, Plan, Target};
use super::{Cell, SensitivityError};
use crate::graph::Graph;
use crate::metric::Score;
use std::collections::BTreeSet;

/// One cell of the table.
pub(super) struct Asked {
    target: usize,
    sparsity: f64,
    pub perturbation: Perturbation,
    /// None when nothing is changed: the cell is the unmasked model.
    pub digest: Option<String>,
}

impl Asked {
    pub fn new(
        graph: &Graph,
        targets: &[Target],
        plan: Plan,
        target: usize,
        sparsity: f64,
    ) -> Result<Asked, SensitivityError> {
        let perturbation = targets[target].perturbation(graph, plan, sparsity)?;
        let digest = (!perturbation.changes.is_empty()).then(|| perturbation.digest(graph));
        Ok(Asked {
            target,
            sparsity,
            perturbation,
            digest,
        })
    }

    pub fn job(&self, targets: &[Target]) -> Job<'_> {
        Job {
            name: format!("{} at sparsity {}", targets[self.target].name, self.sparsity),
            target: self.target,
            perturbation: &self.perturbation,
        }
    }
}

/// The cells that change something, each digest once, with their places ([`Settings::mine`]).
pub(super) fn distinct<'c>(
    cells: &'c [Asked],
    settings: &Settings<'_>,
) -> impl Iterator<Item = (usize, &'c str, &'c Asked)> {
    let by_row = settings.early_stop.is_some();
    let mut seen = BTreeSet::new();
    let changing = cells
        .iter()
        .filter_map(|cell| Some((cell.digest.as_deref()?, cell)))
        .filter(move |(digest, _)| seen.insert(*digest));
    changing
        .enumerate()
        .map(move |(at, (digest, cell))| (if by_row { cell.target } else { at }, digest, cell))
}

/// What a wave found: the unmasked model's score (none when it is left to others), and for each cell its scores and
/// whatever else is known of it (none when the cell is left to others).
pub(super) type Found<T> = (Option<f64>, Vec<Option<(Vec<Score>, T)>>);

/// Goes through the table: `fill` finds the cells of one wave. Rows end where early stop says so, and at a cell that is left to
/// others.
pub(super) fn walk<T>(
    graph: &Graph,
    targets: &[Target],
    settings: &Settings<'_>,
    mut fill: impl FnMut(&[Asked]) -> Result<Found<T>, SensitivityError>,
) -> Result<Vec<(Cell, T)>, SensitivityError> {
    // With early stop the next sparsity of a target depends on the last one's value: one wave a sparsity.
    let wave = match settings.early_stop {
        None => settings.sparsities.len().max(1),
        Some(_) => 1,
    };
    let mut live = vec![true; targets.len()];
    let mut rows: Vec<Vec<(Cell, T)>> = targets.iter().map(|_| Vec::new()).collect();
    for sparsities in settings.sparsities.chunks(wave) {
        let mut cells = Vec::new();
        for (target, _) in live.iter().enumerate().filter(|(_, live)| **live) {
            for &sparsity in sparsities {
                cells.push(Asked::new(graph, targets, settings.plan, target, sparsity)?);
            }
        }
        let (baseline, found) = fill(&cells)?;
        let Some(baseline) = baseline else { continue };
        for (cell, found) in cells.into_iter().zip(found) {
            let Some((scores, known)) = found else {
                live[cell.target] = false;
                continue;
            };
            let value = first(&scores);
            let stop = settings.early_stop.is_some_and(|stop| stop.triggers(baseline, value));
            live[cell.target] &= !stop;
            let cell = Cell {
                target: cell.target,
                sparsity: cell.sparsity,
                value,
                scores,
                pruned: cell.perturbation.pruned,
                of: cell.perturbation.of,
                stop,
                digest: cell.digest,
            };
            rows[cell.target].push((cell, known));
        }
    }
    Ok(rows.into_iter().flatten().collect())
}

/// The score that steers.
pub(super) fn first(scores: &[Score]) -> f64 {
    scores.first().map_or(f64::NAN, |score| score.value)
}
