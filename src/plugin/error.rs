//! Why a plug-in gives no answer.

use std::fmt;

/// What went wrong, with whom, on what, and the last that it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// The plug-in.
    pub name: String,
    /// The cell that it was asked about.
    pub cell: Option<String>,
    /// The samples that it was given, first and last.
    pub samples: Option<(usize, usize)>,
    pub fault: Box<Fault>,
    /// The last lines that it wrote to its standard error and output.
    pub lines: Vec<String>,
}

impl PluginError {
    /// Of no cell, and without a word from the plug-in.
    pub(super) fn bare(name: &str, fault: Fault) -> PluginError {
        PluginError {
            name: name.into(),
            cell: None,
            samples: None,
            fault: Box::new(fault),
            lines: Vec::new(),
        }
    }
}

impl std::error::Error for PluginError {}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plug-in {}: ", self.name)?;
        if let Some((first, last)) = self.samples {
            write!(f, "batch of samples {first} to {last}: ")?;
        }
        write!(f, "{}", self.fault)?;
        if !self.lines.is_empty() {
            write!(f, "; its last lines:")?;
            self.lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))?;
        }
        Ok(())
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{program} cannot be started: {reason}")]
    Start { program: String, reason: String },
    #[error("{variable} is to be passed on (pass_env), but it is not set here")]
    Variable { variable: String },
    #[error("its helper files cannot be written: {0}")]
    Helper(String),
    #[error("it ended before it answered ({0})")]
    Ended(String),
    #[error("it closed the channel of answers, but did not end")]
    ClosedAnswers,
    #[error("it closed the channel of questions")]
    ClosedQuestions,
    #[error("it did not answer within {0} s: raise `timeout` if it needs longer")]
    Timeout(u64),
    #[error("{0}")]
    Rubbish(String),
    #[error("it answered question {found} when it was asked question {asked}")]
    Order { asked: u64, found: u64 },
    #[error("it speaks version {found} of the protocol, but this is version {ours}")]
    Protocol { found: String, ours: u64 },
    #[error("its hello is not understood: {0}")]
    Hello(String),
    #[error("it refuses: {0}")]
    Refused(String),
    #[error("it answered {found} values for {wanted} samples")]
    Count { found: usize, wanted: usize },
    #[error("its answer lacks {0}")]
    Lacks(&'static str),
    #[error("its answer lacks the tensor `{0}`")]
    NoTensor(String),
    #[error("its tensor `{name}` is {found} where {wanted} was announced and asked for")]
    Tensor {
        name: String,
        found: String,
        wanted: String,
    },
    #[error("its processes say different things of themselves")]
    Disagree,
    #[error("it is a {found}, and a {wanted} is wanted here")]
    Kind { found: &'static str, wanted: &'static str },
    #[error("its data come as a stream, which one process gives: leave `workers` out")]
    StreamOfSeveral,
    #[error("{0} in its answer is no number")]
    NoNumber(String),
    #[error("it says {found}, but the pipeline says {written}")]
    Direction { found: &'static str, written: &'static str },
    #[error("the channel to it failed: {0}")]
    Channel(String),
    #[error("stopped")]
    Stopped,
}
