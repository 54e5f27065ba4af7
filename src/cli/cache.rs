//! `cache`: what lies in the store, whether it is whole, and results of a run to take elsewhere.

use super::waiting::WaitArgs;
use super::{CliError, Exit, StoreArgs, answer, say, size};
use crate::history;
use crate::store::{Kind, Store, Tally, United};
use clap::Subcommand;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell how much of what lies in the store.
    Size(#[command(flatten)] StoreArgs),
    /// Read everything through its hashes; what is damaged is set aside, and the end is 1.
    Verify(#[command(flatten)] StoreArgs),
    /// Write a run's record and results into one file.
    Export {
        /// A run: its id, the beginning of it, `last`, `last_success`, or `last~1` for the one before.
        #[arg(value_name = "RUN")]
        run: String,
        /// The file to be written, a zip.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Take in what `export` wrote.
    Import {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
    },
}

pub fn cache(args: &Args) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::Size(store) => answer(&sizes(&store.existing()?)?)?,
        Verb::Verify(store) => return verify(store),
        Verb::Export { run, file, store } => {
            let store = store.existing()?;
            // The store itself knows ids alone.
            let id = match run.starts_with("last") {
                true => history::find(&store, run, None)?.id,
                false => run.clone(),
            };
            let packed = store.export(&id, file)?;
            let Tally { count, bytes } = packed;
            answer(&format!(
                "{count} files, {} of results: {}\n",
                size::text(bytes),
                file.display()
            ))?;
        }
        Verb::Import { file, store } => {
            let store = store.open()?;
            let _at_work = WaitArgs::default().with(&store, "tidies the store", |patience| store.enter(patience))?;
            let united = store.import(file)?;
            answer(&taken_in(&file.display().to_string(), &united))?;
            if !store.incidents().is_empty() {
                return Ok(Exit::StageFailed);
            }
        }
    }
    Ok(Exit::Done)
}

fn sizes(store: &Store) -> Result<String, CliError> {
    let sizes = store.size()?;
    let mut text = String::new();
    let mut all = Tally::default();
    for kind in Kind::ALL {
        if let Some(tally) = sizes.get(&kind) {
            let _ = writeln!(
                text,
                "{:>7} {:<26} {:>9}",
                tally.count,
                kind.name(),
                size::text(tally.bytes)
            );
            all.count += tally.count;
            all.bytes += tally.bytes;
        }
    }
    let _ = writeln!(text, "{:>7} {:<26} {:>9}", all.count, "in all", size::text(all.bytes));
    Ok(text)
}

fn verify(store: &StoreArgs) -> Result<Exit, CliError> {
    let store = store.existing()?;
    let verified = store.verify()?;
    // Each was reported when it was found; with `-q` this is the only word.
    let damaged = store.incidents().len();
    answer(&format!("{} whole, {damaged} damaged\n", verified.whole))?;
    if damaged == 0 {
        return Ok(Exit::Done);
    }
    say("error: the store had damaged results; they are computed again when they are needed");
    Ok(Exit::StageFailed)
}

/// A line for what was taken in from somewhere.
pub(super) fn taken_in(from: &str, united: &United) -> String {
    let United {
        cells,
        artifacts,
        runs,
        present,
        differing,
    } = united;
    let mut text = format!(
        "{from}: {} cells, {} artifacts and {} runs taken in, {present} were here",
        cells.count, artifacts.count, runs.count
    );
    if *differing > 0 {
        let _ = write!(text, ", {differing} differ from those here, which stay");
    }
    text.push('\n');
    text
}
