//! Datasets that other programs hold, on the real binary: the tables of the built-in sources, keys, faults, `plan`, estimates,
//! shards, and the verbs.

use super::plugin::{compile, numpy, python};
use super::run::{Checked, Place, stderr};
use std::fs;
use std::path::Path;

/// A small measurement; `SOURCE`, `SAMPLES` and `ESTIMATE` are replaced.
const PIPELINE: &str = "version: 1
name: NAME
model: {path: quickstart/model.pt, input: [1, 28, 28]}
dataset:
  source: SOURCE
  normalize: {mean: [0.286], std: [0.353]}
  samples: SAMPLES
  batch_size: 32
metric: accuracy
steps:
  - sensitivity: {id: sens, sparsities: [0.5], layers: [\"layer1.*\"], ESTIMATE}
  - flops: {}
";

const IDX: &str = "{idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}";
const STREAM: &str = "{command: {argv: [./idx, quickstart/images.idx.gz, quickstart/labels.idx.gz]}}";

fn pipeline(place: &Place, name: &str, source: &str, samples: &str, estimate: &str) -> std::io::Result<String> {
    let file = format!("{name}.yaml");
    let text = PIPELINE
        .replace("NAME", name)
        .replace("SOURCE", source)
        .replace("SAMPLES", samples)
        .replace(", ESTIMATE", estimate);
    place.write(&file, &text)?;
    Ok(file)
}

/// Runs a pipeline and gives its table.
fn table(place: &Place, name: &str, source: &str, samples: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let file = pipeline(place, name, source, samples, "")?;
    place.expect(0, &["run", &file])?;
    Ok(fs::read(place.path(&format!("out/{name}/sens/sensitivity.json")))?)
}

fn cells(place: &Place, name: &str) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let cells = place.record(&format!("out/{name}"))?["stages"][0]["cells"].clone();
    let count = |key: &str| cells[key].as_u64().unwrap_or(0);
    Ok((count("computed"), count("reused")))
}

#[test]
fn a_stream_gives_the_built_ins_table() -> Checked {
    let place = Place::new()?;
    compile(&place, "idx")?;
    for (name, samples) in [("first", "100"), ("drawn", "{count: 100, shuffle: true}")] {
        let own = table(&place, "own", IDX, samples)?;
        assert_eq!(table(&place, name, STREAM, samples)?, own, "{samples}");
        assert!(cells(&place, name)?.0 > 1);
    }
    // Where its words lie changes nothing; what they hold does, and so does a word that names no file.
    fs::rename(place.path("quickstart/labels.idx.gz"), place.path("labels.idx.gz"))?;
    let moved = STREAM.replace("quickstart/labels", "labels");
    table(&place, "moved", &moved, "100")?;
    assert_eq!(cells(&place, "moved")?.0, 0);
    let inputs = place.record("out/moved")?["inputs"].to_string();
    assert!(inputs.contains("labels.idx.gz") && inputs.contains("idx"), "{inputs}");
    for words in ["env: {SPLIT: val}", "version: \"2\"", "files: [labels.idx.gz]"] {
        let changed = moved.replace("]}}", &format!("], {words}}}}}"));
        table(&place, "changed", &changed, "100")?;
        assert!(cells(&place, "changed")?.0 > 1, "{words}");
    }

    let output = place.expect(0, &["check", "--plugins", "moved.yaml"])?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let expected =
        "plug-in idx: 32 of 100 samples read three times, in two processes: the same; it announces no fingerprint";
    assert!(stdout.contains(expected), "{stdout}");
    place.expect(
        0,
        &["plugin", "test", "./idx", "quickstart/images.idx.gz", "labels.idx.gz"],
    )?;
    Ok(())
}

#[test]
fn shards_of_a_dataset_command_make_the_table() -> Checked {
    let place = Place::new()?;
    compile(&place, "idx")?;
    let own = table(&place, "own", IDX, "100")?;
    let file = pipeline(&place, "parts", STREAM, "100", "")?;
    for (shard, store) in [("1/2", "store1"), ("2/2", "store2")] {
        place.expect(0, &["run", &file, "--shard", shard, "--store", store])?;
    }
    place.expect(0, &["merge", &file, "store1", "store2", "--store", "united"])?;
    assert_eq!(fs::read(place.path("out/parts/sens/sensitivity.json"))?, own);
    Ok(())
}

/// The quickstart's samples as numpy has them, and a dataset of them.
const MAKE: &str = r#"
import gzip, numpy, sys
images = numpy.frombuffer(gzip.open("quickstart/images.idx.gz").read()[16:], "u1").reshape(-1, 28, 28)
labels = numpy.frombuffer(gzip.open("quickstart/labels.idx.gz").read()[8:], "u1")
numpy.savez("val.npz", images=images, labels=labels)
"#;

/// The three ways to hold samples in Python, and a dict.
const HELD: &str = r#"
import sys, numpy
import secateur_plugin as sp
held = numpy.load("val.npz")
images, labels = held["images"], held["labels"]
if sys.argv[1] == "class":
    @sp.dataset(fingerprint=lambda: "val")
    class Held:
        def __len__(self): return len(images)
        def __getitem__(self, at): return {"image": images[at], "targets": int(labels[at])}
if sys.argv[1] == "generator":
    @sp.dataset
    def held():
        yield from zip(images, labels)
sp.serve()
"#;

#[test]
fn python_s_datasets_give_the_arrays_table() -> Checked {
    if !numpy() {
        return Ok(());
    }
    let place = Place::new()?;
    place.expect(0, &["plugin", "new", "dataset", "--lang", "python"])?;
    place.expect(2, &["plugin", "new", "dataset", "--lang", "rust"])?;
    place.write("make.py", MAKE)?;
    place.write("held.py", HELD)?;
    let made = std::process::Command::new("python3")
        .current_dir(place.path("."))
        .arg("make.py")
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let arrays = table(
        &place,
        "arrays",
        "{npz: {path: val.npz, inputs: images, targets: labels}}",
        "200",
    )?;
    let rows = "{command: {argv: [python3, images.py, val.npz], workers: 2}}";
    for (name, source) in [
        ("rows", rows),
        ("class", "{command: {argv: [python3, held.py, class]}}"),
        ("generator", "{command: {argv: [python3, held.py, generator]}}"),
    ] {
        assert_eq!(table(&place, name, source, "200")?, arrays, "{name}");
    }
    for argv in [
        &["images.py", "val.npz"][..],
        &["held.py", "class"],
        &["held.py", "generator"],
    ] {
        place.expect(0, &[&["plugin", "test", "python3"], argv].concat())?;
    }

    // Estimates draw samples at random: the same ones, however they are held.
    let estimate = ", estimate: {margin: 0.1}";
    for (name, source) in [
        ("estimated", "{npz: {path: val.npz, inputs: images, targets: labels}}"),
        ("sampled", rows),
        ("unpacked", "{command: {argv: [python3, held.py, generator]}}"),
    ] {
        let file = pipeline(&place, name, source, "400", estimate)?;
        place.expect(0, &["run", &file, "--only", "sens"])?;
        let found = fs::read(place.path(&format!("out/{name}/sens/sensitivity.json")))?;
        assert_eq!(
            found,
            fs::read(place.path("out/estimated/sens/sensitivity.json"))?,
            "{name}"
        );
    }

    // Other data have another fingerprint, although no word of the pipeline changed; the file lies outside of it.
    let outside = tempfile::tempdir()?;
    let val = outside.path().join("val.npz");
    fs::rename(place.path("val.npz"), &val)?;
    let source = format!("{{command: {{argv: [python3, images.py, {}]}}}}", val.display());
    table(&place, "outside", &source, "200")?;
    let (computed, _) = cells(&place, "outside")?;
    assert!(computed > 1);
    table(&place, "outside", &source, "200")?;
    assert_eq!(place.statuses("out/outside")?[0].1, "cached");
    place.write(
        "make.py",
        &MAKE
            .replace("labels=labels", "labels=9 - labels")
            .replace("val.npz", &val.display().to_string()),
    )?;
    let made = std::process::Command::new("python3")
        .current_dir(place.path("."))
        .arg("make.py")
        .status()?;
    assert!(made.success());
    let output = place.expect(0, &["plan", "outside.yaml"])?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("fingerprint"), "{stdout}");
    table(&place, "outside", &source, "200")?;
    assert_eq!(cells(&place, "outside")?.0, computed);
    Ok(())
}

