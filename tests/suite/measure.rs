//! Measuring on the real binary: cells are shared and kept, and neither threads nor deaths change a byte.

use super::run::{Checked, Place, stderr};
use secateur::formats::safetensors;
use secateur::tensor::Tensor;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A pipeline that measures `samples` images at the given sparsities.
fn pipeline(samples: u32, sparsities: &str, more: &str) -> String {
    format!(
        "version: 1
name: s
model: {{path: quickstart/model.pt, input: [1, 28, 28]}}
dataset:
  source: {{idx: {{images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}}}
  normalize: {{mean: [0.286], std: [0.353]}}
  samples: {samples}
  batch_size: 48
metric: cross_entropy
steps:
  - sensitivity: {{id: sens, sparsities: {sparsities}, layers: [conv1, \"layer1.*\"]{more}}}
"
    )
}

/// Cells that the last run computed and reused.
fn cells(place: &Place, folder: &str) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let record = place.record(folder)?;
    let cells = &record["stages"][0]["cells"];
    Ok((
        cells["computed"].as_u64().unwrap_or_default(),
        cells["reused"].as_u64().unwrap_or_default(),
    ))
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => count_files(&path),
            _ => 1,
        })
        .sum()
}

#[test]
fn threads_change_no_byte() -> Checked {
    let place = Place::new()?;
    place.write("s.yaml", &pipeline(130, "[0.25, 0.5]", ""))?;
    for jobs in ["1", "2", "4"] {
        let (output, store) = (format!("out{jobs}"), format!("store{jobs}"));
        let words = ["run", "s.yaml", "--jobs", jobs, "--output", &output, "--store", &store];
        place.expect(0, &words)?;
    }
    let one = place.results("out1/s")?;
    assert_eq!(one.len(), 2);
    assert_eq!(place.results("out2/s")?, one);
    assert_eq!(place.results("out4/s")?, one);
    Ok(())
}

#[test]
fn lowering_changes_rounding_only() -> Checked {
    let place = Place::new()?;
    place.write("s.yaml", &pipeline(130, "[0.5]", ""))?;
    place.expect(0, &["run", "s.yaml"])?;
    // The two kinds of results are kept apart.
    place.expect(5, &["plan", "s.yaml", "--no-lowering", "--exit-code"])?;
    place.expect(0, &["run", "s.yaml", "--no-lowering", "--output", "plain"])?;
    assert_eq!(cells(&place, "plain/s")?, (6, 0));
    let values = |folder: &str| -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        let table = fs::read_to_string(place.path(folder))?;
        let rows = table.lines().skip(1).filter_map(|row| row.split(',').nth(1));
        Ok(rows.map(str::parse).collect::<Result<_, _>>()?)
    };
    let (lowered, plain) = (
        values("out/s/sens/sensitivity.csv")?,
        values("plain/s/sens/sensitivity.csv")?,
    );
    assert_eq!(lowered.len(), 5);
    for (a, b) in lowered.iter().zip(&plain) {
        assert!((a - b).abs() <= 1e-5 * b.abs(), "{a} and {b}");
    }
    place.expect(0, &["plan", "s.yaml", "--exit-code"])?;
    Ok(())
}

/// What `run.json` says of the number format.
fn format(place: &Place, folder: &str) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    Ok(place.record(folder)?["stages"][0]["precision"].clone())
}

