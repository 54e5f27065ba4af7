//! Repaired masks against what NNI 2.10.1 made of the same ones.

use secateur::graph::NoEvaluator;
use secateur::mask::conflict::{Rules, masked_axis, repair};
use secateur::mask::{file, ties};
use secateur::topology::{Options, nni_sets, walk};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(serde::Deserialize)]
struct Golden {
    input: Vec<usize>,
    masks: BTreeMap<String, String>,
}

fn compare(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/data/golden").join(name);
    let text = std::fs::read_to_string(folder.join("topology.json")).expect("topology.json");
    let golden: Golden = serde_json::from_str(&text).expect("topology.json as the script writes it");
    assert!(!golden.masks.is_empty());
    // The quickstart's model and masks are the example's own.
    let example = root.join("pipelines").join(name);
    let own = if folder.join("model.pt").exists() {
        &folder
    } else {
        &example
    };
    let graph =
        secateur::readers::read_model(std::fs::read(own.join("model.pt")).expect("model.pt").into()).expect("a model");
    let mut shape = vec![2];
    shape.extend(&golden.input);
    let walked = walk(&graph, &Options::of_shapes([shape]), &NoEvaluator);
    let read = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        file::read(bytes.into(), "masks").expect("masks")
    };
    for (before, after) in &golden.masks {
        let mut masks = read(&own.join(before));
        let axis = masked_axis(&masks, &ties::convolutions(&graph));
        let layers = ties::nni(&walked, &nni_sets(&walked), axis);
        repair(&mut masks, &layers, axis, Rules::Nni).expect("a repair");
        let expected = read(&folder.join(after));
        assert_eq!(masks.len(), expected.len(), "{name} {before}");
        for (layer, mask) in expected.iter() {
            let ours = masks.get(layer).expect("the same layers");
            assert_eq!(ours.weight, mask.weight, "{name} {before}: weight of {layer}");
            assert_eq!(ours.bias, mask.bias, "{name} {before}: bias of {layer}");
        }
    }
}

#[test]
fn shared_masks_as_nni() {
    compare("shared");
}

#[test]
fn uneven_masks_as_nni() {
    compare("uneven");
}

#[test]
fn grouped_masks_as_nni() {
    compare("grouped");
}

#[test]
fn hourglass_masks_as_nni() {
    compare("hourglass");
}

#[test]
fn quickstart_masks_as_nni() {
    compare("quickstart");
}
