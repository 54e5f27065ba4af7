//! Runs of the real binary: outputs, the second run, locks, closed pipes, signals; and the folder that tests run it in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub type Checked = Result<(), Box<dyn std::error::Error>>;

/// A folder to run in, with the quickstart's files beside.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> std::io::Result<Place> {
        let place = Place(tempfile::tempdir()?);
        let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart");
        fs::create_dir(place.path("quickstart"))?;
        for name in ["model.pt", "masks.pth", "images.idx.gz", "labels.idx.gz"] {
            fs::copy(quickstart.join(name), place.path("quickstart").join(name))?;
        }
        place.write("topology.yaml", TOPOLOGY)?;
        Ok(place)
    }

    /// Leaves everything where it is, to be looked at.
    pub fn keep(&mut self) -> PathBuf {
        self.0.disable_cleanup(true);
        self.0.path().into()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        fs::write(self.path(name), text)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
        command
            .current_dir(self.0.path())
            .args(words)
            .env_remove("SECATEUR_STORE");
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> std::io::Result<Output> {
        self.command(words).output()
    }

    /// Runs and holds the exit code.
    pub fn expect(&self, code: i32, words: &[&str]) -> std::io::Result<Output> {
        let output = self.run(words)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}\n{stderr}");
        Ok(output)
    }

    /// Every output but `run.json`, by path.
    pub fn results(&self, folder: &str) -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) -> std::io::Result<()> {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    walk(&path, found)?;
                } else if path.file_name().is_some_and(|name| name != "run.json") {
                    found.insert(path.clone(), fs::read(path)?);
                }
            }
            Ok(())
        }
        let root = self.path(folder);
        let mut found = BTreeMap::new();
        walk(&root, &mut found)?;
        let relative = |path: PathBuf| path.strip_prefix(&root).map(PathBuf::from).unwrap_or_default();
        Ok(found.into_iter().map(|(path, bytes)| (relative(path), bytes)).collect())
    }

    pub fn record(&self, folder: &str) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
        Ok(serde_json::from_slice(&fs::read(self.path(folder).join("run.json"))?)?)
    }

    /// `(id, status)` of each stage of the last run.
    pub fn statuses(&self, folder: &str) -> Result<Vec<(String, String)>, Box<dyn std::error::Error>> {
        let record = self.record(folder)?;
        let stages = record["stages"].as_array().cloned().unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(stages
            .iter()
            .map(|stage| (text(&stage["id"]), text(&stage["status"])))
            .collect())
    }
}

/// A sensitivity step of four cells, and a step that measures nothing.
pub const NIGHT: &str = "version: 1
name: night
model: {path: quickstart/model.pt, input: [1, 28, 28]}
dataset:
  source: {idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}
  normalize: {mean: [0.286], std: [0.353]}
  samples: 60
metric: accuracy
steps:
  - sensitivity: {id: sens, layers: [conv1, layer1.0.conv1], sparsities: [0.5, 0.9]}
  - flops: {}
";

/// Steps that need no data.
pub const TOPOLOGY: &str = "version: 1
name: topology
model: {path: quickstart/model.pt, input: [1, 28, 28]}
steps:
  - dependencies: {}
  - flops: {}
