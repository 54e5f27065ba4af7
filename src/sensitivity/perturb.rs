//! What a cell does to its target: which parameters become what.
//!
//! Masks are the first perturbation; others (N:M, quantisation, low rank) will be other ways to make a [`Change`].

use super::SensitivityError;
use crate::graph::{Graph, ParamId};
use crate::mask::saliency::{Method, Ties, filter_norms, layer_mask, pruned, pruned_count};
use crate::mask::ties::layout;
use crate::mask::{Mask, Slices};
use crate::tensor::Tensor;
use crate::topology::{Coupling, Group, Layer};

/// What loses weights together: a layer, or a coupled group.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The layer's name; for a group that of its first layer.
    pub name: String,
    /// The layers of a group; empty for a layer.
    pub members: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Layer(Layer),
    /// The group, and its output layers.
    Group(Group, Vec<Layer>),
}

/// How weights are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub method: Method,
    pub ties: Ties,
}

/// One parameter and which of its elements stay.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub param: ParamId,
    pub mask: Mask,
}

impl Change {
    /// The parameter with its masked elements zeroed.
    pub fn apply(&self, tensor: &Tensor) -> Tensor {
        tensor.masked(self.mask.keep())
    }
}

/// What one cell does.
#[derive(Clone, Debug, PartialEq)]
pub struct Perturbation {
    /// Empty when nothing is masked. That of a layer's weight comes first.
    pub changes: Vec<Change>,
    /// Which output channels of one layer stay, where whole filters with their biases are masked and nothing else: the
    /// others are then known constants.
    pub channels: Option<Vec<bool>>,
    pub pruned: usize,
    pub of: usize,
}

