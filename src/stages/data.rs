//! The pipeline's dataset and metric, as the datasets and metrics themselves know them.

use super::shared::{READER, Shared, Unreadable, read_graph};
use super::{inputs, plugins};
use crate::dataset::image::Geometry;
use crate::dataset::{Cifar, Config, Dataset, DatasetError, Input, Label, Normalize, Samples, SourceConfig};
use crate::formats::DataError;
use crate::graph::NoSizes;
use crate::metric::{Kind, Metric, MetricError, Scripted};
use crate::pipeline::{Failure, Stop};
use crate::plugin::{CommandDataset, DatasetHello, PluginError};
use crate::spec::{
    self, ArrayFiles, ArrayNames, ArraySource, Cifar100Labels, Diagnostic, Expected, ScriptedDirection, Source,
    WebdatasetLabel, key_path, nearest,
};
use crate::store::{Document, Key, Store};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::sync::Arc;

/// The pipeline's dataset, opened; a plug-in that holds it is started.
///
/// # Errors
/// When there is none, or it cannot be opened; what the file says wrongly is told with its place.
pub fn open(shared: &Shared) -> Result<Dataset, Failure> {
    let none = || Failure::of("the pipeline names no dataset");
    let dataset = shared.spec.pipeline.dataset.as_ref().ok_or_else(none)?;
    let source = match files(shared, &dataset.source) {
        Some(files) => files,
        None => SourceConfig::Foreign(foreign(shared)?.ok_or_else(none)?),
    };
    Dataset::open(&config(shared, dataset, source)).map_err(|fault| {
        match fault.each().iter().find_map(|fault| diagnostic(shared, fault)) {
            Some(diagnostic) => Failure::of(diagnostic),
            None => Failure::of(fault),
        }
    })
}

/// The dataset where files hold it; nothing is started, and none is no fault.
fn open_files(shared: &Shared) -> Option<Result<Dataset, DatasetError>> {
    let dataset = shared.spec.pipeline.dataset.as_ref()?;
    let files = files(shared, &dataset.source)?;
    Some(Dataset::open(&config(shared, dataset, files)))
}

/// The plug-in that holds the dataset; none where files do.
fn foreign(shared: &Shared) -> Result<Option<Arc<CommandDataset>>, Failure> {
    let started = |program| {
        let start = || plugins::start_dataset(shared, program, &shared.stop());
        shared.foreign.get(start).map_err(|failure| match failure {
            Failure::Failed(error) => {
                let diagnostic = shared.spec.spans.diagnostic(plugins::DATASET, error.to_string(), None);
                Failure::of(diagnostic)
            }
            other => other,
        })
    };
    plugins::dataset(shared).map(started).transpose()
}

/// What is read, and how.
fn config(shared: &Shared, dataset: &spec::Dataset, source: SourceConfig) -> Config {
    Config {
        source,
        normalize: dataset.normalize.as_ref().map(|normalize| Normalize {
            mean: normalize.mean.clone(),
            std: normalize.std.clone(),
        }),
        samples: dataset.samples.map(|samples| Samples {
            count: usize::try_from(samples.count).unwrap_or(usize::MAX),
            shuffle: samples.shuffle,
        }),
        seed: shared.spec.pipeline.seed,
        inputs: shared.inputs_of_model(),
    }
}

