//! The engine against the plain way, and what must never change a result: threads, memory, an early stop, an interruption.

use super::golden::{self, Remembered};
use secateur::dataset::Dataset;
use secateur::graph::{Graph, ValueId};
use secateur::mask::saliency::{Method, Ties};
use secateur::metric::{self, Forward, Kind};
use secateur::runtime::{Runtime, device};
use secateur::sensitivity::{
    Batching, EarlyStop, Plan, Precision, SensitivityError, Settings, Table, Target, UNBOUNDED, group_targets,
    layer_targets, measure, shapes,
};
use secateur::topology::{Layer, LayerKind, Options, coupling, layers, walk};
use std::sync::atomic::{AtomicU64, Ordering};

const NAMES: [&str; 4] = ["grouped", "hourglass", "shared", "uneven"];
const BATCH: usize = 64;
const METRIC: Kind = Kind::CrossEntropy;

fn settings<'a>(outputs: &'a [ValueId], sparsities: &'a [f64]) -> Settings<'a> {
    Settings {
        plan: Plan {
            method: Method::L1,
            ties: Ties::Exact,
        },
        outputs: &outputs[..1],
        lowering: None,
        further: &[],
        precision: Precision::Float32,
        seed: 0,
        sparsities,
        early_stop: None,
        micro_batch: BATCH,
        pad: false,
        device: device("cpu").expect("a CPU"),
        budget: &UNBOUNDED,
        stop: &|| false,
        mine: &|_| true,
        progress: &|_, _| {},
    }
}

/// Everything with filters, linear and transposed layers included.
fn with_filters(graph: &Graph) -> Vec<Layer> {
    let mut found = layers(graph);
    found.retain(|layer| layer.kind != LayerKind::Embedding);
    found
}

fn groups(graph: &Graph, dataset: &Dataset) -> Vec<Target> {
    let mut shape = vec![2];
    shape.extend(&dataset.inputs()[0].shape);
    let runtime = Runtime::new();
    let mut walked = walk(graph, &Options::of_shapes([shape]), &runtime);
    let found = coupling(&mut walked);
    group_targets(&found, &layers(graph), &with_filters(graph))
}

/// The metric of a graph, run whole.
fn plain(graph: &Graph, dataset: &Dataset) -> f64 {
    let runtime = Runtime::new();
    let metric = METRIC.build();
    let sum = metric::open(metric.as_ref(), "the whole model").expect("an accumulator");
    for batch in dataset.batches(BATCH) {
        let batch = batch.expect("a batch");
        let given = [(graph.inputs[0], batch.inputs[0].clone())];
        let outputs = runtime
            .run(graph, &given, &graph.output_values()[..1])
            .expect("outputs");
        let forward = Forward {
            cell: "the whole model",
            outputs: &outputs,
            baseline: None,
            batch: &batch,
        };
        sum.add(&forward).expect("every sample once");
    }
    sum.finish().expect("a number").value
}

fn table(
    graph: &Graph,
    targets: &[Target],
    dataset: &Dataset,
    memory: &Remembered,
    settings: &Settings,
) -> Result<Table, SensitivityError> {
    measure(graph, targets, dataset, METRIC.build().as_ref(), memory, settings)
}

