//! What a benchmark found: rows of seconds, their medians and ratios, as a table, as JSON, and beside an older one.
//!
//! Knows nothing of what was measured.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// All rounds of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// One number a round: seconds, or what `unit` says.
    pub rounds: Vec<f64>,
    pub unit: String,
    /// The row that this one is compared with, in the same section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// What else is worth saying.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Rows that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    pub title: String,
    pub rows: Vec<Row>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: String,
    pub sections: Vec<Section>,
}

/// The middle one, or the mean of the two in the middle.
pub fn median(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => sorted[count / 2 - 1].midpoint(sorted[count / 2]),
    }
}

impl Row {
    pub fn new(name: &str, unit: &str) -> Row {
        Row {
            name: name.into(),
            rounds: Vec::new(),
            unit: unit.into(),
            against: None,
            note: String::new(),
        }
    }

    pub fn against(mut self, other: &str) -> Row {
        self.against = Some(other.into());
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }

    pub fn with(mut self, rounds: impl IntoIterator<Item = f64>) -> Row {
        self.rounds.extend(rounds);
        self
    }

    /// `12.3 s (12.1–12.9)`.
    fn measured(&self) -> String {
        let (least, most) = self
            .rounds
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &one| {
                (least.min(one), most.max(one))
            });
        let middle = median(&self.rounds);
        match self.rounds.len() {
            0 => "not run".into(),
            1 => format!("{} {}", short(middle), self.unit),
            _ => format!("{} {} ({}–{})", short(middle), self.unit, short(least), short(most)),
        }
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    let digits = 2 - value.abs().max(1e-9).log10().floor() as i32;
    format!("{value:.*}", digits.clamp(0, 6) as usize)
}

impl Section {
    pub fn new(title: impl Into<String>) -> Section {
        Section {
            title: title.into(),
            rows: Vec::new(),
        }
    }

    /// How many times faster a row is than the one that it is compared with, by medians of the same run.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let other = self
            .rows
            .iter()
            .find(|other| Some(&other.name) == row.against.as_ref())?;
        let ratio = median(&other.rounds) / median(&row.rounds);
        // More of a rate is better, less of a time.
        let ratio = if row.unit.ends_with("/s") { 1.0 / ratio } else { ratio };
        ratio.is_finite().then_some(ratio)
    }
}

impl Report {
    /// The table, with an older run's ratios beside where there is one.
    pub fn table(&self, old: Option<&Report>) -> String {
        let mut text = format!("{}\n", self.machine);
        for section in &self.sections {
            let before = old.and_then(|old| old.sections.iter().find(|other| other.title == section.title));
            let _ = writeln!(text, "\n{}\n", section.title);
            let head = if old.is_some() { " before | now ÷ before |" } else { "" };
            let _ = writeln!(text, "| what | measured | times | against |{head} |");
            let _ = writeln!(
                text,
                "|---|---|---|---|{}---|",
                if old.is_some() { "---|---|" } else { "" }
            );
            for row in &section.rows {
                let ratio = section.ratio(row).map(short).unwrap_or_default();
                let against = row.against.as_deref().unwrap_or("");
                let _ = write!(text, "| {} | {} | {ratio} | {against} |", row.name, row.measured());
                if old.is_some() {
                    let other = before.and_then(|before| before.rows.iter().find(|other| other.name == row.name));
                    let was = other.map(Row::measured).unwrap_or_default();
                    let change = other.map(|other| median(&row.rounds) / median(&other.rounds));
                    let _ = write!(text, " {was} | {} |", change.map(short).unwrap_or_default());
                }
                let _ = writeln!(text, " {} |", row.note);
            }
        }
        text
    }
}
