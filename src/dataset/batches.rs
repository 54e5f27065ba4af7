//! Batches in order, read ahead by one thread.
//!
//! Owns the bound on how far ahead that is, and that nobody waits for ever: a reader that dies is an error, a consumer that
//! leaves stops the reader, and a consumer that is itself a thread of the decoding pool helps while it waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Batch, Dataset, DatasetError};

/// How many batches may exist ahead of the one in the consumer's hands, the one being made included.
pub const READ_AHEAD: usize = 2;

type Receiving = Receiver<Result<Batch, DatasetError>>;

/// The batches of a dataset, in order.
pub struct Batches {
    /// `None` once the last batch or an error was given out.
    reading: Option<(Receiving, Option<JoinHandle<()>>)>,
    remaining: usize,
}

impl Batches {
    pub(super) fn start(dataset: Dataset, batch_size: usize, first: usize) -> Batches {
        let remaining = dataset.len().saturating_sub(first).div_ceil(batch_size);
        if remaining == 0 {
            // A pass that was left after its last batch goes on from here.
            return Batches {
                reading: None,
                remaining,
            };
        }
        // One batch is in the reader's hands while the channel is full.
        let (sender, receiver) = sync_channel(READ_AHEAD - 1);
        let read = move || {
            let mut start = first;
            while start < dataset.len() {
                let end = start.saturating_add(batch_size).min(dataset.len());
                let batch = dataset.read(start..end);
                let failed = batch.is_err();
                // The consumer has left when there is nobody to send to.
                if sender.send(batch).is_err() || failed {
                    return;
                }
                start = end;
            }
        };
        match std::thread::Builder::new().name("dataset".into()).spawn(read) {
            Ok(handle) => Batches {
                reading: Some((receiver, Some(handle))),
                remaining,
            },
            Err(error) => {
                let (sender, receiver) = sync_channel(1);
                let told = sender.send(Err(DatasetError::Reader(error.to_string())));
                debug_assert!(told.is_ok(), "the channel has room");
                Batches {
                    reading: Some((receiver, None)),
                    remaining,
                }
            }
        }
    }

    /// Stops the reader and waits for it; says why it died, if it did.
    fn stop(&mut self) -> Option<String> {
        let (receiver, handle) = self.reading.take()?;
        drop(receiver);
        let payload = wait(handle?)?;
        let text = payload.downcast_ref::<String>().cloned();
        Some(
            text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default(),
        )
    }
}

/// Joins a reader; a thread of a pool helps that pool meanwhile, since the reader may need it. Gives a panic's payload.
fn wait(handle: JoinHandle<()>) -> Option<Box<dyn std::any::Any + Send>> {
    while rayon::current_thread_index().is_some() && !handle.is_finished() {
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            std::thread::sleep(PAUSE);
        }
    }
    handle.join().err()
}

/// How long an idle thread of a pool waits before it looks for work again.
const PAUSE: Duration = Duration::from_micros(200);

/// Receives; a thread of a pool works for it meanwhile. `None` when the reader is gone.
fn receive(receiver: &Receiver<Result<Batch, DatasetError>>) -> Option<Result<Batch, DatasetError>> {
    if rayon::current_thread_index().is_none() {
        return receiver.recv().ok();
    }
    loop {
        match receiver.try_recv() {
            Ok(batch) => return Some(batch),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            match receiver.recv_timeout(PAUSE) {
                Ok(batch) => return Some(batch),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (receiver, _) = self.reading.as_ref()?;
        let batch = receive(receiver);
        self.remaining = self.remaining.saturating_sub(1);
        match batch {
            Some(Ok(batch)) => {
                if self.remaining == 0 {
                    self.stop();
                }
                Some(Ok(batch))
            }
            Some(Err(error)) => {
                self.remaining = 0;
                self.stop();
                Some(Err(error))
            }
            // The reader always sends what is left, so it has panicked.
            None => {
                self.remaining = 0;
                Some(Err(DatasetError::Reader(self.stop().unwrap_or_default())))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error may come before the last batch, and ends the sequence.
        (self.remaining.min(1), Some(self.remaining))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop();
    }
}
