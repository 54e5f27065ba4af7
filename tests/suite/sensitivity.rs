//! Sensitivity tables against what NNI 1.9 measured on the same networks, images and libtorch.

use super::golden::Remembered;
use secateur::dataset::{Config, Dataset, Input, Normalize, Samples, SourceConfig};
use secateur::mask::saliency::{Method, Ties};
use secateur::metric::Kind;
use secateur::runtime::Runtime;
use secateur::sensitivity::{
    Batching, EarlyStop, Plan, Precision, Settings, Table, Target, UNBOUNDED, layer_targets, measure, micro_batch,
    shapes,
};
use secateur::topology::{Layer, layers};
use std::path::{Path, PathBuf};

#[derive(serde::Deserialize)]
struct Index {
    samples: usize,
    batch_size: usize,
    baseline: std::collections::BTreeMap<String, f64>,
    tables: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    file: String,
    method: String,
    metric: String,
    sparsities: Option<Vec<f64>>,
    early_stop: Option<Stop>,
}

#[derive(serde::Deserialize)]
struct Stop {
    mode: String,
    value: f64,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn config(folder: &Path, samples: usize) -> (PathBuf, Config) {
    let quickstart = root().join("pipelines/quickstart");
    let (model, source, normalize, shape) = if folder.ends_with("quickstart") {
        let source = SourceConfig::Idx {
            images: quickstart.join("images.idx.gz"),
            labels: Some(quickstart.join("labels.idx.gz")),
        };
        let normalize = Normalize {
            mean: vec![0.286],
            std: vec![0.353],
        };
        (quickstart.join("model.pt"), source, Some(normalize), vec![1, 28, 28])
    } else {
        let path = folder.join("data.npz");
        let text = std::fs::read_to_string(folder.join("topology.json")).expect("topology.json");
        let topology: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let shape = serde_json::from_value(topology["input"].clone()).expect("the input's shape");
        let source = SourceConfig::Npz {
            path,
            inputs: vec!["x".into()],
            targets: Some("y".into()),
        };
        (folder.join("model.pt"), source, None, shape)
    };
    let samples = Some(Samples {
        count: samples,
        shuffle: false,
    });
    (
        model,
        Config {
            source,
            normalize,
            samples,
            seed: 0,
            inputs: vec![Input::only(&shape)],
        },
    )
}

/// Rounded to hundredths, sorted, equal ones merged.
fn rounded(sparsities: &[f64]) -> Vec<f64> {
    let mut found: Vec<f64> = sparsities
        .iter()
        .map(|sparsity| (sparsity * 100.0).round_ties_even() / 100.0)
        .collect();
    found.sort_by(f64::total_cmp);
    found.dedup();
    found
}

/// `listed` are the layers that NNI measures: Conv2d only, where the entry names none.
fn table(entry: &Entry, listed: &[&str], model: &Path, config: &Config, batch: usize) -> (Vec<Target>, Table) {
    let bytes = std::fs::read(model).expect("the model");
    let graph = secateur::readers::read_model(bytes.into()).expect("a readable model");
    let dataset = Dataset::open(config).expect("the dataset");
    let runtime = Runtime::new();
    let output = graph.output_values()[0];
    let all = layers(&graph);
    let mut wanted: Vec<Layer> = all.clone();
    wanted.sort_by_key(|layer| layer.weight);
    wanted.retain(|layer| listed.contains(&layer.name.as_str()));
    let targets = layer_targets(&wanted);
    let metric = match entry.metric.as_str() {
        "accuracy" => Kind::Accuracy,
        _ => Kind::CrossEntropy,
    };
    let method = match entry.method.as_str() {
        "l1" => Method::L1,
        "l2" => Method::L2,
        _ => Method::Level,
    };
    let early_stop = entry.early_stop.as_ref().map(|stop| match stop.mode.as_str() {
        "minimize" => EarlyStop::Minimize(stop.value),
        "maximize" => EarlyStop::Maximize(stop.value),
        "dropped" => EarlyStop::Dropped(stop.value),
        _ => EarlyStop::Raised(stop.value),
    });
    let tenths: Vec<f64> = (1..10).map(|tenths| f64::from(tenths) / 10.0).collect();
    let sparsities = rounded(entry.sparsities.as_deref().unwrap_or(&tenths));
    let first = dataset.read(0..1).expect("a sample").inputs;
    let batching = Batching::probe(&graph, &first, output, batch, &runtime).expect("a batch size");
    let walked = batching.walk(&graph, &first, &runtime);
    let known = shapes(&walked);
    let settings = Settings {
        plan: Plan {
            method,
            ties: Ties::Nni,
        },
        outputs: &[output],
        further: &[],
        precision: Precision::Float32,
        seed: 0,
        lowering: Some(&known),
        sparsities: &sparsities,
        early_stop,
        micro_batch: micro_batch(&walked, &all, &[output], batch, batching),
        pad: batching != Batching::Any,
        device: secateur::runtime::device("cpu").expect("a CPU"),
        budget: &UNBOUNDED,
        stop: &|| false,
        mine: &|_| true,
        progress: &|_, _| {},
    };
    let found = measure(
        &graph,
        &targets,
        &dataset,
        metric.build().as_ref(),
        &Remembered::default(),
        &settings,
    );
    (targets, found.expect("a table"))
}

/// Rows of NNI's CSV: name and values.
fn golden(path: &Path) -> Vec<(String, Vec<f64>)> {
    let text = std::fs::read_to_string(path).expect("a golden table");
    let rows = text.lines().skip(1).map(|line| {
        let mut cells = line.split(',');
        let name = cells.next().unwrap_or_default().to_owned();
        (name, cells.map(|cell| cell.parse().expect("a number")).collect())
    });
    rows.collect()
}

/// The tables of one network; each must have the same rows, as long, with the same values.
fn compare(name: &str) {
    let folder = root().join("tests/data/golden").join(name);
    let text = std::fs::read_to_string(folder.join("sensitivity/index.json")).expect("index.json");
    let index: Index = serde_json::from_str(&text).expect("index.json as the script writes it");
    let (model, config) = config(&folder, index.samples);
    for entry in &index.tables {
        // The quickstart's 2 000 images take long in an unoptimised build; the odd networks cover every rule.
        if name == "quickstart" && entry.file != "l1-dropped.csv" {
            continue;
        }
        let expected = golden(&folder.join("sensitivity").join(&entry.file));
        let listed: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let (targets, found) = table(entry, &listed, &model, &config, index.batch_size);
        let close = |ours: f64, theirs: f64| match entry.metric.as_str() {
            "accuracy" => (ours - theirs).abs() <= 1.0 / index.samples as f64 + 1e-12,
            _ => (ours - theirs).abs() <= 1e-4 * theirs.abs(),
        };
        let baseline = index.baseline[&entry.metric];
        assert!(
            close(found.baseline, baseline),
            "{name} {}: baseline {} for {baseline}",
            entry.file,
            found.baseline
        );
        assert_eq!(targets.len(), expected.len(), "{name} {}: rows", entry.file);
        for (at, (layer, values)) in expected.iter().enumerate() {
            assert_eq!(targets[at].name, *layer, "{name} {}: order of rows", entry.file);
            let row: Vec<f64> = found
                .cells
                .iter()
                .filter(|cell| cell.target == at)
                .map(|cell| cell.value)
                .collect();
            assert_eq!(
                row.len(),
                values.len(),
                "{name} {}, {layer}: {row:?} for {values:?}",
                entry.file
            );
            for (ours, theirs) in row.iter().zip(values) {
                assert!(
                    close(*ours, *theirs),
                    "{name} {}, {layer}: {ours} for {theirs}",
                    entry.file
                );
            }
        }
    }
}

#[test]
fn shared_network_as_nni() {
    compare("shared");
}

#[test]
fn uneven_network_as_nni() {
    compare("uneven");
}

#[test]
fn grouped_network_as_nni() {
    compare("grouped");
}

#[test]
fn hourglass_network_as_nni() {
    compare("hourglass");
}

#[test]
fn quickstart_as_nni() {
    compare("quickstart");
}
