//! One operator at its place in a graph: what a rule sees and does.

use super::{Fact, Number, TensorFact, Trait};
use crate::graph::{Arg, Evaluate, Graph, Node, NodeId, ParamId, ValueId};
use crate::labels::{Axes, Keep, Label, Labels, MOST_ELEMENTS, Reason, Row};
use crate::tensor::{DType, Tensor, WeightError};
use std::cell::OnceCell;
use std::collections::BTreeSet;

/// Why a rule could not say what its operator does: the node becomes opaque.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Trouble(pub String);

impl Trouble {
    pub(super) fn new<T>(message: impl Into<String>) -> Result<T, Trouble> {
        Err(Trouble(message.into()))
    }
}

/// No value holds more elements: not even the sizes of a larger one can be told without overflowing.
const MOST_IN_A_VALUE: usize = 1 << 40;

/// An axis of more positions is none of channels.
const MOST_CHANNELS: usize = 1 << 20;

/// Strides, paddings and kernels are smaller.
const MOST_STEP: i64 = 1 << 20;

/// How many elements a shape holds; none where they are more than any tensor's. An axis without elements counts as one,
/// so that whatever it is reshaped to can be counted too.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    let all = shape
        .iter()
        .try_fold(1_usize, |all, &extent| all.checked_mul(extent.max(1)))?;
    (all <= MOST_IN_A_VALUE).then_some(if shape.contains(&0) { 0 } else { all })
}

/// A product that stays at the largest number where it would be larger.
pub(super) fn product(extents: &[usize]) -> u64 {
    extents
        .iter()
        .fold(1, |all: u64, &extent| all.saturating_mul(extent as u64))
}

/// Each label so many times, one after the other.
pub(super) fn each_times(row: Option<&Row>, times: usize) -> Result<Option<Row>, Trouble> {
    let Some(row) = row else { return Ok(None) };
    if row.len().saturating_mul(times) > MOST_ELEMENTS {
        return Trouble::new("makes too many of them");
    }
    let labels = row.iter().flat_map(|&label| std::iter::repeat_n(label, times));
    Ok(Some(labels.collect()))
}

/// A node, the facts before it and the labels.
pub struct Site<'a> {
    pub graph: &'a Graph,
    pub id: NodeId,
    pub node: &'a Node,
    facts: &'a [Fact],
    pub(super) traits: &'a [Trait],
    pub labels: &'a mut Labels,
    pub(super) evaluator: &'a dyn Evaluate,
    pub choices: Choices<'a>,
    /// Why the first weight whose values were asked for and could not be had.
    damage: OnceCell<WeightError>,
    outputs: Vec<Fact>,
}

/// How a rule decides where it may decide in several ways.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a> {
    /// Which axis keeps its labels where the node can keep those of one only.
    pub keep: &'a Keep,
    /// Whether norms that mix channels leave them prunable (`approximate: true`).
    pub approximate: bool,
    /// Whether the groups of a convolution must read the same positions.
    pub tie_groups: bool,
    /// Whether a convolution is grouped even where each group has one input channel.
    pub grouped: bool,
}

/// A site for the walk over a graph.
pub(crate) fn site_for<'a>(
    graph: &'a Graph,
    id: NodeId,
    facts: &'a [Fact],
    traits: &'a [Trait],
    labels: &'a mut Labels,
    evaluator: &'a dyn Evaluate,
    choices: Choices<'a>,
) -> Site<'a> {
    Site {
        graph,
        id,
        node: graph.node(id),
        facts,
        traits,
        labels,
        evaluator,
        choices,
        damage: OnceCell::new(),
        outputs: Vec::new(),
    }
}

