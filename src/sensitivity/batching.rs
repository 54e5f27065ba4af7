//! Batch sizes: what the model runs with, and how many samples one forward takes.

use super::SensitivityError;
use super::replay::reads;
use crate::graph::{Arg, Def, Evaluate, EvaluateError, Graph, Node, Type, ValueId};
use crate::lower::Shapes;
use crate::tensor::Tensor;
use crate::topology::{Layer, Options, Walked, walk};
use std::collections::BTreeSet;

/// The batch sizes that a model runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    Any,
    /// Only this one: a traced batch size is written into the model. The last batch is padded.
    Fixed(usize),
}

/// Bytes that the kept values of one micro-batch may take.
const KEPT: usize = 512 << 20;

/// The largest batch size that is looked for in a model.
const LARGEST: usize = 4096;

/// How far a sample's output may move with its neighbours, relative to the largest output: sums differ a little between
/// batch sizes.
const SAME: f64 = 1e-3;

impl Batching {
    /// Runs the model on small batches of made-up samples: `first`, a real one, says of which shapes and types, and what
    /// integers may be.
    ///
    /// # Errors
    /// When no batch size runs, or a sample's output depends on its neighbours.
    pub fn probe(
        graph: &Graph,
        first: &[Tensor],
        output: ValueId,
        batch: usize,
        evaluator: &dyn Evaluate,
    ) -> Result<Batching, SensitivityError> {
        let run =
            |samples: &[Tensor]| Ok::<Tensor, EvaluateError>(run(graph, samples, &[output], evaluator)?.remove(0));
        let neighbours = |n: usize| neighbours(graph, first, n, output, evaluator);
        let fits = |n: usize| match run(&samples(first, n, 0)) {
            Ok(outputs) if outputs.shape().first() == Some(&n) => Ok(outputs),
            Ok(outputs) => Err(format!("{n} samples give an output of shape {:?}", outputs.shape())),
            Err(fault) => Err(fault.to_string()),
        };
        let (one, two, three) = (fits(1), fits(2), fits(3));
        if let (Ok(one), Ok(_), Ok(three)) = (&one, &two, &three) {
            return if alike(one, three) {
                Ok(Batching::Any)
            } else {
                Err(neighbours(3))
            };
        }
        let why = one.err().unwrap_or_default();
        let likely = (1..=64).chain([batch, 96, 128, 192, 256, 512]).chain(written(graph));
        for n in likely.collect::<BTreeSet<usize>>() {
            let Ok(outputs) = fits(n) else { continue };
            if n == 1 {
                return Ok(Batching::Fixed(1));
            }
            // The first sample again, among other neighbours.
            let others = run(&samples(first, n, 1)).map_err(|fault| SensitivityError::NoBatch(fault.to_string()))?;
            return if alike(&outputs, &others) {
                Ok(Batching::Fixed(n))
            } else {
                Err(neighbours(n))
            };
        }
        Err(SensitivityError::NoBatch(why))
    }
}

impl Batching {
    /// The smallest batch that the model takes.
    pub fn least(self) -> usize {
        match self {
            Batching::Any => 1,
            Batching::Fixed(size) => size,
        }
    }

    /// What is known of the model's values for that batch; `first` is one sample.
    pub fn walk<'g>(self, graph: &'g Graph, first: &[Tensor], evaluator: &dyn Evaluate) -> Walked<'g> {
        let input = |tensor: &Tensor| {
            let mut shape = tensor.shape().to_vec();
            if let Some(rows) = shape.first_mut() {
                *rows = self.least();
            }
            (shape, tensor.dtype())
        };
        walk(graph, &Options::of_inputs(first.iter().map(input)), evaluator)
    }
}

/// A batch size that the model runs with, for samples of the shapes and types of `first`: one, unless its trace wrote another
/// into it.
///
/// # Errors
/// What libtorch says of one sample, when no size runs.
pub fn size_that_runs(
    graph: &Graph,
    first: &[Tensor],
    output: ValueId,
    evaluator: &dyn Evaluate,
) -> Result<usize, String> {
    let comes_out = |n: usize| match run(graph, &samples(first, n, 0), &[output], evaluator) {
        Ok(outputs) => Ok(outputs[0].shape().first() == Some(&n)),
        Err(fault) => Err(fault.to_string()),
    };
    let one = comes_out(1);
    let few = match one {
        Ok(true) => return Ok(1),
        Ok(false) => 0,
        Err(_) => 64,
    };
    let mut likely = written(graph).collect::<BTreeSet<usize>>().into_iter().chain(2..=few);
    match likely.find(|&n| comes_out(n) == Ok(true)) {
        Some(n) => Ok(n),
        None => one.map(|_| 1),
    }
}

