//! `merge [FILE…] STORE…`: makes one store of several and writes the tables of what the shards computed.

use super::waiting::WaitArgs;
use super::{CliError, Exit, FileArgs, PlaceArgs, answer, cache, run};
use crate::report::{LogFormat, Mode};
use crate::store::Store;
use indicatif::MultiProgress;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stores to take in, and the pipeline files whose tables are written.
    #[arg(required = true, value_name = "STORE|FILE")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// How progress is shown on stderr.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub progress: Mode,
}

pub fn merge(args: &Args, quiet: bool, format: LogFormat, logs: impl FnOnce(MultiProgress)) -> Result<Exit, CliError> {
    // A folder is a store and a file a pipeline; what is neither is said to be no pipeline that can be read.
    let (stores, files): (Vec<&PathBuf>, Vec<&PathBuf>) = args.paths.iter().partition(|path| path.is_dir());
    let others = stores
        .iter()
        .map(|path| Store::readable(path))
        .collect::<Result<Vec<_>, _>>()?;
    let files = match files.is_empty() {
        true => recorded(&others),
        false => files.into_iter().cloned().collect(),
    };
    if files.is_empty() {
        logs(MultiProgress::new());
        let store = args.place.open()?;
        let _at_work = args
            .wait
            .with(&store, "tidies the store", |patience| store.enter(patience))?;
        take_in(&store, &others)?;
        answer("no table is written, for no pipeline file is named or on record: secateur merge FILE STORE…\n")?;
        return Ok(Exit::Done);
    }
    let tables = run::Args::of_known(files, &args.file, &args.place, &args.wait, args.progress);
    run::run_after(&tables, quiet, format, logs, |store| take_in(store, &others))
}

/// Takes other stores in, and says what of each.
fn take_in(store: &Store, others: &[Store]) -> Result<(), CliError> {
    for other in others.iter().filter(|other| !same(store.root(), other.root())) {
        let united = store.unite(other)?;
        answer(&cache::taken_in(&other.root().display().to_string(), &united))?;
    }
    Ok(())
}

fn same(one: &Path, other: &Path) -> bool {
    one.canonicalize()
        .is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// The pipeline files of the runs that the stores record, where they are still there.
fn recorded(stores: &[Store]) -> Vec<PathBuf> {
    let runs = stores.iter().filter_map(|store| store.recorded().ok()).flatten();
    let files: BTreeSet<PathBuf> = runs.filter_map(|run| run.file).filter(|file| file.is_file()).collect();
    files.into_iter().collect()
}
