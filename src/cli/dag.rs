//! `dag FILE`: the stages as a drawing.

use super::{CliError, Exit, FileArgs, answer, load};
use crate::pipeline::{Dag, dot, mermaid};
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
    let all = load::outlined(std::slice::from_ref(&args.file), &args.sets.sets)?;
    let pipelines: Vec<(&str, &Dag)> = all.iter().map(|loaded| (loaded.name(), &loaded.dag)).collect();
    answer(&match args.format {
        Format::Mermaid => mermaid(&pipelines),
        Format::Dot => dot(&pipelines),
    })?;
    Ok(Exit::Done)
}
