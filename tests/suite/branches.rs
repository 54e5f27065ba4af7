//! Scripts that branch on data and on shapes (`tests/oracles/branches.py`): the graph goes every way that PyTorch goes.

use secateur::graph::{Graph, verify};
use secateur::prune::{Removal, proof};
use secateur::readers::read_model;
use secateur::runtime::Runtime;
use secateur::tensor::Tensor;
use secateur::topology::{Group, Options, Walked, coupling, walk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(serde::Deserialize)]
pub(super) struct Flat {
    pub(super) shape: Vec<usize>,
    values: Vec<f32>,
}

#[derive(serde::Deserialize)]
pub(super) struct Case {
    pub(super) x: Flat,
    y: Flat,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript/branches")
}

fn read(name: &str) -> Graph {
    let bytes = std::fs::read(folder().join(format!("{name}.pt"))).expect("a script");
    read_model(bytes.into()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_way_through_a_script_is_pytorchs() {
    let text = std::fs::read_to_string(folder().join("branches.json")).expect("what PyTorch computed");
    let networks: BTreeMap<String, Vec<Case>> = serde_json::from_str(&text).expect("cases of each network");
    assert_eq!(networks.len(), 5);
    for (name, cases) in networks {
        let graph = read(&name);
        assert_eq!(verify(&graph), Ok(()), "{name}");
        cases.iter().for_each(|case| compute(&name, &graph, case));
    }
}

impl Flat {
    pub(super) fn tensor(&self) -> Tensor {
        Tensor::from_f32(self.shape.clone(), &self.values)
    }
}

/// The largest difference that the removal of a group's first unit makes.
pub(super) fn one_unit(walked: &Walked, options: &Options, group: &Group, runtime: &Runtime, given: &[Tensor]) -> f64 {
    let param = &group.params[0];
    let id = walked.graph.param_named(&param.name).expect("a parameter");
    let removal = Removal::of_indices(walked, id, param.axis, &param.indices[0]).expect("what may go");
    proof(walked, options, &removal, runtime, given).expect("a proof")
}

/// Holds that a graph computes what PyTorch computed.
pub(super) fn compute(name: &str, graph: &Graph, case: &Case) {
    let x = case.x.tensor();
    let found = Runtime::new().run(graph, &[(graph.inputs[0], x)], &graph.output_values());
    let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(found[0].shape(), case.y.shape, "{name}");
    for (found, expected) in found[0].to_f32().iter().zip(&case.y.values) {
        assert!((found - expected).abs() < 1e-5, "{name}: {found} for {expected}");
    }
}

/// (groups, frozen layers, operators that are not understood)
fn known_of(name: &str) -> (usize, Vec<String>, Vec<String>) {
    let graph = read(name);
    let options = Options::of_shapes([vec![2, 2, 4, 6]]);
    let runtime = Runtime::new();
    let mut walked = walk(&graph, &options, &runtime);
    let found = coupling(&mut walked);
    let x = Tensor::from_f64(
        [2, 2, 4, 6],
        &(0..96).map(|at| f64::from(at % 7) - 3.0).collect::<Vec<f64>>(),
    );
    for group in &found.groups {
        let difference = one_unit(&walked, &options, group, &runtime, std::slice::from_ref(&x));
        assert!(difference < 1e-12, "{name}: {difference}");
    }
    let frozen = found.frozen.into_iter().map(|frozen| frozen.layer).collect();
    (
        found.groups.len(),
        frozen,
        found.issues.into_iter().map(|issue| issue.op).collect(),
    )
}

#[test]
fn a_branch_on_data_freezes_what_it_touches_and_no_more() {
    let (groups, frozen, issues) = known_of("early");
    // c lies before the branches; e is used in each of them, so that what it reads stays.
    assert_eq!((groups, frozen), (2, ["d", "e", "a", "b"].map(String::from).to_vec()));
    assert!(
        !issues.is_empty() && issues.iter().all(|op| op == "prim::If"),
        "{issues:?}"
    );
}

#[test]
fn a_branch_on_sizes_that_are_given_is_understood() {
    assert_eq!(known_of("windows"), (1, vec!["b".to_owned()], Vec::new()));
}