";

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_second_run_computes_nothing_and_outputs_come_back() -> Checked {
    let place = Place::new()?;
    let checked = place.expect(0, &["check", "topology.yaml"])?;
    assert!(stdout(&checked).contains("valid"));
    assert!(!place.path("out").exists() && !place.path(".secateur").exists());
    place.expect(5, &["plan", "topology.yaml", "--exit-code"])?;
    place.expect(0, &["plan", "topology.yaml"])?;
    assert!(!place.path("out").exists() && !place.path(".secateur").exists());

    let first = place.expect(0, &["run", "topology.yaml"])?;
    assert!(
        stdout(&first).contains("out/topology/dependencies/channel.csv"),
        "{}",
        stdout(&first)
    );
    let results = place.results("out/topology")?;
    let names: Vec<&str> = results.keys().filter_map(|path| path.to_str()).collect();
    let expected = [
        "dependencies/channel.csv",
        "dependencies/coupling.json",
        "dependencies/group.csv",
        "dependencies/input_channel.csv",
        "flops/flops.csv",
    ];
    assert_eq!(names, expected);
    let pairs = |status: &str| {
        vec![
            ("dependencies".to_owned(), status.to_owned()),
            ("flops".into(), status.into()),
        ]
    };
    assert_eq!(place.statuses("out/topology")?, pairs("computed"));

    place.expect(0, &["plan", "topology.yaml", "--exit-code"])?;
    place.expect(0, &["run", "topology.yaml"])?;
    assert_eq!(place.statuses("out/topology")?, pairs("cached"));
    assert_eq!(place.results("out/topology")?, results);
    // Neither place nor name nor the way of writing belongs to a key.
    fs::create_dir(place.path("moved"))?;
    fs::rename(place.path("quickstart"), place.path("moved/quickstart"))?;
    let renamed = TOPOLOGY.replace("name: topology", "# a comment\nseed: 0\nname: other");
    place.write("moved/other.yaml", &renamed)?;
    place.expect(0, &["run", "moved/other.yaml", "--output", "elsewhere"])?;
    assert_eq!(place.statuses("elsewhere/other")?, pairs("cached"));
    assert_eq!(place.results("elsewhere/other")?, results);
    let again = place.expect(0, &["run", "moved/other.yaml", "--no-cache", "--output", "elsewhere"])?;
    assert!(stderr(&again).contains("computed"));
    assert_eq!(place.statuses("elsewhere/other")?, pairs("computed"));
    // Lost and damaged outputs come back, from a damaged store too.
    fs::remove_dir_all(place.path("elsewhere/other/flops"))?;
    fs::write(place.path("elsewhere/other/dependencies/channel.csv"), "wrong")?;
    let artifact = fs::read_dir(place.path(".secateur/artifacts"))?
        .flatten()
        .next()
        .map(|entry| entry.path());
    let artifact = artifact.and_then(|path| fs::read_dir(path).ok()?.flatten().next());
    let inside = artifact
        .map(|entry| entry.path().join("manifest.json"))
        .unwrap_or_default();
    fs::write(&inside, "wrong")?;
    let repaired = place.expect(0, &["run", "moved/other.yaml", "--output", "elsewhere"])?;
    assert!(stderr(&repaired).contains("damaged"), "{}", stderr(&repaired));
    assert_eq!(place.results("elsewhere/other")?, results);
    Ok(())
}

#[test]
fn the_record_has_its_fields() -> Checked {
    let place = Place::new()?;
    place.expect(0, &["run", "topology.yaml", "--store", "store", "--only", "flops"])?;
    let record = place.record("out/topology")?;
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value
            .as_object()
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default()
    };
    assert_eq!(
        keys(&record),
        ["version", "name", "spec", "inputs", "stages", "versions"]
    );
    assert_eq!(keys(&record["inputs"][0]), ["path", "digest", "bytes"]);
    assert_eq!(record["inputs"][0]["path"], "quickstart/model.pt");
    assert_eq!(
        keys(&record["stages"][0]),
        ["id", "kind", "status", "key", "cells", "seconds"]
    );
    assert_eq!(keys(&record["stages"][1]["cells"]), ["computed", "reused"]);
    assert_eq!(keys(&record["versions"]), ["secateur", "libtorch", "isa"]);
    assert_eq!(record["stages"][0]["status"], "skipped");
    assert_eq!(record["stages"][1]["status"], "computed");
    assert!(place.path("store/FORMAT").exists() && !place.path(".secateur").exists());
    assert!(!place.path("out/topology/dependencies").exists());
    // A step that is gone takes its folder with it; the user's own files stay.
    fs::write(place.path("out/topology/mine.txt"), "x")?;
    let without = TOPOLOGY.replace("  - flops: {}\n", "");
    place.write("topology.yaml", &without)?;
    place.expect(0, &["run", "topology.yaml", "--store", "store"])?;
    assert!(!place.path("out/topology/flops").exists() && place.path("out/topology/mine.txt").exists());
    Ok(())
}

