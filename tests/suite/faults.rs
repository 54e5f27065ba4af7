//! What may happen to a run: a full disk, a store that cannot be written or is gone, inputs that change, too little
//! memory, signals, a bare environment. What was finished stays; what was not leaves nothing that looks like a result.

use super::run::{Checked, Place, stderr};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Sixteen cells in two waves and tables of the structure: all that a run writes.
pub const PIPELINE: &str = "version: 1
name: s
model: {path: quickstart/model.pt, input: [1, 28, 28]}
dataset:
  source: {idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}
  samples: 48
  batch_size: 16
metric: cross_entropy
steps:
  - sensitivity:
      id: sens
      sparsities: [0.25, 0.5, 0.75]
      layers: [\"layer1.*\"]
      early_stop: {mode: maximize, value: 1000}
  - dependencies: {}
  - flops: {}
";

pub type Results = BTreeMap<PathBuf, Vec<u8>>;

/// A place with the pipeline in it.
pub fn place() -> Result<Place, Box<dyn std::error::Error>> {
    let place = Place::new()?;
    place.write("s.yaml", PIPELINE)?;
    Ok(place)
}

/// What an undisturbed run leaves, found out once.
pub fn expected() -> &'static Results {
    static EXPECTED: std::sync::OnceLock<Results> = std::sync::OnceLock::new();
    EXPECTED.get_or_init(|| {
        let place = place().expect("a place");
        place.expect(0, &["run", "s.yaml"]).expect("a run");
        place.results("out/s").expect("results")
    })
}

fn with_faults(place: &Place, faults: &str, words: &[&str]) -> std::io::Result<Output> {
    place.command(words).env("SECATEUR_FAULTS", faults).output()
}

pub fn cells(place: &Place, folder: &str) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let record = place.record(folder)?;
    let cells = &record["stages"][0]["cells"];
    let count = |name: &str| cells[name].as_u64().unwrap_or_default();
    Ok((count("computed"), count("reused")))
}

/// The next run goes through without a hand, and its results are those of an undisturbed one.
pub fn heals(place: &Place, what: &str) -> Checked {
    place.expect(0, &["run", "s.yaml"])?;
    assert!(place.results("out/s")? == *expected(), "{what}: other results");
    Ok(())
}

#[test]
fn disks_fill_up_and_say_no() -> Checked {
    let said = [
        ("full", "no storage space; free some space and run again"),
        ("quota", "quota exceeded; free some space and run again"),
        (
            "readonly",
            "cannot be written (read-only filesystem or storage medium): name another with --store",
        ),
        (
            "denied",
            "cannot be written (permission denied): name another with --store",
        ),
        ("short", "no storage space"),
    ];
    let place = place()?;
    // The store is there, and then: the first wave's writes, a cell of the second, an artifact, its rename.
    place.expect(0, &["run", "s.yaml", "--only", "flops"])?;
    for (fault, words) in said {
        let found = with_faults(&place, &format!("write:{fault}@3"), &["run", "s.yaml"])?;
        assert_eq!(found.status.code(), Some(1), "{fault}: {}", stderr(&found));
        assert!(stderr(&found).contains(words), "{fault}: {}", stderr(&found));
        heals(&place, fault)?;
        fs::remove_dir_all(place.path(".secateur"))?;
        place.expect(0, &["run", "s.yaml", "--only", "flops"])?;
    }
    for faults in [
        "write:full%4",
        "make:full@6",
        "sync:broken@4",
        "rename:full@5",
        "folder:broken@3",
    ] {
        let found = with_faults(&place, faults, &["run", "s.yaml"])?;
        assert_eq!(found.status.code(), Some(1), "{faults}: {}", stderr(&found));
        heals(&place, faults)?;
        fs::remove_dir_all(place.path(".secateur"))?;
        place.expect(0, &["run", "s.yaml", "--only", "flops"])?;
    }
    Ok(())
}

