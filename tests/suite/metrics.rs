//! Several metrics in one pass, on the real binary: each table is the one that its metric gives alone, each value is kept
//! under its own key, and what labels are not needed for is measured without.

use super::run::{Checked, Place};
use std::fs;

/// A pipeline that measures 200 images.
fn pipeline(name: &str, metrics: &str, more: &str) -> String {
    format!(
        "version: 1
name: {name}
model: {{path: quickstart/model.pt, input: [1, 28, 28]}}
dataset:
  source: {{idx: {{images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}}}
  normalize: {{mean: [0.286], std: [0.353]}}
  samples: 200
{metrics}
steps:
  - sensitivity: {{id: sens, sparsities: [0.5, 0.75], layers: [conv1, layer1.0.conv1]{more}}}
"
    )
}

const ALL: &str = "metrics: [accuracy, {top_k: 2}, cross_entropy, {per_class: {}}, {kl: {}}, {agreement: {}}]";

fn run(place: &Place, name: &str, metrics: &str, more: &str) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    place.write("m.yaml", &pipeline(name, metrics, more))?;
    place.expect(0, &["run", "m.yaml"])?;
    let cells = place.record(&format!("out/{name}"))?["stages"][0]["cells"].clone();
    let count = |kind: &str| cells[kind].as_u64().unwrap_or_default();
    Ok((count("computed"), count("reused")))
}

fn read(place: &Place, file: &str) -> Result<String, Box<dyn std::error::Error>> {
    Ok(fs::read_to_string(place.path(&format!("out/{file}")))?)
}

#[test]
fn each_table_is_what_its_metric_gives_alone() -> Checked {
    let place = Place::new()?;
    assert_eq!(run(&place, "all", ALL, "")?, (5, 0));
    for (name, metric, file) in [
        ("accuracy", "accuracy", "sensitivity.csv"),
        ("top_2", "{top_k: 2}", "sensitivity.top_2.csv"),
        ("cross_entropy", "cross_entropy", "sensitivity.cross_entropy.csv"),
        ("per_class", "{per_class: {}}", "sensitivity.per_class.csv"),
        ("kl", "{kl: {}}", "sensitivity.kl.csv"),
        ("agreement", "{agreement: {}}", "sensitivity.agreement.csv"),
    ] {
        // In a store of its own, and from what the pass over all of them kept.
        place.write("alone.yaml", &pipeline("alone", &format!("metric: {metric}"), ""))?;
        place.expect(0, &["run", "alone.yaml", "--store", "fresh"])?;
        let alone = read(&place, "alone/sens/sensitivity.csv")?;
        assert_eq!(read(&place, &format!("all/sens/{file}"))?, alone, "{name}");
        assert_eq!(
            run(&place, "alone", &format!("metric: {metric}"), "")?,
            (0, 5),
            "{name}"
        );
        assert_eq!(read(&place, "alone/sens/sensitivity.csv")?, alone, "{name}");
    }
    let baseline = read(&place, "all/sens/sensitivity.json")?;
    let json: serde_json::Value = serde_json::from_str(&baseline)?;
    assert_eq!(json["metric"], "accuracy");
    assert_eq!(json["metrics"]["kl"]["baseline"], 0.0);
    assert_eq!(json["metrics"]["agreement"]["baseline"], 1.0);
    // The classes' accuracies are there, and the score is their mean.
    let cell = &json["cells"][0]["metrics"]["per_class"];
    let parts: Vec<f64> = serde_json::from_value(
        cell["parts"]
            .as_object()
            .map(|p| p.values().cloned().collect())
            .unwrap_or_default(),
    )?;
    assert_eq!(parts.len(), 10);
    let mean = parts.iter().sum::<f64>() / 10.0;
    assert!((cell["value"].as_f64().unwrap_or_default() - mean).abs() < 1e-12);
    assert!(json["cells"][0].get("parts").is_none());
    Ok(())
}

