//! Sensitivity tables against those of NNI 1.9 in `tests/data/golden`: accuracies within one sample, losses to 1e-4, the
//! same rows, and rows that stop at the same place.

use super::golden::{self, Remembered};
use secateur::graph::Graph;
use secateur::mask::saliency::{Method, Ties};
use secateur::metric::Kind;
use secateur::runtime::{Runtime, device};
use secateur::sensitivity::{Batching, EarlyStop, Plan, Settings, Target, layer_targets, measure};
use secateur::topology::{Layer, LayerKind, layers};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(serde::Deserialize)]
struct Golden {
    samples: usize,
    batch_size: usize,
    tables: Vec<Asked>,
}

#[derive(serde::Deserialize)]
struct Asked {
    file: String,
    method: String,
    metric: String,
    sparsities: Option<Vec<f64>>,
    early_stop: Option<Stop>,
    layers: Option<Vec<String>>,
}

#[derive(serde::Deserialize)]
struct Stop {
    mode: String,
    value: f64,
}

/// What NNI 1.9 masks, in its order: convolutions that are not transposed, as they were registered.
fn wanted(graph: &Graph, names: Option<&[String]>) -> Vec<Layer> {
    let mut found = layers(graph);
    found.retain(|layer| layer.kind == LayerKind::Convolution);
    found.retain(|layer| names.is_none_or(|names| names.contains(&layer.name)));
    found.sort_by_key(|layer| layer.weight);
    found
}

/// NNI's table: the header's sparsities, then rows by layer.
fn table(path: &Path) -> (Vec<f64>, Vec<(String, Vec<f64>)>) {
    let text = std::fs::read_to_string(path).expect("a table");
    let mut lines = text.lines();
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let header = lines.next().expect("a header").split(',').skip(1).map(number).collect();
    let rows = lines.map(|line| {
        let (name, values) = line.split_once(',').unwrap_or((line, ""));
        let values = values.split(',').filter(|text| !text.is_empty()).map(number).collect();
        (name.to_owned(), values)
    });
    (header, rows.collect())
}

fn check(name: &str) {
    let graph = golden::graph(name);
    let dataset = golden::dataset(name);
    let folder = golden::folder(name);
    let text = std::fs::read_to_string(folder.join("sensitivity/index.json")).expect("index.json");
    let golden: Golden = serde_json::from_str(&text).expect("index.json as NNI's script writes it");
    assert_eq!(dataset.len(), golden.samples, "{name}");
    let output = graph.output_values()[0];
    let probe = Batching::probe(
        &graph,
        dataset.sample_shape(),
        output,
        golden.batch_size,
        &Runtime::new(),
    );
    let batching = probe.expect("the model runs with some batch size");
    let micro_batch = match batching {
        Batching::Any => golden.batch_size,
        Batching::Fixed(n) => n,
    };
    let mut memories: BTreeMap<&str, Remembered> = BTreeMap::new();
    for asked in &golden.tables {
        // The other tables would take minutes here; the odd networks have them all.
        if name == "quickstart" && !["l1-accuracy.csv", "l1-dropped.csv"].contains(&asked.file.as_str()) {
            continue;
        }
        let memory = memories.entry(&asked.metric).or_default();
        let (sparsities, rows) = table(&folder.join("sensitivity").join(&asked.file));
        if let Some(given) = &asked.sparsities {
            assert_eq!(given.len(), sparsities.len(), "{}: no two of these merge", asked.file);
        }
        let targets: Vec<Target> = layer_targets(&wanted(&graph, asked.layers.as_deref()));
        let metric = match asked.metric.as_str() {
            "accuracy" => Kind::Accuracy,
            "cross_entropy" => Kind::CrossEntropy,
            other => panic!("{other}: no metric of NNI's script"),
        };
        let settings = Settings {
            plan: Plan {
                method: match asked.method.as_str() {
                    "l1" => Method::L1,
                    "l2" => Method::L2,
                    _ => Method::Level,
                },
                ties: Ties::Nni,
            },
            sparsities: &sparsities,
            early_stop: asked.early_stop.as_ref().map(|stop| match stop.mode.as_str() {
                "minimize" => EarlyStop::Minimize(stop.value),
                "maximize" => EarlyStop::Maximize(stop.value),
                "dropped" => EarlyStop::Dropped(stop.value),
                _ => EarlyStop::Raised(stop.value),
            }),
            micro_batch,
            pad: batching != Batching::Any,
            device: device("cpu").expect("a CPU"),
            stop: &|| false,
            progress: &|_, _| {},
        };
        let place = format!("{name}/{}", asked.file);
        let found = measure(&graph, &targets, &dataset, metric.build().as_ref(), memory, &settings).expect(&place);
        let tolerance = match metric {
            Kind::Accuracy => 1.0 / golden.samples as f64 + 1e-9,
            _ => 1e-4,
        };
        let names: Vec<&String> = rows.iter().map(|(name, _)| name).collect();
        assert_eq!(
            targets.iter().map(|target| &target.name).collect::<Vec<_>>(),
            names,
            "{place}"
        );
        for (at, (layer, expected)) in rows.iter().enumerate() {
            let values = found
                .cells
                .iter()
                .filter(|cell| cell.target == at)
                .map(|cell| cell.value);
            let values: Vec<f64> = values.collect();
            assert_eq!(
                values.len(),
                expected.len(),
                "{place}: {layer} stops elsewhere: {values:?} for {expected:?}"
            );
            let worst = values
                .iter()
                .zip(expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            assert!(
                worst <= tolerance,
                "{place}: {layer} is off by {worst}: {values:?} for {expected:?}"
            );
        }
    }
}

#[test]
fn tables_are_those_of_nni() {
    let names = golden::names();
    assert!(names.len() >= 4, "the golden networks are missing");
    names.iter().for_each(|name| check(name));
}
