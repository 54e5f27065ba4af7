//! Broken and hostile files: each is an error that says what is wrong, in under a second, in little memory, and nothing
//! is executed or created.
//!
//! The files are made here, from a small model and small masks, by one change each. The test runs itself again in an
//! empty folder, so that the memory measured is that of these files alone.

mod files;

use bytes::Bytes;
use files::{cases, good, masks, tensor};
use secateur::{mask, readers};
use std::io::Write;
use std::time::{Duration, Instant};

/// What reads a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reader {
    Model,
    Masks,
}

fn read(reader: Reader, bytes: Vec<u8>) -> Result<(), String> {
    let bytes = Bytes::from(bytes);
    match reader {
        Reader::Model => {
            let graph = readers::read_model(bytes).map_err(|error| error.to_string())?;
            graph.read_weights().map_err(|error| error.to_string())
        }
        Reader::Masks => mask::file::read(bytes, "masks")
            .map(drop)
            .map_err(|error| error.to_string()),
    }
}

/// Runs in a process of its own; see [`broken_files_are_refused`].
#[test]
#[ignore = "started by broken_files_are_refused"]
fn each_broken_file() {
    read(Reader::Model, good()).expect("the model is read before it is broken");
    read(Reader::Masks, masks(&tensor("FloatStorage", "K\x04", "K\x01")))
        .expect("the masks are read before they are broken");
    let cases = cases();
    assert!(cases.len() >= 20);
    // A second for the product; tests are built without optimisation, and share the machine.
    let limit = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });
    let mut wrong = Vec::new();
    for (name, reader, bytes, wanted) in cases {
        let start = Instant::now();
        let found = read(reader, bytes);
        let took = start.elapsed();
        let error = found.err().unwrap_or_else(|| "no error".into());
        println!("{name}: {} ({took:?})", error.chars().take(200).collect::<String>());
        if !error.contains(wanted) || error.len() > 1000 || took > limit {
            wrong.push(format!("{name}: {wanted:?} is wanted"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Linux tells the most memory that the process has ever held.
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = peak
            .and_then(|peak| peak.split_whitespace().next()?.parse().ok())
            .expect("VmHWM is a number");
        println!("peak memory {kib} KiB");
        assert!(kib < 200 << 10, "{kib} KiB");
    }
}

#[test]
fn broken_files_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = std::process::Command::new(std::env::current_exe().expect("the test's own path"))
        .args([
            "--exact",
            "suite::broken_archives::each_broken_file",
            "--ignored",
            "--nocapture",
        ])
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .output()
        .expect("the test starts itself");
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && text.contains("1 passed"), "{text}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
    let _ = std::io::stdout().write_all(text.as_bytes());
}
