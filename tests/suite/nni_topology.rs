//! `compat: nni` against what NNI 2.10.1 said of the odd networks in `tests/data/golden`.

use secateur::runtime::Runtime;
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

/// Every torchvision network that NNI survives: `SECATEUR_ZOO=DIR cargo test … zoo -- --ignored`, where DIR holds the
/// traced archives as `torchvision-NAME.pt`.
#[test]
#[ignore = "needs a folder of traced torchvision models"]
fn sets_of_the_zoo_are_those_of_nni() {
    let zoo = PathBuf::from(std::env::var_os("SECATEUR_ZOO").expect("SECATEUR_ZOO names a folder"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/nni_topology");
    let mut compared = 0;
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(folder).expect("golden files") {
        let path = entry.expect("entry").path();
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        let Ok(bytes) = std::fs::read(zoo.join(format!("torchvision-{name}.pt"))) else {
            continue;
        };
        let Ok(golden) = serde_json::from_str::<Golden>(&std::fs::read_to_string(&path).expect("a golden file")) else {
            continue;
        };
        let graph = secateur::readers::read_model(bytes.into()).expect("a readable model");
        compared += 1;
        faults.extend(compare(&name, &graph, golden));
    }
    println!("{compared} networks compared");
    assert!(compared > 0 && faults.is_empty(), "{}", faults.join("\n"));
}

/// How a network's sets differ from NNI's.
fn compare(name: &str, graph: &secateur::graph::Graph, golden: Golden) -> Vec<String> {
    let mut shape = vec![2];
    shape.extend(golden.input);
    let walked = walk(graph, &Options::of_shapes([shape]), &Runtime::new());
    let found = nni_sets(&walked);
    let mut faults = Vec::new();
    let mut hold = |what: &str, ours: BTreeSet<BTreeSet<String>>, theirs: BTreeSet<BTreeSet<String>>| {
        let (extra, missing) = (ours.difference(&theirs), theirs.difference(&ours));
        faults.extend(extra.map(|set| format!("{name}: {what} set {set:?} is not NNI's")));
        faults.extend(missing.map(|set| format!("{name}: {what} set {set:?} of NNI is missing")));
    };
    hold("channel", sets(found.channel), sets(golden.channel));
    if let Ok(expected) = serde_json::from_value::<Vec<Vec<String>>>(golden.input_channel) {
        hold("input-channel", sets(found.input_channel), sets(expected));
    }
    let group: BTreeMap<String, usize> = found.group.into_iter().map(|(name, of, _)| (name, of)).collect();
    let expected: BTreeMap<String, usize> = golden.group.into_iter().collect();
    if group != expected {
        faults.push(format!("{name}: groups are {group:?} instead of {expected:?}"));
    }
    faults
}

fn sets(sets: impl IntoIterator<Item = Vec<String>>) -> BTreeSet<BTreeSet<String>> {
    sets.into_iter().map(|set| set.into_iter().collect()).collect()
}

#[test]
fn sets_are_those_of_nni() {
    let networks = networks();
    assert!(networks.len() >= 7, "the golden networks are missing");
    let mut faults = Vec::new();
    for folder in networks {
        let text = std::fs::read_to_string(folder.join("topology.json")).expect("topology.json");
        let golden: Golden = serde_json::from_str(&text).expect("topology.json as NNI's script writes it");
        let bytes = std::fs::read(folder.join("model.pt")).expect("model.pt");
        let graph = secateur::readers::read_model(bytes.into()).expect("a readable model");
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        faults.extend(compare(name, &graph, golden));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
