//! `sensitivity`: what the metric becomes when one layer at a time loses weights.

use super::shared::{Cut, Shared};
use super::stored::Stored;
use super::{data, inputs, layers, plugins, tables};
use crate::confidence::Aim;
use crate::history::{CELLS_FILE, CellKeys};
use crate::mask::saliency::{Method, Ties};
use crate::metric::Metric;
use crate::pipeline::{Cells, Context, Failure, Outcome, Pending, Read, Share, Stage, Stop};
use crate::runtime;
use crate::sensitivity::{
    Batching, EarlyStop, Estimates, Plan, Sampling, SensitivityError, Settings, Table, Target, complete, estimate,
    group_targets, layer_targets, measure, shapes,
};
use crate::spec::{self, Compat, Granularity, StopMode};
use crate::store::{Change, Document, Key, Store};
use crate::topology::{self, Layer, LayerKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

mod format;
mod pending;
mod ready;
mod report;

use format::Format;
use ready::unread;
use report::{Found, csv, json, summary};

pub const KIND: &str = "sensitivity";
pub const NAMES: &[&str] = &["sensitivity.csv", "sensitivity.json", "sensitivity.*.csv"];

/// Raised whenever the same cells make another table.
const ALGORITHM: u32 = 1;
/// Progress is told in millions of multiply-accumulates.
const PROGRESS: u64 = 1_000_000;

/// Raised whenever the same perturbation gives another cell.
pub(super) const CELL: u32 = 3;

pub struct Sensitivity {
    shared: Arc<Shared>,
    step: spec::Sensitivity,
}

impl Sensitivity {
    pub fn new(shared: Arc<Shared>, step: spec::Sensitivity) -> Sensitivity {
        Sensitivity { shared, step }
    }

    /// What every cell of this step depends on beside its perturbation, for the metric at a place of the list.
    fn ground(&self, store: &Store, at: usize, metric: Value) -> Result<Document, Failure> {
        let pipeline = &self.shared.spec.pipeline;
        let batch = pipeline.dataset.as_ref().map(|dataset| dataset.batch_size);
        let device = match pipeline.device {
            spec::Device::Cpu => "cpu",
            spec::Device::Cuda(_) => "cuda",
        };
        let mut model = self.shared.topology_document(store)?;
        // The first output, the default, needs no word.
        if pipeline.model.output.is_some() {
            let graph = &self.shared.model().map_err(Failure::of)?.graph;
            let (name, output) =
                inputs::output(&pipeline.model, graph).map_err(|misfit| Failure::of(misfit.message))?;
            if graph.output_values().first() != Some(&output) {
                model = model.with("output", name);
            }
        }
        Ok(Document::new()
            .with("model", model)
            .with("data", data::document(&self.shared, store)?)
            .with("metric", metric)
            .with("batch_size", json!(batch))
            .with("precision", json!(format::of_cells(&self.shared, at)))
            .with("device", device)
            .with("lowering", self.lowering(device))
            .with("isa", runtime::isa_class())
            .with("libtorch", runtime::libtorch_version()))
    }

    /// How models are run: results of one way agree with those of another but for rounding.
    fn lowering(&self, device: &str) -> &'static str {
        match device {
            _ if self.shared.runs_plain() => "none",
            "cpu" if runtime::has_mkldnn() => "onednn",
            _ => "aten",
        }
    }

    /// The same for each metric.
    fn grounds(&self, store: &Store) -> Result<Vec<Document>, Failure> {
        let metrics = self.metric_documents(store)?;
        let metrics = metrics.into_iter().enumerate();
        metrics.map(|(at, metric)| self.ground(store, at, metric)).collect()
    }

    /// What decides the values of each metric.
    fn metric_documents(&self, store: &Store) -> Result<Vec<Value>, Failure> {
        let metrics = self.shared.spec.pipeline.measured().into_iter().enumerate();
        metrics
            .map(|(at, metric)| data::metric_document(&self.shared, store, at, metric))
            .collect()
    }

    /// What is measured, the metric that steers first.
    fn metrics(&self, stop: &Stop) -> Result<Vec<Box<dyn Metric>>, Failure> {
        let metrics = data::metrics(&self.shared, stop).map_err(Failure::of)?;
        match metrics.is_empty() {
            true => Err(Failure::of("the pipeline names no metric")),
            false => Ok(metrics),
        }
    }

    fn targets(&self) -> Result<Vec<Target>, Failure> {
        let graph = &self.shared.model().map_err(Failure::of)?.graph;
        let mut wanted = layers::choose(graph, self.step.layers.as_deref()).map_err(|unmatched| {
            Failure::of(
                unmatched
                    .into_iter()
                    .map(|one| one.message)
                    .collect::<Vec<_>>()
                    .join("; "),
            )
        })?;
        if self.step.layers.is_none() && self.step.compat == Compat::Nni {
            // NNI lists two-dimensional convolutions, and no transposed ones.
            let rank = |layer: &Layer| graph.param(layer.weight).tensor.shape().len();
            wanted.retain(|layer| layer.kind == LayerKind::Convolution && rank(layer) == 4);
        }
        Ok(match self.step.granularity {
            Granularity::Layer => layer_targets(&wanted),
            Granularity::Group => {
                let cut = Cut {
                    heads: self.step.heads,
                    approximate: self.step.approximate,
                    ..Cut::default()
                };
                let mut walked = self.shared.walk_cut(cut)?;
                let coupling = topology::coupling(&mut walked);
                group_targets(&coupling, &topology::layers(graph), &wanted)
            }
        })
    }

    fn plan(&self) -> Plan {
        let method = match self.step.method {
            spec::Method::L1 => Method::L1,
            spec::Method::L2 => Method::L2,
            spec::Method::Level => Method::Level,
        };
        Plan {
            method,
            ties: if self.step.compat == Compat::Nni {
                Ties::Nni
            } else {
                Ties::Exact
            },
        }
    }

    fn early_stop(&self) -> Option<EarlyStop> {
        let stop = self.step.early_stop.as_ref()?;
        Some(match stop.mode {
            StopMode::Minimize => EarlyStop::Minimize(stop.value),
            StopMode::Maximize => EarlyStop::Maximize(stop.value),
            StopMode::Dropped => EarlyStop::Dropped(stop.value),
            StopMode::Raised => EarlyStop::Raised(stop.value),
        })
    }

    fn sampling(&self) -> Option<Sampling> {
        let estimate = self.step.estimate?;
        Some(Sampling {
            aim: Aim {
                margin: estimate.margin,
                relative: estimate.relative,
                confidence: estimate.confidence,
            },
            asymptotic: estimate.asymptotic,
            seed: self.shared.spec.pipeline.seed,
        })
    }

    /// What is found, and the cells that it is made of.
    fn measure(
        &self,
        context: &Context<'_>,
        targets: &[Target],
        metrics: &[&dyn Metric],
    ) -> Result<(Found, BTreeSet<Key>), Failure> {
        let graph = &self.shared.model().map_err(Failure::of)?.graph;
        let whole = metrics.iter().any(|metric| metric.takes_all_outputs());
        let ready = self.prepare(graph, whole)?;
        let dataset = &ready.dataset;
        for metric in metrics {
            metric.check_targets(dataset.targets()).map_err(Failure::of)?;
        }
        let Some((metric, further)) = metrics.split_first() else {
            return Err(Failure::of("the pipeline names no metric"));
        };
        let device = runtime::device(&self.shared.spec.pipeline.device.to_string());
        let format = Format::choose(&self.shared, &self.step);
        let known = (!self.shared.runs_plain()).then(|| shapes(&ready.walked));
        let (footprint, budget) = self.budget(&ready, targets, format);
        let expected = footprint.peak(budget.at_once, rayon::current_num_threads());
        let limit = self.shared.memory();
        if expected > limit {
            let (id, expected, limit) = (&*self.step.id, expected >> 20, limit >> 20);
            tracing::warn!("{id}: {expected} MiB of memory are expected to be taken, but only {limit} are allowed");
        }
        let settings = Settings {
            plan: self.plan(),
            outputs: &ready.outputs,
            further,
            lowering: known.as_ref(),
            precision: format.precision,
            seed: self.shared.spec.pipeline.seed,
            sparsities: &self.step.sparsities,
            early_stop: self.early_stop(),
            micro_batch: ready.micro_batch,
            pad: ready.batching != Batching::Any,
            device: device.map_err(Failure::of)?,
            mine: &|place| context.share.takes(place),
            budget: &budget,
            stop: &|| context.stop.is_set(),
            progress: &|done, total| context.progress(done / PROGRESS, total.div_ceil(PROGRESS)),
        };
        let grounds = self.grounds(context.store)?;
        let memory = Stored::new(context.store, &self.shared, context.fresh, grounds);
        let run = |settings: &Settings<'_>| match self.sampling() {
            Some(sampling) => estimate(graph, targets, dataset, *metric, &memory, settings, &sampling).map(
                |Estimates { table, cells, .. }| Found {
                    table,
                    estimated: Some(cells),
                    samples: dataset.len(),
                    keys: None,
                    format,
                },
            ),
            None => {
                // What is sampled to its end has one metric's value, and parts of a table are known by their places.
                let completed = match further {
                    [] if context.share == Share::Whole => complete(
                        graph,
                        targets,
                        dataset,
                        *metric,
                        &memory,
                        settings,
                        self.shared.spec.pipeline.seed,
                    ),
                    _ => Ok(0),
                };
                completed.and_then(|completed| {
                    let mut table = measure(graph, targets, dataset, *metric, &memory, settings)?;
                    table.computed += completed;
                    table.reused = table.reused.saturating_sub(completed);
                    Ok(Found {
                        keys: keys(&memory, targets, &table),
                        table,
                        estimated: None,
                        samples: dataset.len(),
                        format,
                    })
                })
            }
        };
        let found = match run(&settings) {
            Err(SensitivityError::NotFinite) => {
                let id = &*self.step.id;
                tracing::warn!("{id}: a weight, a sample or what becomes of it is infinite or not a number");
                run(&Settings {
                    lowering: None,
                    ..settings
                })
            }
            found => found,
        };
        let found = found.map_err(|fault| match fault {
            SensitivityError::Dataset(fault) => unread(fault),
            SensitivityError::Interrupted { computed, reused } => Failure::Stopped(Cells { computed, reused }),
            SensitivityError::Elsewhere {
                computed,
                reused,
                missing,
            } => Failure::Elsewhere {
                cells: Cells { computed, reused },
                missing,
            },
            other => Failure::of(other),
        })?;
        Ok((found, memory.used()))
    }
}

