//! Plug-ins on the real binary: the same table as the built-in metric, keys, faults, the sandbox, and the verbs.

use super::run::{Checked, Place};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small measurement; `METRIC` is the metric.
const PIPELINE: &str = r#"
version: 1
name: plug
model: {path: quickstart/model.pt, input: [1, 28, 28]}
dataset:
  source: {idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}
  normalize: {mean: [0.286], std: [0.353]}
  samples: 100
  batch_size: 32
metric: METRIC
steps:
  - sensitivity: {sparsities: [0.5], layers: ["layer1.*"]}
  - flops: {}
"#;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A folder with the plug-in in C, compiled, and a script that starts it.
fn place() -> Result<Place, Box<dyn std::error::Error>> {
    let place = Place::new()?;
    compile(&place, "accuracy")?;
    place.write("start.sh", "exec ./accuracy\n")?;
    Ok(place)
}

/// Compiles an example in C into a folder.
pub fn compile(place: &Place, name: &str) -> Checked {
    let built = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(place.path(name))
        .arg(root("pipelines/plugins").join(name).with_extension("c"))
        .output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(())
}

fn write(place: &Place, metric: &str) -> Checked {
    Ok(place.write("plug.yaml", &PIPELINE.replace("METRIC", metric))?)
}

/// The cells computed and reused by the last run.
fn cells(place: &Place) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let record = place.record("out/plug")?;
    let cells = &record["stages"][0]["cells"];
    Ok((
        cells["computed"].as_u64().unwrap_or(0),
        cells["reused"].as_u64().unwrap_or(0),
    ))
}

#[test]
fn a_plug_in_gives_the_built_ins_table() -> Checked {
    let place = place()?;
    write(&place, "accuracy")?;
    place.expect(0, &["run", "plug.yaml"])?;
    let own = fs::read(place.path("out/plug/sensitivity/sensitivity.csv"))?;
    write(&place, "{command: {argv: [sh, start.sh], workers: 2, name: accuracy}}")?;
    place.expect(0, &["check", "plug.yaml"])?;
    place.expect(0, &["run", "plug.yaml"])?;
    assert_eq!(fs::read(place.path("out/plug/sensitivity/sensitivity.csv"))?, own);
    let (computed, _) = cells(&place)?;
    assert!(computed > 1, "a plug-in's cells are its own");

    // Workers, time and name change no value; a moved script is the same script.
    fs::create_dir(place.path("scripts"))?;
    fs::rename(place.path("start.sh"), place.path("scripts/go.sh"))?;
    write(
        &place,
        "{command: {argv: [sh, scripts/go.sh], workers: 1, timeout: 50, name: hits}}",
    )?;
    place.expect(0, &["run", "plug.yaml"])?;
    assert_eq!(cells(&place)?, (0, computed));
    // What does change them: the script, the files that are named, variables, the version.
    for (metric, changed) in [
        (
            "{command: {argv: [sh, scripts/go.sh], name: hits}}",
            "# changed\nexec ./accuracy\n",
        ),
        (
            "{command: {argv: [sh, scripts/go.sh], files: [\"scripts/*\"]}}",
            "# changed\nexec ./accuracy\n",
        ),
        (
            "{command: {argv: [sh, scripts/go.sh], files: [\"scripts/*\"]}}",
            "exec ./accuracy\n",
        ),
        (
            "{command: {argv: [sh, scripts/go.sh], env: {LIMIT: \"1\"}}}",
            "exec ./accuracy\n",
        ),
        (
            "{command: {argv: [sh, scripts/go.sh], version: \"2\"}}",
            "exec ./accuracy\n",
        ),
    ] {
        place.write("scripts/go.sh", changed)?;
        write(&place, metric)?;
        place.expect(0, &["run", "plug.yaml"])?;
        assert_eq!(cells(&place)?.0, computed, "{metric}");
    }
    let record = place.record("out/plug")?;
    let inputs = record["inputs"].to_string();
    assert!(inputs.contains("scripts/go.sh"), "{inputs}");
    Ok(())
}