/// The whole numbers that begin a literal list: a traced batch size stands first in a shape.
fn written(graph: &Graph) -> impl Iterator<Item = usize> {
    let args = graph.nodes.iter().flat_map(|node| &node.args);
    let first = args.filter_map(|(_, arg)| match arg {
        Arg::List(items) => items.first().and_then(Arg::as_int),
        _ => None,
    });
    first.filter_map(|number| {
        usize::try_from(number)
            .ok()
            .filter(|number| (1..=LARGEST).contains(number))
    })
}

fn run(
    graph: &Graph,
    samples: &[Tensor],
    outputs: &[ValueId],
    evaluator: &dyn Evaluate,
) -> Result<Vec<Tensor>, EvaluateError> {
    let given: Vec<(ValueId, Tensor)> = graph.inputs.iter().copied().zip(samples.iter().cloned()).collect();
    evaluator.evaluate(graph, &given, outputs)
}

/// The error that names the first operator in whose result the first sample's part moves with its neighbours.
fn neighbours(
    graph: &Graph,
    first: &[Tensor],
    n: usize,
    output: ValueId,
    evaluator: &dyn Evaluate,
) -> SensitivityError {
    let made = graph
        .nodes
        .iter()
        .filter_map(|node| Some((node, *node.outputs.first()?)));
    let tensors: Vec<(&Node, ValueId)> = made
        .filter(|&(_, value)| graph.value(value).ty == Type::Tensor)
        .collect();
    let values: Vec<ValueId> = tensors.iter().map(|&(_, value)| value).collect();
    let among = |seed| run(graph, &samples(first, n, seed), &values, evaluator).unwrap_or_default();
    let both = among(0).into_iter().zip(among(1));
    let moved = both
        .zip(&tensors)
        .find(|((a, b), _)| !alike(a, b))
        .map(|(_, &(node, _))| node);
    // Batches of different sizes may disagree where none of one size does: then the output's own operator is named.
    let last = graph.nodes.iter().find(|node| node.outputs.contains(&output));
    let node = moved.or(last);
    let scope = node.map_or("", |node| node.scope.as_str());
    SensitivityError::Neighbours {
        op: node.map_or("the model", |node| node.op.as_str()).to_owned(),
        scope: if scope.is_empty() {
            "the model".into()
        } else {
            scope.to_owned()
        },
    }
}

/// Made-up samples of which the first is always the same.
fn samples(first: &[Tensor], n: usize, seed: u64) -> Vec<Tensor> {
    first.iter().map(|input| made_up(input, n, seed)).collect()
}

/// One input of made-up samples. Floats lie between -1 and 1. Integers may be positions in a table or a mask, so that
/// each sample has those of the real one, shifted.
fn made_up(first: &Tensor, n: usize, seed: u64) -> Tensor {
    let sample = first.shape().get(1..).unwrap_or_default();
    let each: usize = sample.iter().product();
    let mut shape = vec![n];
    shape.extend_from_slice(sample);
    if !first.dtype().is_float() {
        let by = |row: usize| if row == 0 { 0 } else { row + seed as usize };
        let flat = first.reshaped([1, each]).unwrap_or_else(|_| first.clone());
        let rows: Vec<u8> = (0..n)
            .flat_map(|row| {
                let order: Vec<usize> = (0..each).map(|at| (at + by(row)) % each).collect();
                flat.select(1, &order).data().to_vec()
            })
            .collect();
        return Tensor::new(first.dtype(), shape, rows).unwrap_or_else(|_| first.clone());
    }
    let value = |row: usize, at: usize| {
        let seed = if row == 0 { 0 } else { seed + row as u64 };
        let mixed = (at as u64 + 1)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(seed.wrapping_mul(0xD1B5_4A32_D192_ED03));
        (mixed >> 40) as f32 / (1_u64 << 24) as f32 * 2.0 - 1.0
    };
    let values: Vec<f32> = (0..n).flat_map(|row| (0..each).map(move |at| value(row, at))).collect();
    Tensor::from_f32(shape, &values)
}

/// Whether the first sample's outputs agree.
fn alike(a: &Tensor, b: &Tensor) -> bool {
    let first = |tensor: &Tensor| tensor.rows(0, 1).map(|row| row.to_f64()).unwrap_or_default();
    let (a, b) = (first(a), first(b));
    let largest = a
        .iter()
        .chain(&b)
        .fold(0.0_f64, |largest, value| largest.max(value.abs()));
    // What is not a number for one batch and for the other is the metric's to report.
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|(a, b)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= SAME * largest)
}

