//! Proof by removal: the smaller network computes what the whole one computes with the same units zeroed.

use super::{PruneError, Removal, remove, zero};
use crate::graph::{Arg, Evaluate, Graph, ValueId};
use crate::tensor::{DType, Tensor};
use crate::topology::{Options, Walked};

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
    let after = outputs(&to_float64(smaller), inputs, evaluator)?;
    let before = outputs(&to_float64(zeroed), inputs, evaluator)?;
    let mut worst: f64 = 0.0;
    for (after, before) in after.iter().zip(&before) {
        if after.shape() != before.shape() {
            let message = format!("gives {:?} instead of {:?}", after.shape(), before.shape());
            return Err(PruneError::Unfit {
                place: "the smaller network".into(),
                message,
            });
        }
        let (after, before) = (after.to_f64(), before.to_f64());
        let magnitude = before.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let difference = after.iter().zip(&before).fold(0.0_f64, |largest, (a, b)| {
            // Equal infinities (a mask's) differ by nothing; what is no number proves nothing.
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

fn outputs(graph: &Graph, inputs: &[Tensor], evaluator: &dyn Evaluate) -> Result<Vec<Tensor>, PruneError> {
    let given: Vec<(ValueId, Tensor)> = graph.inputs.iter().copied().zip(inputs.iter().map(widen)).collect();
    evaluator
        .evaluate(graph, &given, &graph.output_values())
        .map_err(|fault| PruneError::Unfit {
            place: "the network in float64".into(),
            message: fault.to_string(),
        })
}

fn widen(tensor: &Tensor) -> Tensor {
    if tensor.dtype().is_float() {
        tensor.cast(DType::F64)
    } else {
        tensor.clone()
    }
}

/// The same graph with float64 in place of every other float: tensors, and element types written in arguments.
fn to_float64(graph: &Graph) -> Graph {
    const FLOAT32: i64 = 6;
    const FLOAT64: i64 = 7;
    let mut wide = graph.clone();
    wide.params
        .iter_mut()
        .for_each(|param| param.tensor = widen(&param.tensor));
    wide.constants
        .iter_mut()
        .filter(|tensor| !tensor.shape().is_empty())
        .for_each(|tensor| *tensor = widen(tensor));
    for node in &mut wide.nodes {
        let makes =
            ["aten::zeros", "aten::ones", "aten::full", "aten::arange", "aten::empty"].contains(&node.op.as_str());
        for (name, arg) in &mut node.args {
            match arg {
                Arg::Int(FLOAT32) if name == "dtype" => *arg = Arg::Int(FLOAT64),
                Arg::None if name == "dtype" && makes && node.op != "aten::arange" => *arg = Arg::Int(FLOAT64),
                _ => {}
            }
        }
    }
    wide
}
