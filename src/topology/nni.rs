//! Dependency sets as NNI 2.10.1 gives them, to the letter: `compat: nni`.
//!
//! NNI sees a model as blocks: each leaf module is one block, named by its class, and every other operator is a block of
//! its own. It walks over blocks and asks only whether axis 1 keeps its size. The rules here follow its
//! `shape_dependency.py` and `graph_utils.py`; what they miss or get wrong is kept.

use super::sets::{gcd, lcm};
use super::walk::Walked;
use crate::graph::{Def, Graph, Node, NodeId, ParamId, Type, ValueId};
use crate::ops::Fact;
use std::collections::{BTreeMap, BTreeSet};

/// What NNI says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NniSets {
    /// Layers that lose the same output channels, each layer in one set, sets and members in graph order.
    pub channel: Vec<Vec<String>>,
    /// The same for input channels; layers that no other meets are left out of no set.
    pub input_channel: Vec<Vec<String>>,
    /// For each convolution and group norm, the number that its filters must stay a multiple of, and the smallest such
    /// number that divides the others (1 where none does).
    pub group: Vec<(String, usize, usize)>,
    /// Convolutions (`Conv2d`, `ConvTranspose2d`) among the layers.
    pub convolutions: BTreeSet<String>,
}

const TARGETS: [&str; 3] = ["Conv2d", "Linear", "ConvTranspose2d"];
const TYING: [&str; 12] = [
    "add",
    "sub",
    "subtract",
    "mul",
    "div",
    "multiply",
    "divide",
    "addcmul",
    "addcdiv",
    "logical_xor",
    "logical_and",
    "logical_or",
];
const RESHAPING: [&str; 7] = [
    "cat",
    "view",
    "reshape",
    "flatten",
    "mean",
    "expand_as",
    "pixel_shuffle",
];

/// What a block reads, as NNI names it. Constants have no name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    /// What the model is given, or what a block makes.
    Value(ValueId),
    /// A number that was read off a tensor in one module and handed to another: nobody knows who made it.
    Handed(ValueId),
    /// A parameter or buffer, in one call of the module that reads it.
    Param(ParamId, usize),
    /// The model itself: in its own `forward`, whatever is read off it goes by its name.
    Model,
}