#[test]
fn another_run_holds_the_lock() -> Checked {
    let place = Place::new()?;
    fs::create_dir_all(place.path("out/topology"))?;
    let folder = fs::File::open(place.path("out/topology"))?;
    folder.lock()?;
    let busy = place.expect(9, &["run", "topology.yaml", "--no-wait"])?;
    assert!(stderr(&busy).contains("another run"), "{}", stderr(&busy));
    let mut waiting = place
        .command(&["run", "topology.yaml"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(waiting.try_wait()?.is_none());
    folder.unlock()?;
    let output = waiting.wait_with_output()?;
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("waiting for another run"),
        "{}",
        stderr(&output)
    );
    Ok(())
}

#[test]
fn closed_pipes_are_no_panic() -> Checked {
    let place = Place::new()?;
    for words in [
        &["schema"][..],
        &["run", "topology.yaml"],
        &["dag", "topology.yaml"],
        &["--help"],
    ] {
        let mut child = place
            .command(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        drop(child.stdout.take());
        let output = child.wait_with_output()?;
        assert_eq!(output.status.code(), Some(0), "{words:?}\n{}", stderr(&output));
    }
    let mut child = place
        .command(&["run", "topology.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stderr.take());
    assert_eq!(child.wait_with_output()?.status.code(), Some(0));
    Ok(())
}

#[test]
fn progress_and_logs_keep_to_stderr() -> Checked {
    let place = Place::new()?;
    let json = place.expect(0, &["run", "topology.yaml", "--progress", "json", "-v"])?;
    let lines = stderr(&json);
    let lines: Vec<serde_json::Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let events: Vec<&serde_json::Value> = lines.iter().filter(|line| line.get("event").is_some()).collect();
    assert_eq!(
        events.first().map(|event| event["event"].clone()),
        Some("run_started".into())
    );
    assert_eq!(
        events.last().map(|event| event["event"].clone()),
        Some("run_finished".into())
    );
    let silent = place.expect(0, &["run", "topology.yaml", "--progress", "none"])?;
    assert_eq!(stderr(&silent), "");
    let quiet = place.expect(0, &["run", "topology.yaml", "-q"])?;
    assert_eq!(stderr(&quiet), "");
    assert!(stdout(&quiet).contains("flops.csv"));
    place.write("quickstart/model.pt", "rubbish")?;
    for (code, words) in [
        (
            1,
            &["run", "topology.yaml", "--progress", "none", "--log-format", "json"][..],
        ),
        (1, &["run", "topology.yaml", "--progress", "json"]),
        (1, &["check", "topology.yaml", "--log-format", "json"]),
        (2, &["run", "nowhere.yaml", "--progress", "json"]),
        (
            2,
            &[
                "run",
                "topology.yaml",
                "--set",
                "a=1",
                "--set",
                "b=2",
                "--progress",
                "json",
            ],
        ),
    ] {
        let failed = place.expect(code, words)?;
        let logged: Vec<serde_json::Value> = stderr(&failed)
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        assert!(logged.iter().any(|line| line["level"] == "ERROR"), "{words:?}");
    }
    Ok(())
}

#[test]
fn drawings() -> Checked {
    let place = Place::new()?;
    assert!(stdout(&place.expect(0, &["dag", "topology.yaml"])?).starts_with("flowchart TD\n"));
    let dot = place.expect(0, &["dag", "topology.yaml", "--format", "dot"])?;
    assert!(stdout(&dot).starts_with("digraph \"topology\" {\n"));
    Ok(())
}

#[test]
fn runs_side_by_side_share_and_agree() -> Checked {
    let place = Place::new()?;
    let runs: Vec<_> = (0..4)
        .map(|index| {
            let output = format!("out{index}");
            let words = ["run", "topology.yaml", "--output", &output];
            place
                .command(&words)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        })
        .collect::<Result<_, _>>()?;
    for mut run in runs {
        assert_eq!(run.wait()?.code(), Some(0));
    }
    let first = place.results("out0/topology")?;
    let mut computed = 0;
    for index in 0..4 {
        let folder = format!("out{index}/topology");
        assert_eq!(place.results(&folder)?, first);
        computed += place
            .statuses(&folder)?
            .iter()
            .filter(|(_, status)| status == "computed")
            .count();
    }
    assert_eq!(computed, 2, "each stage is computed once");
    Ok(())
}
