//! A walk over a graph: every operator's rule in order, with labels, shapes and costs as the result. It is done again
//! where it teaches something about an earlier choice (`heads`).

use super::heads::{HeadSplit, Heads, Kept};
use crate::graph::{Arg, Def, Evaluate, Graph, Issue, Node, NodeId, Type, ValueId};
use crate::labels::{Axes, FROZEN, Keep, Label, Labels, MOST_ELEMENTS, Reason, Split};
use crate::ops::{self, Choices, Fact, Number, TensorFact, Trait, Trouble, Zeros};
use crate::tensor::{DType, Tensor, WeightError};
use std::collections::{BTreeMap, BTreeSet};

/// What a walk is told beside the graph.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shape of each model input, batch axis included.
    pub inputs: Vec<(Vec<usize>, DType)>,
    /// How attention heads are cut.
    pub heads: Split,
    /// Leave channels prunable that a norm mixes.
    pub approximate: bool,
    /// Tie the positions that the groups of a convolution read, so that a unit takes the same from each. Without it only
    /// the multiples are noted.
    pub tie_groups: bool,
    /// Convolutions that are read as grouped even where each group has one input channel: those of a network made smaller
    /// of which more were there before.
    pub grouped: BTreeSet<NodeId>,
    /// Keep every reason, so that explanations are the shortest ([`Labels::with_every_union`]).
    pub every_reason: bool,
}

impl Options {
    /// Float inputs of these shapes, batch axis included.
    pub fn of_shapes(shapes: impl IntoIterator<Item = Vec<usize>>) -> Options {
        Options::of_inputs(shapes.into_iter().map(|shape| (shape, DType::F32)))
    }

    /// Inputs of these shapes, batch axis included, and types.
    pub fn of_inputs(inputs: impl IntoIterator<Item = (Vec<usize>, DType)>) -> Options {
        Options {
            inputs: inputs.into_iter().collect(),
            heads: Split::Within,
            approximate: false,
            tie_groups: true,
            grouped: BTreeSet::new(),
            every_reason: false,
        }
    }
}

/// A graph with what is known of it.
pub struct Walked<'g> {
    pub graph: &'g Graph,
    /// One fact a value.
    pub facts: Vec<Fact>,
    pub(super) traits: Vec<Trait>,
    pub labels: Labels,
    /// Multiply-accumulates a node, for the whole batch.
    pub macs: Vec<u64>,
    /// Nodes that were not understood, with what the reader found.
    pub issues: Vec<Issue>,
    /// Why a weight whose values decide something could not be read: what was found is then no finding.
    pub damage: Option<WeightError>,
    /// How attention heads may be cut.
    pub heads: Split,
    /// The nodes that split channels into attention heads.
    pub head_splits: BTreeMap<NodeId, HeadSplit>,
    /// What each node kept where it could keep the labels of one axis only.
    pub(super) keeps: BTreeMap<NodeId, Keep>,
}

impl Walked<'_> {
    pub fn fact(&self, value: ValueId) -> &Fact {
        &self.facts[value.0 as usize]
    }

    /// Walks a graph that was made of this one by taking channels out, with every choice as it was made here. `moved`
    /// tells which number each node has there.
    pub(crate) fn walk_smaller<'g>(
        &self,
        graph: &'g Graph,
        moved: &[NodeId],
        options: &Options,
        evaluator: &dyn Evaluate,
    ) -> Walked<'g> {
        let moved = |id: NodeId| moved.get(id.0 as usize).copied().unwrap_or(id);
        // A grouped convolution is not depthwise for having one input channel left in each group.
        let grouped = self.labels.multiples().iter().map(|multiple| moved(multiple.node));
        let options = Options {
            grouped: grouped.collect(),
            ..options.clone()
        };
        let keeps = self.keeps.iter().map(|(&id, keep)| (moved(id), keep.clone()));
        walk_once(graph, &options, evaluator, keeps.collect(), Labels::default())
    }

    /// Whether a value is computed from parameters and constants alone.
    pub(super) fn fixed(&self, value: ValueId) -> bool {
        self.traits[value.0 as usize].fixed
    }
}

