//! What every rule's test does: the lowered graph computes what the plain one does, through oneDNN and through ATen, in
//! float32 and in bfloat16.

use super::{Kernels, Lowered, Options, Shapes, fixed, lower};
use crate::graph::{Graph, NoEvaluator};
use crate::tensor::Tensor;
use crate::topology;

/// Samples of each test.
const BATCH: usize = 4;

/// The input of a test's network.
pub struct Net {
    shape: Vec<usize>,
}

impl Net {
    pub fn image(channels: usize) -> Net {
        Net::images(channels, 6, 5)
    }

    pub fn images(channels: usize, height: usize, width: usize) -> Net {
        Net {
            shape: vec![BATCH, channels, height, width],
        }
    }

    fn shapes(&self, graph: &Graph) -> Shapes {
        let walked = topology::walk(graph, &topology::Options::of_shapes([self.shape.clone()]), &NoEvaluator);
        let known = |value| {
            let fact = walked.fact(value).as_tensor()?;
            let name = graph.value(value).name.clone();
            Some((name, (fact.axes.shape.clone(), fact.dtype)))
        };
        graph.value_ids().filter_map(known).collect()
    }
}

/// Lowers a network in every way and compares what it computes. Where `expected` is not empty it says which operators
/// work on samples when oneDNN is used, overloads behind a dot where they name another operator's form; gives them.
pub fn check(graph: &Graph, net: Net, expected: &[&str]) -> Vec<String> {
    let mut graph = graph.clone();
    for param in &mut graph.params {
        if param.name().ends_with("running_var") {
            let values = param.tensor.read().expect("a tensor in memory").to_f64();
            let values: Vec<f32> = values.iter().map(|value| value.abs() as f32 + 0.5).collect();
            param.tensor = Tensor::from_f32(param.tensor.shape(), &values).into();
        }
    }
    let mut options = Options {
        shapes: net.shapes(&graph),
        kernels: Kernels::Mkldnn,
        batch: BATCH,
        reduced: false,
    };
    let lowered = lower(&graph, &options).expect("a lawful graph");
    let ops = varying(&lowered);
    if !expected.is_empty() {
        assert_eq!(ops, expected);
    }
    for (kernels, reduced) in [
        (Kernels::Mkldnn, false),
        (Kernels::Aten, false),
        (Kernels::Mkldnn, true),
        (Kernels::Aten, true),
    ] {
        options = Options {
            kernels,
            reduced,
            ..options
        };
        let lowered = lower(&graph, &options).expect("a lawful graph");
        assert!(!lowered.sites.is_empty());
        #[cfg(feature = "torch")]
        same(&graph, &lowered, &net, &options);
    }
    ops
}

/// The operators that depend on an input, in order.
fn varying(lowered: &Lowered) -> Vec<String> {
    let fixed = fixed(&lowered.graph);
    let nodes = lowered.graph.nodes.iter();
    nodes
        .filter(|node| !fixed[node.outputs[0].0 as usize])
        .map(|node| match node.overload.as_str() {
            "binary" => format!("{}.binary", node.op),
            _ => node.op.clone(),
        })
        .collect()
}

#[cfg(feature = "torch")]
fn same(graph: &Graph, lowered: &Lowered, net: &Net, options: &Options) {
    use crate::runtime::{Runtime, has_mkldnn, has_reduced_mkldnn};

    let &Options { kernels, reduced, .. } = options;
    let (runs, tolerance) = match reduced {
        false => (has_mkldnn(), 1e-6),
        true => (has_reduced_mkldnn(), 3e-2),
    };
    if kernels == Kernels::Mkldnn && !runs {
        return;
    }
    let numel: usize = net.shape.iter().product();
    let values: Vec<f32> = (0..numel).map(|at| (at as f32 * 0.731).sin()).collect();
    let samples = Tensor::from_f32(net.shape.clone(), &values);
    let runtime = Runtime::new();
    let run = |graph: &Graph| {
        let given = [(graph.inputs[0], samples.clone())];
        let mut outputs = runtime.run(graph, &given, &graph.output_values()).expect("it runs");
        outputs.remove(0)
    };
    let (plain, fast) = (run(graph), run(&lowered.graph));
    assert_eq!((plain.shape(), plain.dtype()), (fast.shape(), fast.dtype()));
    let (plain, fast) = (plain.to_f64(), fast.to_f64());
    let largest = plain.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (at, (a, b)) in plain.iter().zip(&fast).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * largest,
            "{kernels:?}, reduced: {reduced}: element {at} is {b} instead of {a}"
        );
    }
}
