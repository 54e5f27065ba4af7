//! `check FILE…`: all that can be wrong before anything runs.

use super::{CliError, Exit, FileArgs, answer, load};
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
    for loaded in load::checked(&args.files, &args.file.sets)? {
        let steps = match loaded.dag.stages().count() {
            1 => "1 step".to_owned(),
            count => format!("{count} steps"),
        };
        answer(&format!("{}: valid, {steps}\n", loaded.file.display()))?;
    }
    Ok(Exit::Done)
}