#[test]
fn one_more_metric_leaves_what_is_known() -> Checked {
    let place = Place::new()?;
    assert_eq!(run(&place, "m", "metric: accuracy", "")?, (5, 0));
    let one = place.results("out/m")?;
    // A list of one is the one.
    run(&place, "m", "metrics: [accuracy]", "")?;
    assert_eq!(place.statuses("out/m")?, [("sens".to_owned(), "cached".to_owned())]);
    assert_eq!(place.results("out/m")?, one);
    assert_eq!(run(&place, "m", "metric: cross_entropy", "")?, (5, 0));
    // Both are known, each under its own key.
    assert_eq!(run(&place, "m", "metrics: [accuracy, cross_entropy]", "")?, (0, 5));
    let csv = one
        .iter()
        .find(|(path, _)| path.ends_with("sensitivity.csv"))
        .map(|(_, bytes)| bytes.clone());
    assert_eq!(Some(read(&place, "m/sens/sensitivity.csv")?.into_bytes()), csv);
    assert!(place.path("out/m/sens/sensitivity.cross_entropy.csv").exists());
    // A table that is no longer asked for goes.
    run(&place, "m", "metric: accuracy", "")?;
    assert!(!place.path("out/m/sens/sensitivity.cross_entropy.csv").exists());
    assert_eq!(place.results("out/m")?, one);
    Ok(())
}

/// Scripted modules against the built-in metric and PyTorch's own results (`tests/oracles/scripted.py`).
#[test]
fn scripted_metrics_are_those_of_pytorch() -> Checked {
    let place = Place::new()?;
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/scripted");
    fs::create_dir(place.path("scripted"))?;
    for entry in fs::read_dir(&data)? {
        let entry = entry?;
        fs::copy(entry.path(), place.path("scripted").join(entry.file_name()))?;
    }
    run(&place, "own", "metric: accuracy", "")?;
    let metrics = "metrics: [{torchscript: {path: scripted/accuracy.pt}}, \
                   {torchscript: {path: scripted/focal.pt, name: focal, direction: minimize}}, \
                   {torchscript: {path: scripted/entropy.pt, name: entropy}}]";
    assert_eq!(run(&place, "m", metrics, "")?, (5, 0));
    assert_eq!(
        read(&place, "m/sens/sensitivity.csv")?,
        read(&place, "own/sens/sensitivity.csv")?
    );
    let json: serde_json::Value = serde_json::from_str(&read(&place, "m/sens/sensitivity.json")?)?;
    let golden: serde_json::Value = serde_json::from_slice(&fs::read(data.join("golden.json"))?)?;
    assert_eq!(json["metric"], "torchscript");
    for name in ["focal", "entropy"] {
        let found = json["metrics"][name]["baseline"].as_f64().unwrap_or(f64::NAN);
        let wanted = golden[name].as_f64().unwrap_or_default();
        assert!((found - wanted).abs() < 1e-6, "{name}: {found}, not {wanted}");
    }
    // Its content is the key, not its name.
    fs::rename(place.path("scripted/focal.pt"), place.path("scripted/moved.pt"))?;
    let moved = metrics.replace("scripted/focal.pt", "scripted/moved.pt");
    assert_eq!(run(&place, "m", &moved, "")?, (0, 5));
    fs::copy(place.path("scripted/accuracy.pt"), place.path("scripted/moved.pt"))?;
    assert_eq!(run(&place, "m", &moved, "")?.0, 5);

    for (file, code, wanted) in [
        ("nothing.pt", 2, "there is no file"),
        ("golden.json", 1, "a JSON file"),
        ("loop.pt", 1, "how often a loop runs depends on the data"),
        ("mean.pt", 1, "gives [[]] for"),
    ] {
        let text = pipeline("m", &format!("metric: {{torchscript: {{path: scripted/{file}}}}}"), "");
        place.write("wrong.yaml", &text)?;
        let output = super::run::stderr(&place.expect(code, &["run", "wrong.yaml"])?);
        assert!(output.contains(wanted), "{wanted}:\n{output}");
    }
    Ok(())
}

#[test]
fn the_first_metric_steers() -> Checked {
    let place = Place::new()?;
    let stop = ", early_stop: {mode: dropped, value: 0.02}";
    run(&place, "m", "metrics: [accuracy, cross_entropy]", stop)?;
    let (first, second) = (
        read(&place, "m/sens/sensitivity.csv")?,
        read(&place, "m/sens/sensitivity.cross_entropy.csv")?,
    );
    let lengths = |table: &str| table.lines().map(|line| line.split(',').count()).collect::<Vec<_>>();
    assert_eq!(lengths(&first), lengths(&second));
    assert!(lengths(&first).contains(&2), "some row stops early: {first}");
    // What needs no labels does without.
    let unlabelled =
        pipeline("m", "metrics: [{kl: {}}, {agreement: {}}]", "").replace(", labels: quickstart/labels.idx.gz", "");
    place.write("u.yaml", &unlabelled)?;
    place.expect(0, &["run", "u.yaml"])?;
    place.write("u.yaml", &unlabelled.replace("{kl: {}}", "accuracy"))?;
    place.expect(2, &["run", "u.yaml"])?;
    Ok(())
}
