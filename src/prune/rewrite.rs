//! Sizes written in arguments, brought in line with what is left.
//!
//! Shapes follow the surviving labels; where samples are counted with them, in proportion (`proportion`). Numbers that the
//! model computes from sizes (a scale of 1/√d) keep their original value (`numbers`).

use super::proportion::Proportions;
use super::{PruneError, Removal, numbers, whole_number};
use crate::graph::{Arg, Def, Graph, Node, NodeId, Type, ValueId};
use crate::labels::Axes;
use crate::ops::{self, Fact, Sizes};
use crate::tensor::Tensor;
use crate::topology::{Walked, place};

/// Writes all sizes anew; tells the number that each node has then, for there may be new ones.
pub(super) fn sizes(walked: &Walked, removal: &Removal, graph: &mut Graph) -> Result<Vec<NodeId>, PruneError> {
    let mut proportions = Proportions::default();
    numbers::keep(walked, removal, graph, &mut proportions);
    for index in 0..graph.nodes.len() {
        let Some(op) = ops::find(&graph.nodes[index].op) else {
            continue;
        };
        let mut rewriter = Rewriter {
            walked,
            removal,
            node: &walked.graph.nodes[index],
            computed: Vec::new(),
        };
        for &sizes in op.sizes {
            if let Sizes::Picked(name) = sizes {
                rewriter.renumber(name, graph, index, &mut proportions);
            } else if let Err(message) = rewriter.apply(sizes, &mut graph.nodes[index]) {
                let id = NodeId(index as u32);
                return Err(PruneError::Unfit {
                    place: place(walked.graph, id),
                    message,
                });
            }
        }
        for extent in rewriter.computed {
            let value = proportions.scaled(graph, extent.value, extent.left, extent.of, index);
            match (set(&mut graph.nodes[index], extent.name), extent.at) {
                (Some(Arg::List(items)), Some(at)) => items[at] = Arg::Value(value),
                (Some(slot), None) => *slot = Arg::Value(value),
                _ => {}
            }
        }
    }
    Ok(proportions.insert(graph))
}

/// An extent that the model computes from more than channels.
struct Extent {
    name: &'static str,
    /// Its place in a list.
    at: Option<usize>,
    value: ValueId,
    left: usize,
    of: usize,
}

struct Rewriter<'a> {
    walked: &'a Walked<'a>,
    removal: &'a Removal,
    node: &'a Node,
    /// Extents that are to be scaled by nodes.
    computed: Vec<Extent>,
}