#[test]
fn a_dataset_that_fails_harms_nobody_else_and_is_told_with_its_place() -> Checked {
    if !python() {
        return Ok(());
    }
    let place = Place::new()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugin/testdata/data.py");
    fs::copy(script, place.path("data.py"))?;
    let source = |fault: &str| format!("{{command: {{argv: [python3, data.py, {fault}, stream]}}}}");
    for (name, fault, samples, line, wanted) in [
        (
            "shape",
            "good",
            "5",
            3,
            "model.input: plug-in data, tensor \"x\": a sample has shape [2], but the model's input is [1, 28, 28]",
        ),
        (
            "endless",
            "endless",
            "{count: 5, shuffle: true}",
            7,
            "dataset.samples: plug-in data does not say how many samples it has, so none can be drawn",
        ),
        (
            "kind",
            "metric",
            "5",
            5,
            "dataset.source.command: plug-in data: it is a metric, and a dataset is wanted here",
        ),
    ] {
        let file = pipeline(&place, name, &source(fault), samples, "")?;
        // Nothing is started to check a file.
        place.expect(0, &["check", &file])?;
        let output = stderr(&place.expect(1, &["check", "--plugins", &file])?);
        assert!(
            output.contains(wanted) && output.contains(&format!(" --> {name}.yaml:{line}:")),
            "{wanted}:\n{output}"
        );
        let output = stderr(&place.expect(4, &["run", &file, "--keep-going"])?);
        assert!(
            output.contains(wanted) && output.contains(&format!("{name}.yaml:{line}:")),
            "{wanted}:\n{output}"
        );
        let statuses = place.statuses(&format!("out/{name}"))?;
        assert_eq!(statuses[0], ("sens".into(), "failed".into()));
        assert_ne!(statuses[1].1, "failed");
    }
    Ok(())
}