/// Walks a graph from inputs of the given shapes. A node without a rule, or whose rule cannot say, freezes what it reads
/// and is listed as an issue; its outputs' shapes come from running it, where the evaluator can.
pub fn walk<'g>(graph: &'g Graph, options: &Options, evaluator: &dyn Evaluate) -> Walked<'g> {
    let labels = || match options.every_reason {
        true => Labels::with_every_union(),
        false => Labels::default(),
    };
    let mut kept = Kept::default();
    let mut walked = walk_once(graph, options, evaluator, kept.keeps(), labels());
    let mut heads = Heads::default();
    if !walked.labels.products().is_empty() && !walked.labels.choices().is_empty() {
        heads = Heads::of(&walk_once(graph, options, evaluator, kept.keeps(), Labels::tracing()));
    }
    let mut differs = kept.cut(&heads, options.heads);
    for _ in 0..ROUNDS {
        if differs {
            drop(walked);
            walked = walk_once(graph, options, evaluator, kept.keeps(), labels());
        }
        differs = kept.again(&walked.labels);
        if !differs {
            break;
        }
    }
    walked.head_splits = heads.splits;
    walked
}

/// How often choices are made again at most.
const ROUNDS: usize = 8;

fn walk_once<'g>(
    graph: &'g Graph,
    options: &Options,
    evaluator: &dyn Evaluate,
    keeps: BTreeMap<NodeId, Keep>,
    labels: Labels,
) -> Walked<'g> {
    let none = Keep::default();
    let mut walked = Walked {
        graph,
        facts: vec![Fact::Unknown; graph.values.len()],
        traits: vec![Trait::default(); graph.values.len()],
        labels,
        macs: vec![0; graph.nodes.len()],
        issues: graph.issues.clone(),
        damage: None,
        heads: options.heads,
        head_splits: BTreeMap::new(),
        keeps: BTreeMap::new(),
    };
    for (&value, (shape, dtype)) in graph.inputs.iter().zip(&options.inputs) {
        if ops::elements(shape).is_some() {
            walked.facts[value.0 as usize] = Fact::fixed(shape.clone(), *dtype);
        }
    }
    for (id, node) in graph.nodes() {
        for value in node.reads() {
            load(&mut walked, value);
        }
        let keep = keeps.get(&id).unwrap_or(&none);
        step(&mut walked, id, node, keep, options, evaluator);
    }
    let why = Reason {
        node: None,
        what: "the model's outputs keep their size",
    };
    for value in graph.output_values() {
        load(&mut walked, value);
        freeze(&walked.facts[value.0 as usize].clone(), &mut walked.labels, why);
    }
    walked.keeps = keeps;
    walked
}

/// Gives parameters and constants their facts when they are first read.
fn load(walked: &mut Walked, value: ValueId) {
    if walked.facts[value.0 as usize] != Fact::Unknown {
        return;
    }
    let fact = match walked.graph.value(value).def {
        Def::Param(id) => {
            let param = walked.graph.param(id);
            if ops::elements(param.tensor.shape()).is_none() {
                return;
            }
            let mut axes = Axes::fixed(param.tensor.shape().to_vec());
            if param.tensor.dtype().is_inexact() {
                for axis in 0..axes.rank() {
                    let extent = axes.shape[axis];
                    if extent > 1 && walked.labels.room(extent) {
                        let row = walked.labels.of_param(id, axis, extent);
                        axes = axes.with_row(axis, Some(row.into()));
                    }
                }
            }
            Fact::tensor(axes, param.tensor.dtype())
        }
        Def::Constant(index) => constant(&walked.graph.constants[index as usize]),
        _ => return,
    };
    walked.facts[value.0 as usize] = fact;
    walked.traits[value.0 as usize] = Trait {
        zero: true,
        fixed: true,
    };
}

