//! A model of two integer inputs with a dict for output, on the real binary: a small BERT against PyTorch's own results
//! (`tests/oracles/bert.py`), and what is said when names, shapes and types do not fit.

use super::run::{Checked, Place, stderr};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PIPELINE: &str = "version: 1
name: text
model:
  path: model.pt
  inputs:
    attention_mask: {shape: [12], dtype: int64}
    input_ids: {shape: [12], dtype: int64}
  output: logits
dataset:
  source:
    safetensors: {path: data.safetensors, inputs: {input_ids: ids, attention_mask: mask}, targets: y}
  batch_size: 16
metric: cross_entropy
steps:
  - sensitivity: {id: sens, sparsities: [0.25, 0.5], layers: [\"*\"]}
  - dependencies: {id: deps}
  - flops: {id: cost}
";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert").join(name)
}

fn place() -> std::io::Result<Place> {
    let place = Place::new()?;
    for name in ["model.pt", "data.safetensors", "data.npz"] {
        fs::copy(data(name), place.path(name))?;
    }
    Ok(place)
}

fn json(path: PathBuf) -> Result<Value, Box<dyn std::error::Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Values of a table's cells by layer and sparsity, with how many filters went.
fn cells<'a>(table: &'a Value, value: &str) -> BTreeMap<(&'a str, String), (f64, u64)> {
    let all = table["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
    let cell = |cell: &'a Value| {
        let key = (cell["layer"].as_str().unwrap_or_default(), cell["sparsity"].to_string());
        let pruned = cell["pruned"].as_u64().unwrap_or_default();
        (key, (cell[value].as_f64().unwrap_or(f64::NAN), pruned))
    };
    all.iter().map(cell).collect()
}