impl Site<'_> {
    /// A reason that names this node.
    pub fn why(&self, what: &'static str) -> Reason {
        Reason {
            node: Some(self.id),
            what,
        }
    }

    /// The fact of any value.
    pub fn fact_of(&self, value: ValueId) -> &Fact {
        &self.facts[value.0 as usize]
    }

    fn resolve(&self, arg: &Arg) -> Fact {
        match arg {
            Arg::None => Fact::None,
            Arg::Bool(flag) => Fact::Number(Number::Bool(*flag)),
            Arg::Int(int) => Fact::int(*int),
            Arg::Float(float) => Fact::Number(Number::Float(*float)),
            Arg::Str(text) | Arg::Device(text) => Fact::Text(text.clone()),
            Arg::Value(value) => self.fact_of(*value).clone(),
            Arg::List(items) => Fact::List(items.iter().map(|item| self.resolve(item)).collect()),
        }
    }

    /// The fact of an argument; `Fact::None` when the operator has no such argument.
    pub fn fact(&self, name: &str) -> Fact {
        self.node.arg(name).map_or(Fact::None, |arg| self.resolve(arg))
    }

    /// The facts of all arguments, in order.
    pub fn facts(&self) -> Vec<(&str, Fact)> {
        self.node
            .args
            .iter()
            .map(|(name, arg)| (name.as_str(), self.resolve(arg)))
            .collect()
    }

    /// A tensor argument; a number counts as a 0-dimensional one.
    pub fn tensor(&self, name: &str) -> Result<TensorFact, Trouble> {
        match self.optional_tensor(name)? {
            Some(tensor) => Ok(tensor),
            None => Trouble::new(format!("argument `{name}` is not a tensor")),
        }
    }

    /// A tensor argument that may be None.
    pub fn optional_tensor(&self, name: &str) -> Result<Option<TensorFact>, Trouble> {
        match self.fact(name) {
            Fact::Tensor(tensor) => Ok(Some(tensor)),
            Fact::Number(number) => Ok(Some(TensorFact {
                axes: Axes::fixed(Vec::new()),
                dtype: number.dtype(),
            })),
            Fact::None => Ok(None),
            Fact::Unknown => Trouble::new(format!("nothing is known of argument `{name}`")),
            _ => Trouble::new(format!("argument `{name}` is not a tensor")),
        }
    }

    /// Whether a value is a parameter, a buffer or a constant of the graph.
    pub fn holds_weight(&self, value: ValueId) -> bool {
        matches!(
            self.graph.value(value).def,
            crate::graph::Def::Param(_) | crate::graph::Def::Constant(_)
        )
    }

    /// Whether an argument is a parameter, a buffer or a constant of the graph.
    pub fn is_weight(&self, name: &str) -> bool {
        self.node.value(name).is_some_and(|value| self.holds_weight(value))
    }

    /// A list of tensors.
    pub fn tensors(&self, name: &str) -> Result<Vec<TensorFact>, Trouble> {
        let Fact::List(items) = self.fact(name) else {
            return Trouble::new(format!("argument `{name}` is not a list of tensors"));
        };
        let mut tensors = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Fact::Tensor(tensor) => tensors.push(tensor),
                Fact::Number(number) => {
                    tensors.push(TensorFact {
                        axes: Axes::fixed(Vec::new()),
                        dtype: number.dtype(),
                    });
                }
                _ => return Trouble::new(format!("argument `{name}` holds something that is not a tensor")),
            }
        }
        Ok(tensors)
    }

    /// A whole number that is known.
    pub fn int(&self, name: &str) -> Result<i64, Trouble> {
        match self.fact(name) {
            Fact::Number(number) => Ok(number.as_i64()),
            _ => Trouble::new(format!("argument `{name}` is not a known number")),
        }
    }

    /// A whole number, or a default where the argument is None.
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, Trouble> {
        match self.fact(name) {
            Fact::None => Ok(default),
            _ => self.int(name),
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.fact(name), Fact::Number(number) if number.as_f64() != 0.0)
    }

    /// A list of known whole numbers; None where the argument is None.
    pub fn optional_ints(&self, name: &str) -> Result<Option<Vec<i64>>, Trouble> {
        match self.fact(name) {
            Fact::None => Ok(None),
            Fact::Number(number) => Ok(Some(vec![number.as_i64()])),
            Fact::List(items) => items
                .iter()
                .map(|item| match item {
                    Fact::Number(number) => Ok(number.as_i64()),
                    _ => Trouble::new(format!("argument `{name}` holds something that is not a known number")),
                })
                .collect::<Result<Vec<_>, _>>()
                .map(Some),
            _ => Trouble::new(format!("argument `{name}` is not a list of known numbers")),
        }
    }

    /// A list of known whole numbers.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>, Trouble> {
        match self.optional_ints(name)? {
            Some(ints) => Ok(ints),
            None => Trouble::new(format!("argument `{name}` is missing")),
        }
    }

    /// A list with one number for each of `n` axes, where one number stands for all.
    pub fn ints_for(&self, name: &str, n: usize) -> Result<Vec<i64>, Trouble> {
        let ints = self.ints(name)?;
        if ints.iter().any(|int| int.abs_diff(0) > MOST_STEP.abs_diff(0)) {
            return Trouble::new(format!(
                "argument `{name}` holds a number that no tensor is large enough for"
            ));
        }
        match ints.len() {
            1 => Ok(vec![ints[0]; n]),
            len if len == n => Ok(ints),
            len => Trouble::new(format!("argument `{name}` has {len} numbers for {n} axes")),
        }
    }

    /// An axis argument, counted from the front.
    pub fn axis(&self, name: &str, rank: usize) -> Result<usize, Trouble> {
        wrap_axis(self.int(name)?, rank)
    }

    /// Several axes; None or an empty list means all.
    pub fn axes(&self, name: &str, rank: usize) -> Result<Vec<usize>, Trouble> {
        match self.optional_ints(name)? {
            None => Ok((0..rank).collect()),
            // A number may be reduced over the axis that it does not have.
            Some(axes) if rank == 0 && axes.iter().all(|axis| [0, -1].contains(axis)) => Ok(Vec::new()),
            Some(axes) if axes.is_empty() => Ok((0..rank).collect()),
            Some(axes) => axes.into_iter().map(|axis| wrap_axis(axis, rank)).collect(),
        }
    }

    /// A tensor whose elements are known because nothing that the model is given reaches it: constants, buffers and
    /// what is computed from them.
    pub fn known(&self, value: ValueId) -> Result<Tensor, Trouble> {
        let graph = self.graph;
        match graph.value(value).def {
            crate::graph::Def::Param(param) => return self.weight(param),
            crate::graph::Def::Constant(index) => return Ok(graph.constants[index as usize].clone()),
            crate::graph::Def::Input(_) => return Trouble::new("depends on the model's input"),
            crate::graph::Def::Node { .. } => {}
        }
        let too_large = |value: &ValueId| {
            let shape = self.fact_of(*value).shape();
            shape.is_some_and(|shape| elements(shape).is_none_or(|elements| elements > MOST_ELEMENTS))
        };
        // Sizes are known, also those of what the model is given.
        let (numbers, between) = self.numbers_before(value);
        if between.iter().any(too_large) {
            return Trouble::new("is computed from tensors that are too large");
        }
        let known: Vec<ValueId> = numbers.iter().map(|&(value, _)| value).collect();
        let leaves = crate::graph::graph_leaves(graph, &known, &[value]);
        if leaves
            .iter()
            .any(|&leaf| matches!(graph.value(leaf).def, crate::graph::Def::Input(_)))
        {
            return Trouble::new("depends on the model's input");
        }
        for leaf in leaves {
            if let Some(param) = graph.param_of(leaf) {
                self.weight(param)?;
            }
        }
        let mut found = self
            .evaluator
            .evaluate(graph, &numbers, &[value])
            .map_err(|fault| Trouble(fault.to_string()))?;
        match found.len() {
            1 => Ok(found.remove(0)),
            n => Trouble::new(format!("gives {n} tensors where one was expected")),
        }
    }

    fn weight(&self, param: ParamId) -> Result<Tensor, Trouble> {
        self.graph.param(param).tensor.read().cloned().map_err(|fault| {
            let trouble = Trouble(fault.to_string());
            // The first is told.
            let _ = self.damage.set(fault);
            trouble
        })
    }

    /// Why a weight whose values were asked for could not be read.
    pub fn damage(&self) -> Option<&WeightError> {
        self.damage.get()
    }

    /// The nearest known numbers among what a value is computed from, and what is computed from them.
    fn numbers_before(&self, value: ValueId) -> (Vec<(ValueId, Tensor)>, BTreeSet<ValueId>) {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut waiting = vec![value];
        while let Some(value) = waiting.pop() {
            let crate::graph::Def::Node { node, .. } = self.graph.value(value).def else {
                continue;
            };
            if !seen.insert(value) {
                continue;
            }
            match self.fact_of(value) {
                Fact::Number(number) => found.push((value, number.tensor())),
                _ => waiting.extend(self.graph.node(node).reads()),
            }
        }
        (found, seen)
    }

    /// What two axes that meet element by element make of each other's labels: united where both may shrink, frozen where
    /// only one may.
    pub fn join(&mut self, a: Option<&Row>, b: Option<&Row>, what: &'static str) -> Option<Row> {
        let why = self.why(what);
        match (a, b) {
            (Some(a), Some(b)) => {
                self.labels.unite_rows(a, b, why);
                Some(if self.labels.is_stretched(a) {
                    b.clone()
                } else {
                    a.clone()
                })
            }
            (Some(row), None) | (None, Some(row)) => {
                self.labels.freeze(
                    row,
                    Reason {
                        what: "meets a tensor that cannot shrink there",
                        ..why
                    },
                );
                self.labels.traces().then(|| row.clone())
            }
            (None, None) => None,
        }
    }

    /// Freezes the given axes of a tensor.
    pub fn freeze_axes(&mut self, axes: &Axes, which: impl IntoIterator<Item = usize>, what: &'static str) {
        let why = self.why(what);
        for axis in which {
            axes.freeze_axis(axis, self.labels, why);
        }
    }

    /// Ties the blocks of a row position by position and returns one block's labels.
    pub fn tie_blocks(&mut self, row: &[Label], blocks: usize, what: &'static str) -> Result<Vec<Label>, Trouble> {
        let why = self.why(what);
        let extent = row.len() / blocks.max(1);
        if extent == 0 || extent * blocks != row.len() {
            return Trouble::new(format!("{} positions do not form {blocks} equal blocks", row.len()));
        }
        let mut block = row[..extent].to_vec();
        for (at, &label) in row.iter().enumerate().skip(extent) {
            self.labels.unite(row[at % extent], label, why);
            if self.labels.is_stretched(&[label]) {
                block[at % extent] = label;
            }
        }
        Ok(block)
    }

    /// Holds the rows of the outputs against their shapes, after the rule has run. The last position of an axis cannot go,
    /// so a row of one is frozen.
    pub(crate) fn settle(&mut self) -> Result<(), Trouble> {
        let why = self.why("leaves one of them only");
        let mut outputs = std::mem::take(&mut self.outputs);
        let settled = outputs
            .iter_mut()
            .try_for_each(|output| settle(output, self.labels, why));
        self.outputs = outputs;
        settled
    }

    /// The labels of an axis that can be of any length: none where there is one position, or more than any channels.
    pub fn anything(&mut self, extent: usize) -> Option<Row> {
        self.may_be_channels(extent).then(|| self.labels.fresh(extent).into())
    }

    /// As `anything`, of an axis that holds one position's values all along: they are zero at none of them.
    pub fn stretched(&mut self, extent: usize) -> Option<Row> {
        self.may_be_channels(extent)
            .then(|| self.labels.stretched(extent).into())
    }

    fn may_be_channels(&self, extent: usize) -> bool {
        (2..MOST_CHANNELS).contains(&extent) && self.labels.room(extent)
    }

    /// Sets the outputs.
    pub fn give(&mut self, outputs: impl IntoIterator<Item = Fact>) {
        self.outputs = outputs.into_iter().collect();
    }

    /// Sets the only output to a tensor.
    pub fn give_tensor(&mut self, axes: Axes, dtype: DType) {
        self.outputs = vec![Fact::tensor(axes, dtype)];
    }

    /// What the rule gave.
    pub fn outputs(&self) -> &[Fact] {
        &self.outputs
    }

    /// Ends the site.
    pub fn into_outputs(self) -> Vec<Fact> {
        self.outputs
    }

    /// Elements of the first output.
    pub fn out_elements(&self) -> u64 {
        match self.outputs.first() {
            Some(Fact::Tensor(tensor)) => product(&tensor.axes.shape),
            _ => 0,
        }
    }
}

fn settle(fact: &mut Fact, labels: &mut Labels, why: Reason) -> Result<(), Trouble> {
    let axes = match fact {
        Fact::Tensor(tensor) => &mut tensor.axes,
        Fact::List(items) => return items.iter_mut().try_for_each(|item| settle(item, labels, why)),
        _ => return Ok(()),
    };
    if elements(&axes.shape).is_none() {
        return Trouble::new(format!("gives a tensor of {:?}, which is too large", axes.shape));
    }
    for (slot, &extent) in axes.rows.iter_mut().zip(&axes.shape) {
        let Some(row) = slot else { continue };
        if row.len() != extent {
            return Trouble::new(format!("{} positions do not fill an axis of {extent}", row.len()));
        }
        if extent == 1 {
            labels.freeze(row, why);
        }
        slot.take_if(|_| extent <= 1);
    }
    Ok(())
}

/// Counts an axis from the front.
pub(crate) fn wrap_axis(axis: i64, rank: usize) -> Result<usize, Trouble> {
    let rank = rank as i64;
    let wrapped = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&wrapped) {
        return Ok(wrapped as usize);
    }
    Trouble::new(format!("axis {axis} does not exist in {rank} axes"))
}
