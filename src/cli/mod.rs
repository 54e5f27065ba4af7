//! The command line: one file a verb.
//!
//! Owns arguments, signals, the number of threads, panics and the exit code. Deliberately knows nothing of models; what
//! a verb does is a few calls of `stages/`, `pipeline/` and `report/`.

mod cache;
mod check;
mod completions;
mod dag;
mod diff;
mod exit;
mod explain;
mod gc;
mod hooks;
mod jobs;
mod load;
mod lockfile;
mod merge;
mod plan;
mod plugin;
mod recording;
mod reproduce;
mod run;
mod runs;
mod schedule;
mod schema;
mod signals;
mod size;
mod waiting;

pub use exit::Exit;

use crate::history::HistoryError;
use crate::pipeline::RunError;
use crate::report::{LogFormat, Mode, Verbosity, init_logs};
use crate::schedule::ScheduleError;
use crate::store::{Store, StoreError};
use clap::{ArgAction, Parser, Subcommand};
use indicatif::MultiProgress;
use serde_json::json;
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells which parts of a neural network can be cut, from a declarative pipeline file.
#[derive(Debug, Parser)]
#[command(name = "secateur", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    logs: LogArgs,
}

impl Cli {
    /// How log lines look: beside events that are JSON, lines of text would be in the way of whoever parses them.
    fn log_format(&self) -> LogFormat {
        match &self.verb {
            Verb::Run(run::Args { progress, .. })
            | Verb::Merge(merge::Args { progress, .. })
            | Verb::Reproduce(reproduce::Args { progress, .. })
                if *progress == Mode::Json =>
            {
                LogFormat::Json
            }
            _ => self.logs.log_format,
        }
    }
}

/// Whether what is said on stderr is JSON.
static JSON: AtomicBool = AtomicBool::new(false);

#[derive(Debug, clap::Args)]
struct LogArgs {
    /// Log more; twice for more still.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Log errors only and show no progress.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// How log lines on stderr look.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run pipelines.
    Run(run::Args),
    /// Validate pipelines: reads headers only, touches nothing.
    Check(check::Args),
    /// Tell what a run would compute, and why.
    Plan(plan::Args),
    /// Tell why layers lose channels together, or may not lose any.
    Explain(explain::Args),
    /// Draw the stages of a pipeline.
    Dag(dag::Args),
    /// Make one store of several, and the tables of what shards computed.
    Merge(merge::Args),
    /// Delete results that nobody needs.
    Gc(gc::Args),
    /// Look after the store: size, verify, export, import.
    Cache(cache::Args),
    /// List the runs of a store, or tell about one.
    Runs(runs::Args),
    /// Compare two runs, or a pipeline at two git revisions.
    Diff(diff::Args),
    /// Run a recorded pipeline again and compare every number.
    Reproduce(reproduce::Args),
    /// Run a pipeline at the times of its schedule.
    Schedule(schedule::Args),
    /// Write and test plug-ins.
    Plugin(plugin::Args),
    #[command(hide = true, name = crate::plugin::SANDBOX_VERB)]
    Sandboxed(plugin::SandboxArgs),
    /// Print the JSON schema of pipeline files, for editors.
    Schema,
    /// Print a shell's completions.
    Completions(completions::Args),
}

/// What reads a pipeline file in every verb.
#[derive(Clone, Debug, clap::Args)]
struct FileArgs {
    /// Change a value of the pipeline before it is validated: `--set steps.sens.method=l2`.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
}

/// Where results lie.
#[derive(Clone, Debug, clap::Args)]
struct PlaceArgs {
    /// The folder that receives `<name>/`.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// A second store, asked for what the first has not, and never written; may be given again.
    #[arg(long, value_name = "DIR")]
    also_store: Vec<PathBuf>,
}

impl PlaceArgs {
    /// Opens the store, which is made when it is not there.
    fn open(&self) -> Result<Store, CliError> {
        Ok(self.store.open()?.with_also(&self.also_store)?)
    }

    /// The store, only to be looked at.
    fn peek(&self) -> Result<Store, CliError> {
        Ok(self.store.peek()?.with_also(&self.also_store)?)
    }
}

/// Which store.
#[derive(Clone, Debug, clap::Args)]
struct StoreArgs {
    /// The store: else $SECATEUR_STORE, else .secateur in the current folder.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store, which is made when it is not there.
    fn open(&self) -> Result<Store, CliError> {
        Ok(Store::open(&self.place()?)?)
    }

    /// Opens the store, which must be there.
    fn existing(&self) -> Result<Store, CliError> {
        Ok(Store::existing(&self.place()?)?)
    }

    /// The store, only to be looked at.
    fn peek(&self) -> Result<Store, CliError> {
        Ok(Store::peek(&self.place()?))
    }

    fn place(&self) -> Result<PathBuf, CliError> {
        let from_environment = || std::env::var_os("SECATEUR_STORE").filter(|value| !value.is_empty());
        let named = self.store.clone().or_else(|| from_environment().map(PathBuf::from));
        folder(named.unwrap_or_else(|| PathBuf::from(".secateur")), "--store")
    }
}

/// A folder that is there, or can be made, as far as that can be seen now.
fn folder(path: PathBuf, flag: &str) -> Result<PathBuf, CliError> {
    match path.metadata() {
        Ok(data) if !data.is_dir() => {
            let message = format!("{} is a file: name a folder with {flag}", path.display());
            Err(CliError::Usage(message))
        }
        _ => Ok(path),
    }
}

