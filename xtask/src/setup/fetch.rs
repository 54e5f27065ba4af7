//! Fetches one wheel with pip, without installing it.
//!
//! Owns the download folder's rule: what lies in `wheels/` is whole. Does not look into wheels beyond that.

use super::platform::Platform;
use super::wheel::Wheel;
use crate::say::Progress;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Any CPython's wheel will do, whatever Python is here: only the libraries in it are used.
const WHEEL_PYTHON: &[&str] = &["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"];

/// The wheel of `requirement` (`name==version`) in `room/wheels`, downloaded unless it is there.
///
/// pip gets the set-up's lock as its standard input, which it never reads: should xtask be killed and pip live on, the
/// next set-up waits for it.
pub fn wheel(room: &Path, lock: &File, platform: &Platform, requirement: &str, about_mb: u64) -> Result<PathBuf> {
    let wheels = room.join("wheels");
    if let Some(kept) = kept(&wheels, requirement)? {
        return Ok(kept);
    }
    super::tools::pip()?;
    let incoming = emptied(&room.join("incoming"))?;
    let tmp = emptied(&room.join("tmp"))?;
    let log = room.join("pip.log");
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--progress-bar",
            "off",
        ])
        .args(WHEEL_PYTHON)
        .args(platform.tags.iter().flat_map(|tag| ["--platform", tag]))
        .arg("--dest")
        .arg(&incoming)
        .arg(requirement)
        // pip downloads into its temporary folder first: here it is on the right disk, and can be watched.
        .env("TMPDIR", &tmp)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        // Newer pips go on where a connection broke; older ones do not know the variable and ignore it.
        .env("PIP_RESUME_RETRIES", "10")
        .stdin(lock.try_clone().context("cannot hand the lock on")?);
    let succeeded = watch(&mut command, &log, || {
        let megabytes = size_below(&incoming).max(size_below(&tmp)) / 1_000_000;
        format!("{requirement}: {megabytes} of about {about_mb} MB")
    })?;
    if !succeeded {
        let text = fs::read(&log).unwrap_or_default();
        return Err(explain(&String::from_utf8_lossy(&text), requirement));
    }
    // pip copies into its folder, and a copy may be interrupted: only what pip called done is moved among the whole.
    for entry in fs::read_dir(&incoming)?.flatten() {
        fs::rename(entry.path(), wheels.join(entry.file_name())).context("cannot move the wheel")?;
    }
    kept(&wheels, requirement)?.with_context(|| format!("pip downloaded no whole wheel for {requirement}"))
}

/// True when nothing needs to be downloaded for the requirement.
pub fn is_kept(room: &Path, requirement: &str) -> bool {
    kept(&room.join("wheels"), requirement).is_ok_and(|kept| kept.is_some())
}

/// A whole wheel from an earlier set-up. A damaged one is removed.
fn kept(wheels: &Path, requirement: &str) -> Result<Option<PathBuf>> {
    fs::create_dir_all(wheels).with_context(|| format!("cannot make {}", wheels.display()))?;
    let (name, version) = requirement
        .split_once("==")
        .context("a requirement names its version")?;
    let start = format!("{}-{}", name.replace('-', "_"), version.trim_end_matches('*'));
    let mut found: Vec<PathBuf> = fs::read_dir(wheels)?.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with(&start) && name.ends_with(".whl"))
    });
    for path in found {
        if Wheel::open(&path).is_ok() {
            return Ok(Some(path));
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove the damaged {}", path.display()))?;
    }
    Ok(None)
}

/// Runs the command with its output in a file, and shows the state meanwhile. True when it succeeded.
fn watch(command: &mut Command, log: &Path, state: impl Fn() -> String) -> Result<bool> {
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = command
        .stderr(out.try_clone()?)
        .stdout(out)
        .spawn()
        .context("cannot start python3: install Python 3 with pip")?;
    let mut progress = Progress::new();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        progress.show(&state);
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The folder, made empty.
pub fn emptied(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_path_buf())
}