/// Each cell is the metric of the whole model with the masked weights in it: to the bit when it runs as it was read, but
/// for rounding when it is lowered.
#[test]
fn cells_are_what_a_masked_model_gives() {
    for name in NAMES {
        let (graph, dataset) = (golden::graph(name), golden::dataset(name));
        let outputs = graph.output_values();
        let first = dataset.read(0..1).expect(name).inputs;
        let known = shapes(&Batching::Any.walk(&graph, &first, &Runtime::new()));
        let mut all = layer_targets(&with_filters(&graph));
        all.extend(groups(&graph, &dataset));
        assert!(all.len() > with_filters(&graph).len(), "{name} has coupled groups");
        for method in [Method::L1, Method::Level] {
            let mut settings = settings(&outputs, &[0.5]);
            settings.plan.method = method;
            let tables = [None, Some(&known)].map(|lowering| {
                settings.lowering = lowering;
                table(&graph, &all, &dataset, &Remembered::default(), &settings).expect(name)
            });
            let [as_read, lowered] = &tables;
            let whole = plain(&graph, &dataset);
            assert_eq!(as_read.baseline.to_bits(), whole.to_bits(), "{name}");
            assert!(close(lowered.baseline, whole), "{name}: {}", lowered.baseline);
            for (cell, lowered) in as_read.cells.iter().zip(&lowered.cells) {
                let target = &all[cell.target];
                let perturbation = target.perturbation(&graph, settings.plan, 0.5).expect("a mask");
                let mut masked = graph.clone();
                for change in &perturbation.changes {
                    let tensor = &mut masked.params[change.param.0 as usize].tensor;
                    *tensor = change.apply(tensor.read().expect("a weight in memory")).into();
                }
                let expected = plain(&masked, &dataset);
                let what = format!("{name}: {} by {method:?}", target.name);
                let found = cell.value;
                assert_eq!(
                    found.to_bits(),
                    expected.to_bits(),
                    "{what} gives {found} instead of {expected}"
                );
                let found = lowered.value;
                assert!(
                    close(found, expected),
                    "{what}, lowered, gives {found} instead of {expected}"
                );
            }
        }
    }
}

/// The class of lowering: a thousand times nearer than the product promises.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-7 + 1e-6 * b.abs()
}

#[test]
fn threads_change_nothing() {
    let (graph, dataset) = (golden::graph("uneven"), golden::dataset("uneven"));
    let outputs = graph.output_values();
    let targets = layer_targets(&with_filters(&graph));
    let tables = [1, 2, 4].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        pool.install(|| {
            table(
                &graph,
                &targets,
                &dataset,
                &Remembered::default(),
                &settings(&outputs, &[0.25, 0.5]),
            )
            .expect("a table")
        })
    });
    assert_eq!(tables[0], tables[1]);
    assert_eq!(tables[0], tables[2]);
}

#[test]
fn only_what_is_new_is_computed() {
    let (graph, dataset) = (golden::graph("shared"), golden::dataset("shared"));
    let outputs = graph.output_values();
    let targets = layer_targets(&with_filters(&graph));
    let memory = Remembered::default();
    let first = table(&graph, &targets, &dataset, &memory, &settings(&outputs, &[0.25, 0.75])).expect("a table");
    assert!(first.computed > 0 && first.reused == 0);
    let second = table(&graph, &targets, &dataset, &memory, &settings(&outputs, &[0.25, 0.75])).expect("a table");
    assert_eq!((second.computed, second.reused), (0, first.computed));
    assert_eq!((second.baseline, &second.cells), (first.baseline, &first.cells));
    let third = table(
        &graph,
        &targets,
        &dataset,
        &memory,
        &settings(&outputs, &[0.25, 0.5, 0.75]),
    )
    .expect("a table");
    assert!(third.computed > 0 && third.computed <= targets.len() as u64);
    assert_eq!(third.reused, first.computed);
    let shared: Vec<_> = third.cells.into_iter().filter(|cell| cell.sparsity != 0.5).collect();
    assert_eq!(shared, first.cells);
}

/// Rows with an early stop are the beginnings of the rows without, to the value that triggers.
#[test]
fn rows_stop_at_the_value_that_triggers() {
    let (graph, dataset) = (golden::graph("uneven"), golden::dataset("uneven"));
    let outputs = graph.output_values();
    let targets = layer_targets(&with_filters(&graph));
    let sparsities = [0.25, 0.5, 0.75];
    let memory = Remembered::default();
    let whole = table(&graph, &targets, &dataset, &memory, &settings(&outputs, &sparsities)).expect("a table");
    let mut stopping = settings(&outputs, &sparsities);
    stopping.early_stop = Some(EarlyStop::Raised(0.05));
    let stopped = table(&graph, &targets, &dataset, &memory, &stopping).expect("a table");
    let mut expected = Vec::new();
    for target in 0..targets.len() {
        for cell in whole.cells.iter().filter(|cell| cell.target == target) {
            let mut cell = cell.clone();
            cell.stop = cell.value > whole.baseline + 0.05;
            let stop = cell.stop;
            expected.push(cell);
            if stop {
                break;
            }
        }
    }
    assert!(expected.len() < whole.cells.len() && expected.iter().any(|cell| !cell.stop));
    assert_eq!(stopped.cells, expected);
}

