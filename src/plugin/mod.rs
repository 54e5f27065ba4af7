//! Plug-ins: metrics that another process computes and data that it holds, in any language.
//!
//! Owns the protocol (docs/plugin-protocol.md), the processes and what becomes of them, the helpers that plug-ins find,
//! and the verbs that make and test one. Deliberately knows nothing of YAML and of the runtime: what to start comes as a
//! [`Launch`], and what comes out is a [`crate::metric::Metric`] or a [`crate::dataset::Foreign`] like any other.
//!
//! Batches travel through a pipe. Shared memory was measured against it: a round trip of 256 KB (64 samples of 1000
//! numbers) takes 66 µs through a pipe and 27 µs through shared memory, of 64 MB 23 ms and 12 ms, beside forwards of
//! hundreds of milliseconds; a pipe needs nothing of the plug-in's language, leaves nothing behind, and is everywhere.

mod child;
mod dataset;
mod error;
mod hello;
mod helper;
mod log;
mod metric;
mod pipe;
mod pool;
mod probe;
mod sandbox;
mod skeleton;
#[cfg(test)]
mod tests;
mod wire;
mod worker;

pub use child::{ALWAYS_PASSED, in_path};
pub use dataset::CommandDataset;
pub use error::{Fault, PluginError};
pub use hello::{Access, DatasetHello, FormName, Hello, MetricHello, TENSORS};
pub use helper::PYTHON;
pub use metric::CommandMetric;
pub use probe::{Samples, Tried, probe};
pub use sandbox::{SandboxError, VERB as SANDBOX_VERB, enter as enter_sandbox};
pub use skeleton::{Language, Purpose, SkeletonError, write as new_skeleton};
pub use wire::{Answer, Answers, Ask, VERSION, WireError};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to start a plug-in.
#[derive(Clone)]
pub struct Launch {
    /// What logs and errors call it.
    pub name: String,
    /// The program and its arguments; paths are relative to `folder`.
    pub argv: Vec<String>,
    /// The pipeline's folder, where it runs.
    pub folder: PathBuf,
    /// Variables that it sees.
    pub env: Vec<(String, String)>,
    /// Variables of our own that it sees beside [`ALWAYS_PASSED`].
    pub pass_env: Vec<String>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How many processes.
    pub workers: usize,
    /// Our own binary, which enters the sandbox; none for no sandbox.
    pub sandbox: Option<PathBuf>,
    /// Asked while waiting: whether the run is to stop.
    pub stop: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Launch({}: {:?})", self.name, self.argv)
    }
}

/// Reads answers as a run does, whatever the bytes: for fuzzing.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let mut answers = Answers::new(bytes);
    let mut columns: Arc<[crate::dataset::Column]> = Arc::new([]);
    while let Ok(answer) = answers.next(1 << 20) {
        let _ = pool::said(&answer, &pool::Expected::Values(3));
        let _ = pool::said(&answer, &pool::Expected::Score);
        let _ = pool::said(&answer, &pool::Expected::State);
        if let Ok(Hello::Dataset(hello)) = Hello::read(&answer) {
            columns = hello.tensors;
        }
        let expected = pool::Expected::Tensors {
            columns: columns.clone(),
            samples: 2,
        };
        let _ = pool::said(&answer, &expected);
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Maximize,
    Minimize,
}
