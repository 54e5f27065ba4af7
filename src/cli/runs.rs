//! `runs` and `runs show ID`: what ran, and how it ended.

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
    if let Some(Verb::Show(show)) = &args.verb {
        let run = history::find(&show.store.peek()?, &show.run, None)?;
        answer(&match show.json {
            true => pretty(&run.to_value()),
            false => run_details(&run),
        })?;
        return Ok(Exit::Done);
    }
    let mut found = history::runs(&args.store.peek()?, args.pipeline.as_deref())?;
    found.reverse();
    answer(&match args.json {
        true => pretty(&found.iter().map(outline).collect()),
        false if found.is_empty() => "no runs yet\n".to_owned(),
        false => run_table(&found),
    })?;
    Ok(Exit::Done)
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
    })
}

/// JSON for a person's eyes too, with a newline at its end.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
