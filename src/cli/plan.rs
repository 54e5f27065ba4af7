//! `plan FILE`: what a run would compute, and why.

use super::runs::pretty;
use super::{CliError, Exit, FileArgs, PlaceArgs, answer, load};
use crate::history;
use crate::pipeline::{AssessError, Options, Output, RunError, Share, assess};
use crate::report::{plan_json, plan_text};
use crate::store::Wait;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sets: FileArgs,
    #[command(flatten)]
    place: PlaceArgs,
    /// Only these steps and what they need.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// As if nothing were in the store.
    #[arg(long)]
    no_cache: bool,
    /// Print JSON: a list with one entry a pipeline.
    #[arg(long)]
    json: bool,
    /// Run models as they were read: no folded norms, no fused operators. For finding faults; results agree but for rounding
    /// and are kept apart.
    #[arg(long)]
    no_lowering: bool,
    /// End with 5 when work is pending.
    #[arg(long)]
    exit_code: bool,
}

pub fn plan(args: &Args) -> Result<Exit, CliError> {
    let store = args.place.peek()?;
    let options = Options {
        only: args.only.clone(),
        no_cache: args.no_cache,
        keep_going: false,
        wait: Wait::No,
        share: Share::Whole,
    };
    let mut pending = false;
    let mut all = Vec::new();
    let loaded = load::checked(std::slice::from_ref(&args.file), &args.sets.sets)?;
    load::lowering(&loaded, !args.no_lowering);
    for loaded in loaded {
        let previous = Output::previous(&loaded.output_folder(args.place.output.as_deref()));
        let past = history::past(&store, loaded.name(), &previous)?;
        let assessments = assess(&loaded.dag, &store, &past, &options).map_err(|error| match error {
            AssessError::Dag(error) => CliError::Usage(error.to_string()),
            AssessError::Store(error) => CliError::Run(RunError::Store(error)),
        })?;
        pending |= assessments.iter().any(|one| one.verdict.is_pending());
        match args.json {
            true => all.push(plan_json(loaded.name(), &assessments)),
            false => answer(&plan_text(loaded.name(), &assessments))?,
        }
    }
    if args.json {
        answer(&pretty(&all.into()))?;
    }
    Ok(if pending && args.exit_code {
        Exit::Pending
    } else {
        Exit::Done
    })
}
