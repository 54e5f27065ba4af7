//! `plugin test`: a plug-in is asked everything that it may ever be asked, and some that it should survive.
//!
//! Owns the conversation that every plug-in has; `metric` and `dataset` own what each kind is asked. Deliberately judges the
//! protocol only: whether the numbers are right is the author's to know.

mod dataset;
mod metric;

use super::Launch;
use super::error::{Fault, PluginError};
use super::hello::Hello;
use super::helper;
use super::pool::Said;
use super::wire::{Ask, VERSION};
use super::worker::Worker;
use std::path::Path;

/// What a metric is given.
#[derive(Clone, Debug)]
pub struct Samples {
    /// One sample's outputs, without batch axis.
    pub outputs: Vec<usize>,
    /// One sample's targets.
    pub targets: Vec<usize>,
    /// Whether targets are numbers instead of classes.
    pub float_targets: bool,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    pub what: &'static str,
    /// What was seen, or what is wrong.
    pub outcome: Result<String, String>,
}

/// How many samples a batch has.
const SAMPLES: usize = 16;

/// Tries everything; what cannot be tried because of an earlier fault is left out.
pub fn probe(launch: &Launch, samples: &Samples) -> Vec<Tried> {
    let mut probe = Probe {
        launch,
        samples,
        tried: Vec::new(),
    };
    let folder = match helper::place() {
        Ok(folder) => folder,
        Err(fault) => {
            probe.note("starts", Err(fault.to_string()));
            return probe.tried;
        }
    };
    // What is broken ends the conversation, and is in the list.
    let _ = probe.all(folder.path());
    probe.tried
}

struct Probe<'a> {
    launch: &'a Launch,
    samples: &'a Samples,
    tried: Vec<Tried>,
}

/// The conversation cannot go on.
struct Over;

/// What was tried, and why the conversation cannot go on.
type Wrong = (&'static str, Fault);

type Answered = Result<Said, Fault>;

impl Probe<'_> {
    fn note(&mut self, what: &'static str, outcome: Result<String, String>) {
        self.tried.push(Tried { what, outcome });
    }

    fn hold(&mut self, what: &'static str, holds: bool, seen: impl Into<String>, wrong: impl Into<String>) {
        let outcome = if holds { Ok(seen.into()) } else { Err(wrong.into()) };
        self.note(what, outcome);
    }

    fn all(&mut self, folder: &Path) -> Result<(), Over> {
        let (mut worker, hello) = self.start("starts and says hello", folder)?;
        let first = match &hello {
            Hello::Metric(hello) => self.metric(&mut worker, hello),
            Hello::Dataset(hello) => self.dataset(&mut worker, hello),
        };
        let first = match first {
            Ok(first) => first,
            Err((what, fault)) => {
                let error = worker.fail(fault, None);
                self.note(what, Err(error.to_string()));
                return Err(Over);
            }
        };
        self.survives(
            &mut worker,
            "refuses a question of a later version",
            &Ask::Later {},
            true,
        );
        let hello_again = Ask::Hello { protocol: VERSION + 1 };
        self.survives(&mut worker, "answers a hello of a later version", &hello_again, false);
        if !self.tried.iter().all(|tried| tried.outcome.is_ok()) && worker.has_ended() {
            let error = worker.fail(Fault::Ended(String::new()), None);
            self.note("goes on after that", Err(error.to_string()));
            return Err(Over);
        }
        let left = worker.bye();
        self.hold(
            "leaves when it is told to",
            left,
            "exit status 0",
            "it did not end with exit status 0 within 5 s",
        );

        let (mut other, hello) = self.start("starts a second time", folder)?;
        let again = match &hello {
            Hello::Metric(hello) => self.metric_once(&mut other, hello),
            Hello::Dataset(hello) => dataset::read_first(&mut other, hello),
        };
        match again {
            Ok(again) => {
                let same = are_same(&again, &first);
                self.hold(
                    "another process says the same",
                    same,
                    "to the bit",
                    "it says something else",
                );
                let left = other.hang_up();
                self.hold(
                    "leaves when the questions end",
                    left,
                    "without a goodbye",
                    "it still ran 5 s after the channel of questions was closed",
                );
            }
            Err(fault) => {
                let error = other.fail(fault, None);
                self.note("another process says the same", Err(error.to_string()));
            }
        }
        Ok(())
    }

    fn start(&mut self, what: &'static str, folder: &Path) -> Result<(Worker, Hello), Over> {
        let begun = Worker::start(self.launch, folder).and_then(|mut worker| match worker.hello() {
            Ok(hello) => Ok((worker, hello)),
            Err(fault) => Err(worker.fail(fault, None)),
        });
        match begun {
            Ok((worker, hello)) => {
                self.note(what, Ok(description(&hello)));
                Ok((worker, hello))
            }
            Err(error) => {
                self.note(what, Err(PluginError::to_string(&error)));
                Err(Over)
            }
        }
    }

    /// Whether it answers something odd, and goes on.
    fn survives(&mut self, worker: &mut Worker, what: &'static str, ask: &Ask, must_refuse: bool) {
        match worker.ask(ask, &[]) {
            Err(Fault::Refused(_)) => self.note(what, Ok("it refuses".into())),
            Ok(_) => self.hold(
                what,
                !must_refuse,
                "it says who it is",
                "it answered as if it had understood",
            ),
            Err(fault) => self.note(what, Err(fault.to_string())),
        }
    }
}

/// Whether two answers say the same, to the bit.
fn are_same(one: &Said, other: &Said) -> bool {
    match (one, other) {
        (Said::Tensors(one), Said::Tensors(other)) => one == other,
        _ => shown(one) == shown(other),
    }
}

/// What was said, so that NaN equals NaN.
fn shown(said: &Said) -> String {
    match said {
        Said::Score(score) if score.parts.is_empty() => format!("{:?}", score.value),
        Said::Score(score) => format!("{:?}, and {:?}", score.value, score.parts),
        other => format!("{other:?}"),
    }
}

fn description(hello: &Hello) -> String {
    match hello {
        Hello::Metric(hello) => metric::description(hello),
        Hello::Dataset(hello) => dataset::description(hello),
    }
}
