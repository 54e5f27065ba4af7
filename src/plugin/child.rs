//! A plug-in's process: how it is started, heard and ended.
//!
//! Owns the process group, the environment that the child sees, its two channels and its standard streams. The child gets
//! an allow-list of variables and no descriptor but its own; whatever it does, nothing of its group is left behind.
//! Deliberately knows nothing of the protocol.

use super::error::Fault;
use super::log::Log;
use super::pipe::{Asked, Pipe};
use super::{Launch, sandbox};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The descriptors that a plug-in finds its channels at.
const QUESTIONS: i32 = 3;
const ANSWERS: i32 = 4;

/// What every plug-in may see of our environment: where programs are, whose home it is, the language and the time zone.
pub const ALWAYS_PASSED: [&str; 6] = ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TZ"];

/// Threads inside numerical libraries change the last bits of sums, and would fight with ours.
const ONE_THREAD: [&str; 3] = ["MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"];

/// How long a plug-in may take to leave when it is asked to, and again when it gets SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// A running plug-in. Dropping it ends the whole group.
pub(super) struct Child {
    process: std::process::Child,
    pid: Pid,
    log: Log,
    status: Option<ExitStatus>,
}

/// Our ends of the channels.
pub(super) struct Channels {
    pub(super) questions: Pipe,
    pub(super) answers: Pipe,
}

impl Child {
    /// Starts a plug-in. `folder` is the private one, which holds the helpers and receives temporary files.
    pub(super) fn start(launch: &Launch, folder: &Path) -> Result<(Child, Channels), Fault> {
        let word = launch.argv.first().map_or("", String::as_str);
        let start = |reason: String| Fault::Start {
            program: word.into(),
            reason,
        };
        let io = |error: io::Error| start(error.to_string());
        let program = find(word, &launch.folder).map_err(start)?;
        let (their_questions, questions) = io::pipe().map_err(io)?;
        let (answers, their_answers) = io::pipe().map_err(io)?;
        let (stdout, their_stdout) = io::pipe().map_err(io)?;
        let (stderr, their_stderr) = io::pipe().map_err(io)?;

        let mut command = match &launch.sandbox {
            None => Command::new(&program),
            Some(secateur) => sandbox::command(secateur, folder, &program),
        };
        command
            .args(&launch.argv[1..])
            .current_dir(&launch.folder)
            .env_clear()
            .envs(environment(launch, folder)?)
            .stdin(Stdio::null())
            .stdout(their_stdout)
            .stderr(their_stderr)
            .process_group(0);
        let map = |parent_fd, child_fd| FdMapping { parent_fd, child_fd };
        command
            .fd_mappings(vec![
                map(their_questions.into(), QUESTIONS),
                map(their_answers.into(), ANSWERS),
            ])
            .map_err(|error| start(error.to_string()))?;

        let process = {
            // Libraries and our own parent may have left descriptors open that a child would inherit.
            static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
            let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            close_fds::set_fds_cloexec_threadsafe(3, &[]);
            command.spawn().map_err(io)?
        };
        // The command holds the child's ends of the pipes.
        drop(command);
        let pid = Pid::from_raw(process.id() as i32).ok_or_else(|| start("it has no process number".into()))?;
        let log = Log::start(&launch.name, stdout.into(), stderr.into());
        let child = Child {
            process,
            pid,
            log,
            status: None,
        };
        let gone: Asked = Arc::new(move || ended(pid));
        let channels = Channels {
            questions: Pipe::new(questions.into(), launch.stop.clone(), gone.clone()).map_err(io)?,
            answers: Pipe::new(answers.into(), launch.stop.clone(), gone).map_err(io)?,
        };
        Ok((child, channels))
    }

    /// Waits for it to leave by itself.
    pub(super) fn leaves(&self, grace: Duration) -> bool {
        let end = Instant::now() + grace;
        loop {
            if ended(self.pid) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.status.is_some() || ended(self.pid)
    }

    /// Ends the whole group, if need be by force, and says how the plug-in itself ended and what it said last.
    pub(super) fn end(&mut self) -> (String, Vec<String>) {
        if self.status.is_none() {
            if !ended(self.pid) {
                let _ = kill_process_group(self.pid, Signal::TERM);
                self.leaves(GRACE);
            }
            // It has ended, or this ends it; until it is waited for, its number is nobody else's.
            let _ = kill_process_group(self.pid, Signal::KILL);
            self.status = self.process.wait().ok();
        }
        let status = self
            .status
            .map_or_else(|| "unknown".into(), |status| status.to_string());
        (status, self.log.last_lines())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a child has ended; it stays to be waited for.
fn ended(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

/// The file of a program: a path relative to the pipeline's folder, or a name in PATH.
fn find(word: &str, folder: &Path) -> Result<PathBuf, String> {
    if word.contains('/') {
        let path = folder.join(word);
        return match path.metadata() {
            Ok(_) => Ok(path),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
    }
    in_path(word)
        .ok_or_else(|| "no program of this name is in PATH (a program beside the pipeline is written ./name)".into())
}

/// The program of this name in PATH.
pub fn in_path(word: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|place| place.join(word));
    places.find(|place| place.is_file() && rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_ok())
}

/// All that a plug-in sees.
fn environment(launch: &Launch, folder: &Path) -> Result<Vec<(OsString, OsString)>, Fault> {
    let mut environment: Vec<(OsString, OsString)> = Vec::new();
    let mut set = |name: &str, value: &OsStr| {
        environment.retain(|(known, _)| known != name);
        environment.push((name.into(), value.into()));
    };
    for name in ALWAYS_PASSED {
        if let Some(value) = std::env::var_os(name) {
            set(name, &value);
        }
    }
    for name in ONE_THREAD {
        set(name, OsStr::new("1"));
    }
    // Sets of strings must not have another order each time, files must not appear beside the pipeline, and what is
    // printed must be in the log when the plug-in dies.
    set("PYTHONHASHSEED", OsStr::new("0"));
    set("PYTHONDONTWRITEBYTECODE", OsStr::new("1"));
    set("PYTHONUNBUFFERED", OsStr::new("1"));
    set("TMPDIR", super::helper::temporary(folder).as_os_str());
    for name in &launch.pass_env {
        let value = std::env::var_os(name).ok_or_else(|| Fault::Variable { variable: name.clone() })?;
        set(name, &value);
    }
    for (name, value) in &launch.env {
        set(name, OsStr::new(value));
    }
    let theirs = environment
        .iter()
        .find(|(name, _)| name == "PYTHONPATH")
        .map(|(_, value)| value.clone());
    let mut path = folder.as_os_str().to_owned();
    if let Some(theirs) = theirs {
        path.push(":");
        path.push(theirs);
    }
    environment.retain(|(known, _)| known != "PYTHONPATH");
    environment.push(("PYTHONPATH".into(), path));
    environment.push(("SECATEUR_PROTOCOL".into(), super::wire::VERSION.to_string().into()));
    environment.push(("SECATEUR_QUESTIONS".into(), QUESTIONS.to_string().into()));
    environment.push(("SECATEUR_ANSWERS".into(), ANSWERS.to_string().into()));
    Ok(environment)
}
