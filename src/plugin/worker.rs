//! One plug-in process that is asked one question at a time.
//!
//! Owns the numbering of questions, the time that an answer may take, and what each way of failing is called.
//! Deliberately knows nothing of metrics: whoever asks reads the answer.

use super::Launch;
use super::child::Child;
use super::error::{Fault, PluginError};
use super::hello::Hello;
use super::pipe::{Pipe, Waited};
use super::wire::{self, Answer, Answers, Ask, WireError};
use crate::tensor::Tensor;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a plug-in that has closed a channel may take to end, so that its status can be told.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// How long a plug-in may take to leave.
const GOODBYE: Duration = Duration::from_secs(5);

/// A running plug-in.
pub(super) struct Worker {
    name: String,
    child: Child,
    questions: Pipe,
    answers: Answers<Pipe>,
    timeout: Duration,
    asked: u64,
}

impl Worker {
    /// Starts the process, and asks nothing yet.
    pub(super) fn start(launch: &Launch, folder: &Path) -> Result<Worker, PluginError> {
        let (child, channels) = Child::start(launch, folder).map_err(|fault| PluginError::bare(&launch.name, fault))?;
        Ok(Worker {
            name: launch.name.clone(),
            child,
            questions: channels.questions,
            answers: Answers::new(channels.answers),
            timeout: launch.timeout,
            asked: 0,
        })
    }

    /// Asks who it is.
    pub(super) fn hello(&mut self) -> Result<Hello, Fault> {
        let ask = Ask::Hello {
            protocol: wire::VERSION,
        };
        Hello::read(&self.ask(&ask, &[])?)
    }

    /// Asks one question and waits for its answer, which has no tensors.
    pub(super) fn ask(&mut self, ask: &Ask, tensors: &[(String, Tensor)]) -> Result<Answer, Fault> {
        self.ask_for(ask, tensors, 0)
    }

    /// The same, with at most so many bytes of tensors behind the answer.
    pub(super) fn ask_for(&mut self, ask: &Ask, tensors: &[(String, Tensor)], most: u64) -> Result<Answer, Fault> {
        self.asked += 1;
        let deadline = Instant::now() + self.timeout;
        self.questions.deadline = deadline;
        self.answers.input().deadline = deadline;
        if let Err(error) = wire::ask(&mut self.questions, self.asked, ask, tensors) {
            return Err(self.broken(&error, Fault::ClosedQuestions));
        }
        let answer = match self.answers.next(most) {
            Ok(answer) => answer,
            Err(WireError::Io(error)) => return Err(self.broken(&error, Fault::ClosedAnswers)),
            Err(WireError::Closed) => return Err(self.closed(Fault::ClosedAnswers)),
            Err(other) => return Err(Fault::Rubbish(other.to_string())),
        };
        match answer.error {
            Some(error) => Err(Fault::Refused(error)),
            None if answer.id != self.asked => Err(Fault::Order {
                asked: self.asked,
                found: answer.id,
            }),
            None => Ok(answer),
        }
    }

    /// What a failed read or write means.
    fn broken(&self, error: &io::Error, closed: Fault) -> Fault {
        match Waited::of(error) {
            Some(Waited::Deadline) => Fault::Timeout(self.timeout.as_secs()),
            Some(Waited::Stopped) => Fault::Stopped,
            Some(Waited::Gone) => Fault::Ended(String::new()),
            None if error.kind() == io::ErrorKind::BrokenPipe => self.closed(closed),
            None => Fault::Channel(error.to_string()),
        }
    }

    fn closed(&self, closed: Fault) -> Fault {
        if self.child.leaves(LAST_BREATH) {
            Fault::Ended(String::new())
        } else {
            closed
        }
    }

    /// Ends the process group and tells all about it.
    pub(super) fn fail(mut self, fault: Fault, about: Option<&Ask>) -> PluginError {
        let (status, lines) = self.child.end();
        let fault = match fault {
            Fault::Ended(_) => Fault::Ended(status),
            other => other,
        };
        let (cell, samples) = match about {
            Some(Ask::Values { cell, first, samples } | Ask::Update { cell, first, samples }) => {
                (Some(cell.clone()), Some((*first, first + samples.saturating_sub(1))))
            }
            Some(
                Ask::Reset { cell }
                | Ask::Finish { cell }
                | Ask::State { cell }
                | Ask::Merge { cell, .. }
                | Ask::Drop { cell },
            ) => (Some(cell.clone()), None),
            Some(Ask::Read { rows }) => (None, rows.first().copied().zip(rows.last().copied())),
            Some(Ask::Hello { .. } | Ask::Rewind {} | Ask::Bye {} | Ask::Later {}) | None => (None, None),
        };
        PluginError {
            name: self.name,
            cell,
            samples,
            fault: Box::new(fault),
            lines,
        }
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.child.has_ended()
    }

    /// Says goodbye and waits until it has left; true when it did so by itself and said that all was well.
    pub(super) fn bye(self) -> bool {
        let Worker {
            mut child,
            mut questions,
            asked,
            name,
            ..
        } = self;
        questions.deadline = Instant::now() + GOODBYE;
        let _ = wire::ask(&mut questions, asked + 1, &Ask::Bye {}, &[]);
        // Whoever does not know the word sees that no more comes.
        drop(questions);
        let left = child.leaves(GOODBYE);
        let (status, _) = child.end();
        let well = left && status == "exit status: 0";
        if !well {
            tracing::warn!("{name}: it did not leave well when it was told to ({status})");
        }
        well
    }

    /// Closes the questions without a word and waits until it has left.
    pub(super) fn hang_up(self) -> bool {
        let Worker {
            mut child, questions, ..
        } = self;
        drop(questions);
        let left = child.leaves(GOODBYE);
        child.end();
        left
    }
}
