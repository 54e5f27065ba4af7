//! A dataset that another process holds.
//!
//! Owns the way from sample numbers to questions and from answers to tensors: a batch of a dataset with random access is
//! shared out among its processes, a stream is read in order and begun again for each pass. What the tensors are to be,
//! the hello has said; `pool` holds every answer to it.

use super::Launch;
use super::error::{Fault, PluginError};
use super::hello::{Access, DatasetHello, Hello};
use super::pool::{Expected, Pool, Said, Told};
use super::wire::Ask;
use crate::dataset::{Column, DatasetError, Foreign};
use crate::tensor::Tensor;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A dataset whose samples come from a plug-in's processes, which live as long as it does.
pub struct CommandDataset {
    pool: Pool,
    name: String,
    hello: DatasetHello,
    /// The sample that a stream gives next.
    next: Mutex<usize>,
}

impl CommandDataset {
    /// Starts the processes.
    ///
    /// # Errors
    /// When they do not start, or are no dataset.
    pub fn start(launch: &Launch) -> Result<CommandDataset, PluginError> {
        let pool = Pool::start(launch)?;
        let bare = |fault| Err(PluginError::bare(&launch.name, fault));
        let hello = match pool.hello() {
            Hello::Dataset(hello) => hello.clone(),
            other => {
                return bare(Fault::Kind {
                    found: other.kind(),
                    wanted: "dataset",
                });
            }
        };
        if hello.access == Access::Stream && pool.workers() > 1 {
            return bare(Fault::StreamOfSeveral);
        }
        Ok(CommandDataset {
            pool,
            name: launch.name.clone(),
            hello,
            next: Mutex::new(0),
        })
    }

    /// What it says of itself.
    pub fn hello(&self) -> &DatasetHello {
        &self.hello
    }

    /// Whether a fault has ended it.
    pub fn has_failed(&self) -> bool {
        self.pool.has_failed()
    }

    fn ask_rows(&self, rows: &[usize]) -> Result<Told, DatasetError> {
        let expected = Expected::Tensors {
            columns: self.hello.tensors.clone(),
            samples: rows.len(),
        };
        let read = Ask::Read { rows: rows.to_vec() };
        self.pool.put(None, read, expected).map_err(foreign)
    }

    /// The parts of a batch, one after the other.
    fn joined(&self, samples: usize, parts: &[Vec<Tensor>]) -> Result<Vec<Tensor>, DatasetError> {
        if let [whole] = parts {
            return Ok(whole.clone());
        }
        let columns = self.hello.tensors.iter().enumerate();
        let tensor = |(at, column): (usize, &Column)| {
            let data = parts
                .iter()
                .map(|part| &part[at].data()[..])
                .collect::<Vec<_>>()
                .concat();
            Tensor::new(column.dtype, column.batch(samples), data)
                .map_err(|error| DatasetError::Reader(error.to_string()))
        };
        columns.map(tensor).collect()
    }

    fn begin_again(&self) -> Result<(), DatasetError> {
        let told = self
            .pool
            .put(None, Ask::Rewind {}, Expected::Nothing)
            .map_err(foreign)?;
        heard(&told).map(|_| ())
    }
}

fn foreign(error: PluginError) -> DatasetError {
    match *error.fault {
        Fault::Stopped => DatasetError::Stopped,
        _ => DatasetError::Foreign(error.to_string()),
    }
}

/// Waits for an answer; nobody brings one only when the pool is gone.
fn heard(told: &Told) -> Result<Vec<Tensor>, DatasetError> {
    match told.recv() {
        Ok(Ok(Said::Tensors(tensors))) => Ok(tensors),
        Ok(Ok(_)) => Ok(Vec::new()),
        Ok(Err(error)) => Err(foreign(error)),
        Err(_) => Err(DatasetError::Stopped),
    }
}

impl Foreign for CommandDataset {
    fn title(&self) -> String {
        format!("plug-in {}", self.name)
    }

    fn columns(&self) -> &[Column] {
        &self.hello.tensors
    }

    fn samples(&self) -> Option<usize> {
        self.hello.samples
    }

    fn is_seekable(&self) -> bool {
        self.hello.access == Access::Random
    }

    fn read(&self, rows: &[usize]) -> Result<Vec<Tensor>, DatasetError> {
        let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
            return Err(DatasetError::Empty);
        };
        if self.hello.access == Access::Random {
            let share = rows.len().div_ceil(self.pool.workers().max(1));
            // All are asked before any is waited for.
            let told: Vec<_> = rows
                .chunks(share)
                .map(|rows| self.ask_rows(rows))
                .collect::<Result<_, _>>()?;
            let parts = told.iter().map(heard).collect::<Result<Vec<_>, _>>()?;
            return self.joined(rows.len(), &parts);
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if first < *next {
            self.begin_again()?;
        }
        let tensors = heard(&self.ask_rows(rows)?)?;
        *next = last + 1;
        Ok(tensors)
    }
}

impl fmt::Debug for CommandDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandDataset({}: {:?})", self.name, self.hello)
    }
}
