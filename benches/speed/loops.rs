//! One table of cells, made in several ways: a plain loop, replays, lowered, by samples.

use super::network::{Network, PLAN};
use secateur::confidence::Aim;
use secateur::runtime::{device, init, to_torch};
use secateur::sensitivity::{Memory, Precision, Samples, Sampling, Settings, UNBOUNDED, estimate, measure};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Barrier;
use std::time::Instant;
use tch::{CModule, Device, Kind, Tensor};

/// What one way of making the table found.
pub struct Run {
    pub seconds: f64,
    /// Cell by cell, layers outermost.
    pub values: Vec<f64>,
    /// Samples that cells were replayed on, where that is not all of them.
    pub replayed: Option<u64>,
}

/// A memory that forgets: every run measures everything.
struct Nothing;

impl Memory for Nothing {
    fn known(&self, _: Option<&str>) -> Option<f64> {
        None
    }

    fn keep(&self, _: &[(Option<String>, f64)]) -> Result<(), String> {
        Ok(())
    }
}

impl Samples for Nothing {
    fn sampled(&self, _: Option<&str>, _: &[usize]) -> Option<Vec<f64>> {
        None
    }

    fn keep_sampled(&self, _: &[(Option<String>, &[f64])]) -> Result<(), String> {
        Ok(())
    }
}

fn settings(network: &Network, lowered: bool, precision: Precision) -> Result<Settings<'_>, Box<dyn Error>> {
    Ok(Settings {
        plan: PLAN,
        outputs: &network.outputs,
        further: &[],
        lowering: lowered.then_some(&network.shapes),
        precision,
        seed: 0,
        sparsities: &network.sparsities,
        early_stop: None,
        micro_batch: network.micro_batch,
        pad: network.batching != secateur::sensitivity::Batching::Any,
        device: device("cpu")?,
        mine: &|_| true,
        budget: &UNBOUNDED,
        stop: &|| false,
        progress: &|_, _| {},
    })
}

/// The product's exact table, with the model as it was read or lowered.
pub fn replay(network: &Network, lowered: bool, precision: Precision) -> Result<Run, Box<dyn Error>> {
    let settings = settings(network, lowered, precision)?;
    let start = Instant::now();
    let Network {
        graph,
        targets,
        dataset,
        metric,
        ..
    } = network;
    let table = measure(graph, targets, dataset, metric.as_ref(), &Nothing, &settings)?;
    Ok(Run {
        seconds: start.elapsed().as_secs_f64(),
        values: table.cells.iter().map(|cell| cell.value).collect(),
        replayed: None,
    })
}

/// The product's estimates, by the default rule.
pub fn estimated(network: &Network, seed: u64) -> Result<Run, Box<dyn Error>> {
    let settings = settings(network, true, Precision::Float32)?;
    let sampling = Sampling {
        aim: Aim {
            margin: 0.01,
            relative: 0.2,
            confidence: 0.95,
        },
        asymptotic: false,
        seed,
    };
    let start = Instant::now();
    let Network {
        graph,
        targets,
        dataset,
        metric,
        ..
    } = network;
    let found = estimate(graph, targets, dataset, metric.as_ref(), &Nothing, &settings, &sampling)?;
    Ok(Run {
        seconds: start.elapsed().as_secs_f64(),
        values: found.table.cells.iter().map(|cell| cell.value).collect(),
        replayed: Some(found.replayed),
    })
}

/// What everybody writes first: one masked forward of the whole model a cell, by libtorch's own module with as many threads
/// inside operators as there are.
pub fn naive(network: &Network, threads: usize) -> Result<Run, Box<dyn Error>> {
    init();
    let mut module = CModule::load(&network.path)?;
    module.f_set_eval()?;
    let parameters: BTreeMap<String, Tensor> = module.named_parameters()?.into_iter().collect();
    let mut batches = Vec::new();
    for batch in network.dataset.batches(network.batch) {
        let batch = batch?;
        let targets = batch.targets.as_ref().ok_or("the samples have no classes")?;
        batches.push((
            to_torch(&batch.inputs[0], Device::Cpu)?,
            to_torch(targets, Device::Cpu)?,
        ));
    }
    tch::set_num_threads(i32::try_from(threads)?);
    let _guard = tch::no_grad_guard();
    let hits = || -> Result<i64, Box<dyn Error>> {
        let mut hits = 0;
        for (inputs, targets) in &batches {
            let outputs = module.forward_ts(&[inputs])?;
            hits += outputs
                .argmax(1, false)
                .eq_tensor(targets)
                .sum(Kind::Int64)
                .int64_value(&[]);
        }
        Ok(hits)
    };
    let start = Instant::now();
    hits()?;
    let mut values = Vec::new();
    for target in &network.targets {
        for &sparsity in &network.sparsities {
            let mut before = Vec::new();
            for change in &target.perturbation(&network.graph, PLAN, sparsity)?.changes {
                let param = network.graph.param(change.param);
                let mut own = parameters
                    .get(param.name())
                    .ok_or_else(|| format!("{} is no parameter", param.name()))?
                    .shallow_clone();
                before.push((own.shallow_clone(), own.copy()));
                own.f_copy_(&to_torch(&change.apply(param.tensor.read()?), Device::Cpu)?)?;
            }
            values.push(hits()? as f64 / network.dataset.len() as f64);
            for (mut own, saved) in before {
                own.f_copy_(&saved)?;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    tch::set_num_threads(1);
    Ok(Run {
        seconds,
        values,
        replayed: None,
    })
}

/// The largest difference between two tables.
pub fn furthest(a: &Run, b: &Run) -> f64 {
    let pairs = a.values.iter().zip(&b.values);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Multiply-accumulates a second, twice, of matrix products on every thread at once: what the replays could reach.
pub fn product_rate(kind: Kind, threads: usize) -> Result<f64, Box<dyn Error>> {
    const SIDE: i64 = 1024;
    const TIMES: u32 = 8;
    let ready = Barrier::new(threads);
    let one = || {
        secateur::runtime::with_worker(|| {
            let matrix = || Tensor::rand([SIDE, SIDE], (Kind::Float, Device::Cpu)).to_kind(kind);
            let (a, b) = (matrix(), matrix());
            ready.wait();
            let start = Instant::now();
            for _ in 0..TIMES {
                let _ = a.matmul(&b);
            }
            start.elapsed().as_secs_f64()
        })
    };
    let done = 2.0 * (SIDE as f64).powi(3) * f64::from(TIMES) * threads as f64;
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let slowest = std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            let mut all = all.into_iter().map(std::thread::ScopedJoinHandle::join);
            all.try_fold(0.0_f64, |slowest, seconds| seconds.map(|seconds| slowest.max(seconds)))
        });
        let slowest = slowest.map_err(|_| "a thread panicked")?;
        best = best.max(done / slowest / 1e9);
    }
    Ok(best)
}
