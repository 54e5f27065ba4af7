//! What a sensitivity step writes and says: its tables, and a few lines for people.

use super::format::Format;
use crate::history::CellKeys;
use crate::metric::{Metric, Score};
use crate::pipeline::Failure;
use crate::sensitivity::{Estimated, Table, Target};
use crate::spec;
use crate::stages::stored::{self, Parts};
use crate::stages::tables;
use serde::Serialize;
use serde_json::{Map, Value};

/// What a measurement found.
pub struct Found {
    pub table: Table,
    /// What is known of each cell, where values are estimates.
    pub estimated: Option<Vec<Estimated>>,
    /// The dataset's samples.
    pub samples: usize,
    /// The cells in the store, where each value is one of them.
    pub keys: Option<CellKeys>,
    /// How it was computed.
    pub format: Format,
}

impl Found {
    /// How much less was looked at than everything.
    pub fn saved(&self) -> Option<String> {
        let estimated = self.estimated.as_ref()?;
        let used: usize = estimated.iter().map(|cell| cell.samples).sum();
        let all = estimated.len() * self.samples;
        (used > 0).then(|| {
            let times = all as f64 / used as f64;
            format!("estimated from {used} of {all} samples, {times:.1} times fewer")
        })
    }
}

/// One metric's table in NNI's form: a row a target, short where it stopped early.
pub fn csv(sparsities: &[f64], targets: &[Target], table: &Table, metric: usize) -> Result<Vec<u8>, Failure> {
    let mut header = vec!["layername".to_owned()];
    header.extend(sparsities.iter().map(|&sparsity| tables::float(sparsity)));
    let rows = targets.iter().enumerate().map(|(at, target)| {
        let values = table
            .cells
            .iter()
            .filter(|cell| cell.target == at)
            .map(|cell| tables::float(cell.scores.get(metric).map_or(cell.value, |score| score.value)));
        std::iter::once(target.name.clone()).chain(values).collect()
    });
    tables::csv(std::iter::once(header).chain(rows))
}

/// The table with all that is known of its cells.
pub fn json(
    step: &spec::Sensitivity,
    targets: &[Target],
    found: &Found,
    metrics: &[&dyn Metric],
) -> Result<Vec<u8>, Failure> {
    tables::json(&Report::new(step, targets, found, metrics))
}

#[derive(Serialize)]
struct Report<'a> {
    baseline: f64,
    metric: String,
    #[serde(skip_serializing_if = "Parts::is_empty")]
    parts: Parts<'a>,
    /// What is measured beside, by name.
    #[serde(skip_serializing_if = "Map::is_empty")]
    metrics: Map<String, Value>,
    sparsities: &'a [f64],
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<ReportEstimate>,
    cells: Vec<ReportCell<'a>>,
}

/// How cells were estimated, and of how many samples.
#[derive(Serialize)]
struct ReportEstimate {
    #[serde(flatten)]
    rule: spec::Estimate,
    samples: usize,
}

#[derive(Serialize)]
struct ReportCell<'a> {
    layer: &'a str,
    sparsity: f64,
    value: f64,
    /// Where the value of the whole dataset lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<[f64; 2]>,
    /// On how many samples the cell was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<usize>,
    pruned: usize,
    of: usize,
    stop: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    members: &'a [String],
    #[serde(skip_serializing_if = "Parts::is_empty")]
    parts: Parts<'a>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metrics: Map<String, Value>,
}

impl<'a> Report<'a> {
    fn new(
        step: &'a spec::Sensitivity,
        targets: &'a [Target],
        found: &'a Found,
        metrics: &[&dyn Metric],
    ) -> Report<'a> {
        let table = &found.table;
        let estimated = |at: usize| found.estimated.as_ref().map(|cells| cells[at]);
        // The scores of all metrics but the first, by name.
        let further = |scores: &[Score], value: &str| -> Map<String, Value> {
            let named = metrics.iter().zip(scores).skip(1);
            let told = named.map(|(metric, score)| (metric.name(), stored::written(score, value)));
            told.collect()
        };
        let cell = |(at, cell): (usize, &'a crate::sensitivity::Cell)| ReportCell {
            layer: &targets[cell.target].name,
            sparsity: cell.sparsity,
            value: cell.value,
            interval: estimated(at).map(|cell| [cell.interval.low, cell.interval.high]),
            samples: estimated(at).map(|cell| cell.samples),
            pruned: cell.pruned,
            of: cell.of,
            stop: cell.stop,
            members: &targets[cell.target].members,
            parts: Parts::of(&cell.scores),
            metrics: further(&cell.scores, "value"),
        };
        Report {
            baseline: table.baseline,
            metric: metrics.first().map_or_else(String::new, |metric| metric.name()),
            parts: Parts::of(&table.baselines),
            metrics: further(&table.baselines, "baseline"),
            sparsities: &step.sparsities,
            estimate: step.estimate.map(|rule| ReportEstimate {
                rule,
                samples: found.samples,
            }),
            cells: table.cells.iter().enumerate().map(cell).collect(),
        }
    }
}

/// The baseline, and the targets that hurt most and least at the sparsity that most rows reach.
pub fn summary(targets: &[Target], table: &Table, metrics: &[&dyn Metric]) -> Vec<String> {
    let whole = metrics.iter().zip(&table.baselines);
    let tell =
        |(metric, score): (&&dyn Metric, &Score)| format!("{} of the whole model: {:.4}", metric.name(), score.value);
    let mut lines: Vec<String> = whole.map(tell).collect();
    let Some(metric) = metrics.first() else {
        return lines;
    };
    let worse = |value: f64| {
        if metric.maximize() {
            table.baseline - value
        } else {
            value - table.baseline
        }
    };
    let middle = table
        .cells
        .iter()
        .map(|cell| cell.sparsity)
        .filter(|&sparsity| sparsity <= 0.5)
        .fold(0.0, f64::max);
    let mut at: Vec<_> = table.cells.iter().filter(|cell| cell.sparsity == middle).collect();
    at.sort_by(|a, b| worse(b.value).total_cmp(&worse(a.value)));
    if let (Some(most), Some(least)) = (at.first(), at.last()) {
        let tell = |cell: &crate::sensitivity::Cell| format!("{} ({:.4})", targets[cell.target].name, cell.value);
        lines.push(format!(
            "at sparsity {middle}, most sensitive: {}; least: {}",
            tell(most),
            tell(least)
        ));
    }
    lines
}
