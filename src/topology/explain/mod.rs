//! Reasons in words: where a node stands, why a layer is frozen, what couples two layers.
//!
//! Owns what is told of layers and of the operators between them, as data. Deliberately neither prints nor draws.

mod drawing;
mod words;

use drawing::drawing;
pub use drawing::{Drawing, DrawnGroup, Member, Operator, Side};
pub use words::{place, ranges, shape};

use super::coupling::{Coupling, Group, Heads};
use super::layers::{Known, Layer, LayerKind};
use super::walk::Walked;
use crate::labels::{FROZEN, Freezing, Label, Link, Paths};
use std::collections::{BTreeMap, BTreeSet};
use words::{end, node_shapes, sentence};

/// One operator of a chain, and what it ties to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `conv1: output channel 3`.
    pub from: String,
    pub to: String,
    /// The operator with its module; empty for what is said of the whole model.
    pub place: String,
    /// What it does to them.
    pub what: &'static str,
    /// Shapes of the tensors that it reads and gives; empty where no operator did it.
    pub shapes: String,
}

/// All that is known of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub name: String,
    /// Its PyTorch class, where the model file tells.
    pub class: String,
    pub weight: Vec<usize>,
    /// The operators that apply it, with their shapes.
    pub uses: Vec<(String, String)>,
    pub outputs: Channels,
    /// None for a layer without an input axis of its own (a depthwise convolution, an embedding).
    pub inputs: Option<Channels>,
}

/// The channels of one side of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    pub count: usize,
    pub groups: Vec<Part>,
    pub frozen: Vec<FrozenPart>,
    /// Channels that go only all at once, so that nothing would be left.
    pub whole: Vec<usize>,
}

/// Channels that lie in one coupled group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which group of `coupling.json`, counted from 1.
    pub group: usize,
    pub channels: Vec<usize>,
    pub units: usize,
    pub outputs: Vec<String>,
    pub inputs: Vec<String>,
    pub blocks: usize,
    pub heads: Option<Heads>,
    pub approximate: bool,
}

/// Channels that are frozen for one reason, and the shortest chain to it from the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenPart {
    pub channels: Vec<usize>,
    pub reason: String,
    pub steps: Vec<Step>,
}

/// What couples a side of one layer with a side of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupled {
    /// `output` or `input`, of each.
    pub sides: [&'static str; 2],
    /// How many units hold channels of both.
    pub units: usize,
    /// The groups of those units, counted from 1.
    pub groups: Vec<usize>,
    /// The shortest chain.
    pub steps: Vec<Step>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub layers: Vec<About>,
    /// Of two layers: each pair of sides that share units, output with output first.
    pub coupled: Vec<Coupled>,
    pub drawing: Drawing,
}

/// Explains one layer, or two and what couples them; without any, draws every coupled group. The walk should keep every
/// reason ([`super::Options::every_reason`]), else the chains are true but not the shortest.
pub fn explain(walked: &Walked, found: &Coupling, layers: &[Layer]) -> Explanation {
    let paths = Paths::new(&walked.labels);
    let freezing = paths.freezing();
    let known = Known::of(walked);
    let about = layers
        .iter()
        .map(|layer| about(walked, &known, found, &freezing, layer))
        .collect();
    let mut chains = Vec::new();
    let mut coupled = Vec::new();
    if let [a, b] = layers {
        for sides in [
            ["output", "output"],
            ["output", "input"],
            ["input", "output"],
            ["input", "input"],
        ] {
            if let Some((pair, chain)) = couple(walked, &known, found, &paths, a, b, sides) {
                coupled.push(pair);
                chains.extend(chain);
            }
        }
    }
    let wanted: Vec<usize> = wanted(found, layers, &coupled);
    Explanation {
        layers: about,
        coupled,
        drawing: drawing(walked, &known, found, &wanted, &chains),
    }
}

/// The groups to draw: those that couple the two layers, else those of each layer; without layers all.
fn wanted(found: &Coupling, layers: &[Layer], coupled: &[Coupled]) -> Vec<usize> {
    let chosen: BTreeSet<usize> = coupled
        .iter()
        .flat_map(|pair| &pair.groups)
        .map(|group| group - 1)
        .collect();
    let touches = |group: &Group| {
        let mut names = layers.iter().map(|layer| &layer.name);
        layers.is_empty() || names.any(|name| group.outputs.contains(name) || group.inputs.contains(name))
    };
    let all = found.groups.iter().enumerate();
    let kept = all.filter(|(at, group)| {
        if chosen.is_empty() {
            touches(group)
        } else {
            chosen.contains(at)
        }
    });
    kept.map(|(at, _)| at).collect()
}

/// The labels of one side; none where the layer has no such axis of its own.
fn row(walked: &Walked, layer: &Layer, side: &str) -> Option<Vec<Label>> {
    let axis = match side {
        "output" => layer.output_axis(),
        _ if layer.depthwise() => return None,
        _ => layer.input_axis()?,
    };
    Some(walked.labels.row(layer.weight, axis).unwrap_or_default())
}

