//! `completions SHELL`: what a shell sources.

use super::{Cli, CliError, Exit, answer};
use clap::CommandFactory;
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub fn completions(args: &Args) -> Result<Exit, CliError> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "secateur", &mut bytes);
    answer(&String::from_utf8_lossy(&bytes))?;
    Ok(Exit::Done)
}
