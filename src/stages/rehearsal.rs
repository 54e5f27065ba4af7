//! `check --plugins`: whether plug-ins say the same of the same.
//!
//! Owns what is asked twice and in another process again. Deliberately keeps nothing of what they say.

use super::shared::Shared;
use super::{data, inputs, plugins};
use crate::dataset::{Dataset, Foreign};
use crate::metric::{self, Forward, Metric, Score};
use crate::pipeline::{Failure, Stop};
use crate::runtime::Runtime;
use crate::spec::{MetricCommand, Program};
use std::ops::Range;

/// Starts the plug-ins that the pipeline names and asks each for the first batch, or for what the unmasked model comes to on
/// it, twice in one process and once in another: a line for each that said the same each time.
pub fn rehearse(shared: &Shared) -> Result<Vec<String>, Failure> {
    let dataset = plugins::dataset(shared).map(|program| rehearse_dataset(shared, program));
    let metrics = plugins::metrics(shared).into_iter();
    let metrics = metrics.map(|(_, command)| rehearse_metric(shared, command));
    dataset.into_iter().chain(metrics).collect()
}

/// Samples of the first batch.
fn first_batch(shared: &Shared, dataset: &Dataset) -> Range<usize> {
    let written = shared.spec.pipeline.dataset.as_ref();
    let size = written.map_or(1, |dataset| dataset.batch_size as usize);
    0..size.min(dataset.len())
}

fn rehearse_dataset(shared: &Shared, program: Program<'_>) -> Result<String, Failure> {
    // All that does not fit the model is told here.
    let dataset = data::open(shared)?;
    for (_, metric) in data::own_metrics(shared).map_err(Failure::of)? {
        metric.check_targets(dataset.targets()).map_err(Failure::of)?;
    }
    let rows: Vec<usize> = first_batch(shared, &dataset).collect();
    let single = Program { workers: 1, ..program };
    let name = plugins::name(shared, program);
    let mut first = None;
    let mut said = None;
    for times in [2, 1] {
        let plugin = plugins::start_dataset(shared, single, &Stop::default()).map_err(Failure::of)?;
        if said.get_or_insert_with(|| plugin.hello().clone()) != plugin.hello() {
            return Err(Failure::of(format!(
                "plug-in {name}: a second process says something else of its data"
            )));
        }
        for _ in 0..times {
            let tensors = plugin.read(&rows).map_err(Failure::of)?;
            if *first.get_or_insert_with(|| tensors.clone()) != tensors {
                return Err(Failure::of(format!(
                    "plug-in {name}: the same {} samples were different when they were read again: seed what it draws, or \
                     results cannot be kept",
                    rows.len()
                )));
            }
        }
    }
    let unnoticed = match said.and_then(|said| said.fingerprint) {
        Some(_) => "",
        None => "; it announces no fingerprint, so changed data go unnoticed unless `files` or `version` tell",
    };
    Ok(format!(
        "plug-in {name}: {} of {} samples read three times, in two processes: the same{unnoticed}",
        rows.len(),
        dataset.len()
    ))
}

fn rehearse_metric(shared: &Shared, command: &MetricCommand) -> Result<String, Failure> {
    let dataset = data::open(shared)?;
    let batch = dataset.read(first_batch(shared, &dataset)).map_err(Failure::of)?;
    let graph = &shared.model().map_err(Failure::of)?.graph;
    let outputs =
        inputs::outputs(&shared.spec.pipeline.model, graph, true).map_err(|misfit| Failure::of(misfit.message))?;
    let given: Vec<_> = graph.inputs.iter().copied().zip(batch.inputs.iter().cloned()).collect();
    let outputs = Runtime::new().run(graph, &given, &outputs).map_err(Failure::of)?;
    let forward = Forward {
        cell: "the unmasked model",
        outputs: &outputs,
        baseline: Some(&outputs),
        batch: &batch,
    };
    let single = MetricCommand {
        workers: 1,
        ..command.clone()
    };
    let mut first: Option<Score> = None;
    for times in [2, 1] {
        let metric = plugins::start_metric(shared, &single, &Stop::default()).map_err(Failure::of)?;
        metric.check_targets(dataset.targets()).map_err(Failure::of)?;
        for _ in 0..times {
            let cell = metric::open(&metric, forward.cell).map_err(Failure::of)?;
            cell.add(&forward).map_err(Failure::of)?;
            let score = cell.finish().map_err(Failure::of)?;
            let first = first.get_or_insert_with(|| score.clone());
            if format!("{first:?}") != format!("{score:?}") {
                return Err(Failure::of(format!(
                    "plug-in {}: the same {} samples gave {:?} first, then {:?}: seed what it draws, or its cells cannot \
                     be kept",
                    metric.name(),
                    batch.len(),
                    first.value,
                    score.value
                )));
            }
        }
    }
    let name = plugins::name(shared, command.program());
    let samples = batch.len();
    Ok(format!(
        "plug-in {name}: {samples} samples measured three times, in two processes: the same"
    ))
}