/// Why a verb could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The diagnostics have been shown.
    #[error("the pipeline is not valid")]
    Invalid,
    #[error("{0}")]
    Usage(String),
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Schedule(ScheduleError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The differences have been shown.
    #[error("what the results are made of differs from the lock: `secateur run --lock` accepts it")]
    Locked,
    #[error("{0}: {1}")]
    Stage(String, String),
    #[error("cannot write results to stdout: {0}")]
    Output(io::Error),
}

/// The program: reads the arguments, does what they say and returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    std::panic::set_hook(Box::new(|info| say(&bug_message(&info.to_string()))));
    catch(|| {
        let cli = match Cli::try_parse_from(arguments) {
            Ok(cli) => cli,
            Err(error) => {
                // Help and version are answers, everything else is bad usage. A closed pipe is no news.
                let _ = error.print();
                return if error.use_stderr() { Exit::Usage } else { Exit::Done };
            }
        };
        let verbosity = Verbosity {
            verbose: cli.logs.verbose,
            quiet: cli.logs.quiet,
        };
        let format = cli.log_format();
        JSON.store(format == LogFormat::Json, Ordering::Relaxed);
        let logs = |bars: MultiProgress| init_logs(format, verbosity, bars);
        let result = match &cli.verb {
            Verb::Run(args) => run::run(args, verbosity.quiet, format, logs),
            Verb::Merge(args) => merge::merge(args, verbosity.quiet, format, logs),
            Verb::Reproduce(args) => reproduce::reproduce(args, verbosity.quiet, format, logs),
            other => {
                logs(MultiProgress::new());
                match other {
                    Verb::Check(args) => check::check(args),
                    Verb::Plan(args) => plan::plan(args),
                    Verb::Explain(args) => explain::explain(args),
                    Verb::Dag(args) => dag::dag(args),
                    Verb::Gc(args) => gc::gc(args),
                    Verb::Cache(args) => cache::cache(args),
                    Verb::Runs(args) => runs::runs(args),
                    Verb::Diff(args) => diff::diff(args),
                    Verb::Schedule(args) => schedule::schedule(args),
                    Verb::Plugin(args) => plugin::plugin(args),
                    Verb::Sandboxed(args) => plugin::sandboxed(args),
                    Verb::Completions(args) => completions::completions(args),
                    Verb::Schema | Verb::Run(_) | Verb::Merge(_) | Verb::Reproduce(_) => schema::schema(),
                }
            }
        };
        result.unwrap_or_else(|error| end_of(&error))
    })
}

/// Says why, and gives the exit code.
fn end_of(error: &CliError) -> Exit {
    if !matches!(error, CliError::Invalid) {
        say(&format!("error: {error}"));
    }
    Exit::of_error(error)
}

/// Runs something; a panic in it, which the hook has reported, is a bug.
fn catch(work: impl FnOnce() -> Exit) -> Exit {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Exit::Bug)
}

fn bug_message(panic: &str) -> String {
    let panic = panic.split_whitespace().collect::<Vec<_>>().join(" ");
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "error: this is a bug in secateur {version}; please report it to its maintainers, with the pipeline file and \
         this line: {panic}"
    )
}

/// Writes a line to stderr, whoever listens: where logs are JSON, as they look.
fn say(text: &str) {
    let line = match says_json() {
        true => json_line(text),
        false => text.to_owned(),
    };
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn says_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

fn json_line(text: &str) -> String {
    let (level, message) = match text.strip_prefix("error: ") {
        Some(message) => ("ERROR", message),
        None => ("INFO", text),
    };
    let timestamp = jiff::Timestamp::now().to_string();
    json!({"timestamp": timestamp, "level": level, "fields": {"message": message}}).to_string()
}

/// Writes results to stdout. A reader that has gone away (`| head`) is no error.
fn answer(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_progress_has_json_logs_and_errors() {
        let format = |words: &str| Cli::try_parse_from(words.split(' ')).map(|cli| cli.log_format());
        for (words, wanted) in [
            ("secateur run x.yaml", LogFormat::Text),
            ("secateur run x.yaml --progress plain", LogFormat::Text),
            ("secateur run x.yaml --progress json", LogFormat::Json),
            ("secateur merge x.yaml --progress json", LogFormat::Json),
            ("secateur reproduce last --progress json", LogFormat::Json),
            ("secateur check x.yaml --log-format json", LogFormat::Json),
        ] {
            assert_eq!(format(words).ok(), Some(wanted), "{words}");
        }
        for (text, level, message) in [
            ("error: no store\nat all", "ERROR", "no store\nat all"),
            ("wrote x", "INFO", "wrote x"),
        ] {
            let line = json_line(text);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(
                (&value["level"], &value["fields"]["message"]),
                (&json!(level), &json!(message))
            );
            assert!(!line.contains('\n'));
        }
    }

    #[test]
    fn a_panic_is_a_bug_of_one_sentence() {
        assert_eq!(catch(|| panic!("a test of panics")), Exit::Bug);
        assert_eq!(catch(|| Exit::Done), Exit::Done);
        let message = bug_message("panicked at src/x.rs:1:2:\nindex out of range");
        assert!(message.ends_with("panicked at src/x.rs:1:2: index out of range"));
        assert!(!message.contains('\n') && message.contains("report it"));
    }

    #[test]
    fn usage_errors_are_2_and_help_is_0() {
        let main = |words: &[&str]| main(words.iter().map(OsString::from));
        assert_eq!(main(&["secateur", "frobnicate"]), Exit::Usage);
        assert_eq!(main(&["secateur", "run", "--jobs", "0", "x.yaml"]), Exit::Usage);
        assert_eq!(main(&["secateur", "--help"]), Exit::Done);
    }
}
