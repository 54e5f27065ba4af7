//! `completions SHELL`: what a shell sources.

use super::{Cli, CliError, Exit, answer};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub fn completions(args: &Args) -> Result<Exit, CliError> {
    answer(&text(args.shell))?;
    Ok(Exit::Done)
}

/// All verbs but those that only this program itself uses: shells would offer hidden ones too.
fn text(shell: Shell) -> String {
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    let mut command = Command::new("secateur")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(shown);
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut command, "secateur", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn shells_offer_what_is_for_people() {
        for &shell in Shell::value_variants() {
            let text = text(shell);
            for word in ["reproduce", "also-store", "log-format"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
            assert!(!text.contains(crate::plugin::SANDBOX_VERB), "{shell}");
        }
    }
}
