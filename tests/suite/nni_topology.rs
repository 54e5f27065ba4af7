//! `compat: nni` against what NNI 2.10.1 said of the odd networks in `tests/data/golden`.

use secateur::graph::NoEvaluator;
use secateur::topology::{Options, nni_sets, walk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(serde::Deserialize)]
struct Golden {
    input: Vec<usize>,
    channel: Vec<Vec<String>>,
    input_channel: serde_json::Value,
    group: Vec<(String, usize)>,
}

fn networks() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let entries = std::fs::read_dir(folder).expect("golden files");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    found.retain(|path| path.join("topology.json").exists() && path.join("model.pt").exists());
    found.sort();
    found
}

fn sets(sets: impl IntoIterator<Item = Vec<String>>) -> BTreeSet<BTreeSet<String>> {
    sets.into_iter().map(|set| set.into_iter().collect()).collect()
}

#[test]
fn sets_are_those_of_nni() {
    let networks = networks();
    assert!(networks.len() >= 3, "the golden networks are missing");
    for folder in networks {
        let text = std::fs::read_to_string(folder.join("topology.json")).expect("topology.json");
        let golden: Golden = serde_json::from_str(&text).expect("topology.json as NNI's script writes it");
        let bytes = std::fs::read(folder.join("model.pt")).expect("model.pt");
        let graph = secateur::readers::read_model(bytes.into()).expect("a readable model");
        let mut shape = vec![2];
        shape.extend(golden.input);
        let walked = walk(&graph, &Options::of_shapes([shape]), &NoEvaluator);
        let found = nni_sets(&walked);
        assert_eq!(
            sets(found.channel),
            sets(golden.channel),
            "channel sets of {}",
            folder.display()
        );
        if let Ok(expected) = serde_json::from_value::<Vec<Vec<String>>>(golden.input_channel) {
            assert_eq!(
                sets(found.input_channel),
                sets(expected),
                "input-channel sets of {}",
                folder.display()
            );
        }
        let group: BTreeMap<String, usize> = found.group.into_iter().map(|(name, of, _)| (name, of)).collect();
        assert_eq!(
            group,
            golden.group.into_iter().collect(),
            "groups of {}",
            folder.display()
        );
    }
}
