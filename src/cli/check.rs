//! `check FILE…`: all that can be wrong before anything runs.

use super::load::Loaded;
use super::{CliError, Exit, FileArgs, StoreArgs, answer, load, lockfile, say};
use crate::pipeline::Failure;
use crate::spec::Diagnostic;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Refuse what differs from FILE's lock, field by field; reads inputs for their digests.
    #[arg(long)]
    locked: bool,
    /// Start plug-ins, and hold that they say the same of the same batch.
    #[arg(long)]
    plugins: bool,
}

pub fn check(args: &Args) -> Result<Exit, CliError> {
    let all = load::checked(&args.files, &args.file.sets)?;
    let unreadable = load::unreadable(&all);
    for message in &unreadable {
        say(&format!("error: {message}"));
    }
    if !unreadable.is_empty() {
        return Ok(Exit::StageFailed);
    }
    if args.locked {
        lockfile::hold(&all, &args.store.peek()?, true)?;
    }
    let mut moody = false;
    for loaded in all {
        for missing in loaded.missing_hooks() {
            tracing::warn!("{missing}");
        }
        if args.plugins {
            match loaded.rehearse() {
                Ok(lines) => {
                    for line in lines {
                        answer(&format!("{}: {line}\n", loaded.file.display()))?;
                    }
                }
                Err(failure) => {
                    tell(&loaded, &failure);
                    moody = true;
                    continue;
                }
            }
        }
        let steps = match loaded.dag.stages().count() {
            1 => "1 step".to_owned(),
            count => format!("{count} steps"),
        };
        answer(&format!("{}: valid, {steps}\n", loaded.file.display()))?;
    }
    Ok(if moody { Exit::StageFailed } else { Exit::Done })
}

/// Says why a plug-in cannot be used; what the file says wrongly is shown there.
fn tell(loaded: &Loaded, failure: &Failure) {
    if let Failure::Failed(error) = failure
        && let Some(diagnostic) = error.downcast_ref::<Diagnostic>()
    {
        load::show(std::slice::from_ref(diagnostic));
    } else {
        say(&format!("error: {}: {}", loaded.file.display(), failure.text()));
    }
}
