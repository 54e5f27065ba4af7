//! `run FILE…`: validates all, then runs them in order.

use super::load::{self, Loaded};
use super::lockfile;
use super::recording::Recording;
use super::waiting::WaitArgs;
use super::{CliError, Exit, FileArgs, PlaceArgs, answer, catch, end_of, folder, jobs, signals};
use crate::pipeline::{Event, Options, Output, Record, RunError, Share, Sink, StageRecord, Stop, Waiting, execute};
use crate::report::{LogFormat, Mode, Reporter, summary};
use crate::spec::{Memory, Period};
use crate::store::{Lock, Patience, Store};
use indicatif::MultiProgress;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files; all are validated first.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    place: PlaceArgs,
    /// How many threads compute [default: physical cores]. Results are the same with any number.
    #[arg(long, short, value_name = "N", value_parser = jobs::parse)]
    jobs: Option<NonZeroUsize>,
    /// How much memory to stay within, such as 8GiB: less is measured at once [default: the file's `resources`, else half of
    /// what is free]. Results are the same with any.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// Only these steps and what they need.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Write FILE's lock beside it afterwards: digests of inputs, keys and versions, to be committed.
    #[arg(long)]
    lock: bool,
    /// Refuse what differs from FILE's lock, field by field.
    #[arg(long, conflicts_with = "lock")]
    locked: bool,
    /// Compute everything again, and store it.
    #[arg(long)]
    no_cache: bool,
    /// Run models as they were read: no folded norms, no fused operators. For finding faults; results agree but for rounding
    /// and are kept apart.
    #[arg(long)]
    no_lowering: bool,
    /// After a failure go on with what does not depend on it.
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    wait: WaitArgs,
    /// Wait a random time up to this long before anything starts (90s, 10m, 2h): for schedules without a jitter of their own.
    #[arg(long, value_name = "TIME")]
    jitter: Option<Period>,
    /// Compute the K-th of N parts of the cells, into a folder of its own; `secateur merge` makes the tables.
    #[arg(long, value_name = "K/N", default_value_t, hide_default_value = true)]
    shard: Share,
    /// How progress is shown on stderr.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub progress: Mode,
}

impl Args {
    /// Only to write tables of what is known.
    pub fn of_known(files: Vec<PathBuf>, file: &FileArgs, place: &PlaceArgs, wait: &WaitArgs, progress: Mode) -> Args {
        Args {
            files,
            file: file.clone(),
            place: place.clone(),
            jobs: None,
            memory: None,
            only: Vec::new(),
            no_cache: false,
            no_lowering: false,
            lock: false,
            locked: false,
            jitter: None,
            keep_going: false,
            wait: wait.clone(),
            shard: Share::Known,
            progress,
        }
    }
}

pub fn run(args: &Args, quiet: bool, format: LogFormat, logs: impl FnOnce(MultiProgress)) -> Result<Exit, CliError> {
    run_after(args, quiet, format, logs, |_| Ok(()))
}

/// Runs once the store has been prepared.
pub fn run_after(
    args: &Args,
    quiet: bool,
    format: LogFormat,
    logs: impl FnOnce(MultiProgress),
    prepare: impl FnOnce(&Store) -> Result<(), CliError>,
) -> Result<Exit, CliError> {
    let reporter = Reporter::new(args.progress.under(quiet), format);
    logs(reporter.bars());
    let stop = Stop::default();
    signals::listen(&stop);
    jobs::set(args.jobs.unwrap_or_else(jobs::physical_cores));
    if !linger(args.jitter, &stop) {
        return Ok(Exit::Incomplete);
    }
    let loaded = load::checked(&args.files, &args.file.sets)?;
    if let Some(output) = &args.place.output {
        folder(output.clone(), "--output")?;
    }
    load::lowering(&loaded, !args.no_lowering);
    load::limit(&loaded, args.memory.as_ref());
    refuse_shared_folders(args, &loaded)?;
    refuse_unknown_ids(args, &loaded)?;
    let store = args.place.open()?;
    let _at_work = enter(args, &store, &stop, &reporter)?;
    prepare(&store)?;
    if args.locked {
        lockfile::hold(&loaded, &store, true)?;
    }
    let mut exit = Exit::Done;
    for one in &loaded {
        if stop.is_set() {
            return Ok(exit.worse(Exit::Incomplete));
        }
        exit = exit.worse(catch(|| {
            run_one(args, one, &store, &stop, &reporter).unwrap_or_else(|error| end_of(&error))
        }));
    }
    if matches!(exit, Exit::Done | Exit::GateFailed) {
        if args.lock {
            lockfile::write(&loaded, &store)?;
        } else if args.locked {
            lockfile::hold(&loaded, &store, false)?;
        }
    }
    Ok(exit)
}

