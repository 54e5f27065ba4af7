//! What can be wrong with a pipeline before it runs, beyond the file itself.
//!
//! A missing file, an unknown layer and data that do not fit the model are errors of the pipeline and point into it.
//! Content that cannot be read is none: the stage that reads it fails.

use super::inputs::{self, Misfit};
use super::shared::Shared;
use super::{data, layers, plugins};
use crate::sensitivity::estimable;
use crate::spec::{Device, Diagnostic, Expected, Step, key_path, nearest};

/// All that is wrong; empty when the pipeline can run.
pub fn check(shared: &Shared) -> Vec<Diagnostic> {
    let mut found = missing_files(shared);
    let there = There::of(&found);
    // A model that is not there fails at once and is said already; one that is no plain file might never end.
    if there.model || !shared.model_path().exists() {
        found.extend(model_ends(shared));
        found.extend(unknown_layers(shared));
        found.extend(unheld_layers(shared));
        if there.dataset && there.metrics {
            found.extend(data::check(shared));
        }
    }
    found.extend(plugins::check(shared));
    if there.metrics {
        found.extend(estimates(shared));
    }
    found.extend(device(shared));
    found
}

/// Which files are there to be read.
struct There {
    model: bool,
    dataset: bool,
    metrics: bool,
}

impl There {
    fn of(missing: &[Diagnostic]) -> There {
        let all = |start: &str| !missing.iter().any(|fault| fault.path.starts_with(start));
        There {
            model: all("model."),
            dataset: all("dataset."),
            metrics: all("metric"),
        }
    }
}

/// What is wrong with the model alone.
pub fn check_model(shared: &Shared) -> Vec<Diagnostic> {
    let mut found = missing_files(shared);
    found.retain(|fault| fault.path == "model.path");
    found
}

/// Contents that cannot be read, one line each.
pub fn unreadable(shared: &Shared) -> Vec<String> {
    let there = There::of(&missing_files(shared));
    let mut found = Vec::new();
    if there.model {
        found.extend(shared.model().err().map(|error| error.to_string()));
    }
    if there.metrics {
        found.extend(data::unreadable_metric(shared));
    }
    if there.model && there.dataset {
        found.extend(data::unreadable(shared));
    }
    found
}

/// Metrics that cannot be estimated.
fn estimates(shared: &Shared) -> Vec<Diagnostic> {
    let pipeline = &shared.spec.pipeline;
    // A metric that cannot be had is reported by itself, and a command is not started to ask it.
    let Ok(metrics) = data::own_metrics(shared) else {
        return Vec::new();
    };
    let refused = pipeline.steps.iter().enumerate().filter_map(|(index, step)| {
        let Step::Sensitivity(step) = step else { return None };
        let asymptotic = step.estimate?.asymptotic;
        let (message, help) = match (pipeline.measured().len(), &metrics[..]) {
            (1, [(_, metric)]) => {
                let message = estimable(metric.as_ref(), asymptotic).err()?;
                // With intervals that hold in the limit only, all that has values sample by sample can be estimated.
                match estimable(metric.as_ref(), true) {
                    Ok(()) => (
                        message,
                        "write `asymptotic: true` for intervals that hold in the limit of many samples",
                    ),
                    Err(_) => (message, "leave `estimate` out"),
                }
            }
            (0 | 1, _) => return None,
            (several, _) => {
                let message = format!("an estimate is of one metric, and the file measures {several}");
                (message, "leave the others, or `estimate`, out")
            }
        };
        let place = format!("{}.estimate", pipeline.step_place(index));
        Some(shared.spec.spans.diagnostic(&place, message, Some(help.to_owned())))
    });
    refused.collect()
}

/// A device that cannot be had.
fn device(shared: &Shared) -> Option<Diagnostic> {
    let pipeline = &shared.spec.pipeline;
    let measures = pipeline.steps.iter().any(|step| matches!(step, Step::Sensitivity(_)));
    let fault = match pipeline.device {
        device @ Device::Cuda(_) if measures => crate::runtime::device(&device.to_string()).err()?,
        _ => return None,
    };
    Some(shared.spec.spans.diagnostic("device", fault.to_string(), None))
}

