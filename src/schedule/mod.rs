//! When pipelines run by themselves: the times of a schedule, and the schedule in the words of systemd, cron and GitHub.
//!
//! Everything here is text and arithmetic: nothing is written or started, `cli/` does that. What is written calls the
//! installed binary with whole paths and `--no-wait`, so that a run that is still at work keeps the next one from
//! starting: the lock is the kernel's, and dies with the run.

mod actions;
mod crontab;
mod systemd;

pub use actions::{actions_file, workflow};
pub use crontab::{crontab_block, with_block, without_block};
pub use systemd::{unit_files, unit_names};

use crate::spec::{Cron, Schedule};
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What begins everything that is installed, so that nothing else is ever taken away.
pub const MARK: &str = "# written by `secateur schedule install`; `secateur schedule uninstall` takes it back";

/// What is to be run, when.
#[derive(Clone, Debug)]
pub struct Job {
    /// Of the file's pipelines; names what is installed.
    pub name: String,
    /// The binary, whole.
    pub program: PathBuf,
    /// The pipeline file, whole.
    pub file: PathBuf,
    /// The folder that the run starts in, whole.
    pub folder: PathBuf,
    /// The store, whole.
    pub store: PathBuf,
    /// The folder of outputs, whole, unless the file says it.
    pub output: Option<PathBuf>,
    /// Assignments of `--set`.
    pub sets: Vec<String>,
    pub schedule: Schedule,
}

/// Why a schedule cannot be handed on.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("{} is not UTF-8, which schedulers need", path.display())]
    Path { path: PathBuf },
    #[error("{} has a line break in it, which {scheduler} cannot have", path.display())]
    LineBreak { path: PathBuf, scheduler: &'static str },
    #[error("the schedule has no next time: {0}")]
    Never(String),
    #[error(
        "GitHub's schedules are in UTC, and {cron} in {timezone} falls on another day there, which its days of the \
         month or months cannot follow: write the schedule in UTC"
    )]
    OtherDay { cron: String, timezone: String },
    #[error("{cron} in {timezone} needs {lines} schedules in UTC, more than GitHub should be given: write it in UTC")]
    TooMany {
        cron: String,
        timezone: String,
        lines: usize,
    },
}

/// The text of a path.
fn text(path: &Path, scheduler: &'static str) -> Result<String, ScheduleError> {
    let text = path.to_str().ok_or(ScheduleError::Path { path: path.into() })?;
    match text.contains(['\n', '\r']) {
        true => Err(ScheduleError::LineBreak {
            path: path.into(),
            scheduler,
        }),
        false => Ok(text.to_owned()),
    }
}

impl Job {
    /// The command line of a run, without jitter.
    fn command(&self, scheduler: &'static str) -> Result<Vec<String>, ScheduleError> {
        let mut words = vec![
            text(&self.program, scheduler)?,
            "run".into(),
            text(&self.file, scheduler)?,
        ];
        for set in &self.sets {
            words.extend(["--set".into(), text(Path::new(set), scheduler)?]);
        }
        words.extend(["--store".into(), text(&self.store, scheduler)?]);
        if let Some(output) = &self.output {
            words.extend(["--output".into(), text(output, scheduler)?]);
        }
        words.extend(["--no-wait".into(), "--progress".into(), "plain".into()]);
        Ok(words)
    }

    /// The jitter as a flag of `run`, for schedulers that have none.
    fn jitter(&self) -> Vec<String> {
        let jitter = self.schedule.jitter;
        jitter.map_or_else(Vec::new, |jitter| vec!["--jitter".into(), jitter.to_string()])
    }
}

/// The next times of a schedule after a moment, in its time zone. A time that the clock skips in spring is taken at the
/// moment of the change; one that it passes twice in autumn is taken once.
pub fn next_times(schedule: &Schedule, after: &Zoned, count: usize) -> Result<Vec<Zoned>, ScheduleError> {
    let never = |error: String| ScheduleError::Never(error);
    let zone = TimeZone::get(schedule.timezone.name()).map_err(|error| never(error.to_string()))?;
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    let pattern = parser
        .parse(&plain(&schedule.cron))
        .map_err(|error| never(error.to_string()))?;
    let mut times = Vec::new();
    let mut at = after.with_time_zone(zone);
    while times.len() < count {
        at = pattern
            .find_next_occurrence(&at, false)
            .map_err(|error| never(error.to_string()))?;
        times.push(at.clone());
    }
    Ok(times)
}

/// The schedule in numbers, lists and ranges only, which every cron reads alike.
fn plain(cron: &Cron) -> String {
    let optional = |set: &Option<BTreeSet<u8>>| set.as_ref().map_or_else(|| "*".to_owned(), ranges);
    format!(
        "{} {} {} {} {}",
        field(&cron.minutes, 60),
        field(&cron.hours, 24),
        optional(&cron.days),
        optional(&cron.months),
        optional(&cron.weekdays)
    )
}

/// A set as a field; `*` where it is all of `count`.
fn field(set: &BTreeSet<u8>, count: usize) -> String {
    match set.len() == count {
        true => "*".to_owned(),
        false => ranges(set),
    }
}

/// Numbers, those that follow one another as a range: `1-5,8`.
fn ranges(set: &BTreeSet<u8>) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for &number in set {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let runs = runs.iter().map(|(from, to)| match to - from {
        0 => from.to_string(),
        1 => format!("{from},{to}"),
        _ => format!("{from}-{to}"),
    });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
