//! Commands that run after a pipeline: `on_failure` and `on_change`.
//!
//! A hook gets the run's record as JSON on its standard input. Whatever becomes of it is told and changes nothing: the
//! results are stored and the exit code is decided before it starts.

use crate::spec::Hook;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Runs a hook in the pipeline file's folder and waits for it.
pub fn run(name: &str, hook: &Hook, folder: &Path, run: &str, record: &Value) {
    match attempt(hook, folder, run, name, record) {
        Ok(Some(status)) if status.success() => tracing::debug!("{name} ended well"),
        Ok(Some(status)) => tracing::warn!("{name}: {:?} ended with {status}", hook.command[0]),
        Ok(None) => tracing::warn!(
            "{name}: {:?} took longer than {} and was ended",
            hook.command[0],
            hook.timeout
        ),
        // Even -q tells: whoever should have been told is not.
        Err(error) => tracing::error!("{name}: cannot run {:?}: {error}", hook.command[0]),
    }
}

/// The hook's end, or nothing when it took too long.
fn attempt(hook: &Hook, folder: &Path, run: &str, name: &str, record: &Value) -> std::io::Result<Option<ExitStatus>> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let program = match hook.command[0].contains('/') {
        true => std::path::absolute(folder)?.join(&hook.command[0]),
        false => PathBuf::from(&hook.command[0]),
    };
    let mut child = Command::new(program)
        .args(&hook.command[1..])
        .current_dir(folder)
        .env("SECATEUR_RUN", run)
        .env("SECATEUR_HOOK", name)
        .stdin(Stdio::piped())
        // Standard output carries results only.
        .stdout(std::io::stderr())
        .process_group(0)
        .spawn()?;
    let deadline = Instant::now() + hook.timeout.duration();
    if let Some(mut stdin) = child.stdin.take() {
        let text = format!("{record}\n");
        // A hook that does not read must not hold anyone up; one that has gone is no fault.
        std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