fn size_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_below(&entry.path()),
        Ok(found) => found.len(),
        // It was moved between the two looks.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// One sentence for why pip failed, then pip's last words.
fn explain(log: &str, requirement: &str) -> anyhow::Error {
    const NETWORK: &[&str] = &[
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeout",
        "ReadTimeout",
        "ProxyError",
        "SSLError",
        "ProtocolError",
        "IncompleteRead",
        "ConnectionReset",
        "Connection refused",
        "Network is unreachable",
        "timed out",
        "Temporary failure in name resolution",
    ];
    let has = |word: &str| log.contains(word);
    let sentence = if has("No space left on device") {
        format!("the disk became full while pip fetched {requirement}: make room, then run this again")
    } else if NETWORK.iter().any(|word| has(word)) {
        format!("pip cannot reach the package index to fetch {requirement}: check the network, then run this again")
    } else if has("No matching distribution found") {
        format!("pip's package index has no wheel of {requirement} for this platform: check pip's index settings")
    } else {
        format!("pip could not fetch {requirement}")
    };
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    anyhow!("{sentence}\npip says:\n  {}", last.join("\n  "))
}

/// Refuses to begin when the disk that holds the folder has less room than is needed.
pub fn check_disk(folder: &Path, need_mb: u64) -> Result<()> {
    // A file system that cannot say is no reason to stop.
    let Ok(room) = rustix::fs::statvfs(folder) else {
        return Ok(());
    };
    let free_mb = room.f_bavail.saturating_mul(room.f_frsize) / 1_000_000;
    if free_mb < need_mb {
        bail!(
            "libtorch needs {need_mb} MB of disk at {} and {free_mb} MB are free: make room, or set XDG_CACHE_HOME to a \
             folder on another disk",
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check_disk, emptied, explain, is_kept, kept};
    use crate::setup::wheel::tests::write_wheel;
    use std::fs;

    #[test]
    fn only_whole_wheels_are_kept() {
        let room = tempfile::tempdir().expect("a folder");
        let wheels = emptied(&room.path().join("wheels")).expect("wheels");
        assert!(!is_kept(room.path(), "torch==2.13.0"));
        let path = wheels.join("torch-2.13.0-cp311-cp311-any.whl");
        write_wheel(&path, &[("torch/a", b"one")], &[("torch/a", b"one")]);
        assert_eq!(kept(&wheels, "torch==2.13.0").expect("found"), Some(path.clone()));
        assert!(!is_kept(room.path(), "torch==2.12.0") && !is_kept(room.path(), "torchvision==2.13.0"));
        let bytes = fs::read(&path).expect("bytes");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("half");
        assert!(!is_kept(room.path(), "torch==2.13.0") && !path.exists());
        let helper = wheels.join("nvidia_cuda_runtime-13.0.96-py3-none-any.whl");
        write_wheel(&helper, &[], &[]);
        assert!(is_kept(room.path(), "nvidia-cuda-runtime==13.0.*"));
    }

    #[test]
    fn failures_are_explained() {
        let rows = [
            (
                "WARNING: Retrying ... NewConnectionError(...)\nERROR: No matching distribution found",
                "check the network",
            ),
            ("ERROR: No matching distribution found for torch", "index settings"),
            ("OSError: [Errno 28] No space left on device", "make room"),
            ("something else", "could not fetch"),
            ("", "could not fetch"),
        ];
        for (log, word) in rows {
            let error = explain(log, "torch==2.13.0").to_string();
            assert!(error.contains(word) && error.contains("torch==2.13.0"), "{error}");
        }
    }

    #[test]
    fn disk_is_checked() {
        let room = tempfile::tempdir().expect("a folder");
        check_disk(room.path(), 0).expect("always");
        let error = check_disk(room.path(), u64::MAX).expect_err("never").to_string();
        assert!(error.contains("MB are free"), "{error}");
    }
}