/// The files that hold the dataset; none where a plug-in does.
fn files(shared: &Shared, source: &Source) -> Option<SourceConfig> {
    let base = shared.base();
    let inputs = shared.inputs_of_model();
    Some(match source {
        Source::Idx(idx) => SourceConfig::Idx {
            images: idx.images.resolve(base),
            labels: idx.labels.as_ref().map(|labels| labels.resolve(base)),
        },
        Source::Npz(npz) => SourceConfig::Npz {
            path: npz.path.resolve(base),
            inputs: arrays(&npz.inputs, &inputs),
            targets: npz.targets.clone(),
        },
        Source::Npy(files) => SourceConfig::Npy {
            inputs: match &files.inputs {
                ArrayFiles::One(path) => vec![path.resolve(base)],
                ArrayFiles::Named(named) => in_order(named, &inputs).map(|path| path.resolve(base)).collect(),
            },
            targets: files.targets.as_ref().map(|targets| targets.resolve(base)),
        },
        Source::Safetensors(file) => SourceConfig::Safetensors {
            path: file.path.resolve(base),
            inputs: arrays(&file.inputs, &inputs),
            targets: file.targets.clone(),
        },
        Source::ImageFolder(folder) => SourceConfig::ImageFolder {
            path: folder.path.resolve(base),
            geometry: geometry(folder.resize, folder.crop),
        },
        Source::Webdataset(web) => SourceConfig::WebDataset {
            path: web.path.resolve(base),
            image: web.image.as_ref().map(|ending| ending.to_ascii_lowercase()),
            label: match &web.label {
                WebdatasetLabel::Ending(ending) => Label::Text(ending.to_ascii_lowercase()),
                WebdatasetLabel::Field(field) => Label::Json(field.json.clone()),
            },
            geometry: geometry(web.resize, web.crop),
        },
        Source::Parquet(table) => SourceConfig::Parquet {
            path: table.path.resolve(base),
            image: table.image.clone(),
            label: table.label.clone(),
            geometry: geometry(table.resize, table.crop),
        },
        Source::Cifar10(cifar) => SourceConfig::Cifar {
            set: Cifar::Ten,
            files: cifar.files.iter().map(|path| path.resolve(base)).collect(),
        },
        Source::Cifar100(cifar) => SourceConfig::Cifar {
            set: match cifar.labels {
                Cifar100Labels::Fine => Cifar::HundredFine,
                Cifar100Labels::Coarse => Cifar::HundredCoarse,
            },
            files: cifar.files.iter().map(|path| path.resolve(base)).collect(),
        },
        Source::Command(_) => return None,
    })
}

fn geometry(resize: Option<u32>, crop: Option<u32>) -> Geometry {
    Geometry { resize, crop }
}

/// The names of the arrays, in the order of the model's inputs.
fn arrays(names: &ArrayNames, inputs: &[Input]) -> Vec<String> {
    match names {
        ArrayNames::One(name) => vec![name.clone()],
        ArrayNames::Listed(names) => names.clone(),
        ArrayNames::Named(named) => in_order(named, inputs).cloned().collect(),
    }
}

/// What is given for each input, in the order of the model's inputs.
fn in_order<'a, T>(named: &'a IndexMap<String, T>, inputs: &'a [Input]) -> impl Iterator<Item = &'a T> {
    inputs.iter().filter_map(|input| named.get(input.name.as_deref()?))
}

/// The metrics that the pipeline names, the one that steers first, ready to measure; the processes of plug-ins live as
/// long as they do.
pub fn metrics(shared: &Shared, stop: &Stop) -> Result<Vec<Box<dyn Metric>>, MetricFault> {
    let measured = shared.spec.pipeline.measured().into_iter().enumerate();
    measured
        .map(|(at, metric)| match metric {
            spec::Metric::Command(command) => {
                Ok(Box::new(plugins::start_metric(shared, command, stop)?) as Box<dyn Metric>)
            }
            other => own_metric(shared, at, other),
        })
        .collect()
}

/// A metric and its place in the list.
pub type Placed = (usize, Box<dyn Metric>);

/// Those among them that need no other process.
pub fn own_metrics(shared: &Shared) -> Result<Vec<Placed>, MetricFault> {
    let measured = shared.spec.pipeline.measured().into_iter().enumerate();
    measured
        .filter(|(_, metric)| !matches!(metric, spec::Metric::Command(_)))
        .map(|(at, metric)| Ok((at, own_metric(shared, at, metric)?)))
        .collect()
}

