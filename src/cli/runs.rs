//! `runs`, `runs show RUN`, `runs pin RUN`, `runs unpin RUN`: what ran, how it ended, and whose results stay.

use super::{CliError, Exit, StoreArgs, answer};
use crate::history::{self, RunRecord};
use crate::report::{run_details, run_table};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only runs of this pipeline.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Tell all about one run.
    Show(Show),
    /// Keep a run's results whatever `gc` is told.
    Pin(Pin),
    /// Let `gc` take a run's results again.
    Unpin(Pin),
}

#[derive(Debug, clap::Args)]
struct Pin {
    /// A run: its id, the beginning of it, `last`, `last_success`, or `last~1` for the one before.
    #[arg(value_name = "RUN")]
    run: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// A run: its id, the beginning of it, `last`, `last_success`, or `last~1` for the one before.
    #[arg(value_name = "RUN")]
    run: String,
    /// Print the record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub fn runs(args: &Args) -> Result<Exit, CliError> {
    match &args.verb {
        Some(Verb::Show(show)) => {
            let run = history::find(&show.store.peek()?, &show.run, None)?;
            answer(&match show.json {
                true => pretty(&run.to_value()),
                false => run_details(&run),
            })?;
        }
        Some(Verb::Pin(one)) => pin(one, true)?,
        Some(Verb::Unpin(one)) => pin(one, false)?,
        None => list(args)?,
    }
    Ok(Exit::Done)
}

fn pin(args: &Pin, pinned: bool) -> Result<(), CliError> {
    let store = args.store.existing()?;
    let run = history::find(&store, &args.run, None)?;
    store.pin(&run.id, pinned)?;
    answer(&match pinned {
        true => format!("run {} of {} is pinned: gc leaves its results\n", run.id, run.name),
        false => format!("run {} of {} is not pinned\n", run.id, run.name),
    })
}

fn list(args: &Args) -> Result<(), CliError> {
    let mut found = history::runs(&args.store.peek()?, args.pipeline.as_deref())?;
    found.reverse();
    answer(&match args.json {
        true => pretty(&found.iter().map(outline).collect()),
        false if found.is_empty() => "no runs yet\n".to_owned(),
        false => run_table(&found),
    })?;
    Ok(())
}

/// A run in a list of many.
fn outline(run: &RunRecord) -> Value {
    json!({
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "exit": run.exit,
        "started": run.started,
        "seconds": run.seconds,
        "file": run.file,
        "git": run.git,
        "pinned": run.pinned,
    })
}

/// JSON for a person's eyes too, with a newline at its end.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
