//! The graph made fast: the same numbers (but for rounding) from fewer and better operators.
//!
//! Owns the rules, one a file, their order, and the verifier's run after each. A rule takes a graph and gives a graph;
//! what it cannot read it leaves alone, so whatever is not fused runs plain. Deliberately knows nothing of libtorch (which
//! operators a build has is an argument), of masks and of programs.
//!
//! Convolutions travel between the rules as one operator of our own, `lower::convolution`, that has room for a bias, a
//! residual and an activation; the last rule turns it into operators that libtorch has. What the rules compute of weights
//! (folded norms, packed weights) are ordinary nodes that depend on no input: whoever runs the graph computes them once
//! ([`fixed`]), and once a variant where a variant changes a parameter.

mod activation;
mod convolution;
mod dense;
mod edit;
mod emit;
mod norm;
mod reduced;
mod residual;
mod site;
#[cfg(test)]
mod tests;

pub use edit::Editor;
pub use site::{Activation, Site};

use crate::graph::{Def, Fault, Graph, Type, ValueId, verify};
use crate::tensor::DType;
use std::collections::BTreeMap;

/// Shapes and element types of values, by name.
pub type Shapes = BTreeMap<String, (Vec<usize>, DType)>;

/// What convolutions become at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// oneDNN's fused operators on packed weights, which only some builds of libtorch have.
    Mkldnn,
    /// ATen's operators.
    Aten,
}

/// What lowering is told beside the graph.
#[derive(Clone, Debug)]
pub struct Options {
    pub shapes: Shapes,
    pub kernels: Kernels,
    /// Samples of one forward, whatever the first axes of `shapes` say.
    pub batch: usize,
    /// Whether arithmetic is in bfloat16; inputs, parameters and outputs stay float32.
    pub reduced: bool,
}

/// A lowered graph.
#[derive(Clone, Debug)]
pub struct Lowered {
    pub graph: Graph,
    /// Where layers end whose filters may become constants.
    pub sites: Vec<Site>,
}

/// Runs every rule.
///
/// # Errors
/// When a rule leaves a graph that breaks a law: a bug of that rule, which the fault names.
pub fn lower(graph: &Graph, options: &Options) -> Result<Lowered, Fault> {
    let checked = |rule: &str, graph: Graph| match verify(&graph) {
        Ok(()) => Ok(graph),
        Err(fault) => Err(Fault {
            message: format!("{} (after the lowering rule {rule})", fault.message),
            ..fault
        }),
    };
    let mut graph = checked("convolution", convolution::apply(graph.clone(), &options.shapes))?;
    graph = checked("norm", norm::apply(graph))?;
    graph = checked("residual", residual::apply(graph, &options.shapes))?;
    graph = checked("activation", activation::apply(graph))?;
    if options.reduced {
        graph = checked("reduced", reduced::apply(graph))?;
    }
    let named = site::find(&graph);
    let (dense, made) = dense::apply(graph, options);
    graph = checked("dense", dense)?;
    graph = checked("emit", emit::apply(graph, options, &made))?;
    let sites = named.into_iter().filter_map(|site| site.resolve(&graph)).collect();
    Ok(Lowered { graph, sites })
}

/// The graph as it is, with arithmetic in bfloat16.
///
/// # Errors
/// As [`lower`].
pub fn reduce(graph: &Graph) -> Result<Lowered, Fault> {
    let graph = reduced::apply(graph.clone());
    verify(&graph)?;
    Ok(Lowered {
        graph,
        sites: Vec::new(),
    })
}

/// Which values depend on parameters and constants only.
pub fn fixed(graph: &Graph) -> Vec<bool> {
    let mut fixed: Vec<bool> = graph
        .values
        .iter()
        .map(|value| !matches!(value.def, Def::Input(_)))
        .collect();
    for node in &graph.nodes {
        let all = node.reads().iter().all(|value| fixed[value.0 as usize]);
        node.outputs.iter().for_each(|value| fixed[value.0 as usize] = all);
    }
    fixed
}

/// The fixed tensors that nodes make and that others, or the outputs, read: what is computed once.
pub fn prelude(graph: &Graph) -> Vec<ValueId> {
    let fixed = fixed(graph);
    let is_fixed = |value: &ValueId| fixed[value.0 as usize];
    let varying = |node: &&crate::graph::Node| node.outputs.iter().any(|value| !is_fixed(value));
    let read = graph.nodes.iter().filter(varying).flat_map(crate::graph::Node::reads);
    let mut found: Vec<ValueId> = read
        .chain(graph.output_values())
        .filter(is_fixed)
        .filter(|&value| matches!(graph.value(value).def, Def::Node { .. }))
        .filter(|&value| graph.value(value).ty == Type::Tensor)
        .collect();
    found.sort();
    found.dedup();
    found
}