/// Where the store has the cells of a table.
fn keys(memory: &Stored<'_>, targets: &[Target], table: &Table) -> Option<CellKeys> {
    let mut keys = CellKeys::new(memory.key(None)?);
    for cell in &table.cells {
        keys.insert(
            &targets[cell.target].name,
            cell.sparsity,
            memory.key(cell.digest.as_deref())?,
        );
    }
    Some(keys)
}

impl Stage for Sensitivity {
    fn id(&self) -> &str {
        &self.step.id
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn names(&self) -> &'static [&'static str] {
        NAMES
    }

    fn memory(&self) -> Option<u64> {
        let graph = &self.shared.model().ok()?.graph;
        // Whether a plug-in wants every output only it can say, and a plan starts none.
        let ready = self.prepare(graph, false).ok()?;
        let targets = self.targets().ok()?;
        let format = Format::choose(&self.shared, &self.step);
        let (footprint, budget) = self.budget(&ready, &targets, format);
        Some(footprint.peak(budget.at_once, rayon::current_num_threads()))
    }

    fn document(&self, store: &Store, _: &Read) -> Result<Document, Failure> {
        let mut step = json!(self.step);
        if let Some(fields) = step.as_object_mut() {
            fields.remove("id");
        }
        let mut metrics = self.metric_documents(store)?.into_iter();
        let document = Document::new()
            .with("stage", KIND)
            .with("algorithm", ALGORITHM)
            .with("cell", CELL)
            .with("ground", self.ground(store, 0, metrics.next().unwrap_or_default())?)
            .with("step", step);
        let further: Vec<Value> = metrics.collect();
        // The names stand in the files.
        let names: Vec<&spec::Name> = self.shared.spec.pipeline.metric_names();
        let plugins = plugins::labels(&self.shared);
        let document = match further.is_empty() {
            true => document,
            false => document.with("further", json!(further)),
        };
        let document = match names.is_empty() {
            true => document,
            false => document.with("names", json!(names)),
        };
        let document = match plugins.is_empty() {
            true => document,
            false => document.with("plugins", json!(plugins)),
        };
        // Told beside the files; cells may be float32's.
        let document = match self.shared.spec.pipeline.precision {
            asked @ spec::Precision::Auto => document.with("precision", json!(asked)),
            _ => document,
        };
        Ok(match self.sampling() {
            Some(sampling) => document.with("order", json!(sampling.seed)),
            None => document,
        })
    }