/// Samples of one forward: the largest power of two that is no more than `batch` and whose kept values fit 512 MiB.
/// From the model, the shapes of its inputs ([`Batching::walk`]) and `batch` alone, whatever layers are asked for.
pub fn micro_batch(
    walked: &Walked<'_>,
    layers: &[Layer],
    outputs: &[ValueId],
    batch: usize,
    batching: Batching,
) -> usize {
    if let Batching::Fixed(n) = batching {
        return n;
    }
    let graph = walked.graph;
    let mut kept = BTreeSet::new();
    for layer in layers {
        let params: Vec<_> = std::iter::once(layer.weight).chain(layer.bias).collect();
        let read = reads(graph, &params, outputs).unwrap_or_default();
        let made = |value: &ValueId| matches!(graph.value(*value).def, Def::Node { .. });
        kept.extend(read.into_iter().filter(made));
    }
    let bytes: usize = kept
        .iter()
        .filter_map(|&value| walked.fact(value).as_tensor())
        .map(|tensor| tensor.axes.shape.iter().product::<usize>() * tensor.dtype.size())
        .sum();
    let mut samples = 1;
    while samples * 2 <= batch && bytes.saturating_mul(samples * 2) <= KEPT {
        samples *= 2;
    }
    samples
}

/// What is known of a model's values, for lowering.
pub fn shapes(walked: &Walked<'_>) -> Shapes {
    let graph = walked.graph;
    let known = |value: ValueId| {
        let tensor = walked.fact(value).as_tensor()?;
        Some((
            graph.value(value).name.clone(),
            (tensor.axes.shape.clone(), tensor.dtype),
        ))
    };
    graph.value_ids().filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{Builder, ints};
    use crate::runtime::Runtime;

    /// A linear layer over samples of four numbers that some view has reshaped.
    fn probe(view: &[i64], mix: bool) -> Result<Batching, SensitivityError> {
        let mut net = Builder::default();
        let x = net.input();
        let seen = net.unary("view", x, &[("size", ints(view))]);
        let hidden = net.linear("fc", seen, 4, 3);
        let out = match mix {
            true => net.unary("softmax", hidden, &[("dim", Arg::Int(0)), ("dtype", Arg::None)]),
            false => hidden,
        };
        let graph = net.finish(out);
        let first = [Tensor::from_f32([1, 2, 2], &[0.0; 4])];
        Batching::probe(&graph, &first, out, 64, &Runtime::new())
    }

    #[test]
    fn batch_sizes_are_found() {
        assert_eq!(probe(&[-1, 4], false).unwrap(), Batching::Any);
        assert_eq!(probe(&[1, 4], false).unwrap(), Batching::Fixed(1));
        assert_eq!(probe(&[5, 4], false).unwrap(), Batching::Fixed(5));
        assert_eq!(probe(&[100, 4], false).unwrap(), Batching::Fixed(100));
    }

    /// A table of five rows, looked up by one input and weighed by another.
    #[test]
    fn integers_come_from_the_data() {
        let mut net = Builder::default();
        let (ids, weights) = (net.input(), net.input());
        let table = net.param("table.weight", &[5, 3]);
        let rows = net.op(
            "embedding",
            &[
                ("weight", Arg::Value(table)),
                ("indices", Arg::Value(ids)),
                ("padding_idx", Arg::Int(-1)),
                ("scale_grad_by_freq", Arg::Bool(false)),
                ("sparse", Arg::Bool(false)),
            ],
        );
        let out = net.op("mul", &[("self", Arg::Value(rows)), ("other", Arg::Value(weights))]);
        let graph = net.finish(out);
        let first = [
            Tensor::from_i64([1, 4], &[4, 0, 2, 4]),
            Tensor::from_f32([1, 4, 1], &[1.0; 4]),
        ];
        let found = Batching::probe(&graph, &first, out, 64, &Runtime::new());
        assert_eq!(found.unwrap(), Batching::Any);
        assert_eq!(samples(&first, 2, 0)[0].to_i64(), [4, 0, 2, 4, 0, 2, 4, 4]);
    }

    #[test]
    fn sizes_that_run_are_found() {
        let size = |view: &[i64]| {
            let mut net = Builder::default();
            let x = net.input();
            let seen = net.unary("view", x, &[("size", ints(view))]);
            let out = net.linear("fc", seen, 4, 3);
            let graph = net.finish(out);
            size_that_runs(&graph, &[Tensor::from_f32([1, 2, 2], &[0.0; 4])], out, &Runtime::new())
        };
        assert_eq!(size(&[-1, 4]), Ok(1));
        assert_eq!(size(&[8, 4]), Ok(8));
        assert_eq!(size(&[100, 4]), Ok(100));
        assert!(size(&[-1, 5]).unwrap_err().contains("view"));
    }

    #[test]
    fn mixing_samples_is_refused_by_name() {
        for view in [[-1, 4], [5, 4]] {
            let message = probe(&view, true).unwrap_err().to_string();
            assert!(message.starts_with("aten::softmax in the model mixes"), "{message}");
        }
    }
}
