//! Which filters a model ties together, as mask conflicts need it.

use super::Layout;
use super::conflict::{Axis, TiedLayer};
use crate::graph::Graph;
use crate::labels::{FROZEN, Label};
use crate::topology::{Layer, LayerKind, NniSets, Walked, conv_group_multiples, layers};
use std::collections::{BTreeMap, BTreeSet};

/// The layout of a layer's filters; an embedding's channels are the columns of its table.
pub fn layout(layer: &Layer) -> Layout {
    match layer.kind {
        LayerKind::TransposedConvolution => Layout {
            transposed: true,
            conv_groups: layer.conv_groups,
        },
        LayerKind::TransposedLinear | LayerKind::Embedding => Layout {
            transposed: true,
            conv_groups: 1,
        },
        LayerKind::Convolution | LayerKind::Linear => Layout {
            transposed: false,
            conv_groups: layer.conv_groups,
        },
    }
}

fn tied(walked: &Walked, layer: &Layer, classes: Vec<Option<u32>>, multiple: (usize, usize)) -> TiedLayer {
    TiedLayer {
        name: layer.name.clone(),
        shape: walked.graph.param(layer.weight).tensor.shape().to_vec(),
        layout: layout(layer),
        classes,
        follows: false,
        multiple: multiple.0,
        least: multiple.1,
    }
}

/// The exact ties, read off the labels. For filters the walk should not tie the groups of convolutions
/// ([`crate::topology::Options::tie_groups`]): that their filters go equally often is asked by the multiples.
pub fn exact(walked: &Walked, axis: Axis) -> Vec<TiedLayer> {
    let multiples: BTreeMap<String, usize> = conv_group_multiples(walked).into_iter().collect();
    let class = |label: &Label| {
        let root = walked.labels.find(*label);
        (root != FROZEN).then_some(root)
    };
    let of_layer = |layer: &Layer| {
        let at = match axis {
            Axis::Filters => Some(layer.output_axis()),
            Axis::Inputs => layer.input_axis(),
        };
        let row = at
            .and_then(|at| walked.labels.row(layer.weight, at))
            .unwrap_or_default();
        let mut classes: Vec<Option<u32>> = row.iter().map(class).collect();
        if axis == Axis::Filters && layer.kind == LayerKind::TransposedConvolution {
            classes = if layer.depthwise() {
                // The axis counts channels; the filters of each follow one another.
                let shape = walked.graph.param(layer.weight).tensor.shape();
                let each = shape.get(1).copied().unwrap_or(1);
                classes
                    .into_iter()
                    .flat_map(|class| std::iter::repeat_n(class, each))
                    .collect()
            } else {
                // The axis counts the filters of one group; each group makes the same ones.
                classes.repeat(layer.conv_groups)
            };
        }
        let multiple = multiples.get(&layer.name).copied().unwrap_or(1);
        TiedLayer {
            follows: layer.depthwise(),
            ..tied(walked, layer, classes, (multiple, multiple))
        }
    };
    layers(walked.graph).iter().map(of_layer).collect()
}

/// NNI's ties: position i of every layer of a set goes with position i of the others.
pub fn nni(walked: &Walked, sets: &NniSets, axis: Axis) -> Vec<TiedLayer> {
    let found = match axis {
        Axis::Filters => &sets.channel,
        Axis::Inputs => &sets.input_channel,
    };
    let mut first: BTreeMap<&str, u32> = BTreeMap::new();
    let all = layers(walked.graph);
    let width = all
        .iter()
        .flat_map(|layer| walked.graph.param(layer.weight).tensor.shape())
        .max()
        .copied()
        .unwrap_or(1);
    for (at, set) in found.iter().enumerate().filter(|(_, set)| set.len() > 1) {
        let start = u32::try_from(at * width).unwrap_or(u32::MAX - width as u32);
        first.extend(set.iter().map(|name| (name.as_str(), start)));
    }
    let multiples: BTreeMap<&str, (usize, usize)> = sets
        .group
        .iter()
        .map(|(name, multiple, least)| (name.as_str(), (*multiple, *least)))
        .collect();
    let of_layer = |layer: &Layer| {
        let shape = walked.graph.param(layer.weight).tensor.shape();
        let slices = match axis {
            Axis::Filters => super::Slices::filters(shape, layout(layer)),
            Axis::Inputs => super::Slices::inputs(shape, layout(layer)),
        };
        let count = slices.map_or(0, |slices| slices.count()) as u32;
        let classes = (0..count)
            .map(|at| first.get(layer.name.as_str()).map(|start| start + at))
            .collect();
        tied(
            walked,
            layer,
            classes,
            multiples.get(layer.name.as_str()).copied().unwrap_or((1, 1)),
        )
    };
    all.iter().map(of_layer).collect()
}

/// The convolutions whose masks tell which axis is masked.
pub fn convolutions(graph: &Graph) -> BTreeSet<String> {
    let convolutions = layers(graph)
        .into_iter()
        .filter(|layer| layer.kind == LayerKind::Convolution);
    convolutions.map(|layer| layer.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{Builder, ints};
    use crate::graph::{Arg, NoEvaluator};
    use crate::topology::{Options, walk};

    #[test]
    fn filters_of_a_depthwise_transposed_convolution_go_with_their_channel() {
        let mut b = Builder::default();
        let x = b.input();
        let x = b.conv("first", x, 3, 4, 1);
        let weight = b.param("up.weight", &[4, 2, 1, 1]);
        let read = [("input", Arg::Value(x)), ("weight", Arg::Value(weight))];
        let args = [
            ("stride", ints(&[1, 1])),
            ("padding", ints(&[0, 0])),
            ("groups", Arg::Int(4)),
        ];
        let more = [("output_padding", ints(&[0, 0])), ("dilation", ints(&[1, 1]))];
        let up = b.op("conv_transpose2d", &[&read[..], &args, &more].concat());
        let last = b.conv("last", up, 8, 3, 1);
        let graph = b.finish(last);
        let walked = walk(&graph, &Options::of_shapes([vec![1, 3, 4, 4]]), &NoEvaluator);
        let tied = exact(&walked, Axis::Filters);
        let [first, up, _] = &tied[..] else {
            panic!("three layers")
        };
        let twice = |class: &Option<u32>| [*class; 2];
        assert_eq!(up.classes, first.classes.iter().flat_map(twice).collect::<Vec<_>>());
        assert!(first.classes.iter().all(Option::is_some), "nothing is frozen");
    }
}