pub(super) fn constant(tensor: &Tensor) -> Fact {
    if !tensor.shape().is_empty() || tensor.dtype().is_complex() {
        return Fact::fixed(tensor.shape().to_vec(), tensor.dtype());
    }
    let value = tensor.to_f64().first().copied().unwrap_or(0.0);
    Fact::Number(match tensor.dtype() {
        DType::Bool => Number::Bool(value != 0.0),
        dtype if dtype.is_float() => Number::Float(value),
        _ => Number::Int(tensor.to_i64().first().copied().unwrap_or(0)),
    })
}

/// Lets one node's rule write the facts of its results.
pub(super) fn step(
    walked: &mut Walked,
    id: NodeId,
    node: &Node,
    keep: &Keep,
    options: &Options,
    evaluator: &dyn Evaluate,
) {
    let op = ops::find(&node.op);
    let mut site = ops::site_for(
        walked.graph,
        id,
        &walked.facts,
        &walked.traits,
        &mut walked.labels,
        evaluator,
        Choices {
            keep,
            approximate: options.approximate,
            tie_groups: options.tie_groups,
            grouped: options.grouped.contains(&id),
        },
    );
    let result = match op {
        Some(op) => (op.rule)(&mut site).and_then(|()| site.settle()),
        None => Err(Trouble("has no label rule".into())),
    };
    let made = match &result {
        Ok(()) => site.made(op.map_or(Zeros::Never, |op| op.zeros)),
        Err(_) => site.made(Zeros::Never),
    };
    let stand_ins = result.is_err().then(|| opaque(&site, evaluator));
    if walked.damage.is_none() {
        walked.damage = site.damage().cloned();
    }
    let outputs = match result {
        Ok(()) => {
            walked.macs[id.0 as usize] = op.and_then(|op| op.macs).map_or(0, |macs| macs(&site));
            site.into_outputs()
        }
        Err(trouble) => {
            let outputs = stand_ins.unwrap_or_default();
            drop(site);
            // What carries no labels loses none.
            let still = |&value: &ValueId| still(walked.fact(value), &walked.labels);
            let harmless = !outputs.contains(&Fact::Unknown) && node.reads().iter().all(still);
            let why = Reason {
                node: Some(id),
                what: "is not understood",
            };
            for value in node.reads() {
                freeze(&walked.facts[value.0 as usize].clone(), &mut walked.labels, why);
            }
            let issue = Issue {
                node: node
                    .outputs
                    .first()
                    .map_or_else(String::new, |&out| walked.graph.value(out).name.clone()),
                scope: node.scope.clone(),
                op: node.op.clone(),
                message: trouble.to_string(),
            };
            walked.issues.extend((!harmless).then_some(issue));
            outputs
        }
    };
    // Several results of one operator travel as one tuple until they are unpacked.
    let outputs = if node.outputs.len() == 1 && outputs.len() > 1 {
        vec![Fact::List(outputs)]
    } else {
        outputs
    };
    for (&value, fact) in node.outputs.iter().zip(outputs) {
        // Positions (of a maximum) are whole numbers, and zero for no channel that goes.
        let whole = matches!(&fact, Fact::Tensor(tensor) if !tensor.dtype.is_inexact());
        walked.traits[value.0 as usize] = Trait {
            zero: made.zero && !whole,
            ..made
        };
        walked.facts[value.0 as usize] = fact;
    }
}

/// Whether a value is known and carries no labels, or only ones that no parameter goes with.
fn still(fact: &Fact, labels: &Labels) -> bool {
    let free = |label: &Label| match labels.find(*label) {
        FROZEN => labels.position(*label).is_none(),
        root => labels.idle(root),
    };
    match fact {
        Fact::Tensor(tensor) => tensor.axes.rows.iter().flatten().all(|row| row.iter().all(free)),
        Fact::List(items) => items.iter().all(|item| still(item, labels)),
        Fact::Unknown => false,
        _ => true,
    }
}

