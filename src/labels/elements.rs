//! Labels element by element, for operators that only move elements: they are run on the labels themselves.

use super::axes::settle;
use super::{Axes, FREE, Keep, Label, Labels, Reason, Row, spread};
use crate::tensor::Tensor;

/// Added to every label before the move, so that a zero that an operator adds (padding) is no label.
const OFFSET: f64 = 1.0;

/// One labelled axis as a float64 tensor of the value's shape (some kernels refuse integers; float64 holds every label).
pub fn to_elements(axes: &Axes, axis: usize) -> Option<Tensor> {
    let row = axes.row(axis)?;
    let elements: Vec<f64> = spread(row, &axes.shape, axis)
        .into_iter()
        .map(|label| f64::from(label) + OFFSET)
        .collect();
    Some(Tensor::from_f64(axes.shape.clone(), &elements))
}

/// Reads moved labels back: along which axis they vary now, and which (see [`Axes`]). Values that are no label (padding
/// adds zeros) count as free.
pub fn from_elements(moved: &Tensor, keep: &Keep, labels: &mut Labels, reason: Reason) -> Vec<(usize, Row)> {
    let elements: Vec<Label> = moved
        .to_f64()
        .into_iter()
        .map(|value| {
            if value < OFFSET {
                FREE
            } else {
                (value - OFFSET) as Label
            }
        })
        .collect();
    settle(&elements, moved.shape(), 0, keep, labels, reason)
}
