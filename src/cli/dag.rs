//! `dag FILE`: the stages as a drawing.

use super::{CliError, Exit, FileArgs, answer, load};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The drawing's language.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    sets: FileArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Mermaid,
    Dot,
}

pub fn dag(args: &Args) -> Result<Exit, CliError> {
    for loaded in load::outlined(std::slice::from_ref(&args.file), &args.sets.sets)? {
        answer(&match args.format {
            Format::Mermaid => loaded.dag.mermaid(),
            Format::Dot => loaded.dag.dot(loaded.name()),
        })?;
    }
    Ok(Exit::Done)
}
