//! A metric that another process computes.
//!
//! Owns the way from a forward's tensors to questions and from answers to a cell's number. Nobody waits for a single
//! batch: cells hand their batches over and only their end waits, so that all processes are busy. Per-sample values are
//! averaged here, as those of any metric; an aggregate gets its batches in sample order, whatever order they come in.

use super::error::{Fault, PluginError};
use super::hello::{FormName, Hello, MetricHello};
use super::pool::{Expected, Pool, Said, Task};
use super::wire::Ask;
use super::{Direction, Launch};
use crate::metric::{
    Accumulator, Aggregate, Form, Forward, Metric, MetricError, Partial, PerSample, Score, SoFar, Standing,
};
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};

type Named = Vec<(String, Tensor)>;

/// A metric whose values come from a plug-in's processes, which live as long as it does.
pub struct CommandMetric {
    pool: Pool,
    name: String,
    hello: MetricHello,
    maximize: bool,
    /// Cells of aggregates begun so far; they go to the processes in turn.
    begun: AtomicUsize,
}

impl CommandMetric {
    /// Starts the processes.
    ///
    /// # Errors
    /// When they do not start, or say something else than the pipeline.
    pub fn start(launch: &Launch, direction: Option<Direction>) -> Result<CommandMetric, PluginError> {
        let pool = Pool::start(launch)?;
        let written = direction.map(|direction| direction == Direction::Maximize);
        let hello = match pool.hello() {
            Hello::Metric(hello) => hello.clone(),
            other => {
                let fault = Fault::Kind {
                    found: other.kind(),
                    wanted: "metric",
                };
                return Err(PluginError::bare(&launch.name, fault));
            }
        };
        let said = hello.maximize;
        if let (Some(said), Some(written)) = (said, written)
            && said != written
        {
            let word = |maximize| if maximize { "maximize" } else { "minimize" };
            return Err(PluginError::bare(
                &launch.name,
                Fault::Direction {
                    found: word(said),
                    written: word(written),
                },
            ));
        }
        Ok(CommandMetric {
            name: launch.name.clone(),
            maximize: written.or(said).unwrap_or(true),
            begun: AtomicUsize::new(0),
            hello,
            pool,
        })
    }

    fn wants(&self, tensor: &str) -> bool {
        self.hello.tensors.iter().any(|wanted| wanted == tensor)
    }

    /// The tensors that the plug-in wants of a forward.
    fn tensors(&self, forward: &Forward<'_>) -> Result<Named, MetricError> {
        let mut tensors = Vec::new();
        for wanted in &self.hello.tensors {
            match wanted.as_str() {
                "outputs" => several(wanted, forward.outputs, &mut tensors),
                "inputs" => several(wanted, &forward.batch.inputs, &mut tensors),
                "baseline" => {
                    let baseline = forward.baseline.ok_or_else(|| MetricError::NoBaseline {
                        metric: self.name.clone(),
                    })?;
                    several(wanted, baseline, &mut tensors);
                }
                "targets" => {
                    let targets = forward.batch.targets.as_ref().ok_or_else(|| MetricError::NoTargets {
                        metric: self.name.clone(),
                    })?;
                    tensors.push((wanted.clone(), targets.clone()));
                }
                _ => {
                    let first = forward.batch.first as i64;
                    let indices: Vec<i64> = (first..first + forward.batch.len() as i64).collect();
                    tensors.push((wanted.clone(), Tensor::from_i64([indices.len()], &indices)));
                }
            }
        }
        Ok(tensors)
    }

    fn ask_values(&self, forward: &Forward<'_>, then: ValuesReply) -> Result<(), MetricError> {
        let samples = forward.batch.len();
        let task = Task {
            ask: Ask::Values {
                cell: forward.cell.into(),
                first: forward.batch.first,
                samples,
            },
            tensors: self.tensors(forward)?,
            expected: Expected::Values(samples),
            reply: Box::new(move |said| match said {
                Ok(Said::Values(values)) => then(Ok(values)),
                Ok(_) => then(Err(MetricError::Stopped)),
                Err(error) => then(Err(foreign(&error))),
            }),
        };
        self.pool.ask(None, task).map_err(|error| foreign(&error))
    }
}

type ValuesReply = Box<dyn FnOnce(Result<Vec<f64>, MetricError>) + Send>;

/// The first tensor under the name itself, further ones under `name.1`, `name.2`, …
fn several(name: &str, tensors: &[Tensor], named: &mut Named) {
    for (at, tensor) in tensors.iter().enumerate() {
        let name = if at == 0 {
            name.to_owned()
        } else {
            format!("{name}.{at}")
        };
        named.push((name, tensor.clone()));
    }
}

