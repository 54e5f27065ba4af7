//! `schedule check|install|uninstall FILE`: hands a pipeline's schedule to systemd, cron or GitHub, and takes it back.

use super::load::{self, Loaded};
use super::{CliError, Exit, FileArgs, PlaceArgs, answer, say};
use crate::schedule::{self, Job, MARK, ScheduleError, next_times};
use crate::spec::Schedule;
use jiff::Zoned;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How many times `check` tells.
const TOLD: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the next ten times.
    Check(Check),
    /// Write a systemd timer, a crontab line or a workflow of GitHub Actions, and print it.
    Install(Install),
    /// Take back what `install` wrote.
    Uninstall(Uninstall),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sets: FileArgs,
}

#[derive(Debug, clap::Args)]
struct Install {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sets: FileArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    target: Target,
    /// Only print what would be written.
    #[arg(long, visible_alias = "print")]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct Uninstall {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sets: FileArgs,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// A timer and a service of the user's systemd.
    #[arg(long)]
    systemd: bool,
    /// Lines of the user's crontab.
    #[arg(long)]
    crontab: bool,
    /// A workflow in the file's repository, for a runner on this machine.
    #[arg(long)]
    github_actions: bool,
}

pub fn schedule(args: &Args) -> Result<Exit, CliError> {
    match &args.verb {
        Verb::Check(args) => check(args),
        Verb::Install(args) => install(args),
        Verb::Uninstall(args) => uninstall(args),
    }
}

/// The name of the file's pipelines, their schedule, and the first of them.
fn scheduled(file: &Path, sets: &[String]) -> Result<(String, Schedule, Loaded), CliError> {
    let members = load::outlined(std::slice::from_ref(&file.to_path_buf()), sets)?;
    // All pipelines of a matrix share the file's schedule: it cannot vary.
    let Some(first) = members.into_iter().next() else {
        return Err(CliError::Usage(format!("{} holds no pipeline", file.display())));
    };
    match first.schedule() {
        Some(schedule) => Ok((first.family().to_owned(), schedule.clone(), first)),
        None => Err(CliError::Usage(format!(
            "{} has no schedule; for example: schedule: {{cron: \"0 3 * * *\", timezone: Europe/Berlin}}",
            file.display()
        ))),
    }
}

fn check(args: &Check) -> Result<Exit, CliError> {
    let (name, schedule, _) = scheduled(&args.file, &args.sets.sets)?;
    let times = next_times(&schedule, &Zoned::now(), TOLD)?;
    let zone = schedule.timezone.name();
    let jitter = schedule
        .jitter
        .map_or_else(String::new, |jitter| format!(", up to {jitter} later"));
    let mut text = format!("{name}: {} in {zone}{jitter}\n", schedule.cron.text());
    for time in times {
        text += &format!("  {}\n", time.strftime("%a %Y-%m-%d %H:%M %:z"));
    }
    answer(&text)?;
    Ok(Exit::Done)
}

/// A path from the root on: schedulers start elsewhere.
fn whole(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: io::Error) -> CliError {
    CliError::File {
        path: path.into(),
        source,
    }
}

fn install(args: &Install) -> Result<Exit, CliError> {
    let (name, schedule, loaded) = scheduled(&args.file, &args.sets.sets)?;
    let folder = std::env::current_dir().map_err(|source| file_error(Path::new("."), source))?;
    let output = match (&args.place.output, loaded.writes_output()) {
        (Some(folder), _) => Some(whole(folder)?),
        (None, true) => None,
        (None, false) => Some(folder.join("out")),
    };
    let job = Job {
        program: std::env::current_exe().map_err(|source| file_error(Path::new("secateur"), source))?,
        file: whole(&args.file)?,
        store: whole(&args.place.store.place()?)?,
        sets: args.sets.sets.clone(),
        folder,
        output,
        name,
        schedule,
    };
    // One that is never due would be found out by nobody.
    next_times(&job.schedule, &Zoned::now(), 1)?;
    if args.target.systemd {
        install_units(&job, args.dry_run)?;
    } else if args.target.crontab {
        install_crontab(&job, args.dry_run)?;
    } else {
        install_workflow(&job, args.dry_run)?;
    }
    Ok(Exit::Done)
}

fn uninstall(args: &Uninstall) -> Result<Exit, CliError> {
    let (name, ..) = scheduled(&args.file, &args.sets.sets)?;
    if args.target.systemd {
        remove_units(&name)?;
    } else if args.target.crontab {
        let (rest, gone) = schedule::without_block(&read_crontab()?, &name);
        match gone.is_empty() {
            true => answer(&format!("the crontab has no lines of {name}\n"))?,
            false => {
                write_crontab(&rest)?;
                answer(&format!("taken out of the crontab:\n{gone}"))?;
            }
        }
    } else {
        let top = repository(&whole(&args.file)?);
        remove(&top.join(schedule::actions_file(&name)))?;
    }
    Ok(Exit::Done)
}

