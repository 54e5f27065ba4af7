//! How two runs differ: which fields changed, and which cells moved by how much.

use super::noise::Pairs;
use super::{RunRecord, StageEntry};
use crate::store::{Change, Document, Store};
use serde::Serialize;
use serde_json::{Map, Value};

/// Two runs beside each other.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Fields of the specification, of inputs and of versions.
    #[serde(serialize_with = "changes")]
    pub fields: Vec<Change>,
    /// Steps of either run, in the order of the later one.
    pub steps: Vec<StepDifference>,
}

fn changes<S: serde::Serializer>(changes: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(changes.iter().map(|change| {
        let mut entry = Map::new();
        entry.insert("path".into(), change.path.clone().into());
        for (name, value) in [("before", &change.before), ("after", &change.after)] {
            if let Some(value) = value {
                entry.insert(name.into(), value.clone());
            }
        }
        entry
    }))
}

/// One step in both runs.
#[derive(Clone, Debug, Serialize)]
pub struct StepDifference {
    pub id: String,
    pub kind: String,
    /// Its status in each run; none where it is no step of that run.
    pub before: Option<String>,
    pub after: Option<String>,
    /// The result files whose bytes differ, or that only one run has.
    pub files: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cells: Option<Moved>,
}

impl StepDifference {
    /// Whether both runs have the same results.
    pub fn is_equal(&self) -> bool {
        self.files.is_empty() && self.before.is_some() == self.after.is_some()
    }
}

/// How the cells of a step moved.
#[derive(Clone, Debug, Serialize)]
pub struct Moved {
    pub metric: String,
    pub baseline: CellMove,
    /// Cells of both runs whose values differ, in the order of the later table.
    pub moved: Vec<CellMove>,
    /// How many cells of both runs are equal.
    pub equal: usize,
    /// Cells of one run only: layer and sparsity.
    pub only_before: Vec<(String, f64)>,
    pub only_after: Vec<(String, f64)>,
    /// Why nothing says of some numbers that moved whether chance alone explains that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untested: Option<&'static str>,
}

/// One number in both runs.
#[derive(Clone, Debug, Serialize)]
pub struct CellMove {
    /// None for the whole model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    pub before: f64,
    pub after: f64,
    pub change: f64,
    /// The probability of such a difference by chance, corrected for the number of tests; where it could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_noise: Option<bool>,
}

impl CellMove {
    fn new(cell: Option<(&str, f64)>, before: f64, after: f64) -> CellMove {
        CellMove {
            layer: cell.map(|(layer, _)| layer.to_owned()),
            sparsity: cell.map(|(_, sparsity)| sparsity),
            before,
            after,
            change: after - before,
            p: None,
            within_noise: None,
        }
    }
}

/// Compares two runs of one store.
pub fn compare(before: &RunRecord, after: &RunRecord, store: &Store) -> Comparison {
    let earlier = before.stages.iter().filter(|stage| after.stage(&stage.id).is_none());
    let steps = after.stages.iter().chain(earlier);
    Comparison {
        fields: changed_fields(&fields(before), &fields(after)),
        steps: steps
            .map(|stage| step(before.stage(&stage.id), after.stage(&stage.id), stage, store))
            .collect(),
    }
}

/// The fields in which two specifications differ.
pub fn changed_fields(before: &Value, after: &Value) -> Vec<Change> {
    let document = |value: &Value| Document::from_value(by_id(value)).unwrap_or_default();
    document(after).changes_since(&document(before))
}

/// What a run was asked, on what, and with what.
fn fields(record: &RunRecord) -> Value {
    let mut all = record.spec.clone();
    if let Some(fields) = all.as_object_mut() {
        let inputs: Map<String, Value> = record
            .inputs
            .iter()
            .map(|input| (input.path.clone(), input.digest.clone().into()))
            .collect();
        fields.insert("inputs".into(), inputs.into());
        let versions = serde_json::to_value(&record.versions).unwrap_or_default();
        fields.insert("versions".into(), versions);
    }
    all
}

/// A specification with its steps by id, so that a step keeps its path wherever it stands.
fn by_id(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(Value::Array(steps)) = spec.get_mut("steps") {
        let named = steps.iter().filter_map(|step| {
            let (kind, body) = step.as_object()?.iter().next()?;
            let mut body = body.as_object()?.clone();
            let id = body.remove("id")?.as_str()?.to_owned();
            body.insert("kind".into(), kind.clone().into());
            Some((id, Value::Object(body)))
        });
        spec["steps"] = Value::Object(named.collect());
    }
    spec
}

fn step(before: Option<&StageEntry>, after: Option<&StageEntry>, either: &StageEntry, store: &Store) -> StepDifference {
    let files = |entry: Option<&StageEntry>| entry.map(|entry| entry.files.clone()).unwrap_or_default();
    let (old, new) = (files(before), files(after));
    let mut names: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| old.get(name) != new.get(name));
    let cells = before
        .zip(after)
        .and_then(|(before, after)| moved(before, after, store));
    StepDifference {
        id: either.id.clone(),
        kind: either.kind.clone(),
        before: before.map(|entry| entry.status.clone()),
        after: after.map(|entry| entry.status.clone()),
        files: names,
        cells,
    }
}

/// How the table of a step moved; none where there are not two of one metric.
fn moved(before: &StageEntry, after: &StageEntry, store: &Store) -> Option<Moved> {
    let (old, new) = (before.values.as_ref()?, after.values.as_ref()?);
    if old.metric != new.metric {
        return None;
    }
    let mut baseline = CellMove::new(None, old.baseline, new.baseline);
    let (mut moved, mut only_after, mut equal) = (Vec::new(), Vec::new(), Vec::new());
    for (layer, sparsity, value) in new.cells() {
        match old.cell(layer, sparsity) {
            None => only_after.push((layer.to_owned(), sparsity)),
            Some(earlier) if earlier == value => equal.push((layer, sparsity)),
            Some(earlier) => moved.push(CellMove::new(Some((layer, sparsity)), earlier, value)),
        }
    }
    let only_before = old
        .cells()
        .filter(|(layer, sparsity, _)| new.cell(layer, *sparsity).is_none());
    let only_before = only_before
        .map(|(layer, sparsity, _)| (layer.to_owned(), sparsity))
        .collect();
    let whole_moved = old.baseline != new.baseline;
    let mut differing: Vec<&mut CellMove> = moved.iter_mut().collect();
    if whole_moved {
        differing.push(&mut baseline);
    }
    let untested = match differing.is_empty() {
        true => None,
        false => match Pairs::new(before, after, store) {
            Err(why) => Some(why),
            Ok(pairs) => {
                let again = |cell| usize::from(!pairs.is_same(cell));
                let whole = if whole_moved { 0 } else { again(None) };
                let unmoved = equal.iter().map(|&cell| again(Some(cell))).sum::<usize>() + whole;
                pairs.test(&mut differing, unmoved)
            }
        },
    };
    Some(Moved {
        metric: new.metric.clone(),
        baseline,
        untested,
        moved,
        equal: equal.len(),
        only_before,
        only_after,
    })
}