impl Perturbation {
    /// The hash of what is changed: names of parameters and masks. Cells that mask the same share it.
    pub fn digest(&self, graph: &Graph) -> String {
        let mut hasher = blake3::Hasher::new();
        for change in &self.changes {
            let name = graph.param(change.param).name();
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            let keep: Vec<u8> = change.mask.keep().iter().map(|&keep| u8::from(keep)).collect();
            hasher.update(&(keep.len() as u64).to_le_bytes());
            hasher.update(&keep);
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// One target a layer.
pub fn layer_targets(layers: &[Layer]) -> Vec<Target> {
    let target = |layer: &Layer| Target {
        name: layer.name.clone(),
        members: Vec::new(),
        kind: Kind::Layer(layer.clone()),
    };
    layers.iter().map(target).collect()
}

/// One target a coupled group that takes output channels from one of `wanted`; `layers` are all layers of the model.
pub fn group_targets(coupling: &Coupling, layers: &[Layer], wanted: &[Layer]) -> Vec<Target> {
    let groups = coupling.groups.iter().filter(|group| {
        group
            .outputs
            .iter()
            .any(|name| wanted.iter().any(|layer| layer.name == *name))
    });
    let target = |group: &Group| {
        let outputs: Vec<Layer> = group
            .outputs
            .iter()
            .filter_map(|name| layers.iter().find(|layer| layer.name == *name))
            .cloned()
            .collect();
        Target {
            name: group.outputs[0].clone(),
            members: group.outputs.clone(),
            kind: Kind::Group(group.clone(), outputs),
        }
    };
    groups.map(target).collect()
}

impl Target {
    /// The parameters that any of its cells may change.
    pub fn params(&self, graph: &Graph) -> Vec<ParamId> {
        match &self.kind {
            Kind::Layer(layer) => std::iter::once(layer.weight).chain(layer.bias).collect(),
            Kind::Group(group, _) => group
                .params
                .iter()
                .filter_map(|param| graph.param_named(&param.name))
                .collect(),
        }
    }

    /// What masking this fraction does.
    pub fn perturbation(&self, graph: &Graph, plan: Plan, sparsity: f64) -> Result<Perturbation, SensitivityError> {
        match &self.kind {
            Kind::Layer(layer) => of_layer(graph, layer, plan, sparsity),
            Kind::Group(group, outputs) => of_group(graph, group, outputs, plan, sparsity),
        }
        .map_err(|message| SensitivityError::Layer {
            layer: self.name.clone(),
            message,
        })
    }
}

fn of_layer(graph: &Graph, layer: &Layer, plan: Plan, sparsity: f64) -> Result<Perturbation, String> {
    let read = |param| graph.param(param).tensor.read().map_err(|fault| fault.to_string());
    let weight = read(layer.weight)?;
    let bias = layer.bias.map(read).transpose()?;
    let layout = layout(layer);
    let masks =
        layer_mask(weight, bias, layout, plan.method, sparsity, plan.ties).map_err(|fault| fault.to_string())?;
    let (pruned, of, channels) = match plan.method {
        Method::Level => (masks.weight.pruned(), weight.numel(), None),
        _ => {
            let filters = Slices::filters(weight.shape(), layout).ok_or("its weight has no filters")?;
            let stays = |filter: usize| masks.weight.kept(&filters, filter).0 > 0;
            let channels: Vec<bool> = (0..filters.count()).map(stays).collect();
            let gone = channels.iter().filter(|stays| !**stays).count();
            (gone, filters.count(), Some(channels))
        }
    };
    let mut changes = vec![Change {
        param: layer.weight,
        mask: masks.weight,
    }];
    if let (Some(param), Some(mask)) = (layer.bias, masks.bias) {
        changes.push(Change { param, mask });
    }
    changes.retain(|change| change.mask.pruned() > 0);
    Ok(Perturbation {
        changes,
        channels,
        pruned,
        of,
    })
}

/// Zeroes every parameter of the units with the smallest summed filter norms, equally many of each balanced block; at
/// least one unit (of each block) stays.
fn of_group(
    graph: &Graph,
    group: &Group,
    outputs: &[Layer],
    plan: Plan,
    sparsity: f64,
) -> Result<Perturbation, String> {
    let scores = unit_scores(graph, group, outputs, plan)?;
    let blocks: Vec<Vec<usize>> = if group.balance.is_empty() {
        vec![(0..group.units).collect()]
    } else {
        group.balance.clone()
    };
    let mut gone = vec![false; group.units];
    for block in &blocks {
        let k = pruned_count(block.len(), sparsity).min(block.len().saturating_sub(1));
        let of_block: Vec<f64> = block.iter().map(|&unit| scores[unit]).collect();
        for (&unit, goes) in block.iter().zip(pruned(&of_block, k, Ties::Exact)) {
            gone[unit] = goes;
        }
    }
    let mut changes: Vec<Change> = Vec::new();
    for param in &group.params {
        let id = graph
            .param_named(&param.name)
            .ok_or_else(|| format!("{} is no parameter", param.name))?;
        let at = match changes.iter().position(|change| change.param == id) {
            Some(at) => at,
            None => {
                changes.push(Change {
                    param: id,
                    mask: Mask::full(graph.param(id).tensor.shape()),
                });
                changes.len() - 1
            }
        };
        let indices = param
            .indices
            .iter()
            .zip(&gone)
            .filter(|(_, gone)| **gone)
            .flat_map(|(indices, _)| indices);
        for &index in indices {
            changes[at].mask.clear(param.axis, index);
        }
    }
    changes.retain(|change| change.mask.pruned() > 0);
    Ok(Perturbation {
        changes,
        channels: None,
        pruned: gone.iter().filter(|gone| **gone).count(),
        of: group.units,
    })
}

/// The summed norms of the filters that each unit takes.
fn unit_scores(graph: &Graph, group: &Group, outputs: &[Layer], plan: Plan) -> Result<Vec<f64>, String> {
    let mut scores = vec![0.0; group.units];
    for layer in outputs {
        let weight = graph.param(layer.weight).tensor.read();
        let weight = weight.map_err(|fault| fault.to_string())?;
        let name = graph.param(layer.weight).name();
        let norms = filter_norms(weight, layout(layer), plan.method).map_err(|fault| fault.to_string())?;
        let axis = layer.output_axis();
        let extent = weight.shape().get(axis).copied().unwrap_or(1).max(1);
        let Some(param) = group
            .params
            .iter()
            .find(|param| param.name == name && param.axis == axis)
        else {
            continue;
        };
        for (score, indices) in scores.iter_mut().zip(&param.indices) {
            let of = |&index: &usize| {
                if layer.depthwise() {
                    // Position i is the channel that makes as many filters, one after the other.
                    let each = norms.len() / extent;
                    norms[index * each..(index + 1) * each].iter().sum::<f64>()
                } else {
                    // A transposed convolution's axis counts the filters of one group: position j is filter j of each.
                    norms[index..].iter().step_by(extent).sum::<f64>()
                }
            };
            *score += indices.iter().map(of).sum::<f64>();
        }
    }
    Ok(scores)
}