/// Why a metric cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MetricFault {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{fault}")]
    Unfit { place: String, fault: MetricError },
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("{0} is another program's")]
    Command(String),
}

fn own_metric(shared: &Shared, at: usize, metric: &spec::Metric) -> Result<Box<dyn Metric>, MetricFault> {
    let kind = match metric {
        spec::Metric::Accuracy => Kind::Accuracy,
        spec::Metric::CrossEntropy => Kind::CrossEntropy,
        spec::Metric::Mse => Kind::Mse,
        spec::Metric::TopK(k) => Kind::TopK(*k as usize),
        spec::Metric::Agreement {} => Kind::Agreement,
        spec::Metric::Kl {} => Kind::Kl,
        spec::Metric::PerClass {} => Kind::PerClass,
        spec::Metric::Torchscript(scripted) => {
            let graph = Arc::new(read_graph(&scripted.path.resolve(shared.base()), &NoSizes)?.graph);
            let maximize = scripted.direction == ScriptedDirection::Maximize;
            let metric = Scripted::new(&scripted.name, maximize, graph, super::shared::evaluator());
            return match metric {
                Ok(metric) => Ok(Box::new(metric)),
                Err(fault) => Err(MetricFault::Unfit {
                    place: format!("{}.torchscript", shared.spec.pipeline.metric_place(at)),
                    fault,
                }),
            };
        }
        spec::Metric::Command(command) => return Err(MetricFault::Command(plugins::name(shared, command.program()))),
    };
    Ok(kind.build())
}

/// Whether a metric is one of decisions, so that small errors of outputs mostly change nothing.
pub fn decides(shared: &Shared, at: usize, metric: &spec::Metric) -> bool {
    match metric {
        spec::Metric::Torchscript(_) | spec::Metric::Command(_) => false,
        own => own_metric(shared, at, own).is_ok_and(|metric| metric.decisions().is_some()),
    }
}

/// What decides a metric's values: its words, and the content of its file.
pub fn metric_document(shared: &Shared, store: &Store, at: usize, metric: &spec::Metric) -> Result<Value, Failure> {
    let scripted = match metric {
        spec::Metric::Torchscript(scripted) => scripted,
        spec::Metric::Command(command) => {
            let place = format!("{}.command", shared.spec.pipeline.metric_place(at));
            let mut document = plugins::document(shared, store, &place, command.program())?;
            let graph = &shared.model().map_err(Failure::of)?.graph;
            let outputs = inputs::count(&shared.spec.pipeline.model, graph);
            if outputs > 1 {
                document["outputs"] = json!(outputs);
            }
            return Ok(document);
        }
        _ => return Ok(json!(metric)),
    };
    let place = format!("{}.torchscript.path", shared.spec.pipeline.metric_place(at));
    let digest = shared.digest(store, &place)?;
    Ok(json!({"torchscript": {"module": digest, "reader": READER, "direction": scripted.direction}}))
}

/// What headers tell against the dataset: errors of the pipeline, with their place in it. Content that cannot be read is
/// left to the stage.
pub fn check(shared: &Shared) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let dataset = probe(shared, &mut found);
    match own_metrics(shared) {
        Ok(metrics) => {
            let targets = dataset.iter().map(Dataset::targets);
            let unfit = targets.flat_map(|targets| {
                metrics.iter().filter_map(move |(at, metric)| {
                    let fault = metric.check_targets(targets).err()?;
                    let place = shared.spec.pipeline.metric_place(*at);
                    Some(shared.spec.spans.diagnostic(&place, fault.to_string(), None))
                })
            });
            found.extend(unfit);
        }
        Err(MetricFault::Unfit { place, fault }) => {
            found.push(shared.spec.spans.diagnostic(&place, fault.to_string(), None));
        }
        // Left to the stage.
        Err(_) => {}
    }
    found
}

