//! `precision: auto`: float32's tables from replays in bfloat16, also where bfloat16 alone decides otherwise.

use super::golden::{self, Remembered};
use secateur::dataset::Dataset;
use secateur::graph::{Graph, ValueId};
use secateur::mask::saliency::{Method, Ties};
use secateur::metric::{Kind, Metric};
use secateur::runtime::{Runtime, device};
use secateur::sensitivity::{
    Batching, EarlyStop, Plan, Precision, SensitivityError, Settings, Table, UNBOUNDED, layer_targets, measure,
    micro_batch, shapes,
};
use secateur::topology::{LayerKind, layers};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a table is measured with, beside the model and the data.
#[derive(Clone, Copy)]
struct Way<'a> {
    metrics: &'a [Kind],
    method: Method,
    early_stop: Option<EarlyStop>,
    micro_batch: usize,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Default for Way<'_> {
    fn default() -> Self {
        Way {
            metrics: &[Kind::Accuracy],
            method: Method::L1,
            early_stop: None,
            micro_batch: 16,
            stop: &|| false,
        }
    }
}

fn table(
    graph: &Graph,
    dataset: &Dataset,
    memory: &Remembered,
    precision: Precision,
    way: Way<'_>,
) -> Result<Table, SensitivityError> {
    let runtime = Runtime::new();
    let first = dataset.read(0..1).expect("a sample").inputs;
    let walked = Batching::Any.walk(graph, &first, &runtime);
    let known = shapes(&walked);
    let outputs: [ValueId; 1] = [graph.output_values()[0]];
    let metrics: Vec<Box<dyn Metric>> = way.metrics.iter().map(|kind| kind.build()).collect();
    let further: Vec<&dyn Metric> = metrics[1..].iter().map(AsRef::as_ref).collect();
    let mut wanted = layers(graph);
    wanted.retain(|layer| layer.kind != LayerKind::Embedding);
    let settings = Settings {
        plan: Plan {
            method: way.method,
            ties: Ties::Exact,
        },
        outputs: &outputs,
        further: &further,
        lowering: Some(&known),
        precision,
        seed: 3,
        sparsities: &[0.25, 0.5, 0.75],
        early_stop: way.early_stop,
        micro_batch: micro_batch(&walked, &wanted, &outputs, way.micro_batch, Batching::Any),
        pad: false,
        device: device("cpu").expect("a CPU"),
        budget: &UNBOUNDED,
        mine: &|_| true,
        stop: way.stop,
        progress: &|_, _| {},
    };
    measure(
        graph,
        &layer_targets(&wanted),
        dataset,
        metrics[0].as_ref(),
        memory,
        &settings,
    )
}

const NAMES: [&str; 4] = ["grouped", "hourglass", "shared", "uneven"];

/// How many cells differ.
fn differ(a: &Table, b: &Table) -> usize {
    a.cells.iter().zip(&b.cells).filter(|(a, b)| a != b).count()
}

/// To the bit, on networks and samples on which bfloat16 alone decides otherwise: without what is done again, this fails.
#[test]
fn tables_are_those_of_float32() {
    for name in NAMES {
        let (graph, dataset) = (golden::graph(name), golden::dataset(name));
        let mut otherwise = 0;
        for (metrics, method) in [
            (&[Kind::Accuracy][..], Method::L1),
            (&[Kind::Agreement, Kind::TopK(2), Kind::PerClass], Method::Level),
        ] {
            let way = Way {
                metrics,
                method,
                ..Way::default()
            };
            let table = |precision| table(&graph, &dataset, &Remembered::default(), precision, way).expect(name);
            let (exact, auto) = (table(Precision::Float32), table(Precision::Auto));
            assert_eq!(differ(&auto, &exact), 0, "{name}: {metrics:?} by {method:?}");
            assert_eq!(auto.baselines, exact.baselines, "{name}");
            let effort = auto.effort.expect("what it took");
            assert!(exact.effort.is_none(), "{name}");
            assert!(effort.calibrated > 0 && effort.redone > 0, "{name}: {effort:?}");
            assert!(effort.redone < effort.samples, "{name}: {effort:?}");
            // A bound that is too small for the errors has every cell measured again.
            let (again, all) = (effort.cells as usize, auto.cells.len());
            assert!(again * 2 < all, "{name}: {again} of {all} cells");
            otherwise += differ(&table(Precision::Bfloat16), &exact);
        }
        assert!(
            otherwise > 0,
            "{name}: bfloat16 decides all as float32 does, so this tests nothing"
        );
    }
}

/// A loss changes with every rounding, so nothing is replayed in bfloat16 where one is among the metrics.
#[test]
fn losses_keep_float32() {
    let (graph, dataset) = (golden::graph("shared"), golden::dataset("shared"));
    let way = Way {
        metrics: &[Kind::Accuracy, Kind::CrossEntropy],
        ..Way::default()
    };
    let table = |precision| table(&graph, &dataset, &Remembered::default(), precision, way).expect("a table");
    assert_eq!(table(Precision::Auto), table(Precision::Float32));
}

/// Neither threads nor waves nor an interruption anywhere change a bit.
#[test]
fn what_is_done_again_depends_on_nothing_else() {
    let (graph, dataset) = (golden::graph("uneven"), golden::dataset("uneven"));
    let stopping = Way {
        early_stop: Some(EarlyStop::Dropped(0.02)),
        ..Way::default()
    };
    for way in [Way::default(), stopping] {
        let table = |precision| table(&graph, &dataset, &Remembered::default(), precision, way).expect("a table");
        let exact = table(Precision::Float32);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let auto = pool.expect("a pool").install(|| table(Precision::Auto));
            assert_eq!(auto.cells, exact.cells, "{threads} threads");
        }
    }
    let exact = table(
        &graph,
        &dataset,
        &Remembered::default(),
        Precision::Float32,
        Way::default(),
    )
    .expect("a table");
    for limit in [0, 10, 40, 90, 200] {
        let memory = Remembered::default();
        let asked = AtomicU64::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) > limit;
        let interrupted = Way {
            stop: &stop,
            ..Way::default()
        };
        let first = table(&graph, &dataset, &memory, Precision::Auto, interrupted);
        assert!(matches!(first, Err(SensitivityError::Interrupted { .. })), "{limit}");
        let second = table(&graph, &dataset, &memory, Precision::Auto, Way::default()).expect("a table");
        assert_eq!(second.cells, exact.cells, "stopped after {limit}");
        assert_eq!(memory.standing(), 0, "nothing is left of a pass that is over");
    }
}
