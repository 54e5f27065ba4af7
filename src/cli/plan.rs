//! `plan FILE`: what a run would compute, and why.

use super::{CliError, Exit, FileArgs, PlaceArgs, answer, load};
use crate::pipeline::{AssessError, Assessment, Options, Output, RunError, Share, Verdict, assess};
use crate::store::Wait;
use std::fmt::Write;
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
    for loaded in load::checked(std::slice::from_ref(&args.file), &args.sets.sets)? {
        let previous = Output::previous(&loaded.output_folder(args.place.output.as_deref()));
        let assessments = assess(&loaded.dag, &store, &previous, &options).map_err(|error| match error {
            AssessError::Dag(error) => CliError::Usage(error.to_string()),
            AssessError::Store(error) => CliError::Run(RunError::Store(error)),
        })?;
        pending |= assessments.iter().any(|one| one.verdict.is_pending());
        answer(&text(loaded.name(), &assessments))?;
    }
    Ok(if pending && args.exit_code {
        Exit::Pending
    } else {
        Exit::Done
    })
}

fn text(name: &str, assessments: &[Assessment]) -> String {
    let count = assessments.iter().filter(|one| one.verdict.is_pending()).count();
    let mut text = match count {
        0 => format!("{name}: nothing to compute\n"),
        count => format!("{name}: {count} of {} steps to run\n", assessments.len()),
    };
    for one in assessments {
        let _ = write!(text, "  {}: ", one.id);
        match &one.verdict {
            Verdict::Cached => text.push_str("cached\n"),
            Verdict::NotAsked => text.push_str("not asked for\n"),
            Verdict::Waits { needs } => {
                let _ = writeln!(text, "known when {} has run", needs.join(", "));
            }
            Verdict::Fails { message } => {
                let _ = writeln!(text, "will fail: {message}");
            }
            Verdict::Run { reasons } => {
                text.push_str("will run");
                if let Some(cells) = one.cells {
                    let _ = write!(
                        text,
                        ", {} cells to compute, {} in the store",
                        cells.computed, cells.reused
                    );
                }
                text.push('\n');
                for reason in reasons {
                    let _ = writeln!(text, "    {reason}");
                }
            }
        }
    }
    text
}
