//! What is wrong with a command line, a pipeline and its files, as the real binary says it.

use super::run::{Checked, Place, TOPOLOGY, stderr, stdout};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn usage_and_files() -> Checked {
    let place = Place::new()?;
    place.expect(2, &[])?;
    place.expect(2, &["run"])?;
    place.expect(2, &["frobnicate"])?;
    place.expect(2, &["run", "topology.yaml", "--jobs", "0"])?;
    place.expect(0, &["--version"])?;
    place.expect(0, &["run", "--help"])?;
    let missing = place.expect(2, &["run", "nowhere.yaml"])?;
    assert!(stderr(&missing).contains("nowhere.yaml"));
    place.expect(2, &["run", "."])?;
    // All files are validated before any runs.
    place.write("bad.yaml", &TOPOLOGY.replace("flops", "flop"))?;
    let bad = place.expect(2, &["run", "topology.yaml", "bad.yaml"])?;
    assert!(
        stderr(&bad).contains("bad.yaml:6:5") && stderr(&bad).contains("flops"),
        "{}",
        stderr(&bad)
    );
    assert!(!place.path("out").exists() && !place.path(".secateur").exists());
    // A second file of the same name would delete the first one's results.
    place.write("twin.yaml", TOPOLOGY)?;
    place.expect(2, &["run", "topology.yaml", "twin.yaml"])?;
    place.expect(2, &["run", "topology.yaml", "--only", "nothing"])?;
    let schema = place.expect(0, &["schema"])?;
    assert!(stdout(&schema).contains("draft-07"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&place.expect(0, &["completions", shell])?).contains("secateur"));
    }
    Ok(())
}

#[test]
fn all_errors_are_told_at_once() -> Checked {
    let place = Place::new()?;
    place.write(
        "a.yaml",
        "version: 1
name: a
model: {path: quickstart/model.pt, input: [1, 28, 27]}
dataset:
  source: {idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}
  normalize: {mean: [0.1, 0.2], std: [1, 1]}
  samples: 20000
metrics: [accuracy, {command: {argv: [no-such-program]}}]
steps:
  - sensitivity: {layers: [con1]}
  - mask_fix: {masks: gone.pth}
",
    )?;
    // A hook is told and refuses nothing: the run can do without.
    place.write("hook.yaml", &format!("{TOPOLOGY}on_failure: [./gone.sh]\n"))?;
    let told = stderr(&place.expect(0, &["check", "hook.yaml"])?);
    assert!(
        told.contains("WARN hook.yaml:7:14: on_failure[0]: there is no file ./gone.sh"),
        "{told}"
    );
    place.write("b.yaml", "version: 1\nname: b\n")?;
    place.write("rubbish.pt", "rubbish")?;
    place.write("c.yaml", &TOPOLOGY.replace("quickstart/model.pt", "rubbish.pt"))?;
    let told = stderr(&place.expect(2, &["check", "a.yaml", "b.yaml", "c.yaml", "nowhere.yaml"])?);
    for wanted in [
        "model.input: quickstart/images.idx.gz: a sample has shape",
        "dataset.normalize: ",
        "metrics[1].command.argv[0]: there is no program `no-such-program`",
        "did you mean `conv1`?",
        "mask_fix.masks: there is no file gone.pth",
        "missing key `steps`",
        "error: rubbish.pt: ",
        "cannot read nowhere.yaml",
    ] {
        assert!(told.contains(wanted), "{wanted}:\n{told}");
    }
    // Arrays that a file lacks, with their places, and one that does not fit.
    let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert");
    for kind in ["npz", "safetensors"] {
        let data = format!("data.{kind}");
        for name in ["model.pt", &data] {
            fs::copy(bert.join(name), place.path(name))?;
        }
        let text = format!(
            "version: 1
name: bert
model:
  path: model.pt
  inputs: {{ids: {{shape: [5], dtype: int64}}, mask: {{shape: [12], dtype: int64}}}}
dataset:
  source: {{{kind}: {{path: {data}, inputs: {{ids: ids, mask: maks}}, targets: yy}}}}
metric: accuracy
steps: [sensitivity: {{}}]
"
        );
        place.write("names.yaml", &text)?;
        let told = stderr(&place.expect(2, &["check", "names.yaml"])?);
        for wanted in [
            format!("dataset.source.{kind}.inputs.mask: {data}: there is no"),
            format!("dataset.source.{kind}.targets: {data}: there is no"),
            "names.yaml:7:".to_owned(),
            "did you mean `mask`?".to_owned(),
            "did you mean `y`?".to_owned(),
            "model.inputs.ids: ".to_owned(),
        ] {
            assert!(told.contains(&wanted), "{wanted}:\n{told}");
        }
    }
    Ok(())
}

#[test]
fn folders_are_folders_and_files_are_files() -> Checked {
    let place = Place::new()?;
    place.write("file", "")?;
    for (verb, flag) in [("run", "--store"), ("plan", "--store"), ("run", "--output")] {
        let refused = place.expect(2, &[verb, "topology.yaml", flag, "file"])?;
        let wanted = format!("file is a file: name a folder with {flag}");
        assert!(stderr(&refused).contains(&wanted), "{}", stderr(&refused));
    }
    // Nobody writes into it, so reading it would never end.
    let made = Command::new("mkfifo").arg(place.path("pipe.pt")).status()?;
    assert!(made.success());
    place.write("pipe.yaml", &TOPOLOGY.replace("quickstart/model.pt", "pipe.pt"))?;
    let refused = place.expect(2, &["check", "pipe.yaml"])?;
    assert!(
        stderr(&refused).contains("pipe.pt is no plain file"),
        "{}",
        stderr(&refused)
    );
    Ok(())
}

#[test]
fn plan_time_errors_point_into_the_file() -> Checked {
    let place = Place::new()?;
    place.write("lost.yaml", &TOPOLOGY.replace("model.pt", "modle.pt"))?;
    for verb in ["check", "run", "plan"] {
        let lost = place.expect(2, &[verb, "lost.yaml"])?;
        assert!(stderr(&lost).contains("lost.yaml:3:15"), "{}", stderr(&lost));
        assert!(stderr(&lost).contains("model.path"));
    }
    let measured = "version: 1
name: s
model: {path: quickstart/model.pt, input: [1, 28, 28]}
dataset: {source: {idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}, samples: 20}
metric: accuracy
steps:
  - sensitivity: {layers: [con1]}
";
    place.write("layers.yaml", measured)?;
    let layers = place.expect(2, &["check", "layers.yaml"])?;
    assert!(stderr(&layers).contains("layers.yaml:7:28"), "{}", stderr(&layers));
    assert!(stderr(&layers).contains("steps[0].sensitivity.layers[0]"));
    assert!(stderr(&layers).contains("did you mean `conv1`?"));
    place.write("shape.yaml", &measured.replace("[1, 28, 28]", "[3, 28, 28]"))?;
    place.expect(2, &["check", "shape.yaml"])?;
    place.write("many.yaml", &measured.replace("samples: 20", "samples: 20000"))?;
    let many = place.expect(2, &["check", "many.yaml"])?;
    assert!(stderr(&many).contains("dataset.samples"));
    // Content that cannot be read is no fault of the file.
    place.write("quickstart/model.pt", "rubbish")?;
    place.expect(1, &["check", "topology.yaml"])?;
    place.expect(1, &["run", "topology.yaml"])?;
    let statuses = place.statuses("out/topology")?;
    assert_eq!(statuses[0].1, "failed");
    place.expect(4, &["run", "topology.yaml", "--keep-going"])?;
    Ok(())
}
