//! Exit codes, decided in one place.

use super::CliError;
use crate::history::HistoryError;
use crate::pipeline::{Run, RunError};
use crate::store::{Busy, StoreError};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// A stage failed, or an input's content could not be read.
    StageFailed = 1,
    /// Bad usage or a bad pipeline file.
    Usage = 2,
    /// A gate failed; results are valid.
    GateFailed = 3,
    /// A failure under `--keep-going`, or stopped by a signal.
    Incomplete = 4,
    /// `plan --exit-code`: work is pending.
    Pending = 5,
    /// Another run holds the lock and `--no-wait` was given.
    Busy = 9,
    /// A bug in secateur.
    Bug = 37,
}

/// Over several files the first of these wins.
const WORST_FIRST: [Exit; 8] = [
    Exit::Bug,
    Exit::StageFailed,
    Exit::Incomplete,
    Exit::GateFailed,
    Exit::Busy,
    Exit::Usage,
    Exit::Pending,
    Exit::Done,
];

impl Exit {
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The one that counts of two files' ends.
    pub fn worse(self, other: Exit) -> Exit {
        let found = WORST_FIRST.into_iter().find(|exit| *exit == self || *exit == other);
        found.unwrap_or(self)
    }

    /// The end of a run.
    pub fn of_run(run: &Run, keep_going: bool) -> Exit {
        if run.failed() && !keep_going {
            Exit::StageFailed
        } else if run.failed() || run.stopped {
            Exit::Incomplete
        } else if run.gate_failed() {
            Exit::GateFailed
        } else {
            Exit::Done
        }
    }

    /// The end of what could not be carried out.
    pub fn of_error(error: &CliError) -> Exit {
        match error {
            CliError::Invalid
            | CliError::Usage(_)
            | CliError::Schedule(_)
            | CliError::Locked
            | CliError::Run(RunError::Dag(_)) => Exit::Usage,
            // What was named is the wrong one.
            CliError::Store(
                StoreError::Missing { .. }
                | StoreError::Newer { .. }
                | StoreError::Foreign { .. }
                | StoreError::NoSuchRun { .. },
            ) => Exit::Usage,
            CliError::Run(RunError::Busy(Busy::Held { .. })) => Exit::Busy,
            CliError::Stopped | CliError::Run(RunError::Busy(Busy::Stopped)) => Exit::Incomplete,
            CliError::Run(RunError::Busy(Busy::Store(_)) | RunError::Store(_))
            | CliError::Store(_)
            | CliError::History(HistoryError::Store(_))
            | CliError::File { .. }
            | CliError::Stage(..)
            | CliError::Output(_) => Exit::StageFailed,
            CliError::History(_) => Exit::Usage,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_contract_wins() {
        let order = [
            Exit::Bug,
            Exit::StageFailed,
            Exit::Incomplete,
            Exit::GateFailed,
            Exit::Done,
        ];
        for (index, &worse) in order.iter().enumerate() {
            for &better in &order[index..] {
                assert_eq!(worse.worse(better), worse);
                assert_eq!(better.worse(worse), worse);
            }
        }
        let codes: Vec<u8> = order.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [37, 1, 4, 3, 0]);
    }
}
