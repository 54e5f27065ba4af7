//! The odd networks of `tests/data/golden` and their data, and a memory for cells.

use secateur::dataset::{Config, Dataset, Input, SourceConfig};
use secateur::graph::Graph;
use secateur::sensitivity::{Memory, Standing};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Values of one metric by what is masked: tables share cells, as they do in a store.
#[derive(Default)]
pub struct Remembered(Mutex<BTreeMap<Option<String>, f64>>, Mutex<Passes>);

/// Sums of passes that are not over, by their cells.
type Passes = BTreeMap<Vec<Option<String>>, Vec<Standing>>;

impl Remembered {
    pub fn len(&self) -> usize {
        self.0.lock().expect("no worker panicked").len()
    }

    /// Samples in the sums of the passes that are not over.
    pub fn standing(&self) -> usize {
        let passes = self.1.lock().expect("no worker panicked");
        passes.values().flatten().map(|one| one.samples).sum()
    }
}

impl Memory for Remembered {
    fn known(&self, digest: Option<&str>) -> Option<f64> {
        let values = self.0.lock().expect("no worker panicked");
        values.get(&digest.map(str::to_owned)).copied()
    }

    fn keep(&self, values: &[(Option<String>, f64)]) -> Result<(), String> {
        self.0
            .lock()
            .expect("no worker panicked")
            .extend(values.iter().cloned());
        Ok(())
    }

    fn pause(&self, pass: &[Option<String>], standing: &dyn Fn() -> Option<Vec<Standing>>) {
        // Numbers of all samples together stand nowhere before their end.
        let Some(standing) = standing() else { return };
        self.1
            .lock()
            .expect("no worker panicked")
            .insert(pass.to_vec(), standing);
    }

    fn resume(&self, pass: &[Option<String>]) -> Option<Vec<Standing>> {
        self.1.lock().expect("no worker panicked").get(pass).cloned()
    }

    fn over(&self, pass: &[Option<String>]) {
        self.1.lock().expect("no worker panicked").remove(pass);
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/golden")
        .join(name)
}

pub fn graph(name: &str) -> Graph {
    let model = folder(name).join("model.pt");
    let graph = secateur::readers::read_model(std::fs::read(model).expect("model.pt").into()).expect("a graph");
    assert_eq!(graph.inputs.len(), 1);
    graph
}

pub fn dataset(name: &str) -> Dataset {
    let folder = folder(name);
    let source = SourceConfig::Npz {
        path: folder.join("data.npz"),
        inputs: vec!["x".into()],
        targets: Some("y".into()),
    };
    let text = std::fs::read_to_string(folder.join("topology.json")).expect("topology.json");
    let topology: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let shape = topology["input"].as_array().expect("one sample's shape");
    let extent = |extent: &serde_json::Value| extent.as_u64().expect("an extent") as usize;
    let shape: Vec<usize> = shape.iter().map(extent).collect();
    let config = Config {
        source,
        normalize: None,
        samples: None,
        seed: 0,
        inputs: vec![Input::only(&shape)],
    };
    Dataset::open(&config).expect("a dataset")
}