/// The dataset where files hold it; a plug-in is not started for that. What is wrong is noted and left out, so that it hides
/// nothing else.
fn probe(shared: &Shared, found: &mut Vec<Diagnostic>) -> Option<Dataset> {
    let dataset = shared.spec.pipeline.dataset.as_ref()?;
    let mut config = config(shared, dataset, files(shared, &dataset.source)?);
    loop {
        let fault = match Dataset::open(&config) {
            Ok(dataset) => return Some(dataset),
            Err(fault) => fault,
        };
        found.extend(fault.each().iter().filter_map(|fault| diagnostic(shared, fault)));
        let left_out = match place(shared, &fault).as_deref() {
            Some("dataset.normalize") => config.normalize.take().is_some(),
            Some("dataset.samples") => config.samples.take().is_some(),
            _ => false,
        };
        if !left_out {
            return None;
        }
    }
}

/// An error of the dataset that is the pipeline's, at its place; none for content that cannot be read.
fn diagnostic(shared: &Shared, fault: &DatasetError) -> Option<Diagnostic> {
    let diagnostic = shared
        .spec
        .spans
        .diagnostic(&place(shared, fault)?, fault.to_string(), None);
    Some(match fault {
        DatasetError::Data(DataError::NoSuchName { name, have, .. }) => {
            diagnostic.with_suggestion(nearest(name, have.iter().map(String::as_str)))
        }
        _ => diagnostic,
    })
}

/// The key of the dataset's source that names what its file lacks.
fn place_of_name(source: &Source, name: &str) -> String {
    let arrays = |arrays: &ArraySource| match &arrays.inputs {
        ArrayNames::Named(named) => match named.iter().find(|(_, array)| *array == name) {
            Some((input, _)) => key_path("inputs", input),
            None => "targets".to_owned(),
        },
        ArrayNames::One(one) if one != name => "targets".to_owned(),
        _ => "inputs".to_owned(),
    };
    let (kind, key) = match source {
        Source::Npz(source) => ("npz", arrays(source)),
        Source::Safetensors(source) => ("safetensors", arrays(source)),
        Source::Parquet(table) if table.image != name => ("parquet", "label".to_owned()),
        Source::Parquet(_) => ("parquet", "image".to_owned()),
        Source::Webdataset(_) => ("webdataset", "label".to_owned()),
        _ => return "dataset.source".to_owned(),
    };
    format!("dataset.source.{kind}.{key}")
}

/// Where in the pipeline an error of the dataset lies; none for content that cannot be read.
fn place(shared: &Shared, fault: &DatasetError) -> Option<String> {
    Some(match fault {
        DatasetError::Data(DataError::NoSuchName { name, .. }) => {
            place_of_name(&shared.spec.pipeline.dataset.as_ref()?.source, name)
        }
        DatasetError::Shape { input, .. }
        | DatasetError::Images { input, .. }
        | DatasetError::InputType { input, .. } => inputs::place(input),
        DatasetError::TooFew { .. }
        | DatasetError::NoSamples
        | DatasetError::Endless { .. }
        | DatasetError::Undrawn { .. } => "dataset.samples".into(),
        DatasetError::Channels { .. } | DatasetError::Deviation(_) | DatasetError::NormalizedIntegers => {
            "dataset.normalize".into()
        }
        DatasetError::Counts { .. }
        | DatasetError::Empty
        | DatasetError::Inputs { .. }
        | DatasetError::NoTensor { .. } => "dataset.source".into(),
        _ => return None,
    })
}

/// The metric's file, where its content cannot be read.
pub fn unreadable_metric(shared: &Shared) -> Option<String> {
    match own_metrics(shared) {
        Err(MetricFault::Unreadable(fault)) => Some(fault.to_string()),
        _ => None,
    }
}

/// Lines for content of the dataset that cannot be read.
pub fn unreadable(shared: &Shared) -> Vec<String> {
    let Some(Err(fault)) = open_files(shared) else {
        return Vec::new();
    };
    let unplaced = fault.each().iter().filter(|fault| place(shared, fault).is_none());
    unplaced.map(ToString::to_string).collect()
}

