//! Several processes of one plug-in, fed from one queue.
//!
//! Owns the threads, one a process, and the queue: what any process can answer goes to whichever is free, what belongs to
//! one process's state waits for that one. The queue is short, so whoever asks waits when the plug-in is slow. The first
//! fault ends everything: each question, asked or yet to come, is answered with it.

use super::error::{Fault, PluginError};
use super::hello::Hello;
use super::wire::{Answer, Ask, number};
use super::worker::Worker;
use super::{Launch, helper};
use crate::dataset::Column;
use crate::metric::Score;
use crate::tensor::Tensor;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// Questions that wait, for each process.
const AHEAD: usize = 2;

/// What stands before the tensors of an answer, in bytes, for each of them.
const HEADER: u64 = 1 << 10;

/// What an answer is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Nothing,
    /// So many values.
    Values(usize),
    Score,
    /// A cell's state.
    State,
    /// These tensors of so many samples.
    Tensors {
        columns: Arc<[Column]>,
        samples: usize,
    },
}

impl Expected {
    /// The most bytes of tensors that an answer may have.
    pub(super) fn most(&self) -> u64 {
        let Expected::Tensors { columns, samples } = self else {
            return 0;
        };
        let bytes = columns.iter().filter_map(Column::bytes).sum::<usize>();
        (bytes.saturating_mul(*samples) as u64).saturating_add(HEADER * (columns.len() as u64 + 1))
    }
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Nothing,
    Values(Vec<f64>),
    Score(Score),
    State(String),
    /// In the order of the columns.
    Tensors(Vec<Tensor>),
}

/// What is to come of a question.
pub(super) type Told = mpsc::Receiver<Result<Said, PluginError>>;

/// One question on its way.
pub(super) struct Task {
    pub(super) ask: Ask,
    pub(super) tensors: Vec<(String, Tensor)>,
    pub(super) expected: Expected,
    /// Called once, with what came of it.
    pub(super) reply: Box<dyn FnOnce(Result<Said, PluginError>) + Send>,
}

/// The processes of one plug-in. Dropping it says goodbye to all.
pub(super) struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    hello: Hello,
    _folder: TempDir,
}

