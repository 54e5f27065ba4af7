//! Whether a run came out the same again, number by number.

use super::history::columns;
use crate::history::{RunRecord, StageEntry};
use std::fmt::Write;

/// A table of what differs, and whether nothing does.
pub fn reproduction(recorded: &RunRecord, again: &RunRecord, steps: &[String]) -> (String, bool) {
    let mut text = format!("run {} of {}, again\n", recorded.id, recorded.name);
    let mut equal = true;
    for input in &recorded.inputs {
        let now = again.inputs.iter().find(|other| other.path == input.path);
        if let Some(now) = now.filter(|now| now.digest != input.digest) {
            let (before, after) = (&input.digest[..12], &now.digest[..12]);
            let _ = writeln!(text, "  input {} is another file: {before} → {after}", input.path);
        }
    }
    let (then, now) = (&recorded.versions, &again.versions);
    let libtorch = |versions: &crate::pipeline::Versions| versions.libtorch.clone().unwrap_or_default();
    for (name, before, after) in [
        ("secateur", then.secateur.clone(), now.secateur.clone()),
        ("libtorch", libtorch(then), libtorch(now)),
        ("isa", then.isa.clone(), now.isa.clone()),
    ] {
        if before != after {
            let _ = writeln!(text, "  {name} {before} → {after}");
        }
    }
    for id in steps {
        let (Some(before), after) = (recorded.stage(id), again.stage(id)) else {
            continue;
        };
        text.push('\n');
        equal &= step(&mut text, before, after.filter(|after| after.is_done()));
    }
    let verdict = if equal {
        "every number is the same"
    } else {
        "not the same"
    };
    let _ = writeln!(text, "\n{verdict}");
    (text, equal)
}

/// Writes about one step, and tells whether it is the same.
fn step(text: &mut String, before: &StageEntry, after: Option<&StageEntry>) -> bool {
    let _ = write!(text, "{}", before.id);
    if before.kind != before.id {
        let _ = write!(text, " ({})", before.kind);
    }
    let Some(after) = after else {
        text.push_str(": did not come to an end\n");
        return false;
    };
    let mut rows = Vec::new();
    let mut numbers = 0;
    if let (Some(old), Some(new)) = (&before.values, &after.values) {
        let mut row = |layer: &str, sparsity: String, was: f64, is: Option<f64>| {
            numbers += 1;
            if is.is_none_or(|is| is.to_bits() != was.to_bits()) {
                let now = is.map_or_else(|| "none".to_owned(), |is| is.to_string());
                let difference = is.map_or_else(String::new, |is| format!("{:+e}", is - was));
                rows.push([layer.to_owned(), sparsity, was.to_string(), now, difference]);
            }
        };
        row("(whole model)", String::new(), old.baseline, Some(new.baseline));
        for (layer, sparsity, was) in old.cells() {
            row(layer, sparsity.to_string(), was, new.cell(layer, sparsity));
        }
    }
    let files: Vec<&str> = before
        .files
        .iter()
        .filter(|(name, digest)| after.files.get(*name) != Some(digest))
        .map(|(name, _)| name.as_str())
        .collect();
    if rows.is_empty() && files.is_empty() {
        let numbers = match numbers {
            0 => String::new(),
            1 => "1 number and ".to_owned(),
            numbers => format!("{numbers} numbers and "),
        };
        let _ = writeln!(text, ": equal, {numbers}{} to the byte", count(before.files.len()));
        return true;
    }
    let _ = writeln!(text, ": {} of {numbers} numbers differ", rows.len());
    if !rows.is_empty() {
        let header = ["layer", "sparsity", "recorded", "now", "difference"].map(str::to_owned);
        rows.insert(0, header);
        for line in columns(&rows).lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    if !files.is_empty() {
        let _ = writeln!(text, "  files that differ: {}", files.join(", "));
    }
    false
}

fn count(files: usize) -> String {
    match files {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    }
}