#[test]
fn a_plug_in_that_fails_harms_nobody_else() -> Checked {
    let place = place()?;
    write(
        &place,
        "{command: {argv: [sh, -c, \"echo help >&2; exit 3\"], name: broken}}",
    )?;
    let output = place.expect(4, &["run", "plug.yaml", "--keep-going"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("plug-in broken: it ended before it answered (exit status: 3); its last lines:\n  | help"),
        "{stderr}"
    );
    // Its standard error is in the log under its name.
    assert!(
        stderr
            .lines()
            .any(|line| line.contains("WARN") && line.ends_with("broken: help")),
        "{stderr}"
    );
    let statuses = place.statuses("out/plug")?;
    assert_eq!(statuses[0], ("sensitivity".into(), "failed".into()));
    assert_eq!(statuses[1], ("flops".into(), "computed".into()));

    write(&place, "{command: {argv: [./gone], files: [\"none/*\"]}}")?;
    let output = place.expect(2, &["check", "plug.yaml"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("there is no file") && stderr.contains("no file matches `none/*`"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn check_can_try_a_plug_in() -> Checked {
    let place = place()?;
    write(&place, "{command: {argv: [./accuracy]}}")?;
    let output = place.expect(0, &["check", "--plugins", "plug.yaml"])?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("plug-in accuracy: 32 samples measured three times, in two processes: the same"),
        "{stdout}"
    );
    // One that counts how often it was asked.
    if !python() {
        return Ok(());
    }
    place.write("moody.py", MOODY)?;
    write(&place, "{command: {argv: [python3, moody.py]}}")?;
    let output = place.expect(1, &["check", "--plugins", "plug.yaml"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("plug-in moody: the same 32 samples gave 0.0 first, then 1.0"),
        "{stderr}"
    );
    Ok(())
}

const MOODY: &str = r#"
import json, os
questions = os.fdopen(int(os.environ["SECATEUR_QUESTIONS"]), "rb")
answers = os.fdopen(int(os.environ["SECATEUR_ANSWERS"]), "w")
asked = 0
for line in questions:
    question = json.loads(line)
    questions.read(question.get("bytes", 0))
    answer = {"id": question["id"], "protocol": 1, "kind": "metric", "form": "per_sample"}
    if question["ask"] == "values":
        answer["values"] = [asked] * question["samples"]
        asked += 1
    print(json.dumps(answer), file=answers, flush=True)
"#;

pub fn python() -> bool {
    let found = Command::new("python3").arg("--version").output();
    let works = found.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: there is no python3");
    }
    works
}

pub fn numpy() -> bool {
    let found = Command::new("python3").args(["-c", "import numpy"]).output();
    let works = found.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: python3 has no numpy");
    }
    works
}

#[test]
#[cfg(target_os = "linux")]
fn the_sandbox_holds() -> Checked {
    let place = place()?;
    let script = "echo x > outside && echo wrote outside >&2\n\
                  echo x > $TMPDIR/inside && echo wrote inside >&2\n\
                  python3 -c 'import socket; socket.socket()' && echo has network >&2\n\
                  exec ./accuracy\n";
    place.write("start.sh", script)?;
    write(&place, "{command: {argv: [sh, start.sh], sandbox: true}}")?;
    let output = place.command(&["run", "plug.yaml"]).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("the sandbox cannot be had") {
        // The kernel has it not, and that is loud.
        eprintln!("skipped: {stderr}");
        assert_eq!(output.status.code(), Some(1));
        return Ok(());
    }
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("wrote inside"), "{stderr}");
    assert!(
        !stderr.contains("wrote outside") && !place.path("outside").exists(),
        "{stderr}"
    );
    assert!(!stderr.contains("has network"), "{stderr}");
    // Without it all three work, so the script does what it says.
    write(&place, "{command: {argv: [sh, start.sh], version: free}}")?;
    let output = place.expect(0, &["run", "plug.yaml"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("wrote outside") && (!python() || stderr.contains("has network")),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn every_language_passes_the_test_verb() -> Checked {
    let place = place()?;
    let output = place.expect(0, &["plugin", "test", "./accuracy"])?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("it speaks the protocol") && !stdout.contains("FAILED"),
        "{stdout}"
    );
    // Cargo builds examples before it runs all tests, but not before it runs some.
    let folder = Path::new(env!("CARGO_BIN_EXE_secateur")).with_file_name("examples");
    let rust = folder.join("accuracy");
    if !rust.exists() {
        let arguments = ["build", "--quiet", "--offline", "--example", "accuracy"];
        let built = Command::new(env!("CARGO"))
            .current_dir(root(""))
            .args(arguments)
            .output()?;
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
    place.expect(0, &["plugin", "test", "--outputs", "3", &rust.display().to_string()])?;
    let output = place.expect(1, &["plugin", "test", "--timeout", "5", "cat"])?;
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAILED"));

    for lang in ["python", "c", "rust"] {
        let output = place.expect(0, &["plugin", "new", "metric", "--lang", lang, "--dir", lang])?;
        assert!(String::from_utf8_lossy(&output.stdout).contains("try it there: secateur plugin test"));
        place.expect(2, &["plugin", "new", "metric", "--lang", lang, "--dir", lang])?;
    }
    if numpy() {
        place.expect(0, &["plugin", "test", "python3", "python/accuracy.py"])?;
        place.write("f1.py", F1)?;
        let output = place.expect(0, &["plugin", "test", "--env", "AVERAGE=macro", "python3", "f1.py"])?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains("merges states: two halves are the whole"), "{stdout}");
    }
    Ok(())
}

/// The mean F1 of all classes, from counts that merge.
const F1: &str = r#"
import numpy
import secateur_plugin as sp

@sp.metric(direction="maximize")
class F1:
    def reset(self):
        self.counts = numpy.zeros((10, 3))
    def update(self, outputs, targets):
        found = outputs.argmax(1)
        for at in range(10):
            self.counts[at] += ((found == at) & (targets == at)).sum(), (found == at).sum(), (targets == at).sum()
    def finish(self):
        hit, found, there = self.counts.T
        scores = 2 * hit / numpy.maximum(found + there, 1)
        return scores.mean(), {str(at): score for at, score in enumerate(scores)}
    def state(self):
        return self.counts.tolist()
    def merge(self, state):
        self.counts += numpy.array(state)

sp.serve()
"#;

/// What libraries say of all that a plug-in was given at once is what the table says of it, batch by batch.
fn agrees(imports: &str, script: &str, ask: &str) -> Checked {
    let found = Command::new("python3").args(["-c", imports]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 cannot `{imports}`");
        return Ok(());
    }
    let place = Place::new()?;
    fs::create_dir(place.path("seen"))?;
    fs::copy(root("tests/data/plugins").join(script), place.path(script))?;
    let metric = format!(
        "{{command: {{argv: [python3, {script}], env: {{SEEN: {}}}, name: outside}}}}",
        place.path("seen").display()
    );
    write(&place, &metric)?;
    place.expect(0, &["run", "plug.yaml"])?;
    // The reference sees files only: all outputs of a cell at once, in a process of its own.
    let output = Command::new("python3")
        .current_dir(place.path("seen"))
        .args(["-c", ask])
        .arg(root("tests/data/plugins"))
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut wanted: Vec<f64> = serde_json::from_slice(&output.stdout)?;
    let table: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("out/plug/sensitivity/sensitivity.json"))?)?;
    let cells = table["cells"].as_array().cloned().unwrap_or_default();
    let mut seen: Vec<f64> = cells.iter().filter_map(|cell| cell["value"].as_f64()).collect();
    seen.extend(table["baseline"].as_f64());
    assert!(seen.len() > 3);
    seen.sort_by(f64::total_cmp);
    wanted.sort_by(f64::total_cmp);
    assert_eq!(seen.len(), wanted.len());
    for (seen, wanted) in seen.iter().zip(&wanted) {
        assert!((seen - wanted).abs() < 1e-9, "{seen} is not {wanted}");
    }
    Ok(())
}

#[test]
fn scikit_learns_f1_is_its_own() -> Checked {
    let ask = "import glob, json, numpy\nfrom sklearn.metrics import f1_score\nseen = [numpy.load(name) for name in \
               glob.glob('*.npz')]\nprint(json.dumps([f1_score(one['targets'], one['outputs'].argmax(1), \
               average='macro', labels=range(10), zero_division=0) for one in seen]))";
    agrees("import numpy, sklearn", "f1.py", ask)
}

#[test]
fn torchmetrics_map_is_its_own() -> Checked {
    let ask = "import glob, importlib, json, sys, torch\nsys.path.insert(0, sys.argv[1])\nmap = \
               importlib.import_module('map')\nseen = [torch.load(name) for name in \
               glob.glob('*.pt')]\nprint(json.dumps([map.precision(one['outputs'], one['targets']) for one in seen]))";
    agrees("import torch, torchmetrics, pycocotools", "map.py", ask)
}
