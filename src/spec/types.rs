//! The version-1 pipeline file as types: what serde reads, schemars describes and `run.json` shows.
//!
//! Defaults stand here and nowhere else. The types know nothing of positions, files or stages; the doc comments are
//! what an editor shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::command::MetricCommand;
use super::model::Model;
use super::schedule::{Hook, Schedule};
use super::sources::{Expected, Source};
use super::steps::{MaskFix, Masks, Step, round_sparsity};
use super::words::{Device, FilePath, Memory, Name};

/// A pipeline: one model, its data, and the steps that examine it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "secateur pipeline, version 1")]
pub struct Pipeline {
    /// The version of this file format: 1.
    #[schemars(range(min = 1, max = 1), example = 1)]
    pub version: u32,
    /// Names the output folder, `out/<name>/`.
    #[schemars(example = &"quickstart")]
    pub name: Name,
    /// The network to examine.
    #[schemars(example = json!({"path": "quickstart/model.pt", "input": [1, 28, 28]}))]
    pub model: Model,
    /// The labelled samples that steps measure on. Needed only where a step measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// What is measured, averaged over samples. Needed only where a step measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"accuracy", example = json!({"top_k": 5}))]
    pub metric: Option<Metric>,
    /// What is measured in one pass, instead of `metric`: the first steers early stop and fills `sensitivity.csv`; each
    /// further one fills a `sensitivity.<metric>.csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = json!(["accuracy", {"top_k": 5}, "cross_entropy"]))]
    pub metrics: Option<Vec<Metric>>,
    /// Where the network runs.
    #[serde(default = "default_device")]
    pub device: Device,
    /// The number format in which the network runs.
    #[serde(default)]
    pub precision: Precision,
    /// The seed of every random draw.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub seed: u64,
    /// What a run may use. It changes no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"memory": "8GiB"}))]
    pub resources: Option<Resources>,
    /// The folder that receives `<name>/`, relative to this file. Without it: `out/` in the current folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<FilePath>,
    /// When the pipeline runs by itself, once `secateur schedule install` has been told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"cron": "0 3 * * *", "timezone": "Europe/Berlin", "jitter": "10m"}))]
    pub schedule: Option<Schedule>,
    /// What runs after a run that failed, a gate included: a command, with the run's record as JSON on its standard
    /// input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!(["./alert.sh", "nightly"]))]
    pub on_failure: Option<Hook>,
    /// What runs after a run whose results differ from those of the run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"command": ["./tell.sh"], "timeout": "30s"}))]
    pub on_change: Option<Hook>,
    /// What to do. Each entry has one key, its kind.
    #[schemars(length(min = 1))]
    #[schemars(example = json!([{"sensitivity": {"sparsities": [0.25, 0.5, 0.75]}}, {"flops": {}}]))]
    pub steps: Vec<Step>,
}

fn default_device() -> Device {
    Device::Cpu
}

/// What a run may use. It changes no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The memory that a run should stay within: it limits how much is measured at once. Omit it for half of what is free
    /// when the run starts; `--memory` goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"8GiB")]
    pub memory: Option<Memory>,
}

/// The samples that steps measure on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Where samples come from: exactly one kind of source.
    pub source: Source,
    /// Subtracts `mean` and divides by `std`, channel by channel. Omit it for none. (uint8 inputs are divided by 255
    /// before.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}))]
    pub normalize: Option<Normalize>,
    /// How many samples: the first N, or `{count: N, shuffle: true}` for N drawn once with `seed`. Omit it for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 2000, example = json!({"count": 2000, "shuffle": true}))]
    pub samples: Option<Samples>,
    /// How many samples the network sees at once.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: u32,
}

fn default_batch_size() -> u32 {
    64
}

/// One mean and one standard deviation a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// What is subtracted from each channel.
    #[schemars(length(min = 1), example = [0.485, 0.456, 0.406])]
    pub mean: Vec<f64>,
    /// What each channel is divided by; never 0.
    #[schemars(length(min = 1), extend("items" = {"type": "number", "not": {"const": 0}}))]
    #[schemars(example = [0.229, 0.224, 0.225])]
    pub std: Vec<f64>,
}

/// How many samples, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WrittenSamples")]
#[schemars(!from, with = "WrittenSamples")]
pub struct Samples {
    /// How many samples.
    pub count: u64,
    /// Whether they are drawn with the seed, or are the first ones.
    pub shuffle: bool,
}

/// The two ways in which a number of samples is written.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Samples")]
enum WrittenSamples {
    /// The first N samples.
    Count(#[schemars(range(min = 1))] u64),
    /// N samples, drawn once with `seed` if `shuffle` is true.
    Drawn(DrawnSamples),
}

/// A number of samples, drawn once with `seed` if `shuffle` is true.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DrawnSamples {
    /// How many samples.
    #[schemars(range(min = 1))]
    count: u64,
    /// Whether they are drawn at random instead of being the first ones.
    #[serde(default)]
    shuffle: bool,
}

impl From<WrittenSamples> for Samples {
    fn from(written: WrittenSamples) -> Self {
        match written {
            WrittenSamples::Count(count) => Self { count, shuffle: false },
            WrittenSamples::Drawn(DrawnSamples { count, shuffle }) => Self { count, shuffle },
        }
    }
}

