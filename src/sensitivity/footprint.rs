//! What a measurement takes: memory, and arithmetic.
//!
//! Owns the account of bytes (what is there once, what each micro-batch keeps, what each thread works with) and of
//! multiply-accumulates, by which progress is told. Deliberately limits nothing but how many micro-batches are measured at
//! once: how large they are is `batching`'s, and part of every key.

use super::perturb::Target;
use super::replay::{descendants, reads};
use crate::graph::{Def, Graph, Node, Type, ValueId};
use crate::runtime::used_memory;
use crate::topology::Walked;
use std::collections::BTreeSet;

/// What this process takes before a model is run, where the system does not say: libtorch, mostly.
const PROCESS: u64 = 256 << 20;

/// What libtorch and oneDNN load and allocate when they first run something.
const FIRST_RUN: u64 = 64 << 20;

/// How often parameters are held beside the graph: as they are, and folded and packed.
const COPIES: u64 = 2;

/// How much is measured at once, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Micro-batches that are measured at once.
    pub at_once: usize,
    /// Multiply-accumulates of the unmasked model on one sample.
    pub whole: u64,
    /// Those of a replay, target by target.
    pub replays: Vec<u64>,
}

/// As many micro-batches at once as there are threads, and every forward costs the same.
pub static UNBOUNDED: Budget = Budget {
    at_once: usize::MAX,
    whole: 1,
    replays: Vec::new(),
};

impl Budget {
    /// `walked` knows the costs of `batch` samples.
    pub fn of(walked: &Walked<'_>, batch: usize, targets: &[Target], at_once: usize) -> Budget {
        let graph = walked.graph;
        let sum = |chosen: &dyn Fn(&Node) -> bool| -> u64 {
            let nodes = graph.nodes.iter().zip(&walked.macs);
            let macs: u64 = nodes.filter(|(node, _)| chosen(node)).map(|(_, macs)| macs).sum();
            // What has no products takes time as well.
            (macs / batch.max(1) as u64).max(1)
        };
        let replay = |target: &Target| {
            let depends = descendants(graph, &target.params(graph));
            sum(&|node| node.outputs.iter().any(|value| depends[value.0 as usize]))
        };
        Budget {
            at_once,
            whole: sum(&|_| true),
            replays: targets.iter().map(replay).collect(),
        }
    }

    /// What a replay of a target costs on one sample.
    pub fn replay(&self, target: usize) -> u64 {
        self.replays.get(target).copied().unwrap_or(self.whole)
    }
}

/// Bytes of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The process, the model and the cells.
    pub fixed: u64,
    /// One micro-batch: its samples, and what its baseline keeps.
    pub each: u64,
    /// One thread: what a forward holds beside that.
    pub working: u64,
}

impl Footprint {
    /// The footprint of measuring `levels` cells of each of these targets in micro-batches of so many samples, at most
    /// `together` in one pass. `walked` knows the shapes of `batch` samples.
    pub fn of(
        walked: &Walked<'_>,
        batch: usize,
        targets: &[Target],
        levels: usize,
        outputs: &[ValueId],
        micro_batch: usize,
        together: usize,
    ) -> Footprint {
        let graph = walked.graph;
        // Parameters are as large for any number of samples.
        let times = |value: ValueId| match graph.value(value).def {
            Def::Param(_) | Def::Constant(_) => (1, 1),
            _ => (micro_batch as u64, batch.max(1) as u64),
        };
        let bytes = |value: ValueId| bytes(walked, value) * times(value).0 / times(value).1;
        let mut kept: BTreeSet<ValueId> = outputs.iter().copied().collect();
        kept.extend(graph.inputs.iter().copied());
        let mut working = 0;
        for target in targets {
            let params = target.params(graph);
            kept.extend(reads(graph, &params, outputs).unwrap_or_default());
            let descends = descendants(graph, &params);
            let own = |node: &Node| node.outputs.iter().any(|value| descends[value.0 as usize]);
            working = working.max(most_live(graph, &own, &|_| false, &bytes));
        }
        let held = |value: ValueId| kept.contains(&value);
        working = working.max(most_live(graph, &|_| true, &held, &bytes));
        let made = |value: &ValueId| matches!(graph.value(*value).def, Def::Node { .. } | Def::Input(_));
        let parameters: u64 = graph.params.iter().map(|param| param.tensor.bytes()).sum();
        let changed = |target: &Target| -> u64 {
            let params = target.params(graph).into_iter();
            params.map(|param| graph.param(param).tensor.bytes()).sum()
        };
        let changed: Vec<u64> = targets
            .iter()
            .flat_map(|target| vec![changed(target); levels])
            .collect();
        let masked = changed.chunks(together.max(1)).map(|cells| cells.iter().sum()).max();
        Footprint {
            fixed: used_memory().unwrap_or(PROCESS) + FIRST_RUN + COPIES * parameters + masked.unwrap_or(0_u64),
            each: kept.iter().filter(|value| made(value)).map(|&value| bytes(value)).sum(),
            working,
        }
    }