fn run_one(args: &Args, loaded: &Loaded, store: &Store, stop: &Stop, sink: &dyn Sink) -> Result<Exit, CliError> {
    let start = Instant::now();
    let wait = args.wait.wait();
    let share = args.shard;
    let folder = share.folder(&loaded.output_folder(args.place.output.as_deref()));
    let mut waiting = Waiting::new(sink, store, format!("writes {}", folder.display())).tell();
    let output = Output::open(
        &folder,
        &mut Patience {
            wait,
            waiting: &mut waiting,
            stopped: &|| stop.is_set(),
        },
    )
    .map_err(RunError::Busy)?;
    sink.event(&Event::RunStarted {
        name: loaded.name().into(),
        stages: loaded.dag.stages().map(|stage| stage.id().into()).collect(),
    });
    let options = Options {
        only: args.only.clone(),
        no_cache: args.no_cache,
        keep_going: args.keep_going,
        wait,
        share,
    };
    loaded.obey(stop);
    let recording = Recording::start(store, loaded, &folder);
    let run = execute(&loaded.dag, store, &output, &options, stop, sink);
    loaded.release();
    let run = match run {
        Ok(run) => run,
        Err(error) => {
            let error = CliError::from(error);
            recording.end(Exit::of_error(&error), None);
            return Err(error);
        }
    };
    loaded.remember_model(store);
    let exit = Exit::of_run(&run, args.keep_going);
    output.remove_gone(&run.stages, &crate::stages::names_of_kind)?;
    output.write_record(&Record {
        version: 1,
        name: loaded.name().into(),
        spec: loaded.resolved(),
        inputs: loaded.inputs(),
        stages: run.stages.iter().map(StageRecord::from).collect(),
        versions: crate::stages::versions(),
    })?;
    sink.event(&Event::RunFinished {
        name: loaded.name().into(),
        seconds: start.elapsed().as_secs_f64(),
    });
    recording.end(exit, Some(&run));
    if let Some(bytes) = crate::stages::peak_memory() {
        tracing::info!("at most {} of memory were taken", crate::report::memory_text(bytes));
    }
    answer(&summary(loaded.name(), &folder, &run))?;
    Ok(exit)
}

/// Waits a random part of a period; false when it was stopped meanwhile.
fn linger(jitter: Option<Period>, stop: &Stop) -> bool {
    let Some(jitter) = jitter else { return true };
    let drawn = RandomState::new().build_hasher().finish();
    let wait = jitter.duration().mul_f64(drawn as f64 / u64::MAX as f64);
    tracing::info!("waiting {} s of up to {jitter}", wait.as_secs());
    let end = Instant::now() + wait;
    while Instant::now() < end {
        if stop.is_set() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50).min(end.saturating_duration_since(Instant::now())));
    }
    true
}

/// Keeps housekeeping away while this run is at work.
fn enter(args: &Args, store: &Store, stop: &Stop, sink: &dyn Sink) -> Result<Lock, CliError> {
    let mut waiting = Waiting::new(sink, store, "tidies the store".into()).tell();
    let mut patience = Patience {
        wait: args.wait.wait(),
        waiting: &mut waiting,
        stopped: &|| stop.is_set(),
    };
    Ok(store.enter(&mut patience).map_err(RunError::Busy)?)
}

/// Two files that write one folder would delete each other's results.
fn refuse_shared_folders(args: &Args, loaded: &[Loaded]) -> Result<(), CliError> {
    let mut seen = BTreeMap::new();
    for one in loaded {
        let folder = one.output_folder(args.place.output.as_deref());
        let whole = std::path::absolute(&folder).unwrap_or_else(|_| folder.clone());
        if let Some(other) = seen.insert(whole, &one.file) {
            let (a, b, folder) = (other.display(), one.file.display(), folder.display());
            let message = format!("{a} and {b} both write {folder}: give them different names");
            return Err(CliError::Usage(message));
        }
    }
    Ok(())
}

fn refuse_unknown_ids(args: &Args, loaded: &[Loaded]) -> Result<(), CliError> {
    for one in loaded {
        if let Err(error) = one.dag.with_needs(&args.only) {
            return Err(CliError::Usage(format!("--only: {}: {error}", one.file.display())));
        }
    }
    Ok(())
}
