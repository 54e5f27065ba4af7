//! `reproduce RUN`: runs a recorded specification again, from nothing, and compares every number with the record.

use super::load;
use super::{CliError, Exit, StoreArgs, answer, jobs, signals};
use crate::history::{self, RunRecord, StageEntry};
use crate::pipeline::{Options, Output, RunError, Share, Stop, execute};
use crate::report::{LogFormat, Mode, Reporter, reproduction};
use crate::store::{Patience, Store, Wait};
use indicatif::MultiProgress;
use std::num::NonZeroUsize;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run: its id, the beginning of it, `last`, `last_success`, or `last~1` for the one before.
    #[arg(value_name = "RUN")]
    run: String,
    #[command(flatten)]
    store: StoreArgs,
    /// How many threads compute [default: physical cores]. Results are the same with any number.
    #[arg(long, short, value_name = "N", value_parser = jobs::parse)]
    jobs: Option<NonZeroUsize>,
    /// How progress is shown on stderr.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub progress: Mode,
}

pub fn reproduce(
    args: &Args,
    quiet: bool,
    format: LogFormat,
    logs: impl FnOnce(MultiProgress),
) -> Result<Exit, CliError> {
    let reporter = Reporter::new(args.progress.under(quiet), format);
    logs(reporter.bars());
    let stop = Stop::default();
    signals::listen(&stop);
    jobs::set(args.jobs.unwrap_or_else(jobs::physical_cores));
    let store = args.store.peek()?;
    let recorded = history::find(&store, &args.run, None)?;
    if !recorded.stages.iter().any(StageEntry::is_done) {
        let id = &recorded.id;
        return Err(CliError::Usage(format!(
            "run {id} left no results that could be made again"
        )));
    }
    let loaded = load::recorded(&recorded)?;
    // In a place of its own: nothing that is stored may help, and nothing that is stored is touched.
    let place = tempfile::tempdir().map_err(|source| CliError::File {
        path: std::env::temp_dir(),
        source,
    })?;
    let fresh = Store::open(&place.path().join("store"))?;
    let mut at_once = Patience {
        wait: Wait::No,
        waiting: &mut |_| {},
        stopped: &|| false,
    };
    let output = Output::open(&place.path().join("out"), &mut at_once).map_err(RunError::Busy)?;
    let ids = recorded.stages.iter().filter(|stage| stage.is_done());
    // A gate judges by the past, and has no numbers of its own.
    let options = Options {
        only: ids
            .filter(|stage| stage.kind != "gate")
            .map(|stage| stage.id.clone())
            .collect(),
        no_cache: false,
        keep_going: true,
        wait: Wait::No,
        share: Share::Whole,
    };
    loaded.obey(&stop);
    let run = execute(&loaded.dag, &fresh, &output, &options, &stop, &reporter)?;
    if run.stopped {
        return Ok(Exit::Incomplete);
    }
    let again = RunRecord {
        inputs: loaded.inputs(),
        versions: crate::stages::versions(),
        stages: run.stages.iter().map(|stage| StageEntry::of(stage, &fresh)).collect(),
        ..recorded.clone()
    };
    let (text, equal) = reproduction(&recorded, &again, &options.only);
    answer(&text)?;
    Ok(if equal { Exit::Done } else { Exit::StageFailed })
}
