//! How the history of runs looks to a person.

use super::duration;
use crate::history::{CellMove, Comparison, Moved, RunRecord, StageEntry, StepDifference};
use std::fmt::Write;

/// Digits of a commit or digest that are shown.
const SHORT: usize = 12;

/// The runs of a store as a table, in the given order.
pub fn run_table(runs: &[RunRecord]) -> String {
    let header = ["id", "started (UTC)", "pipeline", "ended", "took", "commit", ""].map(str::to_owned);
    let rows = runs.iter().map(|run| {
        [
            run.id.clone(),
            when(run),
            run.name.clone(),
            ended(run),
            run.seconds.map_or_else(String::new, duration),
            run.git.as_ref().map_or_else(String::new, |git| {
                let dirty = if git.dirty { "+" } else { "" };
                format!("{}{dirty}", short(&git.commit))
            }),
            if run.pinned { "pinned".into() } else { String::new() },
        ]
    });
    columns(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

/// `2026-11-24 03:00:12` of `2026-11-24T03:00:12Z`.
fn when(run: &RunRecord) -> String {
    run.started.trim_end_matches('Z').replace('T', " ")
}

fn ended(run: &RunRecord) -> String {
    match run.exit {
        Some(0) | None => run.status.name().to_owned(),
        Some(exit) => format!("{} ({exit})", run.status.name()),
    }
}

fn short(text: &str) -> &str {
    text.get(..SHORT).unwrap_or(text)
}

/// Rows in columns two spaces apart, without spaces at their ends.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Everything about one run that a person asks first.
pub fn run_details(run: &RunRecord) -> String {
    let pinned = if run.pinned { ", pinned" } else { "" };
    let mut text = format!("run {}: {}{pinned}\n", run.id, ended(run));
    let took = run
        .seconds
        .map_or_else(String::new, |seconds| format!(", took {}", duration(seconds)));
    let _ = writeln!(text, "  pipeline  {} of {}", run.name, run.file);
    let _ = writeln!(text, "  started   {} UTC{took}", when(run));
    let git = match &run.git {
        None => "none".to_owned(),
        Some(git) if git.dirty => format!("{}, and changes that were not committed", git.commit),
        Some(git) => git.commit.clone(),
    };
    let _ = writeln!(text, "  commit    {git}");
    let _ = writeln!(text, "  results   {}", run.output);
    let versions = &run.versions;
    let libtorch = versions.libtorch.as_deref().unwrap_or("none");
    let _ = writeln!(
        text,
        "  versions  secateur {}, libtorch {libtorch}, isa {}",
        versions.secateur, versions.isa
    );
    for input in &run.inputs {
        let _ = writeln!(
            text,
            "  input     {} {} ({} bytes)",
            short(&input.digest),
            input.path,
            input.bytes
        );
    }
    for stage in &run.stages {
        text.push('\n');
        details(&mut text, stage);
    }
    text
}

fn details(text: &mut String, stage: &StageEntry) {
    text.push_str(&stage.id);
    if stage.kind != stage.id {
        let _ = write!(text, " ({})", stage.kind);
    }
    let _ = write!(text, ": {}", stage.status);
    if stage.cells.computed + stage.cells.reused > 0 {
        let (computed, reused) = (stage.cells.computed, stage.cells.reused);
        let _ = write!(text, ", {computed} cells computed and {reused} reused");
    }
    let _ = writeln!(text, ", {}", duration(stage.seconds));
    for line in stage.message.iter().chain(&stage.failures) {
        let _ = writeln!(text, "  {line}");
    }
    if let Some(key) = &stage.key {
        let _ = writeln!(text, "  key {key}");
    }
    let Some(values) = &stage.values else { return };
    let _ = writeln!(text, "  {} of the whole model: {:.4}", values.metric, values.baseline);
    let mut cells: Vec<_> = values.cells().collect();
    cells.sort_by(|a, b| a.2.total_cmp(&b.2));
    if let (Some(least), Some(most)) = (cells.first(), cells.last()) {
        let tell = |(layer, sparsity, value): &(&str, f64, f64)| format!("{value:.4} ({layer} at {sparsity})");
        let _ = writeln!(text, "  {} cells from {} to {}", cells.len(), tell(least), tell(most));
    }
}

/// How two runs differ.
pub fn comparison(comparison: &Comparison) -> String {
    let mut text = fields(&comparison.fields);
    for step in &comparison.steps {
        text.push('\n');
        difference(&mut text, step);
    }
    text
}

/// The fields that differ, one a line.
pub fn fields(fields: &[crate::store::Change]) -> String {
    if fields.is_empty() {
        return "no field differs\n".to_owned();
    }
    let mut text = String::from("fields\n");
    for change in fields {
        let _ = writeln!(text, "  {change}");
    }
    text
}

fn difference(text: &mut String, step: &StepDifference) {
    let _ = write!(text, "{}", step.id);
    if step.kind != step.id {
        let _ = write!(text, " ({})", step.kind);
    }
    match (&step.before, &step.after) {
        (None, _) => text.push_str(": a new step\n"),
        (_, None) => text.push_str(": no longer a step\n"),
        _ if step.is_equal() => text.push_str(": equal\n"),
        _ => {
            let _ = writeln!(text, ": {} differ", step.files.join(", "));
        }
    }
    if let Some(cells) = &step.cells
        && !step.is_equal()
    {
        moved(text, cells);
    }
}

fn moved(text: &mut String, cells: &Moved) {
    let _ = writeln!(
        text,
        "  {} of the whole model: {}",
        cells.metric,
        arrow(&cells.baseline)
    );
    if !cells.moved.is_empty() {
        let header = ["layer", "sparsity", "before", "after", "change", ""].map(str::to_owned);
        let rows = cells.moved.iter().map(|cell| {
            [
                cell.layer.clone().unwrap_or_default(),
                cell.sparsity.map_or_else(String::new, |sparsity| sparsity.to_string()),
                format!("{:.4}", cell.before),
                format!("{:.4}", cell.after),
                format!("{:+.4}", cell.change),
                verdict(cell),
            ]
        });
        for line in columns(&std::iter::once(header).chain(rows).collect::<Vec<_>>()).lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    let parts = [
        (cells.moved.len(), "moved"),
        (cells.equal, "equal"),
        (cells.only_before.len(), "no longer measured"),
        (cells.only_after.len(), "new"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let _ = writeln!(text, "  cells: {}", parts.join(", "));
    if let Some(why) = cells.untested {
        let _ = writeln!(text, "  not tested for noise: {why}");
    }
}

fn arrow(cell: &CellMove) -> String {
    if cell.before == cell.after {
        return format!("{:.4}", cell.after);
    }
    let moved = format!("{:.4} → {:.4} ({:+.4})", cell.before, cell.after, cell.change);
    match verdict(cell) {
        verdict if verdict.is_empty() => moved,
        verdict => format!("{moved}, {verdict}"),
    }
}

/// Whether chance alone explains a difference; nothing where that could not be tested.
fn verdict(cell: &CellMove) -> String {
    let Some((p, within_noise)) = cell.p.zip(cell.within_noise) else {
        return String::new();
    };
    let p = match p < 0.01 {
        true => format!("{p:.1e}"),
        false => format!("{p:.2}"),
    };
    match within_noise {
        true => format!("within noise (p = {p})"),
        false => format!("changed (p = {p})"),
    }
}