/// `auto` leaves float32's bytes, with `--shard` and `estimate` too, and says what it chose.
#[test]
fn auto_changes_no_byte() -> Checked {
    let place = Place::new()?;
    let text = pipeline(200, "[0.25, 0.5, 0.75]", "").replace("cross_entropy", "accuracy");
    place.write("s.yaml", &text)?;
    place.write("auto.yaml", &text.replace("version: 1", "version: 1\nprecision: auto"))?;
    place.expect(0, &["check", "auto.yaml"])?;
    place.expect(0, &["run", "s.yaml"])?;
    assert!(format(&place, "out/s")?.is_null());
    place.expect(0, &["run", "auto.yaml", "--output", "auto"])?;
    let results = place.results("out/s")?;
    assert_eq!(place.results("auto/s")?, results);
    let said = format(&place, "auto/s")?;
    match said["chosen"].as_str() {
        Some("bfloat16") => {
            let count = |name: &str| said[name].as_u64().unwrap_or_default();
            assert_eq!(count("samples"), 15 * 200, "{said}");
            assert_eq!(count("calibrated"), 15 * 32, "{said}");
            assert!(count("redone") > 0 && count("redone") < count("samples"), "{said}");
            assert!(count("audited") > 0, "{said}");
            // Its cells are apart from float32's, and kept.
            assert_eq!(cells(&place, "auto/s")?, (16, 0));
        }
        other => {
            assert_eq!(other, Some("float32"), "{said}");
            assert!(said["why"].is_string(), "{said}");
        }
    }
    place.expect(0, &["run", "auto.yaml", "--output", "again"])?;
    assert_eq!(format(&place, "again/s")?, said, "what is cached says so too");

    for shard in ["1/2", "2/2"] {
        let store = format!("shard{}", &shard[..1]);
        place.expect(
            0,
            &[
                "run",
                "auto.yaml",
                "--shard",
                shard,
                "--store",
                &store,
                "--output",
                "part",
            ],
        )?;
    }
    place.expect(
        0,
        &[
            "merge",
            "auto.yaml",
            "shard1",
            "shard2",
            "--store",
            "all",
            "--output",
            "merged",
        ],
    )?;
    assert_eq!(place.results("merged/s")?, results);

    let set = ["--set", "steps.sens.estimate={margin: 0.001}", "--output", "estimate"];
    let run = |file: &'static str, store| [&["run", file, "--store", store][..], &set].concat();
    place.expect(0, &run("s.yaml", "one"))?;
    let estimates = place.results("estimate/s")?;
    place.expect(0, &run("auto.yaml", "two"))?;
    assert_eq!(place.results("estimate/s")?, estimates);
    assert_eq!(format(&place, "estimate/s")?["chosen"], "float32");

    // A loss is float32's, and so are its cells.
    place.expect(
        0,
        &["run", "s.yaml", "--set", "metric=cross_entropy", "--output", "loss"],
    )?;
    place.expect(
        0,
        &["run", "auto.yaml", "--set", "metric=cross_entropy", "--output", "same"],
    )?;
    assert_eq!(place.results("loss/s")?, place.results("same/s")?);
    assert_eq!(format(&place, "same/s")?["chosen"], "float32");
    assert_eq!(cells(&place, "same/s")?, (0, 16));
    Ok(())
}

/// All of bfloat16 is near float32, lowered or not, and has cells of its own.
#[test]
fn bfloat16_is_near() -> Checked {
    let place = Place::new()?;
    place.write("s.yaml", &pipeline(100, "[0.5]", ""))?;
    let baseline = |folder: &str| -> Result<f64, Box<dyn std::error::Error>> {
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(place.path(folder).join("s/sens/sensitivity.json"))?)?;
        Ok(report["baseline"].as_f64().unwrap_or(f64::NAN))
    };
    place.expect(0, &["run", "s.yaml"])?;
    let whole = baseline("out")?;
    for more in [&[][..], &["--no-lowering"]] {
        let words = ["run", "s.yaml", "--set", "precision=bfloat16", "--output", "half"];
        place.expect(0, &[&words[..], more].concat())?;
        let half = baseline("half")?;
        assert!(
            half != whole && (half - whole).abs() < 0.05 * whole,
            "{whole} and {half}"
        );
        assert_eq!(format(&place, "half/s")?["chosen"], "bfloat16");
        assert_eq!(cells(&place, "half/s")?, (6, 0));
    }
    Ok(())
}

#[test]
fn one_more_sparsity_computes_one_column() -> Checked {
    let place = Place::new()?;
    place.write("s.yaml", &pipeline(100, "[0.25, 0.5]", ""))?;
    place.expect(0, &["run", "s.yaml"])?;
    let (computed, reused) = cells(&place, "out/s")?;
    assert_eq!(reused, 0);
    place.expect(0, &["run", "s.yaml"])?;
    assert_eq!(place.statuses("out/s")?, [("sens".to_owned(), "cached".to_owned())]);
    place.write("s.yaml", &pipeline(100, "[0.25, 0.5, 0.75]", ""))?;
    place.expect(0, &["run", "s.yaml"])?;
    let (more, again) = cells(&place, "out/s")?;
    assert_eq!((more, again), (5, computed), "five layers, one column");
    let table = fs::read_to_string(place.path("out/s/sens/sensitivity.csv"))?;
    assert!(table.starts_with("layername,0.25,0.5,0.75\nconv1,"), "{table}");
    assert!(table.lines().count() == 6 && table.lines().all(|line| line.split(',').count() == 4));
    // The same from scratch, to the byte.
    let incremental = place.results("out/s")?;
    place.expect(0, &["run", "s.yaml", "--store", "fresh"])?;
    assert_eq!(place.results("out/s")?, incremental);
    // A damaged cell is measured again.
    let cells_folder = place.path("fresh/cells");
    for shard in fs::read_dir(&cells_folder)?.flatten() {
        for cell in fs::read_dir(shard.path())?.flatten() {
            let bytes = fs::read(cell.path())?;
            fs::write(cell.path(), &bytes[..bytes.len() / 2])?;
        }
    }
    fs::remove_dir_all(place.path("fresh/artifacts"))?;
    let repaired = place.expect(0, &["run", "s.yaml", "--store", "fresh"])?;
    assert!(stderr(&repaired).contains("damaged"));
    assert_eq!(place.results("out/s")?, incremental);
    Ok(())
}

