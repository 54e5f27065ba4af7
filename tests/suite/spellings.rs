//! The Python that people write (`tests/oracles/spellings.py`): a script computes what PyTorch computes, and its channels go
//! together as its trace's do.

use super::branches::{Case, compute, one_unit};
use secateur::graph::{Graph, verify};
use secateur::readers::read_model_with;
use secateur::runtime::Runtime;
use secateur::topology::{Coupling, Declared, Options, coupling, walk};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript/spellings")
}

fn read(name: &str, shape: &[usize]) -> Graph {
    let bytes = std::fs::read(folder().join(name)).expect("an archive");
    let runtime = Runtime::new();
    let declared = Declared::of_shapes(vec![shape[1..].to_vec()], &runtime);
    read_model_with(bytes.into(), &declared).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What goes together, in the same words for a script and a trace.
fn together(name: &str, graph: &Graph, shape: &[usize]) -> Coupling {
    let options = Options::of_shapes([shape.to_vec()]);
    let found = coupling(&mut walk(graph, &options, &Runtime::new()));
    assert_eq!(found.issues, [], "{name}");
    found
}

/// Holds that the first unit of every group may go.
fn cut(name: &str, graph: &Graph, case: &Case) {
    let options = Options::of_shapes([case.x.shape.clone()]);
    let runtime = Runtime::new();
    let mut walked = walk(graph, &options, &runtime);
    let found = coupling(&mut walked);
    let given = [case.x.tensor()];
    assert!(!found.groups.is_empty(), "{name}");
    for group in &found.groups {
        let worst = one_unit(&walked, &options, group, &runtime, &given);
        assert!(worst < 1e-12, "{name}: {worst}");
    }
}

#[test]
fn scripts_and_traces_compute_and_couple_alike() {
    let files = std::fs::read_dir(folder())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|ext| ext == "json"))
        .collect();
    cases.sort();
    assert!(cases.len() > 4);
    for file in cases {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("what PyTorch computed");
        let cases: Vec<Case> = serde_json::from_str(&text).expect("cases");
        let shape = &cases[0].x.shape;
        let [script, trace] = ["script", "trace"].map(|kind| {
            let graph = read(&format!("{name}.{kind}.pt"), shape);
            assert_eq!(verify(&graph), Ok(()), "{name} {kind}");
            graph
        });
        cases.iter().for_each(|case| compute(&name, &script, case));
        compute(&name, &trace, &cases[0]);
        cut(&name, &script, &cases[0]);
        let [script, trace] = [&script, &trace].map(|graph| together(&name, graph, shape));
        // A trace writes a recurrent cell as linear layers, which are layers, and a script as one operator.
        let units = |found: &Coupling| {
            let groups = found.groups.iter();
            groups
                .map(|group| (group.params.clone(), group.balance.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(units(&script), units(&trace), "{name}");
        let layers = |found: Coupling| {
            found
                .frozen
                .into_iter()
                .map(|frozen| frozen.layer)
                .collect::<Vec<String>>()
        };
        assert_eq!(layers(script), layers(trace), "{name}");
    }
}
