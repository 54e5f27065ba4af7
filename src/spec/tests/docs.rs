//! The examples of `docs/data.md` are parts of pipeline files.

use super::good;

const DATA: &str = include_str!("../../../docs/data.md");

#[test]
fn every_example_of_the_documentation_is_read() {
    let mut examples = 0;
    for block in DATA.split("```yaml\n").skip(1) {
        let (example, _) = block.split_once("```").unwrap();
        let mut text = String::from("version: 1\nname: docs\n");
        let has = |section: &str| example.starts_with(section) || example.contains(&format!("\n{section}"));
        if !has("model:") {
            // Some sources feed models of two inputs.
            text += match example.contains("input_ids") {
                true => "model: {path: m.pt, inputs: {input_ids: {shape: [1]}, attention_mask: {shape: [1]}}}\n",
                false => "model: {path: m.pt, input: [1]}\n",
            };
        }
        if !has("dataset:") {
            text += "dataset: {source: {npy: {inputs: x, targets: y}}}\n";
        }
        if !has("metric:") && !has("metrics:") {
            text += "metric: accuracy\n";
        }
        if example.contains("attention_mask") && has("model:") {
            text = text.replace("inputs: x, ", "inputs: {input_ids: x, attention_mask: z}, ");
        }
        text += example;
        if !has("steps:") {
            text += "steps: [sensitivity: {}]\n";
        }
        good(&text, &[]);
        examples += 1;
    }
    assert!(examples >= 10, "{examples}");
}