impl Pool {
    /// Starts `launch.workers` processes and hears their hellos.
    pub(super) fn start(launch: &Launch) -> Result<Pool, PluginError> {
        let bare = |fault| PluginError::bare(&launch.name, fault);
        let folder = helper::place().map_err(bare)?;
        let workers = launch.workers.max(1);
        let queue = Arc::new(Queue {
            state: Mutex::new(State {
                common: VecDeque::new(),
                own: (0..workers).map(|_| VecDeque::new()).collect(),
                waiting: 0,
                failed: None,
                closed: false,
            }),
            changed: Condvar::new(),
            most: workers * AHEAD,
        });
        let (tell, told) = mpsc::channel();
        let mut pool = Vec::new();
        for number in 0..workers {
            let (launch, folder, tell) = (launch.clone(), folder.path().to_owned(), tell.clone());
            let tasks = queue.clone();
            let thread = std::thread::Builder::new().name(format!("plug-in {number}"));
            let work = move || work(number, &launch, &folder, &tasks, tell);
            let thread = thread
                .spawn(work)
                .map_err(|error| bare(Fault::Channel(error.to_string())));
            match thread {
                Ok(thread) => pool.push(thread),
                Err(error) => {
                    queue.fail(&error);
                    break;
                }
            }
        }
        drop(tell);
        let heard: Vec<Result<Hello, PluginError>> = told.iter().collect();
        let mut hello = None;
        let mut fault = queue.lock().failed.clone();
        for one in heard {
            match one {
                Ok(one) if hello.as_ref().is_some_and(|other| *other != one) => {
                    fault = fault.or_else(|| Some(bare(Fault::Disagree)));
                }
                Ok(one) => hello = Some(one),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        let failed = match (fault, hello) {
            (None, Some(hello)) => {
                return Ok(Pool {
                    queue,
                    threads: pool,
                    hello,
                    _folder: folder,
                });
            }
            (Some(error), _) => error,
            (None, None) => bare(Fault::Channel("no process was started".into())),
        };
        queue.fail(&failed);
        for thread in pool {
            let _ = thread.join();
        }
        Err(failed)
    }

    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether a fault has ended everything.
    pub(super) fn has_failed(&self) -> bool {
        self.queue.lock().failed.is_some()
    }

    pub(super) fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Puts a question without tensors; what comes of it comes through the channel.
    pub(super) fn put(&self, to: Option<usize>, ask: Ask, expected: Expected) -> Result<Told, PluginError> {
        let (tell, told) = mpsc::channel();
        let task = Task {
            ask,
            tensors: Vec::new(),
            expected,
            reply: Box::new(move |said| {
                let _ = tell.send(said);
            }),
        };
        self.ask(to, task)?;
        Ok(told)
    }

    /// Puts a question to the process `to`, or to any; waits while the queue is full.
    pub(super) fn ask(&self, to: Option<usize>, task: Task) -> Result<(), PluginError> {
        let mut state = self.queue.lock();
        while state.failed.is_none() && state.waiting >= self.queue.most {
            state = self.queue.wait(state);
        }
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        match to {
            Some(worker) => state.own[worker].push_back(task),
            None => state.common.push_back(task),
        }
        state.waiting += 1;
        self.queue.changed.notify_all();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
}

struct State {
    common: VecDeque<Task>,
    own: Vec<VecDeque<Task>>,
    /// Tasks in all queues.
    waiting: usize,
    failed: Option<PluginError>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task of a process; none once there will be none.
    fn take(&self, worker: usize) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            let task = state.own[worker].pop_front();
            if let Some(task) = task.or_else(|| state.common.pop_front()) {
                state.waiting -= 1;
                self.changed.notify_all();
                return Some(task);
            }
            if state.closed {
                return None;
            }
            state = self.wait(state);
        }
    }

    /// Ends everything with a fault; the first one stays.
    fn fail(&self, error: &PluginError) {
        let mut state = self.lock();
        let error = state.failed.get_or_insert_with(|| error.clone()).clone();
        let mut tasks: Vec<Task> = state.common.drain(..).collect();
        state.own.iter_mut().for_each(|own| tasks.extend(own.drain(..)));
        state.waiting = 0;
        drop(state);
        self.changed.notify_all();
        for task in tasks {
            (task.reply)(Err(error.clone()));
        }
    }
}

/// The life of one process.
fn work(number: usize, launch: &Launch, folder: &Path, queue: &Queue, tell: mpsc::Sender<Result<Hello, PluginError>>) {
    let mut worker = match Worker::start(launch, folder) {
        Ok(worker) => worker,
        Err(error) => {
            queue.fail(&error);
            let _ = tell.send(Err(error));
            return;
        }
    };
    match worker.hello() {
        Ok(hello) => {
            let _ = tell.send(Ok(hello));
        }
        Err(fault) => {
            let error = worker.fail(fault, None);
            queue.fail(&error);
            let _ = tell.send(Err(error));
            return;
        }
    }
    // Whoever starts the pool hears until nobody can tell any more.
    drop(tell);
    while let Some(task) = queue.take(number) {
        let answer = worker.ask_for(&task.ask, &task.tensors, task.expected.most());
        match answer.and_then(|answer| said(&answer, &task.expected)) {
            Ok(said) => (task.reply)(Ok(said)),
            Err(fault) => {
                let error = worker.fail(fault, Some(&task.ask));
                queue.fail(&error);
                (task.reply)(Err(error));
                return;
            }
        }
    }
    worker.bye();
}

/// Reads an answer.
pub(super) fn said(answer: &Answer, expected: &Expected) -> Result<Said, Fault> {
    Ok(match expected {
        Expected::Nothing => Said::Nothing,
        Expected::Values(samples) => Said::Values(values(answer, *samples)?),
        Expected::Score => Said::Score(score(answer)?),
        Expected::State => Said::State(state(answer)?),
        Expected::Tensors { columns, samples } => {
            let tensors = columns.iter().map(|column| tensor(answer, column, *samples));
            Said::Tensors(tensors.collect::<Result<_, _>>()?)
        }
    })
}

/// One tensor of an answer, which is as it was announced.
fn tensor(answer: &Answer, column: &Column, samples: usize) -> Result<Tensor, Fault> {
    let Some((_, tensor)) = answer.tensors.iter().find(|(name, _)| *name == column.name) else {
        return Err(Fault::NoTensor(column.name.clone()));
    };
    let wanted = column.batch(samples);
    if tensor.dtype() == column.dtype && tensor.shape() == wanted {
        return Ok(tensor.clone());
    }
    Err(Fault::Tensor {
        name: column.name.clone(),
        found: format!("{} {:?}", tensor.dtype(), tensor.shape()),
        wanted: format!("{} {wanted:?}", column.dtype),
    })
}

/// The values of an answer, one a sample.
fn values(answer: &Answer, samples: usize) -> Result<Vec<f64>, Fault> {
    let Some(list) = answer.fields.get("values").and_then(Value::as_array) else {
        return Err(Fault::Lacks("`values`, a list of numbers"));
    };
    if list.len() != samples {
        return Err(Fault::Count {
            found: list.len(),
            wanted: samples,
        });
    }
    list.iter().map(read).collect()
}

pub(super) fn state(answer: &Answer) -> Result<String, Fault> {
    let state = answer.fields.get("state").and_then(Value::as_str);
    state.map(str::to_owned).ok_or(Fault::Lacks("`state`, a string"))
}

/// The number of an answer, and its parts.
fn score(answer: &Answer) -> Result<Score, Fault> {
    let value = answer.fields.get("value").ok_or(Fault::Lacks("`value`, a number"))?;
    let parts = match answer.fields.get("parts") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(parts)) => {
            let part = |(name, value): (&String, &Value)| Ok((name.clone(), read(value)?));
            parts.iter().map(part).collect::<Result<_, Fault>>()?
        }
        Some(_) => return Err(Fault::Lacks("`parts` as numbers by name")),
    };
    Ok(Score {
        value: read(value)?,
        parts,
        outcomes: None,
    })
}

fn read(value: &Value) -> Result<f64, Fault> {
    // Only its beginning is shown.
    number(value).ok_or_else(|| Fault::NoNumber(value.to_string().chars().take(60).collect()))
}