/// A leaf module's nodes, or one operator outside leaf modules.
struct Block {
    /// Module name; empty for an operator.
    name: String,
    /// Module class, or the operator without its namespace.
    kind: String,
    nodes: Vec<NodeId>,
    inputs: BTreeSet<Read>,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Applies NNI's rules to a walked graph.
pub fn nni_sets(walked: &Walked) -> NniSets {
    let blocks = blocks(walked.graph);
    let layers: Vec<&str> = {
        let mut seen = BTreeSet::new();
        let targets = blocks.iter().filter(|block| TARGETS.contains(&block.kind.as_str()));
        targets
            .map(|block| block.name.as_str())
            .filter(|&name| seen.insert(name))
            .collect()
    };
    let convolutions = blocks
        .iter()
        .filter(|block| block.kind.starts_with("Conv") && block.kind.ends_with("2d"));
    NniSets {
        channel: channel(walked, &blocks, &layers),
        input_channel: input_channel(walked, &blocks, &layers),
        group: group(walked, &blocks),
        convolutions: convolutions.map(|block| block.name.clone()).collect(),
    }
}

fn blocks(graph: &Graph) -> Vec<Block> {
    let classes: BTreeMap<&str, &str> = graph
        .modules
        .iter()
        .map(|module| (module.path.as_str(), module.class.as_str()))
        .collect();
    let parents: BTreeSet<&str> = graph
        .modules
        .iter()
        .filter_map(|module| module.path.rsplit_once('.').map(|(parent, _)| parent))
        .collect();
    let leaf = |scope: &str| !scope.is_empty() && classes.contains_key(scope) && !parents.contains(scope);
    let maker: BTreeMap<ValueId, NodeId> = graph
        .nodes()
        .flat_map(|(id, node)| node.outputs.iter().map(move |&out| (out, id)))
        .collect();

    // Nodes of one leaf module that touch each other form one block.
    let mut block_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = |name: &str, kind: &str| {
        blocks.push(Block {
            name: name.to_owned(),
            kind: kind.to_owned(),
            nodes: Vec::new(),
            inputs: BTreeSet::new(),
            before: Vec::new(),
            after: Vec::new(),
        });
        blocks.len() - 1
    };
    for (id, node) in graph.nodes() {
        if leaf(&node.scope) {
            let neighbour = node
                .reads()
                .into_iter()
                .filter_map(|value| maker.get(&value))
                .find_map(|maker| {
                    let block = block_of.get(maker)?;
                    (graph.node(*maker).scope == node.scope).then_some(*block)
                });
            let block = neighbour.unwrap_or_else(|| open(&node.scope, classes[node.scope.as_str()]));
            block_of.insert(id, block);
        } else if node.op.starts_with("aten::") || node.op.ends_with("Unpack") {
            block_of.insert(id, open("", node.short()));
        }
    }
    for (&id, &block) in &block_of {
        blocks[block].nodes.push(id);
    }
    // What a block reads, seen through operators of its own module that are no block (numbers turned to tensors).
    let calls = calls(graph);
    for (at, block) in blocks.iter_mut().enumerate() {
        let scope = block.nodes.first().map_or("", |&id| &graph.node(id).scope);
        let mut waiting: Vec<(NodeId, ValueId)> = Vec::new();
        let reads = |id: NodeId| graph.node(id).reads().into_iter().map(move |value| (id, value));
        waiting.extend(block.nodes.iter().copied().flat_map(reads));
        let mut seen = BTreeSet::new();
        while let Some((reader, value)) = waiting.pop() {
            if !seen.insert(value) {
                continue;
            }
            let made = match graph.value(value).def {
                Def::Constant(_) => continue,
                Def::Param(_) if scope.is_empty() => {
                    block.inputs.insert(Read::Model);
                    continue;
                }
                Def::Param(param) => {
                    block.inputs.insert(Read::Param(param, calls[reader.0 as usize]));
                    continue;
                }
                Def::Input(_) => {
                    block.inputs.insert(Read::Value(value));
                    continue;
                }
                Def::Node { node, .. } => node,
            };
            match block_of.get(&made) {
                Some(&other) if other == at => {}
                Some(_) if hands_over(graph, made, value, scope) => _ = block.inputs.insert(Read::Handed(value)),
                Some(&other) => {
                    block.inputs.insert(Read::Value(value));
                    block.before.push(other);
                }
                None if graph.node(made).scope == scope => waiting.extend(reads(made)),
                None => _ = block.inputs.insert(Read::Handed(value)),
            }
        }
        block.before.sort_unstable();
        block.before.dedup();
    }
    let before: Vec<Vec<usize>> = blocks.iter().map(|block| block.before.clone()).collect();
    for (at, before) in before.into_iter().enumerate() {
        before.into_iter().for_each(|before| blocks[before].after.push(at));
    }
    blocks
}

/// Whether a number reaches this module from another as what a tensor's size was: a trace hands it over as a tensor that
/// no block makes.
fn hands_over(graph: &Graph, made: NodeId, value: ValueId, scope: &str) -> bool {
    let node = graph.node(made);
    node.op == "aten::size" && graph.value(value).ty == Type::Int && node.scope != scope
}

/// For each node which call of its module it belongs to. Calls of one module right behind each other count as one: nothing
/// in the graph tells them apart.
fn calls(graph: &Graph) -> Vec<usize> {
    let inside = |node: &Node, scope: &str| {
        let rest = node.scope.strip_prefix(scope);
        rest.is_some_and(|rest| scope.is_empty() || rest.is_empty() || rest.starts_with('.'))
    };
    let mut calls = Vec::with_capacity(graph.nodes.len());
    // The modules whose call goes on, outermost first, each with its number.
    let mut open: Vec<(&str, usize)> = Vec::new();
    let mut next = 0;
    for node in &graph.nodes {
        open.retain(|(scope, _)| inside(node, scope));
        if open.last().is_none_or(|(scope, _)| *scope != node.scope) {
            open.push((&node.scope, next));
            next += 1;
        }
        calls.push(open.last().map_or(0, |&(_, call)| call));
    }
    calls
}

/// Whether a reshaping block changes the size of axis 1 (or NNI cannot tell that it does not).
fn breaks(walked: &Walked, block: &Block) -> bool {
    if !RESHAPING.contains(&block.kind.as_str()) {
        return false;
    }
    // NNI compares the shape of the second tensor of a cat with a number, which is never equal.
    if block.kind == "cat" {
        return true;
    }
    let node = walked.graph.node(block.nodes[0]);
    let shape = |value: Option<ValueId>| match value.map(|value| walked.fact(value)) {
        Some(Fact::Tensor(tensor)) => tensor.axes.shape.clone(),
        _ => Vec::new(),
    };
    let input = node.args.first().and_then(|(_, arg)| arg.as_value());
    if input.is_some_and(|value| walked.graph.param_of(value).is_some()) {
        return true;
    }
    match (shape(input).get(1), shape(node.outputs.first().copied()).get(1)) {
        (Some(before), Some(after)) => before != after,
        _ => true,
    }
}

/// The nearest layers from a block on, in one direction; `stop` names what counts as a layer.
fn nearest(walked: &Walked, blocks: &[Block], from: Vec<usize>, up: bool, reshape: bool, stop: &[&str]) -> Vec<usize> {
    let mut waiting = from;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(at) = waiting.pop() {
        if !seen.insert(at) {
            continue;
        }
        let block = &blocks[at];
        if stop.contains(&block.kind.as_str()) {
            found.push(at);
        } else if !(reshape && breaks(walked, block)) {
            waiting.extend(if up { &block.before } else { &block.after });
        }
    }
    found
}

/// Merges overlapping sets; each layer that none holds is a set of its own.
fn merge<'a>(found: impl Iterator<Item = Vec<&'a str>>, layers: &[&'a str]) -> Vec<Vec<String>> {
    let order: BTreeMap<&str, usize> = layers.iter().enumerate().map(|(at, &name)| (name, at)).collect();
    let mut set_of: Vec<usize> = (0..layers.len()).collect();
    for members in found {
        let sets: BTreeSet<usize> = members
            .iter()
            .filter_map(|name| order.get(name))
            .map(|&at| set_of[at])
            .collect();
        if let Some(&first) = sets.first() {
            set_of
                .iter_mut()
                .filter(|set| sets.contains(set))
                .for_each(|set| *set = first);
        }
    }
    let mut sets: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (at, &name) in layers.iter().enumerate() {
        sets.entry(set_of[at]).or_default().push(name.to_owned());
    }
    let mut sets: Vec<Vec<String>> = sets.into_values().collect();
    sets.sort_by_key(|set| order[set[0].as_str()]);
    sets
}

fn names(blocks: &[Block], found: Vec<usize>) -> Vec<&str> {
    found.into_iter().map(|at| blocks[at].name.as_str()).collect()
}

fn channel(walked: &Walked, blocks: &[Block], layers: &[&str]) -> Vec<Vec<String>> {
    let tying = blocks
        .iter()
        .enumerate()
        .filter(|(_, block)| block.name.is_empty() && TYING.contains(&block.kind.as_str()));
    let found = tying.map(|(at, _)| names(blocks, nearest(walked, blocks, vec![at], true, true, &TARGETS)));
    merge(found, layers)
}

fn input_channel(walked: &Walked, blocks: &[Block], layers: &[&str]) -> Vec<Vec<String>> {
    let mut readers: BTreeMap<&Read, Vec<usize>> = BTreeMap::new();
    for (at, block) in blocks.iter().enumerate() {
        for read in &block.inputs {
            readers.entry(read).or_default().push(at);
        }
    }
    let found = readers
        .into_values()
        .map(|from| names(blocks, nearest(walked, blocks, from, false, true, &TARGETS)));
    merge(found, layers)
}

fn group(walked: &Walked, blocks: &[Block]) -> Vec<(String, usize, usize)> {
    let mut order: Vec<&str> = Vec::new();
    let mut asked: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for block in blocks {
        let groups = match block.kind.as_str() {
            "Conv2d" | "ConvTranspose2d" => conv_groups(walked, block),
            "GroupNorm" => argument(walked, block, "num_groups"),
            _ => continue,
        };
        let mut note = |name| {
            let known = asked.entry(name).or_default();
            if known.is_empty() {
                order.push(name);
            }
            known.push(groups);
        };
        note(block.name.as_str());
        if groups > 1 {
            let convolutions = ["Conv2d", "ConvTranspose2d"];
            let parents = nearest(walked, blocks, block.before.clone(), true, false, &convolutions);
            names(blocks, parents).into_iter().for_each(note);
        }
    }
    let multiples = order.into_iter().map(|name| {
        let numbers = &asked[name];
        let multiple = numbers.iter().fold(1, |multiple, &n| lcm(multiple, n));
        let least = numbers.iter().copied().min().unwrap_or(1);
        let common = numbers.iter().fold(0, |common, &n| gcd(common, n));
        (name.to_owned(), multiple, if least == common { least } else { 1 })
    });
    multiples.collect()
}

fn argument(walked: &Walked, block: &Block, name: &str) -> usize {
    let found = block
        .nodes
        .iter()
        .find_map(|&id| walked.graph.node(id).arg(name).and_then(crate::graph::Arg::as_int));
    found.and_then(|number| usize::try_from(number).ok()).unwrap_or(1)
}

/// A convolution with as many groups as filters counts as ungrouped.
fn conv_groups(walked: &Walked, block: &Block) -> usize {
    let groups = argument(walked, block, "groups");
    let filters = block.nodes.iter().find_map(|&id| {
        let node = walked.graph.node(id);
        let weight = walked
            .graph
            .param(walked.graph.param_of(node.value("weight")?)?)
            .tensor
            .shape();
        let transposed = block.kind == "ConvTranspose2d";
        Some(if transposed {
            weight.get(1)? * groups
        } else {
            *weight.first()?
        })
    });
    if filters == Some(groups) { 1 } else { groups }
}
