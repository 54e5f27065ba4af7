//! Dependency sets: layers that lose the same channels, read off the labels.

use super::layers::{Layer, layers};
use super::walk::Walked;
use crate::labels::{FROZEN, Label};
use std::collections::{BTreeMap, BTreeSet};

/// Layers with filters that share at least one unit of output channels, in graph order; a layer tied to none is a set of
/// its own.
pub fn channel_sets(walked: &Walked) -> Vec<Vec<String>> {
    let layers: Vec<Layer> = with_filters(walked);
    sets(walked, &layers, |layer| {
        walked.labels.row(layer.weight, layer.output_axis())
    })
}

/// The same for input channels.
pub fn input_channel_sets(walked: &Walked) -> Vec<Vec<String>> {
    let layers: Vec<Layer> = with_filters(walked);
    sets(walked, &layers, |layer| {
        let axis = if layer.depthwise() { 0 } else { layer.input_axis()? };
        walked.labels.row(layer.weight, axis)
    })
}

fn with_filters(walked: &Walked) -> Vec<Layer> {
    let mut found = layers(walked.graph);
    found.retain(|layer| layer.input_axis().is_some());
    found
}

fn sets(walked: &Walked, layers: &[Layer], row: impl Fn(&Layer) -> Option<Vec<Label>>) -> Vec<Vec<String>> {
    let mut set_of: Vec<usize> = (0..layers.len()).collect();
    let mut first: BTreeMap<Label, usize> = BTreeMap::new();
    for (at, layer) in layers.iter().enumerate() {
        for label in row(layer).unwrap_or_default() {
            let root = walked.labels.find(label);
            if root == FROZEN {
                continue;
            }
            let other = *first.entry(root).or_insert(at);
            let (from, into) = (set_of[at], set_of[other]);
            if from != into {
                let (from, into) = (from.max(into), from.min(into));
                set_of
                    .iter_mut()
                    .filter(|set| **set == from)
                    .for_each(|set| *set = into);
            }
        }
    }
    let mut sets: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (layer, set) in layers.iter().zip(set_of) {
        sets.entry(set).or_default().push(layer.name.clone());
    }
    sets.into_values().collect()
}

/// For each convolution, in graph order, the number that its count of filters must stay a multiple of: the least common
/// multiple of its own groups, of those of the convolutions that read it, and of the groups in which a norm takes its
/// channels. A depthwise convolution counts as 1.
pub fn conv_group_multiples(walked: &Walked) -> Vec<(String, usize)> {
    let layers = layers(walked.graph);
    let mut asked: BTreeMap<Label, BTreeSet<usize>> = BTreeMap::new();
    for multiple in walked.labels.multiples() {
        for &label in &multiple.row {
            asked.entry(walked.labels.find(label)).or_default().insert(multiple.of);
        }
    }
    let own = |layer: &Layer| {
        if layer.depthwise() { 1 } else { layer.conv_groups }
    };
    layers
        .iter()
        .filter(|layer| layer.is_convolution())
        .map(|layer| {
            let row = walked.labels.row(layer.weight, layer.output_axis()).unwrap_or_default();
            let roots: BTreeSet<Label> = row.into_iter().map(|label| walked.labels.find(label)).collect();
            let read = roots
                .iter()
                .filter(|&&root| root != FROZEN)
                .filter_map(|root| asked.get(root))
                .flatten();
            (
                layer.name.clone(),
                read.fold(own(layer), |multiple, &groups| lcm(multiple, groups)),
            )
        })
        .collect()
}

/// The greatest common divisor; that of 0 and a number is the number.
pub(super) fn gcd(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    x
}

/// The least common multiple; 0 where one is 0.
pub(super) fn lcm(a: usize, b: usize) -> usize {
    a.checked_div(gcd(a, b)).map_or(0, |quotient| quotient * b)
}
