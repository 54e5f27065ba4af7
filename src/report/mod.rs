//! What a person or a program sees of a run: progress and logs on stderr, the summary for stdout.
//!
//! Owns how events look. Deliberately decides nothing: it only hears of what the executor did.

mod bars;
#[cfg(feature = "torch")]
pub mod explain;
mod history;
mod logs;
mod plain;
mod plan;
mod reproduction;
mod summary;

pub use history::{comparison, fields, run_details, run_table};
pub use logs::{LogFormat, Verbosity, init_logs};
pub use plan::{plan_json, plan_text};
pub use reproduction::reproduction;
pub use summary::summary;

use crate::pipeline::{Event, Sink, Status};
use indicatif::MultiProgress;
use std::io::{IsTerminal, Write};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Bars on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Bars, where stderr is a terminal; else lines.
    Bar,
    /// One line a change of state, and now and then one that says how far the work is.
    Plain,
    /// One JSON object a line.
    Json,
    /// Nothing but warnings and errors.
    None,
}

impl Mode {
    /// The mode under `-q`: what was asked for by name is shown all the same.
    pub fn under(self, quiet: bool) -> Mode {
        match self {
            Mode::Auto if quiet => Mode::None,
            mode => mode,
        }
    }
}

/// Shows events on stderr.
pub struct Reporter {
    view: View,
    /// Suspended while anything else is written; without bars it does nothing.
    bars: MultiProgress,
}

enum View {
    Bars(bars::Bars),
    Plain(plain::Plain),
    Json,
    Silent,
}

impl Reporter {
    /// A reporter in the given mode. Beside JSON logs, lines that nobody asked for would only be in the way of whoever
    /// parses them, so `auto` is JSON there.
    pub fn new(mode: Mode, logs: LogFormat) -> Reporter {
        let bars = MultiProgress::new();
        let terminal = std::io::stderr().is_terminal();
        let view = match mode {
            Mode::Auto if logs == LogFormat::Json => View::Json,
            Mode::Auto | Mode::Bar if terminal => View::Bars(bars::Bars::new(bars.clone())),
            Mode::Auto | Mode::Bar | Mode::Plain => View::Plain(plain::Plain::new()),
            Mode::Json => View::Json,
            Mode::None => View::Silent,
        };
        Reporter { view, bars }
    }

    /// The bars, for the writer of logs.
    pub fn bars(&self) -> MultiProgress {
        self.bars.clone()
    }
}

impl Sink for Reporter {
    fn event(&self, event: &Event) {
        match event {
            Event::Warning { id, message } => tracing::warn!("{id}: {message}"),
            Event::BoundBroken { id, message } => tracing::error!("{id}: {message}"),
            Event::StageFinished {
                id,
                status: Status::Failed,
                message: Some(message),
                ..
            } => tracing::error!("{id}: {message}"),
            _ => {}
        }
        match &self.view {
            View::Bars(bars) => bars.event(event),
            View::Plain(plain) => plain.event(event),
            View::Json => line(&serde_json::to_string(event).unwrap_or_default()),
            View::Silent => {}
        }
    }
}

/// Writes a line to stderr; a closed stderr is nobody's business.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Bytes for a person: `230 MiB`, `5.2 GiB`.
pub fn memory_text(bytes: u64) -> String {
    let megabytes = bytes as f64 / f64::from(1 << 20);
    match megabytes {
        0.0..1000.0 => format!("{:.0} MiB", (megabytes / 10.0).ceil() * 10.0),
        _ => format!("{:.1} GiB", megabytes / 1024.0),
    }
}

/// A number of seconds for a person: `4 s`, `3 min 20 s`, `2 h 5 min`.
fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The seconds that the rest will take, once something is done.
fn remaining(elapsed: f64, done: u64, total: u64) -> Option<f64> {
    (done > 0).then(|| elapsed * total.saturating_sub(done) as f64 / done as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_shows_only_what_was_asked_for() {
        for (mode, quiet, shown) in [
            (Mode::Auto, true, Mode::None),
            (Mode::Auto, false, Mode::Auto),
            (Mode::Json, true, Mode::Json),
        ] {
            assert_eq!(mode.under(quiet), shown);
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration(3.6), "4 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(duration(7500.0), "2 h 5 min");
        assert_eq!(remaining(10.0, 0, 4), None);
        assert_eq!(remaining(10.0, 1, 4), Some(30.0));
    }

    #[test]
    fn memory_is_rounded() {
        assert_eq!(memory_text(221 << 20), "230 MiB");
        assert_eq!(memory_text(5300 << 20), "5.2 GiB");
    }
}
