//! `gate`: bounds that measured results must keep.
//!
//! A bound that is broken is a result of the step, not a failure of it: what was measured is valid, the run goes on, and
//! ends with an exit code of its own.

use super::layers::matcher;
use super::shared::Shared;
use super::{data, tables};
use crate::history::{self, RunRecord, Values};
use crate::pipeline::{Context, Failure, Outcome, Read, Stage, Stop};
use crate::spec::{self, Against, CellBounds};
use crate::store::{Document, Store};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

pub const KIND: &str = "gate";
pub const NAMES: &[&str] = &["gate.json"];

/// Raised whenever the same values and bounds give another verdict.
const ALGORITHM: u32 = 1;

pub struct Gate {
    shared: Arc<Shared>,
    step: spec::Gate,
}

impl Gate {
    pub fn new(shared: Arc<Shared>, step: spec::Gate) -> Gate {
        Gate { shared, step }
    }

    /// The id of the step that is held.
    fn held(&self) -> String {
        self.step.step.as_ref().map_or_else(String::new, |id| id.to_string())
    }

    fn values(&self, read: &Read) -> Result<Values, Failure> {
        let held = self.held();
        let artifact = read.get(&held);
        artifact
            .and_then(Values::of)
            .ok_or_else(|| Failure::of(format!("{held} left no table of numbers to hold against bounds")))
    }

    /// Whether more is better; asked only where a bound depends on it, since a plug-in is started to tell.
    fn maximize(&self, stop: &Stop) -> Result<bool, Failure> {
        let asked = self
            .step
            .layer
            .iter()
            .flatten()
            .any(|(_, bounds)| bounds.max_drop.is_some());
        // The first metric is the one whose table is held.
        let metrics = match asked {
            true => data::metrics(&self.shared, stop).map_err(Failure::of)?,
            false => Vec::new(),
        };
        Ok(metrics.first().is_none_or(|metric| metric.maximize()))
    }

    /// The run that drift is measured from, and its values; none where there is none yet.
    fn reference(&self, store: &Store) -> Result<Option<(String, Values)>, Failure> {
        let Some(drift) = &self.step.drift else {
            return Ok(None);
        };
        let name = self.shared.spec.pipeline.name.to_string();
        let held = self.held();
        let values = |record: RunRecord| {
            let values = record.stage(&held).and_then(|stage| stage.values.clone());
            values.map(|values| (record.id, values))
        };
        match &drift.against {
            Against::LastSuccess => {
                let found = history::successful_before(store, &name, None).map_err(Failure::of)?;
                Ok(found.and_then(values))
            }
            Against::Last => {
                let runs = history::runs(store, Some(&name)).map_err(Failure::of)?;
                Ok(runs.into_iter().rev().find_map(values))
            }
            Against::Run(id) => {
                let found = history::find(store, id, None).map_err(Failure::of)?;
                let none = || Failure::of(format!("run {id} left no values of a step {held}"));
                Ok(Some(values(found).ok_or_else(none)?))
            }
        }
    }
}

impl Stage for Gate {
    fn id(&self) -> &str {
        &self.step.id
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn needs(&self) -> Vec<String> {
        vec![self.held()]
    }

    fn names(&self) -> &'static [&'static str] {
        NAMES
    }

    fn document(&self, store: &Store, read: &Read) -> Result<Document, Failure> {
        let mut bounds = json!(self.step);
        if let Some(fields) = bounds.as_object_mut() {
            fields.shift_remove("id");
            fields.shift_remove("step");
        }
        let table = read
            .get(&self.held())
            .and_then(|artifact| artifact.files.get("sensitivity.json"));
        let reference = self.reference(store)?.map(|(_, values)| values);
        Ok(Document::new()
            .with("stage", KIND)
            .with("algorithm", ALGORITHM)
            .with("table", json!(table.map(|file| file.digest)))
            .with("metric", json!(self.shared.spec.pipeline.measured().first()))
            .with("bounds", bounds)
            .with("reference", json!(reference)))
    }

    fn depends_on_history(&self) -> bool {
        self.step.drift.is_some()
    }

    fn run(&self, context: &Context<'_>) -> Result<Outcome, Failure> {
        let values = self.values(context.read)?;
        let mut checks = Checks {
            values: &values,
            maximize: self.maximize(context.stop)?,
            found: Vec::new(),
        };
        if let Some(bounds) = &self.step.baseline {
            checks.bounds("the whole model", None, None, values.baseline, bounds.min, bounds.max);
        }
        let rows: Vec<&str> = values.rows.iter().map(|row| row.layer.as_str()).collect();
        for (pattern, bounds) in self.step.layer.iter().flatten() {
            let matches = matcher(pattern);
            let matching: Vec<&str> = rows.iter().copied().filter(|row| matches(row)).collect();
            if matching.is_empty() {
                return Err(Failure::of(format!(
                    "no row of {} matches `{}`",
                    self.held(),
                    &**pattern
                )));
            }
            for layer in matching {
                checks.layer(layer, bounds);
            }
        }
        let mut summary = Vec::new();
        let mut reference = None;
        if let Some(drift) = &self.step.drift {
            match self.reference(context.store)? {
                Some((id, earlier)) => {
                    checks.drift(&id, &earlier, drift.max)?;
                    reference = Some(id);
                }
                None => summary.push("no earlier run to measure drift from".to_owned()),
            }
        }
        let failures: Vec<String> = checks.found.iter().filter_map(|check| check.failure.clone()).collect();
        summary.insert(
            0,
            match failures.len() {
                0 => tables::count(checks.found.len(), "bound holds", "bounds hold"),
                broken => format!(
                    "{broken} of {} broken",
                    tables::count(checks.found.len(), "bound", "bounds")
                ),
            },
        );
        let report = Report {
            passed: failures.is_empty(),
            step: self.held(),
            metric: &values.metric,
            against: reference,
            checks: &checks.found,
        };
        let mut outcome = Outcome {
            summary,
            failures,
            ..Outcome::default()
        };
        outcome.files.insert("gate.json".into(), tables::json(&report)?);
        Ok(outcome)
    }
}

