//! Sensitivity by samples against the exact tables, and what must never change a result: threads, an interruption, what
//! was sampled before.

use super::golden::{self, Remembered};
use super::run::{Checked, Place, stderr};
use secateur::confidence::Aim;
use secateur::dataset::Dataset;
use secateur::graph::{Graph, ValueId};
use secateur::mask::saliency::{Method, Ties};
use secateur::metric::{Kind, Metric};
use secateur::runtime::device;
use secateur::sensitivity::{
    EarlyStop, Estimated, Estimates, Memory, Plan, Precision, Samples, Sampling, SensitivityError, Settings, Table,
    Target, UNBOUNDED, complete, estimate, layer_targets, measure,
};
use secateur::topology::{LayerKind, layers};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SPARSITIES: [f64; 3] = [0.25, 0.5, 0.75];

/// The first samples of cells by digest and number.
type Lengths = BTreeMap<(Option<String>, usize), Vec<f64>>;

/// Values, and the samples of cells.
#[derive(Default)]
struct Kept {
    values: Remembered,
    samples: Mutex<Lengths>,
}

impl Memory for Kept {
    fn known(&self, digest: Option<&str>) -> Option<f64> {
        self.values.known(digest)
    }

    fn keep(&self, values: &[(Option<String>, f64)]) -> Result<(), String> {
        self.values.keep(values)
    }
}

impl Samples for Kept {
    fn sampled(&self, digest: Option<&str>, ends: &[usize]) -> Option<Vec<f64>> {
        let samples = self.samples.lock().expect("no worker panicked");
        let under = |&end: &usize| samples.get(&(digest.map(str::to_owned), end)).cloned();
        ends.iter().rev().find_map(under)
    }

    fn keep_sampled(&self, cells: &[(Option<String>, &[f64])]) -> Result<(), String> {
        let mut samples = self.samples.lock().expect("no worker panicked");
        for (digest, values) in cells {
            let before = samples.insert((digest.clone(), values.len()), values.to_vec());
            assert!(
                before.is_none_or(|before| before == *values),
                "a length has one content"
            );
        }
        Ok(())
    }
}

struct Net {
    graph: Graph,
    dataset: Dataset,
    targets: Vec<Target>,
    metric: Box<dyn Metric>,
    outputs: Vec<ValueId>,
}

impl Net {
    fn new(name: &str, metric: Kind) -> Net {
        let graph = golden::graph(name);
        let mut found = layers(&graph);
        found.retain(|layer| layer.kind != LayerKind::Embedding);
        Net {
            targets: layer_targets(&found),
            dataset: golden::dataset(name),
            metric: metric.build(),
            outputs: graph.output_values()[..1].to_vec(),
            graph,
        }
    }

    fn settings(early_stop: Option<EarlyStop>) -> Settings<'static> {
        Settings {
            plan: Plan {
                method: Method::L1,
                ties: Ties::Exact,
            },
            outputs: &[],
            further: &[],
            precision: Precision::Float32,
            seed: 0,
            lowering: None,
            mine: &|_| true,
            sparsities: &SPARSITIES,
            early_stop,
            micro_batch: 8,
            pad: false,
            device: device("cpu").expect("a CPU"),
            budget: &UNBOUNDED,
            stop: &|| false,
            progress: &|done, total| assert!(done <= total),
        }
    }

    fn estimate(&self, kept: &Kept, settings: &Settings, margin: f64) -> Result<Estimates, SensitivityError> {
        let sampling = Sampling {
            aim: Aim {
                margin,
                relative: if margin > 0.0 { 0.3 } else { 0.0 },
                confidence: 0.95,
            },
            asymptotic: true,
            seed: 7,
        };
        let Net {
            graph,
            dataset,
            targets,
            metric,
            outputs,
        } = self;
        let settings = Settings { outputs, ..*settings };
        estimate(graph, targets, dataset, metric.as_ref(), kept, &settings, &sampling)
    }

    fn measure(&self, kept: &Kept, settings: &Settings) -> Table {
        let Net {
            graph,
            dataset,
            targets,
            metric,
            outputs,
        } = self;
        let settings = Settings { outputs, ..*settings };
        measure(graph, targets, dataset, metric.as_ref(), kept, &settings).expect("a table")
    }
}

/// Everything but how much of it was new.
fn said(found: &Estimates) -> (f64, &[secateur::sensitivity::Cell], &[Estimated]) {
    (found.table.baseline, &found.table.cells, &found.cells)
}

fn used(found: &Estimates) -> usize {
    found.cells.iter().map(|cell| cell.samples).sum()
}

