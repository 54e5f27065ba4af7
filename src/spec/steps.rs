//! The steps of a pipeline file: one type a kind, their defaults beside them.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::words::{FilePath, LayerPattern, Name};

/// One entry of `steps`: one key, its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// How much the metric changes when one layer at a time is masked.
    Sensitivity(Sensitivity),
    /// Which layers lose channels together.
    Dependencies(Dependencies),
    /// Multiply-accumulates and parameters, layer by layer.
    Flops(Flops),
    /// Repairs masks so that layers that lose channels together agree.
    MaskFix(MaskFix),
    /// Bounds that measured results must keep; the run ends with exit code 3 where one is broken.
    Gate(Gate),
}

impl Step {
    /// The step's id, unique in its pipeline.
    pub fn id(&self) -> &Name {
        match self {
            Self::Sensitivity(step) => &step.id,
            Self::Dependencies(step) => &step.id,
            Self::Flops(step) => &step.id,
            Self::MaskFix(step) => &step.id,
            Self::Gate(step) => &step.id,
        }
    }

    /// The key of the step's entry.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sensitivity(_) => "sensitivity",
            Self::Dependencies(_) => "dependencies",
            Self::Flops(_) => "flops",
            Self::MaskFix(_) => "mask_fix",
            Self::Gate(_) => "gate",
        }
    }
}

/// How much the metric changes when one layer at a time is masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// Names the step and its output folder; must be unique.
    #[serde(default = "sensitivity_id")]
    pub id: Name,
    /// Which weights go first.
    #[serde(default)]
    pub method: Method,
    /// What is masked together.
    #[serde(default)]
    pub granularity: Granularity,
    /// The fractions to mask, between 0 and 1 and rounded to hundredths; equal ones merge.
    #[serde(default = "default_sparsities")]
    #[schemars(length(min = 1), example = [0.25, 0.5, 0.75])]
    #[schemars(extend("items" = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}))]
    pub sparsities: Vec<f64>,
    /// Ends a layer's row at the first value beyond a bound; that value is still recorded. Omit it for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"mode": "dropped", "value": 0.1}))]
    pub early_stop: Option<EarlyStop>,
    /// Ends a cell as soon as random samples tell its value well enough. Omit it for exact values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"margin": 0.01, "relative": 0.2, "confidence": 0.95}))]
    pub estimate: Option<Estimate>,
    /// The layers to measure, by name or glob. Omit it for every convolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = ["layer1.*", "conv1"])]
    pub layers: Option<Vec<LayerPattern>>,
    /// How the groups of attention heads are cut, under `granularity: group`.
    #[serde(default)]
    pub heads: HeadCut,
    /// Whether channels that a norm mixes form groups too, under `granularity: group`.
    #[serde(default)]
    pub approximate: bool,
    /// Whose rules decide ties.
    #[serde(default)]
    pub compat: Compat,
}

fn sensitivity_id() -> Name {
    Name::from_kind("sensitivity")
}

pub(super) fn default_sparsities() -> Vec<f64> {
    (1..10).map(|tenths| f64::from(tenths) / 10.0).collect()
}

/// Ends a cell as soon as random samples tell its value well enough: when half of the width of the interval for its
/// difference from the whole model is at most `max(margin, relative × |difference|)`, or when early stop's comparison is
/// decided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Half of a width that is always narrow enough, in units of the metric.
    #[serde(default = "default_margin")]
    #[schemars(range(min = 0))]
    pub margin: f64,
    /// The fraction of the difference that is narrow enough: large differences need not be known as precisely.
    #[serde(default = "default_relative")]
    #[schemars(range(min = 0, max = 1))]
    pub relative: f64,
    /// The probability, cell by cell, that the interval holds.
    #[serde(default = "default_confidence")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub confidence: f64,
    /// Whether a metric without bounds, such as a loss, may be estimated: its intervals hold in the limit of many samples
    /// only.
    #[serde(default)]
    pub asymptotic: bool,
}

fn default_margin() -> f64 {
    0.01
}

fn default_relative() -> f64 {
    0.2
}

fn default_confidence() -> f64 {
    0.95
}

/// Which weights go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = add_fine_grained)]
pub enum Method {
    /// The filters with the smallest sums of absolute values.
    #[default]
    L1,
    /// The filters with the smallest Euclidean norms.
    L2,
    /// The single weights with the smallest absolute values.
    #[serde(alias = "fine_grained")]
    Level,
}

/// schemars does not describe aliases.
fn add_fine_grained(schema: &mut Schema) {
    if let Some(Value::Array(words)) = schema.get_mut("oneOf") {
        words.push(json!({"description": "The same as `level`.", "type": "string", "const": "fine_grained"}));
    }
}

/// What is masked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// One layer at a time.
    #[default]
    Layer,
    /// One coupled group at a time, with every parameter of its units.
    Group,
}

/// Whose rules are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compat {
    /// The exact ones.
    #[default]
    Exact,
    /// Those of NNI, to the letter.
    Nni,
}

/// How attention heads are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadCut {
    /// The same positions go within every head: as many heads, each smaller.
    #[default]
    Within,
    /// Whole heads go: fewer heads, each as large as before.
    Whole,
}

/// Ends a layer's row at the first value beyond a bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// What `value` bounds.
    pub mode: StopMode,
    /// The bound.
    pub value: f64,
}