fn foreign(error: &PluginError) -> MetricError {
    match *error.fault {
        Fault::Stopped => MetricError::Stopped,
        _ => MetricError::Foreign {
            cell: error.cell.clone(),
            message: error.to_string(),
        },
    }
}

impl Metric for CommandMetric {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn form(&self) -> Form<'_> {
        match self.hello.form {
            FormName::PerSample => Form::PerSample(self),
            FormName::Aggregate => Form::Aggregate(self),
        }
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn needs_targets(&self) -> bool {
        self.wants("targets")
    }

    fn needs_baseline(&self) -> bool {
        self.wants("baseline")
    }

    fn takes_all_outputs(&self) -> bool {
        self.wants("outputs") || self.wants("baseline")
    }
}

impl PerSample for CommandMetric {
    fn values(&self, forward: &Forward<'_>) -> Result<Vec<f64>, MetricError> {
        let (tell, told) = mpsc::channel();
        let then = Box::new(move |values| {
            let _ = tell.send(values);
        });
        self.ask_values(forward, then)?;
        told.recv().unwrap_or(Err(MetricError::Stopped))
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.hello.bounds
    }

    fn in_background(&self) -> Option<&dyn Aggregate> {
        Some(self)
    }
}

impl CommandMetric {
    /// A cell whose batches go to the plug-in one by one.
    fn background(&self, partial: Partial) -> Background<'_> {
        let values = Values::default();
        values.lock().partial = partial;
        Background {
            metric: self,
            values: Arc::new(values),
        }
    }

    /// An empty cell that one process holds, whose samples begin with `next`.
    fn ordered(&self, cell: &str, next: usize) -> Result<Ordered<'_>, MetricError> {
        let cell = Ordered {
            metric: self,
            cell: cell.into(),
            worker: self.begun.fetch_add(1, Ordering::Relaxed) % self.pool.workers(),
            state: Mutex::new(Order {
                next,
                ..Order::default()
            }),
        };
        let reset = Ask::Reset {
            cell: cell.cell.clone(),
        };
        cell.tell(reset, Vec::new())?;
        Ok(cell)
    }
}

impl Aggregate for CommandMetric {
    fn open(&self, cell: &str) -> Result<Box<dyn Accumulator + '_>, MetricError> {
        Ok(match self.hello.form {
            FormName::PerSample => Box::new(self.background(Partial::default())),
            FormName::Aggregate => Box::new(self.ordered(cell, 0)?),
        })
    }

    fn reopen(&self, cell: &str, standing: &Standing) -> Option<Box<dyn Accumulator + '_>> {
        match (self.hello.form, &standing.so_far) {
            (FormName::PerSample, _) => Some(Box::new(self.background(Partial::resume(standing)?))),
            (FormName::Aggregate, SoFar::State(state)) if self.hello.mergeable => {
                let cell = self.ordered(cell, standing.samples).ok()?;
                let merge = Ask::Merge {
                    cell: cell.cell.clone(),
                    state: state.clone(),
                };
                cell.tell(merge, Vec::new()).ok()?;
                Some(Box::new(cell))
            }
            _ => None,
        }
    }
}

/// A cell of a per-sample metric, whose batches are with the plug-in.
struct Background<'a> {
    metric: &'a CommandMetric,
    values: Arc<Values>,
}

#[derive(Default)]
struct Values {
    state: Mutex<Arrived>,
    changed: Condvar,
}

#[derive(Default)]
struct Arrived {
    partial: Partial,
    outstanding: usize,
    error: Option<MetricError>,
}

impl Values {
    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all that were asked for have come.
    fn all(&self) -> MutexGuard<'_, Arrived> {
        let mut arrived = self.lock();
        while arrived.outstanding > 0 {
            arrived = self.changed.wait(arrived).unwrap_or_else(PoisonError::into_inner);
        }
        arrived
    }
}

/// One batch of a cell that is with the plug-in; if nobody brings it back, it is lost.
struct Ticket {
    values: Arc<Values>,
    first: usize,
    back: Result<Vec<f64>, MetricError>,
}

impl Ticket {
    fn bring(mut self, values: Result<Vec<f64>, MetricError>) {
        self.back = values;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut arrived = self.values.lock();
        arrived.outstanding -= 1;
        let back = std::mem::replace(&mut self.back, Ok(Vec::new()));
        let merged = back.and_then(|values| arrived.partial.merge(Partial::new(self.first, values)));
        if let Err(error) = merged {
            arrived.error.get_or_insert(error);
        }
        self.values.changed.notify_all();
    }
}

