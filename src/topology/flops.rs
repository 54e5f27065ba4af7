//! Multiply-accumulates and parameters of each layer, for one sample.

use super::walk::Walked;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::Fact;
use std::collections::{BTreeMap, BTreeSet};

/// One row of `flops.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// PyTorch module name, or `<scope>:matmul` for a product outside a layer.
    pub layer: String,
    /// The PyTorch class; `matmul` for a product.
    pub class: String,
    /// The output's shape without its batch axis.
    pub output_shape: Vec<usize>,
    pub params: u64,
    pub macs: u64,
}

/// The costs of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flops {
    /// Modules with parameters in registration order, then products in graph order.
    pub rows: Vec<Cost>,
    /// Every parameter once.
    pub params: u64,
    pub macs: u64,
}

/// Sums the walk's costs by layer. `batch` is the batch size that the walk was given.
pub fn flops(walked: &Walked, batch: usize) -> Flops {
    let graph = walked.graph;
    let batch = batch.max(1) as u64;
    let params = params_by_module(graph);
    let mut nodes: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    let mut products: Vec<(String, Vec<NodeId>)> = Vec::new();
    for (id, node) in graph.nodes() {
        match module_of(walked, id) {
            Some(module) => nodes.entry(module).or_default().push(id),
            None if walked.macs[id.0 as usize] > 0 => {
                let name = if node.scope.is_empty() {
                    "matmul".to_owned()
                } else {
                    format!("{}:matmul", node.scope)
                };
                match products.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, ids)) => ids.push(id),
                    None => products.push((name, vec![id])),
                }
            }
            None => {}
        }
    }
    let shape = |ids: &[NodeId]| {
        let first = ids.first().and_then(|&id| graph.node(id).outputs.first());
        match first.map(|&value| walked.fact(value)) {
            Some(Fact::Tensor(tensor)) => tensor.axes.shape.get(1..).unwrap_or_default().to_vec(),
            _ => Vec::new(),
        }
    };
    let macs = |ids: &[NodeId]| {
        let all = ids.iter().map(|id| walked.macs[id.0 as usize]);
        all.fold(0, u64::saturating_add) / batch
    };
    let mut rows = Vec::new();
    for module in &graph.modules {
        let own = params.get(module.path.as_str()).copied().unwrap_or(0);
        let ids = nodes.get(module.path.as_str()).map_or(&[][..], Vec::as_slice);
        if own > 0 || macs(ids) > 0 {
            rows.push(Cost {
                layer: module.path.clone(),
                class: module.class.clone(),
                output_shape: shape(ids),
                params: own,
                macs: macs(ids),
            });
        }
    }
    for (name, ids) in &products {
        rows.push(Cost {
            layer: name.clone(),
            class: "matmul".into(),
            output_shape: shape(ids),
            params: 0,
            macs: macs(ids),
        });
    }
    let total = graph
        .params
        .iter()
        .filter(|param| !param.buffer)
        .map(|param| param.tensor.numel() as u64)
        .sum();
    Flops {
        params: total,
        macs: rows.iter().map(|row| row.macs).fold(0, u64::saturating_add),
        rows,
    }
}

/// Parameters that each module registers itself, tied ones at their first name.
fn params_by_module(graph: &Graph) -> BTreeMap<&str, u64> {
    let mut found = BTreeMap::new();
    for param in graph.params.iter().filter(|param| !param.buffer) {
        let module = param.name().rsplit_once('.').map_or("", |(module, _)| module);
        *found.entry(module).or_insert(0) += param.tensor.numel() as u64;
    }
    found
}

/// The module whose parameter a node applies; of several modules, where that costs something, the one that holds them.
fn module_of<'g>(walked: &Walked<'g>, id: NodeId) -> Option<&'g str> {
    let graph = walked.graph;
    let node = graph.node(id);
    let module = |value: ValueId| {
        let param = graph.param(graph.param_of(value)?);
        param.name().rsplit_once('.').map(|(module, _)| module)
    };
    let names: BTreeSet<&str> = node.reads().into_iter().filter_map(module).collect();
    let weight = node.value("weight").and_then(module);
    let own = weight.or_else(|| names.first().copied())?;
    if weight.is_some() || walked.macs[id.0 as usize] == 0 {
        return Some(own);
    }
    names.into_iter().try_fold(own, common)
}

/// The innermost module that holds both.
fn common<'n>(a: &'n str, b: &str) -> Option<&'n str> {
    let holds = |module: &str| {
        let rest = b.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut module = a;
    while !holds(module) {
        module = module.rsplit_once('.')?.0;
    }
    Some(module)
}
