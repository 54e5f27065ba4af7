//! Proof by removal: the smaller network computes what the whole one computes with the same units zeroed.

use super::{PruneError, Removal, remove, zero};
use crate::graph::{Arg, Def, Evaluate, Graph, Node, Type, ValueId, subset};
use crate::tensor::{DType, Tensor, WeightError};
use crate::topology::{Options, Walked};
use std::collections::{BTreeMap, BTreeSet};

/// Compares both networks in float64 on the given inputs (in the order of the graph's, batch axis included).
///
/// Returns the largest difference over all outputs, relative to the largest magnitude of the zeroed network's.
///
/// # Errors
/// When the units cannot be removed, or one of the networks does not run.
pub fn proof(
    walked: &Walked,
    options: &Options,
    removal: &Removal,
    evaluator: &dyn Evaluate,
    inputs: &[Tensor],
) -> Result<f64, PruneError> {
    let smaller = remove(walked, options, removal, evaluator)?;
    difference(&smaller, &zero(walked, removal)?, evaluator, inputs)
}

/// The largest difference of two networks' outputs in float64, relative to the largest magnitude of the second's.
///
/// # Errors
/// When one of them does not run on these inputs.
pub fn difference(
    smaller: &Graph,
    zeroed: &Graph,
    evaluator: &dyn Evaluate,
    inputs: &[Tensor],
) -> Result<f64, PruneError> {
    let after = outputs(&in_float64(smaller)?, inputs, evaluator)?;
    let before = outputs(&in_float64(zeroed)?, inputs, evaluator)?;
    largest_difference(&after, &before)
}

fn largest_difference(after: &[Tensor], before: &[Tensor]) -> Result<f64, PruneError> {
    let mut worst: f64 = 0.0;
    for (after, before) in after.iter().zip(before) {
        if after.shape() != before.shape() {
            let message = format!("gives {:?} instead of {:?}", after.shape(), before.shape());
            return Err(PruneError::Unfit {
                place: "the smaller network".into(),
                message,
            });
        }
        let (after, before) = (after.parts().to_f64(), before.parts().to_f64());
        // An infinity (a mask's) says nothing of how large the others are.
        let finite = before.iter().filter(|value| value.is_finite());
        let magnitude = finite.fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let difference = after.iter().zip(&before).fold(0.0_f64, |largest, (a, b)| {
            // Equal infinities differ by nothing; what is no number proves nothing.
            let apart = if a == b { 0.0 } else { (a - b).abs() };
            if apart.is_nan() {
                f64::INFINITY
            } else {
                largest.max(apart)
            }
        });
        worst = worst.max(difference / magnitude.max(f64::MIN_POSITIVE));
    }
    Ok(worst)
}

/// Proofs of many removals from one network on the same inputs.
///
/// The whole network runs once, in float64, and its values are kept. Up to the first operator that a removal touches the
/// smaller and the zeroed network are the whole one, so both run from there on.
pub struct Prover<'w> {
    walked: &'w Walked<'w>,
    options: &'w Options,
    evaluator: &'w dyn Evaluate,
    inputs: &'w [Tensor],
    whole: Graph,
    values: BTreeMap<ValueId, Tensor>,
}

impl<'w> Prover<'w> {
    /// Fastest where the walked graph is in float64 already ([`in_float64`]).
    ///
    /// # Errors
    /// When the network does not run on these inputs.
    pub fn new(
        walked: &'w Walked<'w>,
        options: &'w Options,
        evaluator: &'w dyn Evaluate,
        inputs: &'w [Tensor],
    ) -> Result<Prover<'w>, PruneError> {
        let whole = in_float64(walked.graph)?;
        let made: Vec<ValueId> = subset(&whole, &whole.inputs, &whole.output_values())
            .nodes
            .into_iter()
            .flat_map(|node| whole.node(node).outputs.clone())
            .filter(|&value| whole.value(value).ty == Type::Tensor)
            .collect();
        let tensors = evaluate(&whole, given(&whole, inputs), &made, evaluator)?;
        Ok(Prover {
            walked,
            options,
            evaluator,
            inputs,
            values: made.into_iter().zip(tensors).collect(),
            whole,
        })
    }

    /// As [`proof`].
    ///
    /// # Errors
    /// When the units cannot be removed, or one of the networks does not run.
    pub fn proof(&self, removal: &Removal) -> Result<f64, PruneError> {
        let smaller = remove(self.walked, self.options, removal, self.evaluator)?;
        let after = self.outputs(&in_float64(&smaller)?)?;
        let before = self.outputs(&in_float64(&zero(self.walked, removal)?)?)?;
        largest_difference(&after, &before)
    }

    fn outputs(&self, graph: &Graph) -> Result<Vec<Tensor>, PruneError> {
        let touched = self.touched(graph);
        let outputs = graph.output_values();
        let untouched: Vec<ValueId> = self
            .values
            .keys()
            .copied()
            .filter(|value| !touched.contains(value))
            .collect();
        let mut inputs = given(graph, self.inputs);
        let read = subset(graph, &untouched, &outputs)
            .nodes
            .into_iter()
            .flat_map(|node| graph.node(node).reads());
        let read: BTreeSet<ValueId> = read.chain(outputs.iter().copied()).collect();
        let known = read.into_iter().filter(|value| !touched.contains(value));
        inputs.extend(known.filter_map(|value| Some((value, self.values.get(&value)?.clone()))));
        evaluate(graph, inputs, &outputs, self.evaluator)
    }

    /// The values that the whole network may compute otherwise than this one, whose nodes are the same but for
    /// arguments, parameters and numbers that are scaled.
    fn touched(&self, graph: &Graph) -> BTreeSet<ValueId> {
        let before = |after: &Node| {
            let output = after.outputs.first()?;
            match self.whole.values.get(output.0 as usize)?.def {
                Def::Node { node, .. } => Some(self.whole.node(node)),
                _ => None,
            }
        };
        let params = self.whole.params.iter().zip(&graph.params);
        let changed: Vec<bool> = params.map(|(before, after)| before.tensor != after.tensor).collect();
        let mut touched = BTreeSet::new();
        for after in &graph.nodes {
            let reads = after.reads().into_iter().any(|value| match graph.value(value).def {
                Def::Param(id) => changed[id.0 as usize],
                _ => touched.contains(&value),
            });
            if reads || before(after).is_none_or(|before| before.args != after.args) {
                touched.extend(after.outputs.iter().copied());
            }
        }
        touched
    }
}