/// An interrupted run keeps its finished waves, and the next one goes on from there.
#[test]
fn an_interruption_loses_no_finished_cell() {
    let (graph, dataset) = (golden::graph("uneven"), golden::dataset("uneven"));
    let outputs = graph.output_values();
    let targets = layer_targets(&with_filters(&graph));
    let sparsities = [0.25, 0.5, 0.75];
    let memory = Remembered::default();
    let asked = AtomicU64::new(0);
    // Early stop makes a wave of each sparsity; this ends within the second.
    let (each, batches) = (targets.len() as u64, dataset.len().div_ceil(BATCH) as u64);
    let limit = batches * (each + 1) + each;
    let stop = || asked.fetch_add(1, Ordering::Relaxed) > limit;
    let mut interrupted = settings(&outputs, &sparsities);
    interrupted.early_stop = Some(EarlyStop::Raised(1e9));
    interrupted.stop = &stop;
    match table(&graph, &targets, &dataset, &memory, &interrupted) {
        Err(SensitivityError::Interrupted { computed, reused: 0 }) => assert!(computed > 0, "the first wave is kept"),
        other => panic!("not interrupted: {other:?}"),
    }
    let kept = memory.len() as u64;
    let mut going_on = settings(&outputs, &sparsities);
    going_on.early_stop = Some(EarlyStop::Raised(1e9));
    let resumed = table(&graph, &targets, &dataset, &memory, &going_on).expect("a table");
    assert_eq!(resumed.reused, kept);
    let fresh = table(&graph, &targets, &dataset, &Remembered::default(), &going_on).expect("a table");
    assert_eq!(resumed.cells, fresh.cells);
}

/// A pass that is interrupted anywhere goes on from its sums, and nobody can tell from the values.
#[test]
fn an_interrupted_pass_goes_on_where_it_stood() {
    let (graph, dataset) = (golden::graph("uneven"), golden::dataset("uneven"));
    let targets = layer_targets(&with_filters(&graph));
    let sparsities = [0.25, 0.5];
    let outputs = graph.output_values();
    let mut settings = settings(&outputs, &sparsities);
    settings.micro_batch = 8;
    let expected = table(&graph, &targets, &dataset, &Remembered::default(), &settings).expect("a table");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    let mut taken_up = 0;
    for limit in [0, 3, 17, 40, 71, 120, 200] {
        let memory = Remembered::default();
        let asked = AtomicU64::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) > limit;
        let interrupted = Settings {
            stop: &stop,
            ..settings
        };
        let mut tries = 0;
        let found = pool.install(|| {
            loop {
                match table(&graph, &targets, &dataset, &memory, &interrupted) {
                    Err(SensitivityError::Interrupted { .. }) => {
                        tries += 1;
                        taken_up += memory.standing();
                        asked.store(0, Ordering::Relaxed);
                        if tries == 3 {
                            break table(&graph, &targets, &dataset, &memory, &settings);
                        }
                    }
                    other => break other,
                }
            }
        });
        let found = found.expect("a table");
        assert_eq!(
            (found.baseline, found.cells),
            (expected.baseline, expected.cells.clone()),
            "stopped after {limit}"
        );
        assert_eq!(memory.standing(), 0, "nothing is left of a pass that is over");
    }
    assert!(taken_up > 0, "no pass was taken up");
}