#[test]
fn intervals_hold_the_exact_values() {
    for (name, metric) in [
        ("shared", Kind::Accuracy),
        ("uneven", Kind::Agreement),
        ("grouped", Kind::CrossEntropy),
    ] {
        let net = Net::new(name, metric);
        let settings = Net::settings(None);
        let exact = net.measure(&Kept::default(), &settings);
        let found = net.estimate(&Kept::default(), &settings, 0.1).expect("estimates");
        assert_eq!(found.table.baseline.to_bits(), exact.baseline.to_bits());
        assert!(
            used(&found) < exact.cells.len() * net.dataset.len(),
            "{name}: nothing is saved"
        );
        for ((cell, exact), estimated) in found.table.cells.iter().zip(&exact.cells).zip(&found.cells) {
            assert_eq!(
                (cell.target, cell.sparsity, cell.pruned),
                (exact.target, exact.sparsity, exact.pruned)
            );
            let interval = estimated.interval;
            assert!(interval.contains(cell.value));
            // One in twenty may be wrong by design; under this seed none is.
            let (low, high) = (interval.low - 1e-9, interval.high + 1e-9);
            assert!(
                low <= exact.value && exact.value <= high,
                "{name}: {} beside {interval:?}",
                exact.value
            );
            if estimated.samples < net.dataset.len() {
                let half = 0.1_f64.max(0.3 * (cell.value - exact_baseline(&found)).abs());
                assert!(
                    interval.high - interval.low <= 2.0 * half + 1e-9,
                    "{name}: {interval:?}"
                );
            }
        }
    }
}

fn exact_baseline(found: &Estimates) -> f64 {
    found.table.baseline
}

/// Without a margin every sample is seen, and the interval closes on what the whole run gives, to the bit.
#[test]
fn at_the_end_values_are_exact() {
    for (name, metric) in [("shared", Kind::Accuracy), ("hourglass", Kind::Agreement)] {
        for stop in [None, Some(EarlyStop::Dropped(0.1))] {
            let net = Net::new(name, metric);
            let settings = Net::settings(stop);
            let exact = net.measure(&Kept::default(), &settings);
            let kept = Kept::default();
            let found = net.estimate(&kept, &settings, 0.0).expect("estimates");
            for (cell, estimated) in found.table.cells.iter().zip(&found.cells) {
                if estimated.samples == net.dataset.len() {
                    assert_eq!(
                        (estimated.interval.low, estimated.interval.high),
                        (cell.value, cell.value)
                    );
                }
            }
            if stop.is_none() {
                assert_eq!(found.table.cells, exact.cells, "{name}");
                assert_eq!(
                    net.measure(&kept, &settings).reused,
                    exact.computed,
                    "{name}: the values are kept as exact"
                );
            }
        }
    }
}

#[test]
fn early_stop_ends_cells_when_it_is_decided() {
    let net = Net::new("uneven", Kind::Accuracy);
    let stop = Some(EarlyStop::Dropped(0.05));
    let exact = net.measure(&Kept::default(), &Net::settings(stop));
    // So fine a margin is never met: cells end by the comparison, or at the end.
    let found = net
        .estimate(&Kept::default(), &Net::settings(stop), 1e-9)
        .expect("estimates");
    let rows = |cells: &[secateur::sensitivity::Cell]| -> Vec<(usize, f64, bool)> {
        cells
            .iter()
            .map(|cell| (cell.target, cell.sparsity, cell.stop))
            .collect()
    };
    assert_eq!(
        rows(&found.table.cells),
        rows(&exact.cells),
        "the same rows, as long, under this seed"
    );
    assert!(used(&found) < exact.cells.len() * net.dataset.len());
    assert!(found.table.cells.iter().any(|cell| cell.stop));
}

#[test]
fn threads_change_nothing() {
    let net = Net::new("uneven", Kind::Accuracy);
    let settings = Net::settings(Some(EarlyStop::Dropped(0.2)));
    let found = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        pool.install(|| net.estimate(&Kept::default(), &settings, 0.08).expect("estimates"))
    });
    assert_eq!(said(&found[0]), said(&found[1]));
    assert_eq!(said(&found[0]), said(&found[2]));
}

#[test]
fn a_smaller_margin_and_the_whole_run_go_on() {
    let net = Net::new("shared", Kind::Accuracy);
    let settings = Net::settings(None);
    let kept = Kept::default();
    let rough = net.estimate(&kept, &settings, 0.15).expect("estimates");
    let again = net.estimate(&kept, &settings, 0.15).expect("estimates");
    assert_eq!(
        (said(&again), again.replayed, again.table.computed),
        (said(&rough), 0, 0)
    );
    let fine = net.estimate(&kept, &settings, 0.07).expect("estimates");
    let fresh = net.estimate(&Kept::default(), &settings, 0.07).expect("estimates");
    assert_eq!(said(&fine), said(&fresh));
    assert!(fine.replayed + rough.replayed <= fresh.replayed + 64 && fine.replayed < fresh.replayed);
    // A larger margin takes no more than it would have.
    let rougher = net.estimate(&kept, &settings, 0.15).expect("estimates");
    assert_eq!((said(&rougher), rougher.replayed), (said(&rough), 0));

    let Net {
        graph,
        dataset,
        targets,
        metric,
        outputs,
    } = &net;
    let measured = Settings { outputs, ..settings };
    let completed = complete(graph, targets, dataset, metric.as_ref(), &kept, &measured, 7).expect("the rest");
    assert!(completed > 0);
    let whole = net.measure(&kept, &settings);
    assert_eq!(whole.computed, 0);
    assert_eq!(whole.cells, net.measure(&Kept::default(), &settings).cells);
    // Another order knows nothing of this one; with exact values nothing is left to sample.
    assert_eq!(net.estimate(&kept, &settings, 0.01).expect("estimates").replayed, 0);
}

