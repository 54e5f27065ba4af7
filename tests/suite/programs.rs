//! Every model of a folder, as the program that its graph prints to, against the file's own `forward`.
//!
//! The folder is `$SECATEUR_ZOO`: archives and an `index.jsonl` of `{"name", "file", "inputs": [{"shape", "dtype"}]}`.
//! Without it there is nothing to compare, and the test says so. `$SECATEUR_ZOO_ONLY` keeps names that contain it.

use secateur::runtime::compare;
use secateur::tensor::{DType, Tensor};

#[derive(serde::Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    file: String,
    #[serde(default)]
    inputs: Vec<Input>,
}

#[derive(serde::Deserialize)]
struct Input {
    shape: Vec<usize>,
    dtype: String,
}

/// Reproducible numbers between -2 and 2, or whole ones below 100.
fn numbers(input: &Input, state: &mut u64) -> Tensor {
    let dtype = DType::from_name(&input.dtype).expect("a known dtype");
    let mut next = || {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*state >> 40) as f64 / (1_u64 << 24) as f64
    };
    let numel = input.shape.iter().product();
    let values: Vec<f64> = (0..numel)
        .map(|_| {
            if dtype.is_float() {
                next() * 4.0 - 2.0
            } else {
                (next() * 100.0).floor()
            }
        })
        .collect();
    Tensor::from_f64(input.shape.clone(), &values).cast(dtype)
}

fn measure(folder: &std::path::Path, entry: &Entry) -> Result<(String, f64), String> {
    let bytes = std::fs::read(folder.join(&entry.file)).map_err(|error| error.to_string())?;
    let graph = secateur::readers::read_model(bytes.clone().into()).map_err(|error| format!("unread: {error}"))?;
    let mut state = 1;
    let inputs: Vec<Tensor> = entry.inputs.iter().map(|input| numbers(input, &mut state)).collect();
    let found = compare(&bytes, &graph, &inputs).map_err(|error| error.to_string())?;
    let line = format!(
        "{} nodes, {} issues, {} outputs, relative {:.1e}, compile {:.0?}, program {:.0?}, forward {:.0?}",
        graph.nodes.len(),
        graph.issues.len(),
        found.outputs,
        found.relative,
        found.compile,
        found.program,
        found.forward
    );
    let issues = graph
        .issues
        .iter()
        .map(|issue| format!("\n    {} {}: {}", issue.scope, issue.op, issue.message));
    Ok((line + &issues.collect::<String>(), found.relative))
}

#[test]
fn programs_equal_forward() {
    let Some(folder) = std::env::var_os("SECATEUR_ZOO") else {
        println!("SECATEUR_ZOO is not set: nothing compared");
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    let only = std::env::var("SECATEUR_ZOO_ONLY").unwrap_or_default();
    let index = std::fs::read_to_string(folder.join("index.jsonl")).expect("the folder has an index.jsonl");
    let mut failed = Vec::new();
    for line in index.lines() {
        let entry: Entry = serde_json::from_str(line).expect("a line of the index");
        if entry.file.is_empty() || !entry.name.contains(&only) {
            continue;
        }
        let result = measure(&folder, &entry);
        match &result {
            Ok((line, relative)) if *relative <= 1e-6 => println!("equal   {}: {line}", entry.name),
            Ok((line, _)) => println!("differs {}: {line}", entry.name),
            Err(message) => println!("failed  {}: {message}", entry.name),
        }
        if result.is_ok_and(|(_, relative)| relative <= 1e-6) {
            continue;
        }
        failed.push(entry.name);
    }
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
}