    /// Steps on one ground may have cells in common, whatever else they ask for.
    fn lease(&self, document: &Document) -> Key {
        let ground = document.get("ground").cloned().and_then(Document::from_value);
        ground.unwrap_or_else(|| document.clone()).key()
    }

    fn pending(&self, store: &Store, fresh: bool) -> Option<Pending> {
        self.count(store, fresh)
            .map_err(|failure| tracing::debug!("{}: cells are not counted: {failure}", self.id()))
            .ok()
    }

    fn explain(&self, store: &Store, change: &Change, pending: Option<&Pending>) -> Option<Vec<String>> {
        self.explained(change, pending)
            .or_else(|| self.shared.explain(store, change))
    }

    fn run(&self, context: &Context<'_>) -> Result<Outcome, Failure> {
        let metrics = self.metrics(context.stop)?;
        let metrics: Vec<&dyn Metric> = metrics.iter().map(AsRef::as_ref).collect();
        let targets = self.targets()?;
        let (found, used) = self.measure(context, &targets, &metrics)?;
        let table = &found.table;
        let mut outcome = Outcome {
            cells: Cells {
                computed: table.computed,
                reused: table.reused,
            },
            used,
            ..Outcome::default()
        };
        for (at, metric) in metrics.iter().enumerate() {
            let name = match at {
                0 => "sensitivity.csv".to_owned(),
                _ => format!("sensitivity.{}.csv", metric.name()),
            };
            let table = csv(&self.step.sparsities, &targets, table, at)?;
            outcome.files.insert(name, table);
        }
        outcome
            .files
            .insert("sensitivity.json".into(), json(&self.step, &targets, &found, &metrics)?);
        if let Some(keys) = &found.keys {
            outcome.files.insert(CELLS_FILE.into(), tables::json(keys)?);
        }
        outcome.summary = summary(&targets, table, &metrics);
        outcome.summary.extend(found.saved());
        outcome.summary.extend(found.format.line(table.effort.as_ref()));
        outcome.precision = found.format.told(table.effort.as_ref());
        self.shared.unchanged(context.store)?;
        Ok(outcome)
    }
}