#[test]
fn a_store_that_is_only_read() -> Checked {
    let place = place()?;
    // A file where the store's folder would have to be made.
    fs::write(place.path("file"), "")?;
    let found = place.expect(1, &["run", "s.yaml", "--store", "file/store"])?;
    assert!(stderr(&found).contains("file/store"), "{}", stderr(&found));
    place.expect(0, &["run", "s.yaml", "--store", "first"])?;
    let count = files(&place.path("first"))?;
    // A second store is consulted and not written; the own one then holds nothing.
    place.expect(0, &["run", "s.yaml", "--store", "own", "--also-store", "first"])?;
    assert!(place.statuses("out/s")?.iter().all(|(_, status)| status == "cached"));
    assert_eq!(place.results("out/s")?, *expected());
    assert_eq!(files(&place.path("first"))?, count);
    assert!(!place.path("own/cells").exists() && !place.path("own/artifacts").exists());
    // Cells of the second store serve a table that it has not.
    place.write("s.yaml", &PIPELINE.replace("0.75]", "0.75, 0.9]"))?;
    place.expect(0, &["run", "s.yaml", "--store", "own", "--also-store", "first"])?;
    let (computed, reused) = cells(&place, "out/s")?;
    assert!(
        computed > 0 && reused > computed,
        "{computed} computed, {reused} reused"
    );
    place.expect(5, &["plan", "s.yaml", "--exit-code", "--store", "first"])?;
    place.expect(
        0,
        &[
            "plan",
            "s.yaml",
            "--exit-code",
            "--store",
            "first",
            "--also-store",
            "own",
        ],
    )?;
    place.expect(2, &["run", "s.yaml", "--also-store", "nowhere"])?;
    // Where everything is there, a store that cannot be written is enough.
    place.write("s.yaml", PIPELINE)?;
    let denied = "write:readonly,make:readonly,rename:readonly";
    let found = with_faults(&place, denied, &["run", "s.yaml", "--store", "first"])?;
    assert_eq!(
        found.status.code(),
        Some(1),
        "run.json cannot be written: {}",
        stderr(&found)
    );
    assert!(place.statuses("out/s")?.iter().all(|(_, status)| status != "failed"));
    // A store of a later version is refused before anything is done.
    fs::write(place.path("first/FORMAT"), "secateur store 2\n")?;
    for verb in ["run", "plan"] {
        let newer = place.expect(2, &[verb, "s.yaml", "--also-store", "first"])?;
        assert!(
            stderr(&newer).contains("a newer secateur (format 2"),
            "{}",
            stderr(&newer)
        );
    }
    place.expect(2, &["run", "s.yaml", "--store", "first"])?;
    Ok(())
}

/// Paths and contents of all files but marks of use and locks.
pub fn files(folder: &Path) -> std::io::Result<Results> {
    let mut found = Results::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.insert(path.clone(), fs::read(path)?);
        }
    }
    Ok(found)
}

/// A run that stays at a call until it is let go.
pub struct Held {
    child: Child,
    hold: PathBuf,
}

