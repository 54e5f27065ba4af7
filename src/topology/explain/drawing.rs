//! Coupled groups as graphs: members, and the operators that join them.
//!
//! Owns what is joined to what. Deliberately knows neither coordinates nor drawing languages.

use super::super::coupling::{Coupling, Group};
use super::super::layers::Known;
use super::super::walk::Walked;
use super::words::node_shapes;
use crate::graph::{NodeId, ParamId};
use crate::labels::{FROZEN, Label, Link, Union};
use std::collections::{BTreeMap, BTreeSet};

/// Which channels of a layer are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Output,
    Input,
    /// A parameter of no layer: a norm's, a scale, a table.
    Other,
}

/// What a group takes channels from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// A layer; or a module, for parameters of no layer.
    pub name: String,
    pub side: Side,
    /// Shape of the weight, or of the first parameter.
    pub shape: Vec<usize>,
    /// Whether the chain that was asked for passes it.
    pub lit: bool,
}

/// An operator that ties members together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// `aten::add`.
    pub op: String,
    pub scope: String,
    pub what: &'static str,
    pub shapes: String,
    /// Positions in [`DrawnGroup::members`], ascending, two at least.
    pub joins: Vec<usize>,
    pub lit: bool,
}

/// One coupled group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawnGroup {
    /// Which group of `coupling.json`, counted from 1.
    pub number: usize,
    pub units: usize,
    /// How attention heads are cut, where the group lies in them.
    pub heads: Option<&'static str>,
    pub members: Vec<Member>,
    pub operators: Vec<Operator>,
}

/// Some of the coupled groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    pub groups: Vec<DrawnGroup>,
}

/// Draws the given groups (counted from 0); the operators of `chain` are lit.
pub(super) fn drawing(walked: &Walked, known: &Known, found: &Coupling, groups: &[usize], chain: &[Link]) -> Drawing {
    // All units are alike, so the first tells; where a chain was asked for, that of the chain.
    let lit: BTreeSet<Label> = chain.iter().map(|link| walked.labels.find(link.from)).collect();
    let shown = |&at: &usize| {
        let group = &found.groups[at];
        let mut roots = (0..group.units).filter_map(|unit| root_of(walked, group, unit));
        let root = roots.find(|root| lit.contains(root));
        (at, root.or_else(|| root_of(walked, group, 0)))
    };
    let shown: Vec<(usize, Option<Label>)> = groups.iter().map(shown).collect();
    let mut unions: BTreeMap<Label, Vec<Union>> = shown
        .iter()
        .filter_map(|&(_, root)| Some((root?, Vec::new())))
        .collect();
    for union in walked.labels.all_unions().filter(|union| union.a != FROZEN) {
        if let Some(own) = unions.get_mut(&walked.labels.find(union.a)) {
            own.push(union);
        }
    }
    let draw = |(at, root): (usize, Option<Label>)| {
        let unions = root.and_then(|root| unions.get(&root)).map_or(&[][..], Vec::as_slice);
        draw(walked, known, at, &found.groups[at], unions, chain)
    };
    Drawing {
        groups: shown.into_iter().map(draw).collect(),
    }
}

/// Draws a group by the unions of one of its units.
fn draw(walked: &Walked, known: &Known, at: usize, group: &Group, unions: &[Union], chain: &[Link]) -> DrawnGroup {
    let mut picture = Picture {
        walked,
        known,
        keys: BTreeMap::new(),
        members: Vec::new(),
    };
    for param in &group.params {
        if let Some(id) = walked.graph.param_named(&param.name) {
            picture.member(id, param.axis);
        }
    }
    let mut joined: BTreeMap<(NodeId, &'static str), BTreeSet<usize>> = BTreeMap::new();
    for union in unions {
        let Some(node) = union.reason.node else { continue };
        let ends = [union.a, union.b].map(|label| match walked.labels.position(label) {
            Some(end) => picture.member(end.param, end.axis),
            None => picture.zeros(),
        });
        joined.entry((node, union.reason.what)).or_default().extend(ends);
    }
    let lit = |node: NodeId, what: &str| {
        chain
            .iter()
            .any(|link| link.reason.node == Some(node) && link.reason.what == what)
    };
    let operators: Vec<Operator> = joined
        .into_iter()
        .filter(|(_, joins)| joins.len() > 1)
        .map(|((id, what), joins)| {
            let node = walked.graph.node(id);
            Operator {
                op: node.op.clone(),
                scope: node.scope.clone(),
                what,
                shapes: node_shapes(walked, id),
                joins: joins.into_iter().collect(),
                lit: lit(id, what),
            }
        })
        .collect();
    let ends = chain.iter().flat_map(|link| [link.from, link.to]);
    let positions: Vec<_> = ends.filter_map(|label| walked.labels.position(label)).collect();
    for position in positions {
        let key = picture.key(position.param, position.axis);
        if let Some(&at) = picture.keys.get(&key) {
            picture.members[at].lit = true;
        }
    }
    DrawnGroup {
        number: at + 1,
        units: group.units,
        heads: group.heads.as_ref().map(|heads| heads.cut),
        members: picture.members,
        operators,
    }
}

/// The class of one unit.
fn root_of(walked: &Walked, group: &Group, unit: usize) -> Option<Label> {
    let param = group.params.first()?;
    let row = walked.labels.row(walked.graph.param_named(&param.name)?, param.axis)?;
    let label = row.get(*param.indices.get(unit)?.first()?)?;
    Some(walked.labels.find(*label))
}

struct Picture<'a> {
    walked: &'a Walked<'a>,
    known: &'a Known,
    keys: BTreeMap<(String, Side), usize>,
    members: Vec<Member>,
}

impl Picture<'_> {
    /// A parameter's axis by the layer's side or the module that it belongs to.
    fn key(&self, param: ParamId, axis: usize) -> (String, Side) {
        let name = self.walked.graph.param(param).name();
        match self.known.layer(param) {
            Some(layer) if layer.bias == Some(param) || axis == layer.output_axis() => {
                (layer.name.clone(), Side::Output)
            }
            Some(layer) if Some(axis) == layer.input_axis() => (layer.name.clone(), Side::Input),
            _ => {
                let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
                (module.to_owned(), Side::Other)
            }
        }
    }

    /// Zeros that stand for no parameter (padding) and shrink with what they meet.
    fn zeros(&mut self) -> usize {
        self.add(("zeros".to_owned(), Side::Other), Vec::new())
    }

    /// The member that holds a parameter's axis, added where it is new.
    fn member(&mut self, param: ParamId, axis: usize) -> usize {
        let key = self.key(param, axis);
        let layer = self.known.layer(param).filter(|_| key.1 != Side::Other);
        let shaped = layer.map_or(param, |layer| layer.weight);
        self.add(key, self.walked.graph.param(shaped).tensor.shape().to_vec())
    }

    fn add(&mut self, key: (String, Side), shape: Vec<usize>) -> usize {
        if let Some(&at) = self.keys.get(&key) {
            return at;
        }
        self.members.push(Member {
            name: key.0.clone(),
            side: key.1,
            shape,
            lit: false,
        });
        self.keys.insert(key, self.members.len() - 1);
        self.members.len() - 1
    }
}