/// What is measured: an average over samples, on the model's first output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Metric {
    /// The fraction of samples whose largest output is at the label.
    Accuracy,
    /// The mean cross-entropy with the label, in nats.
    CrossEntropy,
    /// The mean squared difference from the target.
    Mse,
    /// The fraction of samples whose label is among the N largest outputs.
    TopK(#[schemars(range(min = 1, max = 2147483647u32))] u32),
    /// The fraction of samples that are classed as the unmasked model classes them; needs no labels.
    Agreement {},
    /// The divergence of the distribution over classes from the unmasked model's, in nats; needs no labels.
    Kl {},
    /// The mean of the classes' accuracies, each of which is in `sensitivity.json`.
    PerClass {},
    /// What a scripted module gives for each sample, averaged.
    Torchscript(Box<ScriptedMetric>),
    /// What another program says, in any language.
    Command(Box<MetricCommand>),
}

impl Metric {
    /// Whether samples need a label or target to be measured, as far as the file tells.
    pub fn needs_targets(&self) -> bool {
        !matches!(
            self,
            Self::Agreement {} | Self::Kl {} | Self::Torchscript(_) | Self::Command(_)
        )
    }
}

/// A metric as a scripted module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptedMetric {
    /// What `torch.jit.script(module).save(path)` wrote. Its forward takes `(outputs, targets)`, or `(outputs)` where it
    /// needs no labels, and returns one value a sample.
    #[schemars(example = &"metric.pt")]
    pub path: FilePath,
    /// What outputs call it. Without it: `torchscript`.
    #[serde(default = "scripted_name")]
    #[schemars(example = &"focal")]
    pub name: Name,
    /// Which way is better.
    #[serde(default)]
    pub direction: ScriptedDirection,
}

fn scripted_name() -> Name {
    Name::from_kind("torchscript")
}

/// Which way a scripted metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScriptedDirection {
    /// More is better.
    #[default]
    Maximize,
    /// Less is better.
    Minimize,
}

/// The number format in which the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    Float32,
    /// The network in bfloat16, the unpruned one too.
    Bfloat16,
    /// The tables of float32, from bfloat16 wherever that is native and decides the same.
    Auto,
}

/// A file or folder that a pipeline reads, with the place that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPath<'a> {
    /// The place in the pipeline file, such as `model.path`.
    pub place: String,
    /// The path as written.
    pub path: &'a FilePath,
    /// What is expected there.
    pub expected: Expected,
}

impl Pipeline {
    /// What is measured, the metric that steers first.
    pub fn measured(&self) -> Vec<&Metric> {
        let listed = self.metrics.iter().flatten();
        self.metric.iter().chain(listed).collect()
    }

    /// The names that metrics are given in the file.
    pub fn metric_names(&self) -> Vec<&Name> {
        let named = self.measured().into_iter().filter_map(|metric| match metric {
            Metric::Torchscript(scripted) => Some(&scripted.name),
            _ => None,
        });
        named.collect()
    }

    /// The place of a metric in the pipeline file, such as `metrics[1]`.
    pub fn metric_place(&self, at: usize) -> String {
        match self.metrics {
            Some(_) => format!("metrics[{at}]"),
            None => "metric".to_owned(),
        }
    }

    /// The place of a step's body in the pipeline file, such as `steps[0].sensitivity`.
    pub fn step_place(&self, index: usize) -> String {
        let kind = self.steps.get(index).map_or("", Step::kind);
        format!("steps[{index}].{kind}")
    }

    /// Every file and folder that the pipeline reads, in the order of the file format.
    pub fn input_paths(&self) -> Vec<InputPath<'_>> {
        let mut inputs = Vec::new();
        let mut add = |place: String, path, expected| inputs.push(InputPath { place, path, expected });
        add("model.path".to_owned(), &self.model.path, Expected::File);
        if let Some(dataset) = &self.dataset {
            for (place, path, expected) in dataset.source.paths() {
                add(format!("dataset.source.{place}"), path, expected);
            }
        }
        for (at, metric) in self.measured().into_iter().enumerate() {
            if let Metric::Torchscript(scripted) = metric {
                let place = format!("{}.torchscript.path", self.metric_place(at));
                add(place, &scripted.path, Expected::File);
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            if let Step::MaskFix(MaskFix {
                masks: Masks::File(path),
                ..
            }) = step
            {
                add(format!("{}.masks", self.step_place(index)), path, Expected::File);
            }
        }
        inputs
    }

    /// The canonical form: every default filled, every choice of writing made. Two files that mean the same give the
    /// same value, which is itself a valid pipeline file.
    pub fn resolved(&self) -> Value {
        // The types hold strings, finite numbers and lists only, so this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Puts what may be written in several ways into one: sparsities rounded, in order, equal ones merged; lists of
    /// arrays as mappings.
    pub(super) fn normalise(&mut self) {
        if let Some(Source::Npz(source) | Source::Safetensors(source)) =
            self.dataset.as_mut().map(|dataset| &mut dataset.source)
        {
            source.normalise();
        }
        let mut measuring = self.steps.iter().filter(|step| matches!(step, Step::Sensitivity(_)));
        let only = measuring.next().map(|step| step.id().clone());
        for step in &mut self.steps {
            if let Step::Gate(gate) = step {
                gate.step = gate.step.take().or_else(|| only.clone());
                for sparsity in gate.layer.iter_mut().flat_map(|layer| layer.values_mut()) {
                    sparsity.sparsity = sparsity.sparsity.map(round_sparsity);
                }
            }
            if let Step::Sensitivity(step) = step {
                for sparsity in &mut step.sparsities {
                    *sparsity = round_sparsity(*sparsity);
                }
                step.sparsities.sort_by(f64::total_cmp);
                step.sparsities.dedup();
            }
        }
    }
}