fn missing_files(shared: &Shared) -> Vec<Diagnostic> {
    let inputs = shared.spec.pipeline.input_paths().into_iter();
    let faults = inputs.filter_map(|input| {
        let path = input.path.resolve(shared.base());
        let message = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = match input.expected {
                    Expected::File => "file",
                    Expected::Folder => "folder",
                    Expected::Either => "file or folder",
                };
                format!("there is no {what} {}", path.display())
            }
            Err(error) => format!("cannot read {}: {error}", path.display()),
            Ok(data) if input.expected == Expected::Folder && !data.is_dir() => {
                format!("{} is not a folder", path.display())
            }
            Ok(data) if input.expected == Expected::File && data.is_dir() => {
                format!("{} is a folder, not a file", path.display())
            }
            // A pipe gives its content once, and to whom it will; a device without end.
            Ok(data) if !data.is_file() && !data.is_dir() => {
                format!("{} is no plain file", path.display())
            }
            Ok(_) => return None,
        };
        Some(shared.spec.spans.diagnostic(&input.place, message, None))
    });
    faults.collect()
}

/// Inputs and outputs that are not the model's.
fn model_ends(shared: &Shared) -> Vec<Diagnostic> {
    let Ok(read) = shared.model() else {
        return Vec::new();
    };
    let model = &shared.spec.pipeline.model;
    let mut misfits = inputs::resolve(model, &read.graph).err().unwrap_or_default();
    misfits.extend(inputs::output(model, &read.graph).err());
    let diagnostic = |fault: Misfit| {
        let diagnostic = shared.spec.spans.diagnostic(&fault.place, fault.message, fault.help);
        diagnostic.with_suggestion(fault.suggestion)
    };
    misfits.into_iter().map(diagnostic).collect()
}

/// Layers that a gate names and its step does not measure.
fn unheld_layers(shared: &Shared) -> Vec<Diagnostic> {
    let pipeline = &shared.spec.pipeline;
    let Ok(model) = shared.model() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, step) in pipeline.steps.iter().enumerate() {
        let Step::Gate(gate) = step else { continue };
        let held = pipeline.steps.iter().find_map(|step| match step {
            Step::Sensitivity(held) if gate.step.as_ref() == Some(&held.id) => Some(held),
            _ => None,
        });
        let Some(Ok(measured)) = held.map(|held| layers::choose(&model.graph, held.layers.as_deref())) else {
            continue;
        };
        let names: Vec<&str> = measured.iter().map(|layer| layer.name.as_str()).collect();
        for pattern in gate.layer.iter().flat_map(|layer| layer.keys()) {
            let matches = layers::matcher(pattern);
            if !names.iter().any(|name| matches(name)) {
                let path = key_path(&format!("{}.layer", pipeline.step_place(index)), pattern);
                let message = format!("`{}` is no layer that the step measures", &**pattern);
                let diagnostic = shared.spec.spans.diagnostic(&path, message, None);
                found.push(diagnostic.with_suggestion(nearest(pattern, names.iter().copied())));
            }
        }
    }
    found
}

fn unknown_layers(shared: &Shared) -> Vec<Diagnostic> {
    let Ok(model) = shared.model() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, step) in shared.spec.pipeline.steps.iter().enumerate() {
        let Step::Sensitivity(step) = step else { continue };
        let place = shared.spec.pipeline.step_place(index);
        match layers::choose(&model.graph, step.layers.as_deref()) {
            Err(unmatched) => {
                for one in unmatched {
                    let path = format!("{place}.layers[{}]", one.index);
                    let diagnostic = shared.spec.spans.diagnostic(&path, one.message, one.help);
                    found.push(diagnostic.with_suggestion(one.suggestion));
                }
            }
            Ok(layers) if layers.is_empty() => {
                let message = "the model has no convolution, so there is nothing to measure";
                let help = "name linear layers under `layers`".to_owned();
                found.push(shared.spec.spans.diagnostic(&place, message, Some(help)));
            }
            Ok(_) => {}
        }
    }
    found
}
