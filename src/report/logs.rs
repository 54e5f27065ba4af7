//! Logs on stderr, as text or JSON, with the bars out of the way while a line is written.

use indicatif::MultiProgress;
use std::io::{self, Write};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How much is logged: the number of `-v` and whether `-q`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbosity {
    pub verbose: u8,
    pub quiet: bool,
}

impl Verbosity {
    fn level(self) -> LevelFilter {
        match self {
            Verbosity { quiet: true, .. } => LevelFilter::ERROR,
            Verbosity { verbose: 0, .. } => LevelFilter::WARN,
            Verbosity { verbose: 1, .. } => LevelFilter::INFO,
            Verbosity { verbose: 2, .. } => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }
}

/// Sends logs to stderr from now on; a second call does nothing.
pub fn init_logs(format: LogFormat, verbosity: Verbosity, bars: MultiProgress) {
    let colour = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let builder = tracing_subscriber::fmt()
        .with_max_level(verbosity.level())
        .with_writer(Stderr(bars))
        // Otherwise a closed stderr would end in a panic.
        .log_internal_errors(false)
        .with_target(false);
    let _ = match format {
        LogFormat::Text => builder.with_ansi(colour).without_time().try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Writes whole lines to stderr while the bars are suspended.
struct Stderr(MultiProgress);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = &'a Stderr;

    fn make_writer(&'a self) -> &'a Stderr {
        self
    }
}

impl Write for &Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| {
            let _ = io::stderr().lock().write_all(bytes);
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