#[derive(Serialize)]
struct Report<'a> {
    passed: bool,
    step: String,
    metric: &'a str,
    /// The run that drift was measured from.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<String>,
    checks: &'a [Check],
}

/// One number held against one bound.
#[derive(Serialize)]
struct Check {
    /// None for the whole model.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparsity: Option<f64>,
    /// `min`, `max`, `max_drop` or `drift`.
    bound: &'static str,
    limit: f64,
    /// What is held against the limit; none where the cell was not measured.
    found: Option<f64>,
    passed: bool,
    #[serde(skip)]
    failure: Option<String>,
}

struct Checks<'a> {
    values: &'a Values,
    maximize: bool,
    found: Vec<Check>,
}

impl Checks<'_> {
    /// Holds a number against a limit from above (`sign` 1) or below (-1), with the words for a broken one.
    fn hold(&mut self, place: Option<(&str, f64)>, bound: &'static str, found: f64, limit: f64, words: String) {
        let beyond = match bound {
            "min" => limit - found,
            _ => found - limit,
        };
        let broken = beyond > 0.0 || found.is_nan();
        self.found.push(Check {
            layer: place.map(|(layer, _)| layer.to_owned()),
            sparsity: place.map(|(_, sparsity)| sparsity),
            bound,
            limit,
            found: Some(found),
            passed: !broken,
            failure: broken.then(|| format!("{words} by {}", number(beyond))),
        });
    }

    fn bounds(
        &mut self,
        what: &str,
        layer: Option<&str>,
        sparsity: Option<f64>,
        value: f64,
        min: Option<f64>,
        max: Option<f64>,
    ) {
        let place = layer.zip(sparsity);
        let metric = self.values.metric.clone();
        for (bound, limit, side) in [
            ("min", min, "below the least allowed"),
            ("max", max, "above the most allowed"),
        ] {
            if let Some(limit) = limit {
                let words = format!("{metric} of {what} is {}, {side} ({})", number(value), number(limit));
                self.hold(place, bound, value, limit, words);
            }
        }
    }

    fn layer(&mut self, layer: &str, bounds: &CellBounds) {
        let row = self.values.rows.iter().find(|row| row.layer == layer);
        let cells: Vec<(f64, f64)> = row.map(|row| row.cells.clone()).unwrap_or_default();
        let held: Vec<(f64, f64)> = match bounds.sparsity {
            None => cells.clone(),
            Some(wanted) => cells
                .iter()
                .copied()
                .filter(|(sparsity, _)| *sparsity == wanted)
                .collect(),
        };
        if let (Some(wanted), true) = (bounds.sparsity, held.is_empty()) {
            // A row that ended early has lost too much before it came that far.
            let last = cells.last().map_or(0.0, |(sparsity, _)| *sparsity);
            let limit = bounds.max_drop.or(bounds.min).or(bounds.max).unwrap_or_default();
            self.found.push(Check {
                layer: Some(layer.to_owned()),
                sparsity: Some(wanted),
                bound: "measured",
                limit,
                found: None,
                passed: false,
                failure: Some(format!(
                    "{layer} was not measured at sparsity {wanted}: its row ended early at {last}"
                )),
            });
        }
        for (sparsity, value) in held {
            let what = format!("{layer} at sparsity {sparsity}");
            self.bounds(&what, Some(layer), Some(sparsity), value, bounds.min, bounds.max);
            if let Some(limit) = bounds.max_drop {
                let baseline = self.values.baseline;
                let drop = if self.maximize {
                    baseline - value
                } else {
                    value - baseline
                };
                let words = format!(
                    "{} of {what} is {}, {} worse than the whole model, more than allowed ({})",
                    self.values.metric,
                    number(value),
                    number(drop),
                    number(limit)
                );
                self.hold(Some((layer, sparsity)), "max_drop", drop, limit, words);
            }
        }
    }

    fn drift(&mut self, run: &str, earlier: &Values, limit: f64) -> Result<(), Failure> {
        if earlier.metric != self.values.metric {
            let (now, then) = (&self.values.metric, &earlier.metric);
            return Err(Failure::of(format!(
                "run {run} measured {then}, and this one {now}: there is no drift to tell"
            )));
        }
        let metric = self.values.metric.clone();
        let words = |what: &str, before: f64, now: f64| {
            format!(
                "{metric} of {what} was {} in run {run} and is {}, a drift of more than allowed ({})",
                number(before),
                number(now),
                number(limit)
            )
        };
        let values = self.values;
        let said = words("the whole model", earlier.baseline, values.baseline);
        self.hold(None, "drift", (values.baseline - earlier.baseline).abs(), limit, said);
        for (layer, sparsity, value) in values.cells() {
            if let Some(before) = earlier.cell(layer, sparsity) {
                let said = words(&format!("{layer} at sparsity {sparsity}"), before, value);
                self.hold(Some((layer, sparsity)), "drift", (value - before).abs(), limit, said);
            }
        }
        Ok(())
    }
}

/// A number with what matters of it: four digits behind the point, or its own where it is smaller.
fn number(value: f64) -> String {
    let plain = format!("{value:.4}");
    match plain.parse() == Ok(0.0) && value != 0.0 {
        true => format!("{value:.2e}"),
        false => plain.trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}