    /// The same with replays in bfloat16 beside float32: parameters and what is kept are held in half the bytes as well.
    pub fn with_bfloat16(self, graph: &Graph) -> Footprint {
        let parameters: u64 = graph.params.iter().map(|param| param.tensor.bytes()).sum();
        Footprint {
            fixed: self.fixed + COPIES * parameters / 2,
            each: self.each + self.each / 2,
            ..self
        }
    }

    /// The most that is held at once.
    pub fn peak(&self, at_once: usize, threads: usize) -> u64 {
        self.fixed + self.each * at_once as u64 + self.working * threads as u64
    }

    /// How many micro-batches may be measured at once within so many bytes: as many as there are threads, at least one.
    pub fn at_once(&self, limit: u64, threads: usize) -> usize {
        let fits = |&at_once: &usize| self.peak(at_once, threads) <= limit;
        (1..=threads).rev().find(fits).unwrap_or(1)
    }
}

/// Bytes of a value, as the walk knows it; what has no tensor is small.
fn bytes(walked: &Walked<'_>, value: ValueId) -> u64 {
    match walked.fact(value).as_tensor() {
        Some(tensor) if walked.graph.value(value).ty == Type::Tensor => {
            (tensor.axes.shape.iter().product::<usize>() * tensor.dtype.size()) as u64
        }
        _ => 0,
    }
}

/// The most bytes that are alive at once while the chosen nodes run, beside what is held anyway. Convolutions hold their
/// input and output twice: in the order that is given, and in the kernel's.
fn most_live(
    graph: &Graph,
    chosen: &dyn Fn(&Node) -> bool,
    held: &dyn Fn(ValueId) -> bool,
    bytes: &dyn Fn(ValueId) -> u64,
) -> u64 {
    let mut last = vec![usize::MAX; graph.values.len()];
    for (at, node) in graph.nodes.iter().enumerate() {
        for value in node.reads() {
            last[value.0 as usize] = at;
        }
    }
    let (mut live, mut most) = (0_u64, 0_u64);
    for (at, node) in graph.nodes.iter().enumerate() {
        if !chosen(node) {
            continue;
        }
        let made: u64 = node
            .outputs
            .iter()
            .filter(|&&value| !held(value))
            .map(|&value| bytes(value))
            .sum();
        live += made;
        let again = match node.op.ends_with("convolution") || node.op.ends_with("conv2d") {
            true => node
                .reads()
                .iter()
                .chain(&node.outputs)
                .map(|&value| bytes(value))
                .sum(),
            false => 0,
        };
        most = most.max(live + again);
        let dead = node.reads().into_iter().collect::<BTreeSet<ValueId>>();
        for value in dead {
            let own = matches!(graph.value(value).def, Def::Node { node, .. } if chosen(graph.node(node)));
            if last[value.0 as usize] == at && own && !held(value) {
                live = live.saturating_sub(bytes(value));
            }
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::super::layer_targets;
    use super::*;
    use crate::graph::testing::Builder;
    use crate::runtime::Runtime;
    use crate::topology::{Options, layers, walk};

    /// Two linear layers: what the second reads is kept, what it makes is worked with.
    #[test]
    fn bytes_and_costs_are_counted() {
        let mut net = Builder::default();
        let x = net.input();
        let hidden = net.linear("first", x, 4, 6);
        let active = net.unary("relu", hidden, &[]);
        let out = net.linear("second", active, 6, 2);
        let graph = net.finish(out);
        let targets = layer_targets(&layers(&graph));
        let walked = walk(&graph, &Options::of_shapes([vec![2, 4]]), &Runtime::new());
        let of = |micro_batch| Footprint::of(&walked, 2, &targets, 3, &[out], micro_batch, 4);
        let (one, eight) = (of(1), of(8));
        // The input, what `second` reads, and the output.
        assert_eq!(one.each, 4 * (4 + 6 + 2));
        assert_eq!(eight.each, 8 * one.each);
        assert!(eight.working > one.working);
        assert!(
            one.working >= 4 * 12,
            "a linear layer and its activation are alive at once"
        );
        assert!(eight.peak(2, 1) > eight.peak(1, 1) && eight.peak(1, 2) > eight.peak(1, 1));
        assert_eq!(eight.at_once(u64::MAX, 5), 5);
        assert_eq!(eight.at_once(0, 5), 1);
        assert_eq!(eight.at_once(eight.peak(3, 5), 5), 3);

        let budget = Budget::of(&walked, 2, &targets, 2);
        assert_eq!(
            (budget.whole, budget.replay(0), budget.replay(1)),
            (24 + 12, 24 + 12, 12)
        );
        assert_eq!(UNBOUNDED.replay(7), 1);
    }
}