impl Accumulator for Background<'_> {
    fn add(&self, forward: &Forward<'_>) -> Result<(), MetricError> {
        self.values.lock().outstanding += 1;
        let ticket = Ticket {
            values: self.values.clone(),
            first: forward.batch.first,
            back: Err(MetricError::Stopped),
        };
        self.metric
            .ask_values(forward, Box::new(move |values| ticket.bring(values)))
    }

    fn standing(&self) -> Option<Standing> {
        let arrived = self.values.all();
        match &arrived.error {
            Some(_) => None,
            None => arrived.partial.standing(),
        }
    }

    fn finish(self: Box<Self>) -> Result<Score, MetricError> {
        let mut arrived = self.values.all();
        match arrived.error.take() {
            Some(error) => Err(error),
            None => arrived.partial.score(),
        }
    }
}

/// A cell of an aggregate, which one process holds.
struct Ordered<'a> {
    metric: &'a CommandMetric,
    cell: String,
    worker: usize,
    state: Mutex<Order>,
}

#[derive(Default)]
struct Order {
    /// The sample that comes next.
    next: usize,
    /// What came before its turn, by its first sample.
    early: BTreeMap<usize, (usize, Named)>,
    finished: bool,
}

impl Ordered<'_> {
    /// Asks what has no answer but a fault, which ends the plug-in and meets whoever asks next.
    fn tell(&self, ask: Ask, tensors: Named) -> Result<(), MetricError> {
        let task = Task {
            ask,
            tensors,
            expected: Expected::Nothing,
            reply: Box::new(|_| ()),
        };
        self.metric
            .pool
            .ask(Some(self.worker), task)
            .map_err(|error| foreign(&error))
    }

    /// Asks and waits for the answer.
    fn hear(&self, ask: Ask, expected: Expected) -> Result<Said, MetricError> {
        let told = self.metric.pool.put(Some(self.worker), ask, expected);
        let told = told.map_err(|error| foreign(&error))?;
        // Nobody brings an answer only when the pool is gone.
        let said = told.recv().map_err(|_| MetricError::Stopped)?;
        said.map_err(|error| foreign(&error))
    }
}

impl Accumulator for Ordered<'_> {
    fn add(&self, forward: &Forward<'_>) -> Result<(), MetricError> {
        let tensors = self.metric.tensors(forward)?;
        let mut order = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, samples) = (forward.batch.first, forward.batch.len());
        if first < order.next || order.early.insert(first, (samples, tensors)).is_some() {
            return Err(MetricError::Twice { sample: first });
        }
        // Under the lock, so that no other thread's batch comes between.
        loop {
            let first = order.next;
            let Some((samples, tensors)) = order.early.remove(&first) else {
                return Ok(());
            };
            order.next += samples;
            let cell = self.cell.clone();
            self.tell(Ask::Update { cell, first, samples }, tensors)?;
        }
    }

    fn standing(&self) -> Option<Standing> {
        let order = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.metric.hello.mergeable || !order.early.is_empty() {
            return None;
        }
        let state = Ask::State {
            cell: self.cell.clone(),
        };
        match self.hear(state, Expected::State) {
            Ok(Said::State(state)) => Some(Standing {
                samples: order.next,
                so_far: SoFar::State(state),
            }),
            // The fault meets whoever asks next.
            _ => None,
        }
    }

    fn finish(self: Box<Self>) -> Result<Score, MetricError> {
        {
            let mut order = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((&from, _)) = order.early.first_key_value() {
                let missing = order.next;
                return Err(MetricError::Missing { from, missing });
            }
            if order.next == 0 {
                return Err(MetricError::Empty);
            }
            order.finished = true;
        }
        let finish = Ask::Finish {
            cell: self.cell.clone(),
        };
        match self.hear(finish, Expected::Score)? {
            Said::Score(score) if score.value.is_nan() => Err(MetricError::NotANumberScore),
            Said::Score(score) => Ok(score),
            _ => Err(MetricError::Stopped),
        }
    }
}

impl Drop for Ordered<'_> {
    fn drop(&mut self) {
        let finished = self.state.get_mut().map(|order| order.finished).unwrap_or(true);
        if !finished {
            // The run gives this cell up; if the plug-in is gone, so is the cell.
            let _ = self.tell(
                Ask::Drop {
                    cell: self.cell.clone(),
                },
                Vec::new(),
            );
        }
    }
}
