//! A model that returns several tensors in a tuple and a list: they go whole to a plug-in, and the table is PyTorch's
//! (`tests/oracles/detector.py`).

use super::plugin::python;
use super::run::{Checked, Place};
use serde_json::Value;
use std::fs;
use std::path::Path;

const PIPELINE: &str = "version: 1
name: detector
model: {path: model.pt, input: [3, 8, 8]}
dataset:
  source: {npz: {path: data.npz, inputs: x}}
  batch_size: 4
METRIC
steps:
  - sensitivity: {id: sens, sparsities: [0.25, 0.5]}
";

const SCORE: &str = "{command: {argv: [python3, score.py], name: score}}";

#[test]
fn all_outputs_go_to_a_plug_in() -> Checked {
    if !python() {
        return Ok(());
    }
    let place = Place::new()?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/detector");
    for name in ["model.pt", "data.npz", "score.py"] {
        fs::copy(data.join(name), place.path(name))?;
    }
    place.write(
        "detector.yaml",
        &PIPELINE.replace("METRIC", &format!("metric: {SCORE}")),
    )?;
    place.expect(0, &["check", "--plugins", "detector.yaml"])?;
    place.expect(0, &["run", "detector.yaml"])?;
    let read =
        |path: &Path| -> Result<Value, Box<dyn std::error::Error>> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let golden = read(&data.join("masked.json"))?;
    let found = read(&place.path("out/detector/sens/sensitivity.json"))?;
    let near = |found: &Value, wanted: &Value| {
        let (found, wanted) = (found.as_f64().unwrap_or(f64::NAN), wanted.as_f64().unwrap_or_default());
        assert!((found - wanted).abs() < 1e-6, "{found} is not {wanted}");
    };
    near(&found["baseline"], &golden["baseline"]);
    let cells = |table: &Value| table["cells"].as_array().cloned().unwrap_or_default();
    assert_eq!(cells(&found).len(), 10);
    for wanted in cells(&golden) {
        let same = |cell: &&Value| cell["layer"] == wanted["layer"] && cell["sparsity"] == wanted["sparsity"];
        let cells = cells(&found);
        near(
            &cells.iter().find(same).unwrap_or(&Value::Null)["value"],
            &wanted["value"],
        );
    }

    // Beside it a built-in metric sees the first output, as it does alone.
    let kl = |metric: &str| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        place.write("detector.yaml", &PIPELINE.replace("METRIC", metric))?;
        place.expect(0, &["run", "detector.yaml"])?;
        Ok(fs::read(place.path("out/detector/sens/sensitivity.csv"))?)
    };
    let both = kl(&format!("metrics: [{{kl: {{}}}}, {SCORE}]"))?;
    assert_eq!(kl("metric: {kl: {}}")?, both);
    assert_eq!(place.record("out/detector")?["stages"][0]["cells"]["computed"], 0);

    // One that is chosen goes alone, which this plug-in refuses.
    let chosen = PIPELINE.replace("model.pt,", "model.pt, output: \"1.0\",");
    place.write("detector.yaml", &chosen.replace("METRIC", &format!("metric: {SCORE}")))?;
    place.expect(1, &["run", "detector.yaml"])?;
    Ok(())
}