fn about(walked: &Walked, known: &Known, found: &Coupling, freezing: &Freezing, layer: &Layer) -> About {
    let graph = walked.graph;
    let module = graph.modules.iter().find(|module| module.path == layer.name);
    let kind = match layer.kind {
        LayerKind::Convolution => "convolution",
        LayerKind::TransposedConvolution => "transposed convolution",
        LayerKind::Linear | LayerKind::TransposedLinear => "linear layer",
        LayerKind::Embedding => "embedding",
    };
    let side = |side: &str| {
        let row = row(walked, layer, side)?;
        let axis = if side == "output" {
            Some(layer.output_axis())
        } else {
            layer.input_axis()
        };
        Some(channels(walked, known, found, freezing, layer, axis?, &row))
    };
    About {
        name: layer.name.clone(),
        class: module.map_or_else(|| kind.to_owned(), |module| module.class.clone()),
        weight: graph.param(layer.weight).tensor.shape().to_vec(),
        uses: layer
            .nodes
            .iter()
            .map(|&node| (place(graph, node), node_shapes(walked, node)))
            .collect(),
        outputs: side("output").unwrap_or_default(),
        inputs: side("input"),
    }
}

fn channels(
    walked: &Walked,
    known: &Known,
    found: &Coupling,
    freezing: &Freezing,
    layer: &Layer,
    axis: usize,
    row: &[Label],
) -> Channels {
    let tensor = &walked.graph.param(layer.weight).tensor;
    let name = walked.graph.param(layer.weight).name();
    let mut channels = Channels {
        count: tensor.shape().get(axis).copied().unwrap_or(1),
        ..Channels::default()
    };
    // An axis that no operator labelled holds one channel.
    let mut left: BTreeSet<usize> = (0..channels.count).collect();
    for (at, group) in found.groups.iter().enumerate() {
        let own = group
            .params
            .iter()
            .filter(|param| param.name == name && param.axis == axis);
        let taken: BTreeSet<usize> = own.flat_map(|param| param.indices.iter().flatten().copied()).collect();
        if taken.is_empty() {
            continue;
        }
        left.retain(|channel| !taken.contains(channel));
        channels.groups.push(Part {
            group: at + 1,
            channels: taken.into_iter().collect(),
            units: group.units,
            outputs: group.outputs.clone(),
            inputs: group.inputs.clone(),
            blocks: group.balance.len(),
            heads: group.heads.clone(),
            approximate: group.approximate,
        });
    }
    let mut frozen: BTreeMap<String, FrozenPart> = BTreeMap::new();
    for channel in left {
        let Some(chain) = row.get(channel).and_then(|&label| freezing.chain(label)) else {
            channels.whole.push(channel);
            continue;
        };
        let Some(last) = chain.last() else { continue };
        let reason = sentence(walked.graph, last.reason);
        let part = frozen.entry(reason.clone()).or_insert_with(|| FrozenPart {
            channels: Vec::new(),
            reason,
            steps: steps(walked, known, &chain),
        });
        part.channels.push(channel);
    }
    channels.frozen = frozen.into_values().collect();
    channels.frozen.sort_by(|a, b| a.channels.cmp(&b.channels));
    channels
}

fn steps(walked: &Walked, known: &Known, chain: &[Link]) -> Vec<Step> {
    let step = |link: &Link| Step {
        from: end(walked, known, link.from),
        to: end(walked, known, link.to),
        place: link
            .reason
            .node
            .map_or_else(String::new, |node| place(walked.graph, node)),
        what: link.reason.what,
        shapes: link
            .reason
            .node
            .map_or_else(String::new, |node| node_shapes(walked, node)),
    };
    chain.iter().map(step).collect()
}

fn couple(
    walked: &Walked,
    known: &Known,
    found: &Coupling,
    paths: &Paths,
    a: &Layer,
    b: &Layer,
    sides: [&'static str; 2],
) -> Option<(Coupled, Vec<Link>)> {
    let (from, to) = (row(walked, a, sides[0])?, row(walked, b, sides[1])?);
    let live = |row: &[Label]| -> BTreeSet<Label> {
        let roots = row.iter().map(|&label| walked.labels.find(label));
        roots.filter(|&root| root != FROZEN).collect()
    };
    let shared: BTreeSet<Label> = live(&from).intersection(&live(&to)).copied().collect();
    if shared.is_empty() {
        return None;
    }
    let chain = paths.shortest(&from, &to.iter().copied().collect())?;
    let name = |layer: &Layer| walked.graph.param(layer.weight).name().to_owned();
    let axis = |layer: &Layer, side: &str| {
        if side == "output" {
            Some(layer.output_axis())
        } else {
            layer.input_axis()
        }
    };
    let ends = [(name(a), axis(a, sides[0])?), (name(b), axis(b, sides[1])?)];
    let holds = |group: &Group| {
        let has = |(name, axis): &(String, usize)| {
            group
                .params
                .iter()
                .any(|param| param.name == *name && param.axis == *axis)
        };
        ends.iter().all(has)
    };
    let groups = found.groups.iter().enumerate().filter(|(_, group)| holds(group));
    let pair = Coupled {
        sides,
        units: shared.len(),
        groups: groups.map(|(at, _)| at + 1).collect(),
        steps: steps(walked, known, &chain),
    };
    Some((pair, chain))
}

/// Why output channels of a layer may not go; none when all may.
pub(super) fn why_frozen(walked: &Walked, freezing: &Freezing, layer: &Layer) -> Option<String> {
    let row = row(walked, layer, "output").unwrap_or_default();
    if row.is_empty() {
        return Some("it has one output channel only".into());
    }
    let frozen: Vec<usize> = (0..row.len())
        .filter(|&at| walked.labels.find(row[at]) == FROZEN)
        .collect();
    let &first = frozen.first()?;
    let last = sentence(walked.graph, freezing.chain(row[first])?.last()?.reason);
    Some(if frozen.len() == row.len() {
        last
    } else {
        format!("{} of its {} output channels: {last}", frozen.len(), row.len())
    })
}