fn freeze(fact: &Fact, labels: &mut Labels, why: Reason) {
    match fact {
        Fact::Tensor(tensor) => tensor.axes.freeze(labels, why),
        Fact::List(items) => items.iter().for_each(|item| freeze(item, labels, why)),
        _ => {}
    }
}

/// Facts of an opaque node's outputs: their shapes by running it on ones.
fn opaque(site: &ops::Site, evaluator: &dyn Evaluate) -> Vec<Fact> {
    let node = site.node;
    let unknown = vec![Fact::Unknown; node.outputs.len()];
    let mut inputs = Vec::new();
    let mut graph = Graph::default();
    let mut args = Vec::new();
    for (name, arg) in &node.args {
        match stand_in(site, arg, &mut graph, &mut inputs) {
            Some(arg) => args.push((name.clone(), arg)),
            None => return unknown,
        }
    }
    let outputs: Vec<ValueId> = node
        .outputs
        .iter()
        .enumerate()
        .map(|(output, &value)| {
            let def = Def::Node {
                node: NodeId(0),
                output: output as u32,
            };
            graph.add_value(format!("out{output}"), site.graph.value(value).ty.clone(), def)
        })
        .collect();
    graph.nodes.push(Node {
        args,
        outputs: outputs.clone(),
        ..node.clone()
    });
    graph.outputs = outputs
        .iter()
        .map(|&value| crate::graph::Output::Value(value))
        .collect();
    let Ok(found) = evaluator.evaluate(&graph, &inputs, &outputs) else {
        return unknown;
    };
    let facts: Vec<Fact> = found
        .iter()
        .map(|tensor| Fact::fixed(tensor.shape().to_vec(), tensor.dtype()))
        .collect();
    match (&outputs[..], graph.value(outputs[0]).ty.clone()) {
        ([_], Type::List(_) | Type::Tuple(_)) => vec![Fact::List(facts)],
        _ if facts.len() == outputs.len() => facts,
        _ => unknown,
    }
}

fn stand_in(site: &ops::Site, arg: &Arg, graph: &mut Graph, inputs: &mut Vec<(ValueId, Tensor)>) -> Option<Arg> {
    let mut tensor = |fact: &TensorFact, known: Option<Tensor>| {
        let elements = ops::elements(&fact.axes.shape).filter(|&elements| elements <= MOST_ELEMENTS)?;
        let ones = Tensor::from_f64(fact.axes.shape.clone(), &vec![1.0; elements]);
        let input = graph.add_value(
            format!("in{}", inputs.len()),
            Type::Tensor,
            Def::Input(inputs.len() as u32),
        );
        graph.inputs.push(input);
        inputs.push((input, known.unwrap_or_else(|| ones.cast(fact.dtype))));
        Some(Arg::Value(input))
    };
    Some(match arg {
        Arg::Value(value) => match site.fact_of(*value) {
            Fact::Tensor(fact) => {
                let known = (!fact.dtype.is_inexact()).then(|| site.known(*value).ok()).flatten();
                tensor(fact, known)?
            }
            Fact::Number(Number::Int(int)) if site.graph.value(*value).ty != Type::Tensor => Arg::Int(*int),
            Fact::Number(Number::Float(float)) if site.graph.value(*value).ty != Type::Tensor => Arg::Float(*float),
            Fact::Number(number) => {
                let fact = TensorFact {
                    axes: Axes::fixed(Vec::new()),
                    dtype: number.dtype(),
                };
                tensor(&fact, Some(number.tensor()))?
            }
            Fact::List(items) => Arg::List(
                items
                    .iter()
                    .map(|item| match item {
                        Fact::Tensor(fact) => tensor(fact, None),
                        Fact::Number(Number::Int(int)) => Some(Arg::Int(*int)),
                        _ => None,
                    })
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        },
        Arg::List(items) => Arg::List(
            items
                .iter()
                .map(|item| stand_in(site, item, graph, inputs))
                .collect::<Option<_>>()?,
        ),
        other => other.clone(),
    })
}