impl Rewriter<'_> {
    fn kept(&self, axes: &Axes, axis: usize) -> Vec<usize> {
        match axes.row(axis) {
            Some(row) => self.removal.kept(self.walked, row),
            None => (0..axes.shape[axis]).collect(),
        }
    }

    fn shrinks(&self, axes: &Axes, axis: usize) -> bool {
        self.kept(axes, axis).len() < axes.shape[axis]
    }

    fn input(&self) -> Option<&Axes> {
        let value = self.node.args.first()?.1.as_value()?;
        self.walked.fact(value).as_tensor().map(|tensor| &tensor.axes)
    }

    fn output(&self) -> Option<&Axes> {
        self.walked
            .fact(*self.node.outputs.first()?)
            .as_tensor()
            .map(|tensor| &tensor.axes)
    }

    fn axis(&self, name: &str, rank: usize) -> Result<usize, String> {
        let axis = self.number(name).ok_or("its axis is not known")?;
        ops::wrap_axis(axis, rank).map_err(|fault| fault.to_string())
    }

    /// A whole-number argument as the walk knew it.
    fn number(&self, name: &str) -> Option<i64> {
        whole_number(self.walked, self.node.arg(name)?)
    }

    fn apply(&mut self, sizes: Sizes, node: &mut Node) -> Result<(), String> {
        match sizes {
            Sizes::Output(name) => {
                let Some(output) = self.output().cloned() else {
                    return Ok(());
                };
                let first = match set(node, name) {
                    Some(Arg::List(items)) => output.rank().saturating_sub(items.len()),
                    _ => return Ok(()),
                };
                for axis in first..output.rank() {
                    self.set_output(node, name, axis - first, &output, axis);
                }
            }
            Sizes::Trailing(name) => {
                let Some(input) = self.input() else { return Ok(()) };
                let Some(Arg::List(items)) = node.arg(name) else {
                    return Ok(());
                };
                let count = items.len();
                for (at, axis) in (input.rank().saturating_sub(count)..input.rank()).enumerate() {
                    if self.shrinks(input, axis) {
                        set_item(node, name, at, self.kept(input, axis).len());
                    }
                }
            }
            Sizes::Parts { sizes, axis } => {
                let (Some(input), Some(parts)) = (self.input(), self.parts()) else {
                    return Ok(());
                };
                let axis = self.axis(axis, input.rank())?;
                for (at, part) in parts.iter().enumerate() {
                    if self.shrinks(part, axis) {
                        set_item(node, sizes, at, self.kept(part, axis).len());
                    }
                }
            }
            // `split` names a list of sizes as it names one.
            Sizes::Part { size, axis } if matches!(node.arg(size), Some(Arg::List(_))) => {
                self.apply(Sizes::Parts { sizes: size, axis }, node)?;
            }
            Sizes::Part { size, axis } => {
                let (Some(input), Some(parts)) = (self.input(), self.parts()) else {
                    return Ok(());
                };
                let axis = self.axis(axis, input.rank())?;
                let Some(first) = parts.first().filter(|part| self.shrinks(part, axis)) else {
                    return Ok(());
                };
                let extent = self.kept(first, axis).len() as i64;
                if let Some(slot) = set(node, size) {
                    *slot = Arg::Int(extent);
                }
            }
            Sizes::Bounds { start, end, axis } => {
                let Some(input) = self.input() else { return Ok(()) };
                let axis = self.axis(axis, input.rank())?;
                if !self.shrinks(input, axis) {
                    return Ok(());
                }
                // Whole runs go of which every n-th is taken, from the same place to the end.
                if self.number("step").unwrap_or(1) != 1 {
                    return Ok(());
                }
                let kept = self.kept(input, axis);
                let extent = input.shape[axis] as i64;
                for name in [start, end] {
                    let Some(at) = self.number(name) else { continue };
                    if at >= extent {
                        continue;
                    }
                    let place = if at < 0 { (at + extent).max(0) } else { at } as usize;
                    let moved = kept.iter().filter(|&&position| position < place).count();
                    let Some(slot) = set(node, name) else { continue };
                    match slot {
                        // A number that the model computes may be another at another batch size.
                        Arg::Value(value) if at > 0 && self.is_int(*value) => self.computed.push(Extent {
                            name,
                            at: None,
                            value: *value,
                            left: moved,
                            of: place,
                        }),
                        // Counted from the end, so that it is right at every batch size.
                        Arg::Int(_) if at < 0 && moved < kept.len() => {
                            *slot = Arg::Int(moved as i64 - kept.len() as i64);
                        }
                        Arg::Int(_) if at < 0 => *slot = Arg::Int(i64::MAX),
                        _ => *slot = Arg::Int(moved as i64),
                    }
                }
            }
            Sizes::Start { start, length, axis } => {
                let (Some(input), Some(output)) = (self.input(), self.output()) else {
                    return Ok(());
                };
                let axis = self.axis(axis, input.rank())?;
                if !self.shrinks(input, axis) {
                    return Ok(());
                }
                let first = self.number(start).unwrap_or(0).max(0) as usize;
                let moved = self
                    .kept(input, axis)
                    .iter()
                    .filter(|&&position| position < first)
                    .count();
                let extent = self.kept(output, axis).len();
                if let Some(slot) = set(node, start) {
                    *slot = Arg::Int(moved as i64);
                }
                if let Some(slot) = set(node, length) {
                    *slot = Arg::Int(extent as i64);
                }
            }
            Sizes::Blocks(name) => {
                let Some(input) = self.input() else { return Ok(()) };
                if input.rank() < 2 || !self.shrinks(input, 1) {
                    return Ok(());
                }
                let blocks = self.number(name).unwrap_or(1).max(1) as usize;
                let each = input.shape[1] / blocks;
                if blocks > 1
                    && let Some(slot) = set(node, name)
                {
                    *slot = Arg::Int((self.kept(input, 1).len() / each) as i64);
                }
            }
            Sizes::ConvGroups(name) => self.conv_groups(name, node),
            Sizes::Unflatten { sizes, axis } => {
                let (Some(input), Some(output)) = (self.input(), self.output()) else {
                    return Ok(());
                };
                let first = self.axis(axis, input.rank())?;
                let Some(Arg::List(items)) = node.arg(sizes) else {
                    return Ok(());
                };
                for at in 0..items.len() {
                    if self.shrinks(output, first + at) {
                        set_item(node, sizes, at, self.kept(output, first + at).len());
                    }
                }
            }
            Sizes::Times(name) => {
                let (Some(input), Some(output)) = (self.input().cloned(), self.output().cloned()) else {
                    return Ok(());
                };
                let added = output.rank() - input.rank().min(output.rank());
                let single = |axis: usize| axis < added || input.shape.get(axis - added) == Some(&1);
                if let Some(Arg::List(items)) = node.arg(name) {
                    let first = output.rank() - items.len().min(output.rank());
                    for axis in (first..output.rank()).filter(|&axis| single(axis)) {
                        self.set_output(node, name, axis - first, &output, axis);
                    }
                    return Ok(());
                }
                let axis = self.axis("dim", output.rank())?;
                if self.shrinks(&output, axis) {
                    let extent = Arg::Int(self.kept(&output, axis).len() as i64);
                    if let Some(slot) = set(node, name).filter(|_| single(axis)) {
                        *slot = extent.clone();
                    }
                    if let Some(slot) = set(node, "output_size").filter(|slot| **slot != Arg::None) {
                        *slot = extent;
                    }
                }
            }
            // They stand in a constant of the graph.
            Sizes::Picked(_) => {}
            Sizes::Padding(name) => {
                let Some(output) = self.output() else { return Ok(()) };
                let Some(Arg::List(items)) = self.node.arg(name) else {
                    return Ok(());
                };
                let amounts = items.iter().map(|item| whole_number(self.walked, item));
                let Some(amounts) = amounts.collect::<Option<Vec<i64>>>() else {
                    return Ok(());
                };
                for (pair, axis) in (0..amounts.len() / 2).zip((0..output.rank()).rev()) {
                    if !self.shrinks(output, axis) {
                        continue;
                    }
                    let kept = self.kept(output, axis);
                    let before = amounts[2 * pair].max(0) as usize;
                    let after = output.shape[axis] - amounts[2 * pair + 1].max(0) as usize;
                    set_item(node, name, 2 * pair, kept.iter().filter(|&&at| at < before).count());
                    set_item(node, name, 2 * pair + 1, kept.iter().filter(|&&at| at >= after).count());
                }
            }
            Sizes::Scale(name) => {
                let Some(query) = self.input() else { return Ok(()) };
                let Some(last) = query.rank().checked_sub(1) else {
                    return Ok(());
                };
                if self.shrinks(query, last) && node.arg(name) == Some(&Arg::None) {
                    let scale = (query.shape[last] as f64).sqrt().recip();
                    if let Some(slot) = set(node, name) {
                        *slot = Arg::Float(scale);
                    }
                }
            }
        }
        Ok(())
    }

    /// The tensors that a splitting operator gives.
    fn parts(&self) -> Option<Vec<&Axes>> {
        match self.walked.fact(*self.node.outputs.first()?) {
            Fact::List(items) => items
                .iter()
                .map(|item| item.as_tensor().map(|tensor| &tensor.axes))
                .collect(),
            _ => None,
        }
    }

    /// Whether a value is a whole number: one that stands in for a size is.
    fn is_int(&self, value: ValueId) -> bool {
        let known = self.walked.graph.values.get(value.0 as usize);
        known.is_none_or(|known| known.ty == Type::Int)
    }

    /// Writes one extent of a shape. One that is computed (batch times heads) follows from the others, or is scaled, so that
    /// the graph still runs at every batch size.
    fn set_output(&mut self, node: &mut Node, name: &'static str, at: usize, output: &Axes, axis: usize) {
        if !self.shrinks(output, axis) {
            return;
        }
        let left = self.kept(output, axis).len();
        let reshapes = matches!(node.short(), "view" | "reshape" | "_unsafe_view");
        let Some(Arg::List(items)) = set(node, name) else {
            return;
        };
        match items.get(at) {
            Some(Arg::Value(_)) if reshapes && !items.contains(&Arg::Int(-1)) => items[at] = Arg::Int(-1),
            Some(&Arg::Value(value)) if self.is_int(value) => self.computed.push(Extent {
                name,
                at: Some(at),
                value,
                left,
                of: output.shape[axis],
            }),
            _ => set_item(node, name, at, left),
        }
    }

    /// Positions picked by number, counted among those that are left.
    fn renumber(&self, name: &str, graph: &mut Graph, node: usize, proportions: &mut Proportions) {
        let (Some(input), Some(output)) = (self.input(), self.output()) else {
            return;
        };
        let Some((axis, positions)) = ops::picked(self.walked.graph, self.node, &input.shape) else {
            return;
        };
        if !self.shrinks(input, axis) {
            return;
        }
        let (left, taken) = (self.kept(input, axis), self.kept(output, axis));
        let renumbered = taken.iter().filter_map(|&at| left.binary_search(&positions[at]).ok());
        let numbers: Vec<i64> = renumbered.map(|at| at as i64).collect();
        graph.constants.push(Tensor::from_i64([numbers.len()], &numbers));
        let def = Def::Constant(graph.constants.len() as u32 - 1);
        let name_of_value = proportions.unused(graph);
        let value = graph.add_value(name_of_value, Type::Tensor, def);
        match set(&mut graph.nodes[node], name) {
            Some(Arg::List(items)) => items[axis] = Arg::Value(value),
            Some(slot) => *slot = Arg::Value(value),
            None => {}
        }
    }

    /// A depthwise convolution has as many groups as channels are left.
    fn conv_groups(&self, name: &str, node: &mut Node) {
        let weight = self
            .node
            .value("weight")
            .and_then(|value| self.walked.fact(value).as_tensor());
        let (Some(input), Some(weight), Some(groups)) = (self.input(), weight, self.number(name)) else {
            return;
        };
        // Behind the channels come as many axes as the weight has behind its first two.
        let Some(channel) = (input.rank() + 1).checked_sub(weight.axes.rank()) else {
            return;
        };
        if groups > 1 && input.shape.get(channel) == Some(&(groups as usize)) && self.shrinks(input, channel) {
            let left = self.kept(input, channel).len();
            if let Some(slot) = set(node, name) {
                *slot = Arg::Int(left as i64);
            }
        }
    }
}

fn set<'n>(node: &'n mut Node, name: &str) -> Option<&'n mut Arg> {
    node.args
        .iter_mut()
        .find(|(known, _)| known == name)
        .map(|(_, arg)| arg)
}

/// Writes one number of a list; a -1 stays, for it follows by itself.
fn set_item(node: &mut Node, name: &str, at: usize, extent: usize) {
    if let Some(Arg::List(items)) = set(node, name)
        && let Some(item) = items.get_mut(at)
        && *item != Arg::Int(-1)
    {
        *item = Arg::Int(extent as i64);
    }
}