/// Writes a file of ours, or shows it.
fn write(path: &Path, text: &str, dry_run: bool) -> Result<(), CliError> {
    answer(&format!("{}:\n{text}\n", path.display()))?;
    if dry_run {
        return Ok(());
    }
    if fs::read_to_string(path).is_ok_and(|there| !there.starts_with(MARK)) {
        let message = format!(
            "{} is there and was not written by `secateur schedule install`",
            path.display()
        );
        return Err(CliError::Usage(message));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    written.map_err(|source| file_error(path, source))
}

/// Takes a file of ours away.
fn remove(path: &Path) -> Result<bool, CliError> {
    match fs::read_to_string(path) {
        Ok(text) if text.starts_with(MARK) => {
            fs::remove_file(path).map_err(|source| file_error(path, source))?;
            answer(&format!("removed {}\n", path.display()))?;
            Ok(true)
        }
        Ok(_) => {
            let message = format!("{} was not written by `secateur schedule install`", path.display());
            Err(CliError::Usage(message))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            answer(&format!("there is no {}\n", path.display()))?;
            Ok(false)
        }
        Err(source) => Err(file_error(path, source)),
    }
}

/// Where the user's units lie.
fn unit_folder() -> Result<PathBuf, CliError> {
    let named = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let config = named("XDG_CONFIG_HOME").or_else(|| Some(named("HOME")?.join(".config")));
    let Some(config) = config else {
        return Err(CliError::Usage("neither XDG_CONFIG_HOME nor HOME is set".into()));
    };
    Ok(config.join("systemd/user"))
}

fn install_units(job: &Job, dry_run: bool) -> Result<(), CliError> {
    let folder = unit_folder()?;
    let names = schedule::unit_names(&job.name);
    for (name, text) in names.iter().zip(schedule::unit_files(job)?) {
        write(&folder.join(name), &text, dry_run)?;
    }
    let timer = &names[1];
    if dry_run {
        return Ok(());
    }
    let told = systemctl(&["daemon-reload"]) && systemctl(&["enable", "--now", timer]);
    if !told {
        say(&format!(
            "systemd could not be told; start it with: systemctl --user daemon-reload && systemctl --user enable --now {timer}"
        ));
    }
    say("timers of a user stop when the user logs out, unless `loginctl enable-linger` was given");
    Ok(())
}

fn remove_units(name: &str) -> Result<(), CliError> {
    let folder = unit_folder()?;
    let [service, timer] = schedule::unit_names(name);
    if folder.join(&timer).exists() {
        // Where systemd does not run there is nothing to stop.
        systemctl(&["disable", "--now", &timer]);
    }
    for name in [timer, service] {
        remove(&folder.join(name))?;
    }
    systemctl(&["daemon-reload"]);
    Ok(())
}

/// Asks the user's systemd; false where that is not possible.
fn systemctl(words: &[&str]) -> bool {
    let mut command = Command::new("systemctl");
    command.arg("--user").args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn install_crontab(job: &Job, dry_run: bool) -> Result<(), CliError> {
    let local = jiff::tz::TimeZone::system();
    let local = local.iana_name().unwrap_or("UTC");
    let block = schedule::crontab_block(job, local)?;
    answer(&block)?;
    if block.contains("CRON_TZ") && !knows_time_zones() {
        let zone = job.schedule.timezone.name();
        let message = format!(
            "the cron of this machine goes by {local} and knows no CRON_TZ, so it would not run at these times of \
             {zone}: install with --systemd, or write the schedule with `timezone: {local}`"
        );
        if !dry_run {
            return Err(CliError::Usage(message));
        }
        say(&format!("note: {message}"));
    }
    match dry_run {
        true => Ok(()),
        false => write_crontab(&schedule::with_block(&read_crontab()?, &job.name, &block)),
    }
}

/// Whether the machine's cron is one that follows `CRON_TZ`: cronie, which tells its version.
fn knows_time_zones() -> bool {
    let mut command = Command::new("crontab");
    let output = command.arg("-V").stdin(Stdio::null()).output();
    output.is_ok_and(|output| {
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).contains("cronie")
    })
}

/// The user's crontab; empty where there is none.
fn read_crontab() -> Result<String, CliError> {
    let mut command = Command::new("crontab");
    let output = command.arg("-l").stdin(Stdio::null()).output();
    let output = output.map_err(|source| file_error(Path::new("crontab"), source))?;
    if output.status.success() {
        return String::from_utf8(output.stdout)
            .map_err(|_| CliError::Usage("the crontab is not UTF-8, so it is left alone".into()));
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match said.contains("no crontab") {
        true => Ok(String::new()),
        false => Err(file_error(
            Path::new("crontab"),
            io::Error::other(said.trim().to_owned()),
        )),
    }
}

fn write_crontab(text: &str) -> Result<(), CliError> {
    let fault = |source| file_error(Path::new("crontab"), source);
    let mut command = Command::new("crontab");
    let mut child = command
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(fault)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(fault)?;
    }
    match child.wait().map_err(fault)?.success() {
        true => Ok(()),
        false => Err(fault(io::Error::other("crontab refused the lines"))),
    }
}

/// The root of a file's repository, or the file's own folder.
fn repository(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let top = folder.ancestors().find(|folder| folder.join(".git").exists());
    top.unwrap_or(folder).to_path_buf()
}

fn install_workflow(job: &Job, dry_run: bool) -> Result<(), CliError> {
    let top = repository(&job.file);
    let text = schedule::workflow(job, &top, Zoned::now().year())?;
    write(&top.join(schedule::actions_file(&job.name)), &text, dry_run)
}

impl From<ScheduleError> for CliError {
    fn from(error: ScheduleError) -> CliError {
        CliError::Schedule(error)
    }
}
