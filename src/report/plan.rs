//! How a plan looks to a person, and to a program.

use super::duration;
use crate::pipeline::{Assessment, Pending, Verdict};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// What a run would do, a few lines a step.
pub fn plan_text(name: &str, assessments: &[Assessment]) -> String {
    let count = assessments.iter().filter(|one| one.verdict.is_pending()).count();
    let mut text = match count {
        0 => format!("{name}: nothing to compute\n"),
        count => {
            let total = Total::of(assessments);
            let costs: Vec<String> = total.words().iter().map(|words| format!(", {words}")).collect();
            let steps = assessments.len();
            format!("{name}: {count} of {steps} steps to run{}\n", costs.concat())
        }
    };
    for one in assessments {
        let _ = write!(text, "  {}: ", one.id);
        match &one.verdict {
            Verdict::Cached => text.push_str("cached\n"),
            Verdict::NotAsked => text.push_str("not asked for\n"),
            Verdict::Waits { needs } => {
                let _ = writeln!(text, "known when {} has run", needs.join(", "));
            }
            Verdict::Fails { message } => {
                let _ = writeln!(text, "will fail: {message}");
            }
            Verdict::Run { reasons } => will_run(&mut text, one, reasons),
        }
    }
    text
}

fn will_run(text: &mut String, one: &Assessment, reasons: &[String]) {
    text.push_str("will run");
    if let Some(Pending { cells, at_most, .. }) = &one.pending {
        let most = if *at_most { "at most " } else { "" };
        let _ = write!(
            text,
            ", {most}{} cells to compute, {} in the store",
            cells.computed, cells.reused
        );
    }
    text.push('\n');
    if let Some(bytes) = one.memory {
        let _ = writeln!(text, "    expected to take {} of memory", super::memory_text(bytes));
    }
    for reason in reasons {
        let _ = writeln!(text, "    {reason}");
    }
    let macs = one
        .pending
        .as_ref()
        .and_then(|pending| pending.macs)
        .filter(|macs| *macs > 0);
    let mut costs: Vec<String> = macs.map(macs_words).into_iter().collect();
    if let (Some(seconds), Some(run)) = (one.seconds, &one.told_by) {
        costs.push(format!("about {} (by run {run})", duration(seconds)));
    }
    if !costs.is_empty() {
        let _ = writeln!(text, "    {}", costs.join(", "));
    }
}

/// What all pending stages take together, as far as that is known.
struct Total {
    cells: u64,
    macs: u64,
    /// None where some stage's time is not known.
    seconds: Option<f64>,
}

impl Total {
    fn of(assessments: &[Assessment]) -> Total {
        let run = || assessments.iter().filter(|one| one.verdict.is_pending());
        let pending = || run().filter_map(|one| one.pending.as_ref());
        Total {
            cells: pending().map(|pending| pending.cells.computed).sum(),
            macs: pending().filter_map(|pending| pending.macs).sum(),
            seconds: run().map(|one| one.seconds).sum(),
        }
    }

    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.cells > 0 {
            words.push(format!("{} cells", self.cells));
        }
        if self.macs > 0 {
            words.push(macs_words(self.macs));
        }
        if let Some(seconds) = self.seconds {
            words.push(format!("about {}", duration(seconds)));
        }
        words
    }
}

/// `12.3 G multiply-accumulates`.
fn macs_words(macs: u64) -> String {
    let (unit, size) = match macs {
        0..1_000_000 => ("k", 1e3),
        1_000_000..1_000_000_000 => ("M", 1e6),
        1_000_000_000..1_000_000_000_000 => ("G", 1e9),
        _ => ("T", 1e12),
    };
    format!("{:.1} {unit} multiply-accumulates", macs as f64 / size)
}

/// The same as JSON.
pub fn plan_json(name: &str, assessments: &[Assessment]) -> Value {
    let total = Total::of(assessments);
    json!({
        "name": name,
        "pending": assessments.iter().any(|one| one.verdict.is_pending()),
        "cells": total.cells,
        "macs": total.macs,
        "seconds": total.seconds,
        "stages": assessments.iter().map(stage_json).collect::<Value>(),
    })
}

fn stage_json(one: &Assessment) -> Value {
    let mut stage = Map::new();
    stage.insert("id".into(), one.id.clone().into());
    stage.insert("kind".into(), one.kind.into());
    stage.insert("verdict".into(), one.verdict.name().into());
    stage.insert("key".into(), json!(one.key));
    match &one.verdict {
        Verdict::Run { reasons } => {
            stage.insert("reasons".into(), json!(reasons));
            stage.insert("memory".into(), json!(one.memory));
            if let Some(pending) = &one.pending {
                let Pending { cells, at_most, .. } = pending;
                let cells = json!({"to_compute": cells.computed, "stored": cells.reused, "at_most": at_most});
                stage.insert("cells".into(), cells);
                stage.insert("macs".into(), json!(pending.macs));
            }
            stage.insert("seconds".into(), json!(one.seconds));
        }
        Verdict::Waits { needs } => {
            stage.insert("needs".into(), json!(needs));
        }
        Verdict::Fails { message } => {
            stage.insert("message".into(), json!(message));
        }
        Verdict::Cached | Verdict::NotAsked => {}
    }
    stage.into()
}