impl Held {
    /// Starts one that stays at a call (`folder@9` is the ninth sync of a folder), and waits until it has made a file.
    pub fn at(place: &Place, call: &str, until: &str) -> Result<Held, Box<dyn std::error::Error>> {
        let hold = place.path("hold");
        fs::write(&hold, "")?;
        let (site, number) = call.split_once('@').unwrap_or((call, "1"));
        let mut command = place.command(&["run", "s.yaml", "--jobs", "1"]);
        command.env("SECATEUR_FAULTS", format!("{site}:hold={}@{number}", hold.display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let held = Held { child, hold };
        await_file(&place.path(".secateur").join(until))?;
        Ok(held)
    }

    pub fn let_go(self) -> std::io::Result<Output> {
        fs::remove_file(&self.hold)?;
        self.child.wait_with_output()
    }

    /// Starts another command and lets the run go when that one waits for it; gives what both left.
    pub fn let_go_when_waited_for(self, command: &mut Command) -> std::io::Result<(Output, Output)> {
        let mut waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut told = String::new();
        if let Some(stderr) = waiting.stderr.take() {
            let mut lines = BufReader::new(stderr);
            while !told.contains("waiting for") && lines.read_line(&mut told)? > 0 {}
            let run = self.let_go()?;
            lines.read_to_string(&mut told)?;
            let mut output = waiting.wait_with_output()?;
            output.stderr = told.into_bytes();
            return Ok((run, output));
        }
        Err(std::io::Error::other("stderr is piped"))
    }
}

fn await_file(path: &Path) -> Checked {
    let start = Instant::now();
    while !path.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{} never came",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[test]
fn a_store_deleted_while_running_comes_back() -> Checked {
    let place = place()?;
    let run = Held::at(&place, "folder@9", "cells")?;
    // It may still be writing on its way to where it stays.
    while fs::remove_dir_all(place.path(".secateur")).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = run.let_go()?;
    // The write that was under way may fail; whatever happens, nothing wrong is left.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(&output));
    if output.status.success() {
        assert_eq!(place.results("out/s")?, *expected());
    }
    heals(&place, "deleted")
}

#[test]
fn inputs_that_change_while_they_are_read_leave_no_cell() -> Checked {
    let place = place()?;
    // Between digest and measurement there is time to change the labels: taking the lease takes a while.
    // The run has one of its own, the stage has the second.
    let run = Held::at(&place, "lock@4", "leases")?;
    while fs::read_dir(place.path(".secateur/leases"))?.count() < 2 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let labels = place.path("quickstart/labels.idx.gz");
    let right = fs::read(&labels)?;
    fs::write(&labels, other_labels()?)?;
    let output = run.let_go()?;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("changed while it was read"),
        "{}",
        stderr(&output)
    );
    assert!(
        !place.path(".secateur/cells").exists(),
        "values of other content under the old content's keys"
    );
    fs::write(&labels, right)?;
    heals(&place, "changed input")
}

/// Labels of another order, packed as the right ones are.
fn other_labels() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    use flate2::{Compression, read::GzDecoder, write::GzEncoder};
    use std::io::{Read, Write};
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart/labels.idx.gz");
    let mut plain = Vec::new();
    GzDecoder::new(fs::File::open(path)?).read_to_end(&mut plain)?;
    plain[8..].reverse();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&plain)?;
    Ok(packed.finish()?)
}

#[test]
fn clocks_may_jump() -> Checked {
    let place = place()?;
    let labels = place.path("quickstart/labels.idx.gz");
    let set = |time| fs::File::options().write(true).open(&labels)?.set_modified(time);
    // An input of tomorrow, results of tomorrow, and results of 1990.
    set(SystemTime::now() + Duration::from_secs(86_400))?;
    place.expect(0, &["run", "s.yaml"])?;
    for time in [
        SystemTime::now() + Duration::from_secs(86_400),
        SystemTime::UNIX_EPOCH + Duration::from_secs(631_152_000),
    ] {
        for path in files(&place.path(".secateur"))?.into_keys() {
            fs::File::options().write(true).open(path)?.set_modified(time)?;
        }
        place.expect(0, &["run", "s.yaml"])?;
        assert!(place.statuses("out/s")?.iter().all(|(_, status)| status == "cached"));
    }
    // Other content of the same length and, by a clock set back, the same time.
    let (right, time) = (fs::read(&labels)?, fs::metadata(&labels)?.modified()?);
    let mut wrong = right.clone();
    let last = wrong.len() / 2;
    wrong[last] ^= 1;
    fs::write(&labels, &wrong)?;
    set(time)?;
    place.expect(5, &["plan", "s.yaml", "--exit-code"])?;
    fs::write(&labels, &right)?;
    set(time)?;
    place.expect(0, &["plan", "s.yaml", "--exit-code"])?;
    Ok(())
}