/// Runs until there are cells in the store, then sends a signal; gives the exit code, none for a death by the signal.
fn interrupt(place: &Place, signal: &str) -> Result<Option<i32>, Box<dyn std::error::Error>> {
    let words = ["run", "s.yaml", "--jobs", "1"];
    let mut child = place
        .command(&words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    while count_files(&place.path(".secateur/cells")) < 3 {
        assert!(start.elapsed() < Duration::from_secs(120), "no cell was stored");
        assert!(child.try_wait()?.is_none(), "it ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status()?;
    assert!(killed.success());
    Ok(child.wait()?.code())
}

#[test]
fn stopped_and_killed_runs_keep_what_they_finished() -> Checked {
    // With an early stop that never comes, each sparsity is a wave of its own.
    let text = pipeline(
        960,
        "[0.2, 0.4, 0.6, 0.8]",
        ", early_stop: {mode: maximize, value: 1000}",
    );
    let whole = Place::new()?;
    whole.write("s.yaml", &text)?;
    whole.expect(0, &["run", "s.yaml"])?;
    let expected = whole.results("out/s")?;
    for (signal, code) in [("-INT", Some(4)), ("-TERM", Some(4)), ("-KILL", None)] {
        let place = Place::new()?;
        place.write("s.yaml", &text)?;
        assert_eq!(interrupt(&place, signal)?, code, "{signal}");
        assert!(!place.path("out/s/sens/sensitivity.csv").exists());
        if code.is_some() {
            assert_eq!(place.statuses("out/s")?, [("sens".to_owned(), "skipped".to_owned())]);
        }
        place.expect(0, &["run", "s.yaml", "--no-wait"])?;
        let (_, reused) = cells(&place, "out/s")?;
        assert!(reused > 0, "{signal}: nothing was kept");
        assert_eq!(place.results("out/s")?, expected, "{signal}");
    }
    Ok(())
}

/// Fused activations would take what is no number for a bound of theirs.
#[test]
fn what_is_no_number_is_not_hidden() -> Checked {
    let place = Place::new()?;
    let mut pixels: Vec<f32> = (0..48 * 784).map(|at| (at % 251) as f32 / 250.0).collect();
    pixels[5 * 784 + 400] = f32::NAN;
    let classes: Vec<i64> = (0..48).map(|sample| sample % 10).collect();
    let tensors = [
        ("x".to_owned(), Tensor::from_f32([48, 1, 28, 28], &pixels)),
        ("y".to_owned(), Tensor::from_i64([48], &classes)),
    ];
    fs::write(place.path("data.safetensors"), safetensors::write(&tensors))?;
    let file = |metric: &str| {
        format!(
            "version: 1
name: s
model: {{path: quickstart/model.pt, input: [1, 28, 28]}}
dataset: {{source: {{safetensors: {{path: data.safetensors, inputs: x, targets: y}}}}}}
metric: {metric}
steps: [{{sensitivity: {{id: sens, sparsities: [0.5], layers: [\"layer1.*\"]}}}}]
"
        )
    };
    place.write("accuracy.yaml", &file("accuracy"))?;
    place.expect(0, &["run", "accuracy.yaml", "--output", "lowered"])?;
    place.expect(0, &["run", "accuracy.yaml", "--output", "plain", "--no-lowering"])?;
    assert_eq!(place.results("lowered/s")?, place.results("plain/s")?);
    place.write("loss.yaml", &file("cross_entropy"))?;
    let output = place.expect(1, &["run", "loss.yaml"])?;
    let said = stderr(&output);
    assert!(said.contains("not a number (first at sample 5)"), "{said}");
    Ok(())
}