#[test]
fn a_text_classifier_equals_pytorch_masked() -> Checked {
    let place = place()?;
    let golden = json(data("masked.json"))?;
    place.write("text.yaml", PIPELINE)?;
    place.write("npz.yaml", &accuracy())?;
    place.expect(0, &["run", "text.yaml", "npz.yaml"])?;
    for (folder, metric, close) in [("text", "cross_entropy", 1e-6), ("npz", "accuracy", 0.0)] {
        let found = json(place.path(&format!("out/{folder}/sens/sensitivity.json")))?;
        let baseline = found["baseline"].as_f64().unwrap_or(f64::NAN);
        let expected = golden["baseline"][metric].as_f64().unwrap_or_default();
        assert!(
            (baseline - expected).abs() <= close,
            "{metric}: {baseline}, not {expected}"
        );
        let (found, expected) = (cells(&found, "value"), cells(&golden, metric));
        assert_eq!(found.len(), 28);
        assert!(found.keys().eq(expected.keys()));
        for (key, (value, pruned)) in found {
            let (wanted, count) = expected[&key];
            assert!((value - wanted).abs() <= close, "{key:?}: {value}, not {wanted}");
            assert_eq!(pruned, count, "{key:?}");
        }
    }

    // What can go from a BERT whose width a norm holds: heads, hidden units of its perceptrons, the pooler's outputs.
    let coupling = json(place.path("out/text/deps/coupling.json"))?;
    assert_eq!(coupling["issues"], serde_json::json!([]));
    let names = |value: &Value| {
        let names = value.as_array().cloned().unwrap_or_default();
        let short = |name: &Value| name.as_str().unwrap_or_default().replace("bert.encoder.layer.", "");
        names.iter().map(short).collect::<Vec<_>>().join("+")
    };
    let groups = coupling["groups"].as_array().cloned().unwrap_or_default();
    let told: Vec<String> = groups
        .iter()
        .map(|group| {
            format!(
                "{} {} > {}",
                group["units"],
                names(&group["outputs"]),
                names(&group["inputs"])
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "8 0.attention.self.query+0.attention.self.key > ",
            "8 0.attention.self.value > 0.attention.output.dense",
            "24 0.intermediate.dense > 0.output.dense",
            "8 1.attention.self.query+1.attention.self.key > ",
            "8 1.attention.self.value > 1.attention.output.dense",
            "24 1.intermediate.dense > 1.output.dense",
            "16 bert.pooler.dense > classifier",
        ]
    );

    // Twelve tokens: two layers of four 16x16 and two 16x24 products and two attention products, pooler and classifier.
    let flops = fs::read_to_string(place.path("out/text/cost/flops.csv"))?;
    let macs = 2 * 12 * (4 * 16 * 16 + 2 * 16 * 24 + 2 * 12 * 16) + 16 * 16 + 16 * 4;
    assert!(flops.ends_with(&format!("total,,,5604,{macs}\n")), "{flops}");
    Ok(())
}

/// The same from arrays of an `.npz` file, inputs in the model's order under names of one's own.
fn accuracy() -> String {
    let text = PIPELINE
        .replace("name: text", "name: npz")
        .replace("attention_mask: {shape", "ids: {shape")
        .replace("input_ids: {shape", "mask: {shape")
        .replace(
            "safetensors: {path: data.safetensors, inputs: {input_ids: ids, attention_mask: mask}",
            "npz: {path: data.npz, inputs: [mask, ids]",
        )
        .replace("output: logits", "output: 0")
        .replace("cross_entropy", "accuracy");
    text.split("  - dependencies").next().unwrap_or_default().to_owned()
}

#[test]
fn names_shapes_and_types_must_fit() -> Checked {
    let place = place()?;
    let check = |old: &str, new: &str, wanted: &[&str]| -> Checked {
        assert!(PIPELINE.contains(old), "{old}");
        place.write("wrong.yaml", &PIPELINE.replace(old, new))?;
        let output = stderr(&place.expect(2, &["check", "wrong.yaml"])?);
        for wanted in wanted {
            assert!(output.contains(wanted), "{wanted}:\n{output}");
        }
        Ok(())
    };
    check(
        "    attention_mask: {shape: [12], dtype: int64}\n",
        "    attention_msk: {shape: [12], dtype: int64}\n",
        &[
            "wrong.yaml:11:68",
            "`model.inputs` has no `attention_mask`",
            "did you mean `attention_msk`?",
        ],
    )?;
    check(
        "attention_mask",
        "attention_msk",
        &[
            "wrong.yaml:6:20",
            "the model has no input `attention_msk`",
            "did you mean `attention_mask`?",
        ],
    )?;
    check(
        "    attention_mask: {shape: [12], dtype: int64}\n    input_ids: {shape: [12], dtype: int64}\n",
        "    input_ids: {shape: [12], dtype: int64}\n",
        &["has no `attention_mask`"],
    )?;
    check(
        "input_ids: {shape: [12]",
        "input_ids: {shape: [16]",
        &[
            "wrong.yaml:7:16",
            "tensor \"ids\": a sample has shape [12], but the model's input `input_ids` is [16]",
        ],
    )?;
    check(
        "input_ids: {shape: [12], dtype: int64}",
        "input_ids: {shape: [12], dtype: uint8}",
        &["the model's input `input_ids` is uint8, which int64 values cannot become without loss"],
    )?;
    check(
        "output: logits",
        "output: logit",
        &[
            "wrong.yaml:8:11",
            "the model has no output `logit`",
            "did you mean `logits`?",
        ],
    )?;
    check(
        "output: logits",
        "output: 1",
        &["the model has no output `1`", "its outputs are `logits`"],
    )?;
    check(
        "  batch_size: 16\n",
        "  normalize: {mean: [0], std: [1]}\n",
        &["wrong.yaml:12:14", "`normalize` needs a float32 input"],
    )?;
    check(
        "safetensors: {path: data.safetensors, inputs: {input_ids: ids, attention_mask: mask}, targets: y}",
        "idx: {images: data.npz, labels: data.npz}",
        &[
            "wrong.yaml:11:5",
            "the model has 2 inputs, but the source gives each sample 1",
        ],
    )
}