/// Runs a line of shell in the place, with `$0` the binary.
fn shell(place: &Place, line: &str) -> std::io::Result<Output> {
    let mut command = Command::new("sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_secateur")]);
    command
        .current_dir(place.path(""))
        .env_remove("SECATEUR_STORE")
        .stdin(Stdio::null())
        .output()
}

#[test]
fn too_little_memory_and_too_small_files() -> Checked {
    let place = place()?;
    place.expect(0, &["run", "s.yaml", "--only", "flops"])?;
    // Address space for the program itself (libtorch maps hundreds of megabytes) and ever more of the work.
    for megabytes in [600, 900, 1200, 1500] {
        let output = shell(
            &place,
            &format!("ulimit -v {}; exec \"$0\" run s.yaml --jobs 1", megabytes * 1024),
        )?;
        assert!(
            !output.status.success() || place.results("out/s")? == *expected(),
            "{megabytes} MB"
        );
        heals(&place, "memory")?;
        fs::remove_dir_all(place.path(".secateur"))?;
        fs::remove_dir_all(place.path("out"))?;
    }
    // Files of at most 512 bytes (`ulimit -f` counts blocks of 512): SIGXFSZ ignored, so that writes fail.
    let output = shell(&place, "trap '' XFSZ; ulimit -f 1; exec \"$0\" run s.yaml")?;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    heals(&place, "file size")
}

fn signal(child: &Child, name: &str) -> std::io::Result<ExitStatus> {
    Command::new("kill").args([name, &child.id().to_string()]).status()
}

#[test]
fn schedulers_and_terminals_that_hang_up() -> Checked {
    // Under `nohup` this process, and so the runs, have SIGHUP ignored.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let hangs_up = ignored.is_none_or(|mask| mask & 1 == 0);
    for name in ["-TERM", "-HUP"].into_iter().take(1 + usize::from(hangs_up)) {
        let place = place()?;
        let run = Held::at(&place, "folder@9", "cells")?;
        signal(&run.child, name)?;
        let output = run.let_go()?;
        assert_eq!(output.status.code(), Some(4), "{name}: {}", stderr(&output));
        assert!(place.path("out/s/run.json").exists() && !place.path("out/s/sens/sensitivity.csv").exists());
        place.expect(0, &["run", "s.yaml"])?;
        assert!(cells(&place, "out/s")?.1 > 0, "{name}: nothing was kept");
        assert_eq!(place.results("out/s")?, *expected());
        // Locks went with their holder.
        place.expect(0, &["run", "s.yaml", "--no-wait"])?;
    }
    // `nohup` has its way.
    let place = place()?;
    let line = "trap '' HUP; \"$0\" run s.yaml & sleep 0.3; kill -HUP $!; wait $!";
    let output = shell(&place, line)?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.results("out/s")?, *expected());
    Ok(())
}

#[test]
fn as_cron_would_start_it() -> Checked {
    let place = place()?;
    let elsewhere = tempfile::tempdir()?;
    let (pipeline, store, output) = (place.path("s.yaml"), place.path("store"), place.path("results"));
    let mut command = Command::new("setsid");
    command.args([
        "-w",
        "sh",
        "-c",
        "umask 077; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_secateur"),
        "run",
    ]);
    command
        .arg(&pipeline)
        .arg("--store")
        .arg(&store)
        .arg("--output")
        .arg(&output);
    let run = command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(elsewhere.path())
        .stdin(Stdio::null())
        .output()?;
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert_eq!(place.results("results/s")?, *expected());
    assert_eq!(
        fs::read_dir(elsewhere.path())?.count(),
        0,
        "nothing is left in the current folder"
    );
    // Nothing but one's own eyes, as the mask says, and no colours where there is no terminal.
    use std::os::unix::fs::PermissionsExt;
    for path in files(&store)?.into_keys().chain([output.join("s/run.json")]) {
        assert_eq!(
            fs::metadata(&path)?.permissions().mode() & 0o077,
            0,
            "{}",
            path.display()
        );
    }
    assert!(!run.stderr.contains(&0x1b) && !run.stdout.contains(&0x1b));
    Ok(())
}
