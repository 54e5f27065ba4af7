//! `plan FILE`: what a run would compute, and why.

use super::runs::pretty;
use super::{CliError, Exit, FileArgs, PlaceArgs, answer, jobs, load};
use crate::history;
use crate::pipeline::{AssessError, Options, Output, RunError, Share, assess};
use crate::report::{plan_json, plan_text};
use crate::spec::Memory;
use crate::store::Wait;
use std::num::NonZeroUsize;
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
    /// How many threads a run would have [default: physical cores].
    #[arg(long, short, value_name = "N", value_parser = jobs::parse)]
    jobs: Option<NonZeroUsize>,
    /// How much memory a run should stay within, such as 8GiB [default: the file's `resources`, else half of what is free].
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
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
    jobs::set(args.jobs.unwrap_or_else(jobs::physical_cores));
    let loaded = load::checked(std::slice::from_ref(&args.file), &args.sets.sets)?;
    load::limit(&loaded, args.memory.as_ref());
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