/// What the bound of an early stop bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Stop when the metric is below `value`.
    Minimize,
    /// Stop when the metric is above `value`.
    Maximize,
    /// Stop when the metric is more than `value` below the baseline.
    Dropped,
    /// Stop when the metric is more than `value` above the baseline.
    Raised,
}

/// Which layers lose channels together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependencies {
    /// Names the step and its output folder; must be unique.
    #[serde(default = "dependencies_id")]
    pub id: Name,
    /// Which tables to write.
    #[serde(default = "default_kinds")]
    #[schemars(length(min = 1))]
    pub kinds: BTreeSet<DependencyKind>,
    /// How attention heads are cut; `coupling.json` lists the other way under `alternatives`.
    #[serde(default)]
    pub heads: HeadCut,
    /// Whether channels that a norm mixes (layer norm, RMS norm) may go as well. What is left then is not exactly the
    /// network without them.
    #[serde(default)]
    pub approximate: bool,
    /// Whose rules are followed.
    #[serde(default)]
    pub compat: Compat,
}

fn dependencies_id() -> Name {
    Name::from_kind("dependencies")
}

fn default_kinds() -> BTreeSet<DependencyKind> {
    use DependencyKind::{Channel, Group, InputChannel};
    BTreeSet::from([Channel, Group, InputChannel])
}

/// A table of dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DependencyKind {
    /// `channel.csv`: layers that lose output channels together.
    Channel,
    /// `group.csv`: the number by which a layer's filters must stay divisible.
    Group,
    /// `input_channel.csv`: layers that lose input channels together.
    InputChannel,
}

/// Multiply-accumulates and parameters, layer by layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flops {
    /// Names the step and its output folder; must be unique.
    #[serde(default = "flops_id")]
    pub id: Name,
}

fn flops_id() -> Name {
    Name::from_kind("flops")
}

/// Repairs masks so that layers that lose channels together agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskFix {
    /// Names the step and its output folder; must be unique.
    #[serde(default = "mask_fix_id")]
    pub id: Name,
    /// The masks to repair: a `.pth` or `.safetensors` file, or `{step: ID}` for another step's masks.
    #[schemars(example = &"quickstart/masks.pth", example = json!({"step": "mask_fix"}))]
    pub masks: Masks,
    /// How attention heads are cut.
    #[serde(default)]
    pub heads: HeadCut,
    /// Whether masks agree on channels that a norm mixes too, so that they can be cut out, though not exactly.
    #[serde(default)]
    pub approximate: bool,
    /// Whose rules are followed.
    #[serde(default)]
    pub compat: Compat,
}

fn mask_fix_id() -> Name {
    Name::from_kind("mask_fix")
}

/// Where masks come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Masks {
    /// A `.pth` or `.safetensors` file.
    File(FilePath),
    /// Another step's masks, wherever it stands in the list.
    Step(StepMasks),
}

/// Another step's masks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepMasks {
    /// The id of the step that yields the masks.
    pub step: Name,
}

/// Bounds that measured results must keep. Where one is broken the run ends with exit code 3, and its results are valid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Names the step and its output folder; must be unique.
    #[serde(default = "gate_id")]
    pub id: Name,
    /// The id of the sensitivity step that is held. It may be left out where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Name>,
    /// Bounds of the whole model's metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"min": 0.9}))]
    pub baseline: Option<Bounds>,
    /// Bounds of cells, by the name or glob of their layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"layer1.*": {"sparsity": 0.5, "max_drop": 0.05}}))]
    pub layer: Option<BTreeMap<LayerPattern, CellBounds>>,
    /// How far the whole model's metric and every cell may be from those of an earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({"against": "last_success", "max": 0.02}))]
    pub drift: Option<Drift>,
}

fn gate_id() -> Name {
    Name::from_kind("gate")
}

/// Bounds of a number; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The least that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// Bounds of a layer's cells; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellBounds {
    /// The sparsity that is held. Omit it for every sparsity that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub sparsity: Option<f64>,
    /// How much worse than the whole model the metric may be: below it where more is better, else above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_drop: Option<f64>,
    /// The least that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// How far results may be from those of an earlier run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Which run: `last_success` or `last` of this pipeline, or a run's id.
    #[serde(default)]
    pub against: Against,
    /// The largest difference, upwards or downwards.
    #[schemars(range(min = 0))]
    pub max: f64,
}

/// An earlier run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Against {
    /// The last run of this pipeline that ended with 0.
    #[default]
    LastSuccess,
    /// The last run of this pipeline that left results.
    Last,
    /// The run of an id.
    Run(String),
}

impl From<String> for Against {
    fn from(text: String) -> Self {
        match text.as_str() {
            "last_success" => Self::LastSuccess,
            "last" => Self::Last,
            _ => Self::Run(text),
        }
    }
}

impl From<Against> for String {
    fn from(against: Against) -> Self {
        match against {
            Against::LastSuccess => "last_success".to_owned(),
            Against::Last => "last".to_owned(),
            Against::Run(id) => id,
        }
    }
}

/// Rounds a sparsity to hundredths the way NNI does: `rint(100·s)/100`, ties to even.
pub fn round_sparsity(sparsity: f64) -> f64 {
    (100.0 * sparsity).round_ties_even() / 100.0
}
