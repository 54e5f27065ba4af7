//! `check FILE…`: all that can be wrong before anything runs.

use super::{CliError, Exit, FileArgs, answer, load, say};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
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
    for loaded in all {
        let steps = match loaded.dag.stages().count() {
            1 => "1 step".to_owned(),
            count => format!("{count} steps"),
        };
        answer(&format!("{}: valid, {steps}\n", loaded.file.display()))?;
    }
    Ok(Exit::Done)
}