#[test]
fn an_interruption_loses_few_samples() {
    let net = Net::new("uneven", Kind::Accuracy);
    let fresh = net
        .estimate(&Kept::default(), &Net::settings(None), 0.08)
        .expect("estimates");
    let kept = Kept::default();
    let asked = AtomicU64::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) > 400;
    let mut interrupted = Net::settings(None);
    interrupted.stop = &stop;
    match net.estimate(&kept, &interrupted, 0.08) {
        Err(SensitivityError::Interrupted { .. }) => {}
        other => panic!("not interrupted: {other:?}"),
    }
    let resumed = net.estimate(&kept, &Net::settings(None), 0.08).expect("estimates");
    assert_eq!(said(&resumed), said(&fresh));
    assert!(resumed.replayed < fresh.replayed, "what was sampled is known");
}

const PIPELINE: &str = "version: 1
name: estimated
model: {path: quickstart/model.pt, input: [1, 28, 28]}
dataset:
  source:
    idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}
  normalize: {mean: [0.286], std: [0.353]}
metric: accuracy
seed: 3
steps:
  - sensitivity:
      id: sens
      layers: [mix.near, layer3.expand]
      sparsities: [0.25, 0.75]
      estimate: {margin: 0.05}
";

#[test]
fn a_pipeline_estimates_and_goes_on() -> Checked {
    let place = Place::new()?;
    place.write("e.yaml", PIPELINE)?;
    place.expect(0, &["run", "e.yaml"])?;
    let json = |place: &Place| -> Result<serde_json::Value, Box<dyn std::error::Error>> {
        Ok(serde_json::from_slice(&std::fs::read(
            place.path("out/estimated/sens/sensitivity.json"),
        )?)?)
    };
    let rough = json(&place)?;
    assert_eq!(rough["estimate"]["margin"], 0.05);
    assert_eq!(
        (&rough["estimate"]["relative"], &rough["estimate"]["confidence"]),
        (&0.2.into(), &0.95.into())
    );
    assert_eq!(rough["estimate"]["samples"], 2000);
    let cells = |report: &serde_json::Value| report["cells"].as_array().cloned().unwrap_or_default();
    for cell in cells(&rough) {
        let (value, samples) = (
            cell["value"].as_f64().unwrap_or(-1.0),
            cell["samples"].as_u64().unwrap_or(0),
        );
        let end = |at: usize| cell["interval"][at].as_f64().unwrap_or(-1.0);
        assert!(end(0) <= value && value <= end(1) && samples < 2000, "{cell}");
    }
    let rows = std::fs::read_to_string(place.path("out/estimated/sens/sensitivity.csv"))?;
    assert!(rows.starts_with("layername,0.25,0.75\nlayer3.expand,"), "{rows}");

    // The same files when everything is computed again, by any number of threads.
    let first = place.results("out")?;
    place.expect(0, &["run", "e.yaml", "--no-cache", "--jobs", "1"])?;
    assert_eq!(place.results("out")?, first);

    // The exact table goes on from the samples, and is the one of a run that knew of none.
    place.write("whole.yaml", &PIPELINE.replace("      estimate: {margin: 0.05}\n", ""))?;
    place.expect(0, &["run", "whole.yaml"])?;
    let gone_on = place.results("out")?;
    assert_eq!(place.record("out/estimated")?["stages"][0]["cells"]["computed"], 4);
    place.expect(0, &["run", "whole.yaml", "--store", "another"])?;
    assert_eq!(place.results("out")?, gone_on);
    // So are its cells, what they tell of single samples included.
    let gone_on = place.results(".secateur/cells")?;
    for (path, bytes) in place.results("another/cells")? {
        assert!(gone_on.get(&path) == Some(&bytes), "{}", path.display());
        assert!(String::from_utf8_lossy(&bytes).contains("\"outcomes\":\"2000 "));
    }
    for (rough, exact) in cells(&rough).iter().zip(cells(&json(&place)?)) {
        let end = |at: usize| rough["interval"][at].as_f64().unwrap_or(f64::NAN);
        let value = exact["value"].as_f64().unwrap_or(f64::NAN);
        assert!(end(0) <= value && value <= end(1), "{rough} {exact}");
    }
    Ok(())
}

#[test]
fn a_metric_without_bounds_is_refused_where_it_stands() -> Checked {
    let place = Place::new()?;
    let loss = PIPELINE.replace("accuracy", "cross_entropy");
    place.write("loss.yaml", &loss)?;
    let refused = stderr(&place.expect(2, &["check", "loss.yaml"])?);
    for part in ["cross_entropy has no bounds", "loss.yaml:15", "asymptotic: true"] {
        assert!(refused.contains(part), "{part} is not in\n{refused}");
    }
    place.write(
        "loss.yaml",
        &loss.replace("margin: 0.05", "margin: 0.05, asymptotic: true"),
    )?;
    place.expect(0, &["check", "loss.yaml"])?;
    Ok(())
}
