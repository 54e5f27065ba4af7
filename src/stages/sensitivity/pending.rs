//! What a sensitivity step has still to measure, cell by cell, without measuring it.

use super::{Sensitivity, Stored};
use crate::pipeline::{Failure, Pending};
use crate::sensitivity::{Budget, Memory, Target, WAVE};
use crate::stages::data;
use crate::store::{Change, Store};
use serde_json::Value;
use std::collections::BTreeSet;

impl Sensitivity {
    /// Every cell that a run would measure. With early stop a row whose next value is not known is counted to its end.
    pub(super) fn count(&self, store: &Store, fresh: bool) -> Result<Pending, Failure> {
        let graph = &self.shared.model().map_err(Failure::of)?.graph;
        let targets = self.targets()?;
        let memory = Stored::new(store, &self.shared, fresh, self.grounds(store)?);
        let early_stop = self.early_stop();
        let baseline = known(&memory, None);
        let mut pending = Pending::default();
        let mut seen = BTreeSet::new();
        let mut measured: Vec<usize> = Vec::new();
        match baseline {
            Some(_) => pending.cells.reused += 1,
            None => pending.cells.computed += 1,
        }
        for (at, target) in targets.iter().enumerate() {
            for &sparsity in &self.step.sparsities {
                let perturbation = target.perturbation(graph, self.plan(), sparsity).map_err(Failure::of)?;
                let digest = (!perturbation.changes.is_empty()).then(|| perturbation.digest(graph));
                let value = match &digest {
                    None => baseline,
                    Some(digest) => known(&memory, Some(digest)),
                };
                if digest.is_some_and(|digest| seen.insert(digest)) {
                    match value {
                        Some(_) => pending.cells.reused += 1,
                        None => {
                            pending.cells.computed += 1;
                            pending.listed.push((target.name.clone(), sparsity));
                            measured.push(at);
                        }
                    }
                }
                match (early_stop, baseline, value) {
                    (None, ..) => {}
                    (Some(stop), Some(baseline), Some(value)) if stop.triggers(baseline, value) => break,
                    (Some(_), Some(_), Some(_)) => {}
                    (Some(_), ..) => pending.at_most = true,
                }
            }
        }
        // With the stop undecided every later value is a guess; with nothing to measure it is none.
        pending.at_most &= pending.cells.computed > 0;
        pending.macs = self.macs(&targets, &measured, pending.cells.computed)?;
        Ok(pending)
    }

    /// Multiply-accumulates of replays of these targets, one a cell, and of the passes of the whole model that they take.
    fn macs(&self, targets: &[Target], measured: &[usize], cells: u64) -> Result<Option<u64>, Failure> {
        if cells == 0 || self.shared.spec.pipeline.dataset.is_none() {
            return Ok(Some(0));
        }
        let samples = data::open(&self.shared)?.len() as u64;
        let walk = self.shared.walk()?;
        let budget = Budget::of(&walk, walk.batch, targets, 1);
        let replays: u64 = measured.iter().map(|&at| budget.replay(at)).sum();
        let passes = measured.len().div_ceil(WAVE).max(1) as u64;
        Ok(Some((replays + budget.whole * passes) * samples))
    }

    /// Says a change in the words of the step.
    pub(super) fn explained(&self, change: &Change, pending: Option<&Pending>) -> Option<Vec<String>> {
        let field = change.path.strip_prefix("step.")?;
        let (Some(Value::Array(before)), Some(Value::Array(after))) = (&change.before, &change.after) else {
            return None;
        };
        let counted = |matches: &dyn Fn(f64) -> bool| {
            let listed = pending.map(|pending| pending.listed.iter());
            let count = listed.map_or(0, |listed| listed.filter(|(_, sparsity)| matches(*sparsity)).count());
            let at_most = if pending.is_some_and(|pending| pending.at_most) {
                "at most "
            } else {
                ""
            };
            match count {
                0 => String::new(),
                1 => format!(" ({at_most}1 cell)"),
                _ => format!(" ({at_most}{count} cells)"),
            }
        };
        let named = Change {
            path: field.to_owned(),
            ..change.clone()
        };
        match field {
            "sparsities" => {
                let added: Vec<f64> = after
                    .iter()
                    .filter(|sparsity| !before.contains(sparsity))
                    .filter_map(Value::as_f64)
                    .collect();
                Some(vec![format!(
                    "{named}{}",
                    counted(&|sparsity| added.contains(&sparsity))
                )])
            }
            "layers" => Some(vec![format!("{named}{}", counted(&|_| true))]),
            _ => None,
        }
    }
}

/// The value of the metric that steers, where those of all metrics are known.
fn known(memory: &Stored<'_>, digest: Option<&str>) -> Option<f64> {
    Some(memory.scores(digest)?.first()?.value)
}
