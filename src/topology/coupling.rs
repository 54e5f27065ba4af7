//! The exact coupling: which units may go, and what each takes from every parameter.

use super::balance::{self, Alike, Unit};
use super::explain::why_frozen;
use super::layers::{Known, Layer};
use super::walk::Walked;
use crate::graph::Issue;
use crate::labels::{FROZEN, Label, Paths, Reason, Side, Split};
use serde::Serialize;
use std::collections::BTreeSet;

/// The published form, `coupling.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coupling {
    pub groups: Vec<Group>,
    /// The groups that lie in attention heads, cut the other way; each stands in for the groups that take from the same
    /// parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Group>,
    pub frozen: Vec<Frozen>,
    pub issues: Vec<Issue>,
}

/// What may lose channels one unit at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Number of units; at least one must stay.
    pub units: usize,
    /// Layers that lose output channels, in graph order.
    pub outputs: Vec<String>,
    /// Layers that lose input channels, in graph order.
    pub inputs: Vec<String>,
    pub params: Vec<ParamUnits>,
    /// Blocks of units, equally long, that must lose equally many.
    pub balance: Vec<Vec<usize>>,
    /// Where the units lie in attention heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<Heads>,
    /// A norm mixes the units: removal is not exact. Only under `approximate: true`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub approximate: bool,
}

/// Units that are attention heads, or positions within every head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heads {
    /// `whole`: a unit is a head; `within`: a unit is one position in every head.
    pub cut: &'static str,
    /// Number of heads.
    pub count: usize,
    /// Features of each head.
    pub size: usize,
    /// The operator that splits the channels into heads.
    pub node: String,
    /// The axis of that operator's output that counts the heads.
    pub axis: usize,
    pub scope: String,
}

/// What each unit takes from one axis of a parameter or buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParamUnits {
    pub name: String,
    pub axis: usize,
    /// Unit u takes the positions `indices[u]`.
    pub indices: Vec<Vec<usize>>,
}

/// A layer some of whose output channels may not go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frozen {
    pub layer: String,
    pub reason: String,
}

/// Reads the coupling off the labels.
pub fn coupling(walked: &mut Walked) -> Coupling {
    let alike = balance::settle(walked);
    let known = Known::of(walked);
    let mixed = walked.labels.mixed().iter().map(|&label| walked.labels.find(label));
    let mixed: BTreeSet<Label> = mixed.collect();
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for alike in alike {
        let whole = alike.takes.iter().any(|&(param, axis, count)| {
            walked
                .graph
                .param(param)
                .tensor
                .shape()
                .get(axis)
                .is_some_and(|&extent| extent == count)
        });
        if whole {
            let why = Reason {
                node: None,
                what: "all go together, and one must stay",
            };
            let roots = alike.units.iter().map(|unit| unit.root);
            roots.for_each(|root| walked.labels.unite(root, FROZEN, why));
            continue;
        }
        groups.push(group(walked, &known, &mixed, alike));
    }
    groups.sort_by(|(a, left), (b, right)| (a, &left.outputs, &left.inputs).cmp(&(b, &right.outputs, &right.inputs)));
    Coupling {
        groups: groups.into_iter().map(|(_, group)| group).collect(),
        alternatives: Vec::new(),
        frozen: frozen(walked, &known.layers),
        issues: walked.issues.clone(),
    }
}

fn group(walked: &Walked, known: &Known, mixed: &BTreeSet<Label>, alike: Alike) -> (usize, Group) {
    let graph = walked.graph;
    let Alike { takes, units, balance } = alike;
    let (mut outputs, mut inputs) = (BTreeSet::new(), BTreeSet::new());
    let mut first = usize::MAX;
    for &(param, axis, _) in &takes {
        let Some(at) = known.by_weight(param) else { continue };
        let layer = &known.layers[at];
        first = first.min(at);
        if axis == layer.output_axis() {
            outputs.insert(at);
        }
        if layer.input_axis() == Some(axis) || (layer.depthwise() && axis == 0) {
            inputs.insert(at);
        }
    }
    // Positions are in the order of what is taken, each unit's.
    let mut params = Vec::with_capacity(takes.len());
    let mut before = 0;
    for &(param, axis, count) in &takes {
        let of_unit = |unit: &Unit| {
            let own = &unit.positions[before..before + count];
            own.iter().map(|position| position.index).collect()
        };
        params.push(ParamUnits {
            name: graph.param(param).name().to_owned(),
            axis,
            indices: units.iter().map(of_unit).collect(),
        });
        before += count;
    }
    let names = |layers: BTreeSet<usize>| layers.into_iter().map(|at| known.layers[at].name.clone()).collect();
    let own: BTreeSet<Label> = units.iter().map(|unit| unit.root).collect();
    let found = Group {
        units: units.len(),
        outputs: names(outputs),
        inputs: names(inputs),
        params,
        balance,
        heads: heads(walked, &own),
        approximate: own.iter().any(|root| mixed.contains(root)),
    };
    (first, found)
}

/// The split into heads of which these units are the parts that kept their labels.
fn heads(walked: &Walked, own: &BTreeSet<Label>) -> Option<Heads> {
    let (node, split) = walked.labels.choices().iter().find_map(|choice| {
        let split = walked.head_splits.get(&choice.node)?;
        let mut row = choice.row.iter().map(|&label| walked.labels.find(label));
        (choice.side == Side::Split && row.any(|root| own.contains(&root))).then_some((choice.node, split))
    })?;
    let node = walked.graph.node(node);
    Some(Heads {
        cut: if walked.heads == Split::Whole {
            "whole"
        } else {
            "within"
        },
        count: split.count,
        size: split.size,
        node: node
            .outputs
            .first()
            .map_or_else(String::new, |&out| walked.graph.value(out).name.clone()),
        axis: split.axis,
        scope: node.scope.clone(),
    })
}

fn frozen(walked: &Walked, layers: &[Layer]) -> Vec<Frozen> {
    let paths = Paths::new(&walked.labels);
    let freezing = paths.freezing();
    let reasons = layers.iter().filter_map(|layer| {
        why_frozen(walked, &freezing, layer).map(|reason| Frozen {
            layer: layer.name.clone(),
            reason,
        })
    });
    reasons.collect()
}