/// What decides the samples: contents of files, and how they are read.
pub fn document(shared: &Shared, store: &Store) -> Result<Document, Failure> {
    let pipeline = &shared.spec.pipeline;
    let Some(dataset) = &pipeline.dataset else {
        return Ok(Document::new());
    };
    let mut digests = Vec::new();
    for input in pipeline
        .input_paths()
        .iter()
        .filter(|input| input.place.starts_with("dataset."))
    {
        let digest = if input.expected != Expected::File {
            folder(shared, store, &input.place)?
        } else {
            shared.digest(store, &input.place)?
        };
        digests.push(digest);
    }
    // Names of files are no content; names of arrays are.
    let source = match &dataset.source {
        Source::Idx(_) => json!({"idx": {}}),
        Source::Npz(npz) => json!({"npz": {"inputs": npz.inputs, "targets": npz.targets}}),
        Source::Npy(files) => match &files.inputs {
            ArrayFiles::One(_) => json!({"npy": {}}),
            ArrayFiles::Named(named) => json!({"npy": {"inputs": named.keys().collect::<Vec<_>>()}}),
        },
        Source::Safetensors(file) => json!({"safetensors": {"inputs": file.inputs, "targets": file.targets}}),
        Source::Webdataset(web) => json!({"webdataset": {
            "image": web.image, "label": web.label, "resize": web.resize, "crop": web.crop,
        }}),
        Source::Parquet(table) => json!({"parquet": {
            "image": table.image, "label": table.label, "resize": table.resize, "crop": table.crop,
        }}),
        Source::Cifar10(_) => json!({"cifar10": {}}),
        Source::Cifar100(cifar) => json!({"cifar100": {"labels": cifar.labels}}),
        Source::ImageFolder(folder) => json!({"image_folder": {"resize": folder.resize, "crop": folder.crop}}),
        Source::Command(command) => {
            let mut source = plugins::document(shared, store, plugins::DATASET, command.program())?;
            if let Some(plugin) = foreign(shared)? {
                source["said"] = said(plugin.hello());
            }
            source
        }
    };
    let shuffled = dataset.samples.is_some_and(|samples| samples.shuffle);
    Ok(Document::new()
        .with("files", json!(digests))
        .with("source", source)
        .with("normalize", json!(dataset.normalize))
        .with("samples", json!(dataset.samples))
        .with("seed", json!(shuffled.then_some(pipeline.seed))))
}

/// What a plug-in says of its data: with its files, all that is known of them before they are read.
fn said(hello: &DatasetHello) -> Value {
    let tensors: Vec<Value> = hello
        .tensors
        .iter()
        .map(|one| json!({"name": one.name, "dtype": one.dtype.name(), "shape": one.shape}))
        .collect();
    json!({"samples": hello.samples, "tensors": tensors, "fingerprint": hello.fingerprint})
}

/// One digest of a folder, or of what stands for one: the content and class of each file, in sample order.
fn folder(shared: &Shared, store: &Store, place: &str) -> Result<Key, Failure> {
    let dataset = open(shared)?;
    let classes = dataset.file_classes().unwrap_or_default();
    let mut files = Vec::new();
    let mut lines = String::new();
    let mut bytes = 0;
    for (at, path) in dataset.files().into_iter().enumerate() {
        let digest = store.digest(&path).map_err(Failure::of)?;
        lines += &format!("{} {}\n", digest.digest, classes.get(at).copied().unwrap_or(0));
        bytes += digest.bytes;
        files.push((path, digest));
    }
    let key = Key::of(lines.as_bytes());
    let inputs = shared.spec.pipeline.input_paths();
    let written = inputs
        .iter()
        .find(|input| input.place == place)
        .map(|input| input.path.to_string());
    shared.note(place, written.unwrap_or_default(), key, bytes, files)?;
    Ok(key)
}