fn outputs(graph: &Graph, inputs: &[Tensor], evaluator: &dyn Evaluate) -> Result<Vec<Tensor>, PruneError> {
    evaluate(graph, given(graph, inputs), &graph.output_values(), evaluator)
}

/// The graph's inputs with these samples, in float64 where they are floats.
pub fn given(graph: &Graph, inputs: &[Tensor]) -> Vec<(ValueId, Tensor)> {
    graph.inputs.iter().copied().zip(inputs.iter().map(widen)).collect()
}

fn evaluate(
    graph: &Graph,
    given: Vec<(ValueId, Tensor)>,
    outputs: &[ValueId],
    evaluator: &dyn Evaluate,
) -> Result<Vec<Tensor>, PruneError> {
    evaluator
        .evaluate(graph, &given, outputs)
        .map_err(|fault| PruneError::Unfit {
            place: "the network in float64".into(),
            message: fault.to_string(),
        })
}

fn widen(tensor: &Tensor) -> Tensor {
    match tensor.dtype() {
        dtype if dtype.is_float() => tensor.cast(DType::F64),
        dtype if dtype.is_complex() => tensor.cast(DType::C128),
        _ => tensor.clone(),
    }
}

/// The same graph with float64 in place of every other float (complex128 of every complex number): tensors, and element
/// types written in arguments.
///
/// # Errors
/// When a weight cannot be read.
pub fn in_float64(graph: &Graph) -> Result<Graph, WeightError> {
    let wider = |code: i64| match DType::from_code(code) {
        Some(DType::F32) => DType::F64.code(),
        Some(DType::C64) => DType::C128.code(),
        _ => None,
    };
    let mut wide = graph.clone();
    for param in &mut wide.params {
        param.tensor = widen(param.tensor.read()?).into();
    }
    for constant in &mut wide.constants {
        *constant = widen(constant);
    }
    for node in &mut wide.nodes {
        let makes =
            ["aten::zeros", "aten::ones", "aten::full", "aten::arange", "aten::empty"].contains(&node.op.as_str());
        for (name, arg) in &mut node.args {
            let asked = match arg {
                Arg::Int(code) if name == "dtype" => wider(*code),
                Arg::None if name == "dtype" && makes && node.op != "aten::arange" => DType::F64.code(),
                _ => None,
            };
            if let Some(code) = asked {
                *arg = Arg::Int(code);
            }
        }
    }
    Ok(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_seen_beside_infinities_and_numbers_that_are_none() {
        let of = |values: &[f64]| vec![Tensor::from_f64([values.len()], values)];
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for (after, before, expected) in [
            ([-inf, 1.0], [-inf, 1.0], 0.0),
            ([-inf, 2.0], [-inf, 1.0], 1.0),
            ([inf, 1.0], [-inf, 1.0], inf),
            ([3.0, 1.0], [inf, 1.0], inf),
            ([inf, 1.0], [4.0, 1.0], inf),
            ([-inf, inf], [-inf, inf], 0.0),
            ([nan, 1.0], [nan, 1.0], inf),
            ([1.0, 2.0], [1.0, 4.0], 0.5),
        ] {
            assert_eq!(
                largest_difference(&of(&after), &of(&before)),
                Ok(expected),
                "{after:?} against {before:?}"
            );
        }
    }
}
