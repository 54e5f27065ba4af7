//! Steps that wait for other steps: whom they name, and that nobody waits for himself.

use super::{Rules, Step};
use crate::spec::diagnostic::Span;
use crate::spec::near::nearest;
use crate::spec::node::{Node, key_path, shorten};

/// Steps that yield masks to other steps.
const YIELDS_MASKS: [&str; 1] = ["mask_fix"];

impl Rules<'_, '_> {
    pub(super) fn references(&mut self, steps: &[Step<'_>]) {
        // Which step each step waits for, where that is a step that yields masks.
        let mut waits: Vec<Option<usize>> = vec![None; steps.len()];
        for (index, step) in steps.iter().enumerate() {
            let Some((node, path, span)) = self.reference(step) else {
                continue;
            };
            let Some(id) = node.as_text() else { continue };
            let target = steps.iter().position(|other| other.id == id);
            match target.map(|target| (target, steps[target].kind)) {
                None => {
                    let yielding = steps
                        .iter()
                        .enumerate()
                        .filter(|(other, step)| *other != index && YIELDS_MASKS.contains(&step.kind))
                        .map(|(_, step)| step.id);
                    let near = nearest(id, yielding).map(str::to_owned);
                    self.report(span, &path, format!("no step has the id `{}`", shorten(id)), None);
                    if let Some(fault) = self.faults.last_mut() {
                        fault.suggestion = near;
                    }
                }
                Some((target, _)) if target == index => {
                    self.report(span, &path, "a step cannot wait for itself", None);
                }
                Some((target, kind)) if YIELDS_MASKS.contains(&kind) => waits[index] = Some(target),
                Some((_, kind)) => {
                    let message = format!("the step `{}` is of kind `{kind}`, which yields no masks", shorten(id));
                    self.report(span, &path, message, Some("refer to a step of kind `mask_fix`"));
                }
            }
        }
        self.cycles(steps, &waits);
    }

    /// The step reference of a step, if it has one.
    fn reference<'s>(&self, step: &Step<'s>) -> Option<(&'s Node, String, Span)> {
        if step.kind != "mask_fix" {
            return None;
        }
        let masks = step.entry.value.entry("masks")?;
        let reference = masks.value.entry("step")?;
        let path = key_path(&key_path(&step.path, &masks.key), &reference.key);
        Some((&reference.value, path, reference.value.span))
    }

    /// Each step waits for at most one other, so following that from each step finds every cycle; it is reported at
    /// its first step.
    fn cycles(&mut self, steps: &[Step<'_>], waits: &[Option<usize>]) {
        // Where each step was last passed: the start of that walk.
        let mut passed: Vec<Option<usize>> = vec![None; steps.len()];
        for start in 0..steps.len() {
            let mut at = start;
            while passed[at].is_none() {
                passed[at] = Some(start);
                match waits[at] {
                    Some(next) => at = next,
                    None => break,
                }
            }
            if passed[at] != Some(start) || waits[at].is_none() {
                continue;
            }
            let mut cycle = vec![at];
            let mut next = waits[at];
            while let Some(step) = next.filter(|step| *step != at) {
                cycle.push(step);
                next = waits[step];
            }
            let first = cycle
                .iter()
                .enumerate()
                .min_by_key(|(_, step)| **step)
                .map_or(0, |(place, _)| place);
            cycle.rotate_left(first);
            cycle.push(cycle[0]);
            let names: Vec<String> = cycle.iter().map(|step| shorten(steps[*step].id)).collect();
            if let Some((_, path, span)) = self.reference(&steps[cycle[0]]) {
                let message = format!("steps wait for each other in a cycle: {}", names.join(" → "));
                self.report(span, &path, message, Some("let one of them read its masks from a file"));
            }
        }
    }
}
