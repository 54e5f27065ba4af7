//! Over a folder of model files: what the reader, the labels and removal make of each.
//!
//! `cargo xtask zoo DIR` runs this. It prints a line a model and writes `zoo.tsv` and `zoo.md` into `--out` (default: the
//! current folder). A file `index.jsonl` beside the models names each one's inputs, as the script that exports them
//! prints them: `{"name": …, "file": …, "inputs": [{"shape": […], "dtype": …}]}`.

use secateur::graph::Graph;
use secateur::labels::Split;
use secateur::prune::{Removal, difference, proof, remove, zero};
use secateur::runtime::Runtime;
use secateur::tensor::{DType, Tensor};
use secateur::topology::{Coupling, Options, Walked, coupling, walk};
use std::path::{Path, PathBuf};
use std::time::Instant;

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

#[derive(Default)]
struct Row {
    name: String,
    read: String,
    nodes: usize,
    opaque: Vec<String>,
    groups: usize,
    frozen: usize,
    layers: usize,
    each: Proof,
    all: Proof,
    read_seconds: f64,
    couple_seconds: f64,
}

/// The largest difference of the removals that ran, and the first that did not.
#[derive(Default)]
struct Proof {
    worst: f64,
    tried: usize,
    failed: Vec<String>,
}

struct Arguments {
    folder: PathBuf,
    out: PathBuf,
    heads: Split,
    names: Vec<String>,
    prove: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments {
        folder: PathBuf::new(),
        out: PathBuf::from("."),
        heads: Split::Within,
        names: Vec::new(),
        prove: true,
    };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out" => found.out = words.next().ok_or("--out needs a folder")?.into(),
            "--heads" => {
                found.heads = match words.next().as_deref() {
                    Some("whole") => Split::Whole,
                    Some("within") => Split::Within,
                    _ => return Err("--heads is whole or within".into()),
                }
            }
            "--no-proof" => found.prove = false,
            _ if word.starts_with("--") => {
                return Err(format!(
                    "{word}: expected DIR [NAME …] [--out DIR] [--heads whole|within] [--no-proof]"
                ));
            }
            _ if found.folder.as_os_str().is_empty() => found.folder = word.into(),
            _ => found.names.push(word),
        }
    }
    if found.folder.as_os_str().is_empty() {
        // `cargo bench` runs every bench with no arguments.
        std::process::exit(0);
    }
    Ok(found)
}

fn main() {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("zoo: {message}");
            std::process::exit(2);
        }
    };
    let index = arguments.folder.join("index.jsonl");
    let text = std::fs::read_to_string(&index).unwrap_or_else(|fault| {
        eprintln!("zoo: {}: {fault}", index.display());
        std::process::exit(2);
    });
    let mut rows = Vec::new();
    for line in text.lines() {
        let Ok(entry) = serde_json::from_str::<Entry>(line) else {
            continue;
        };
        let wanted = arguments.names.is_empty() || arguments.names.iter().any(|name| entry.name.contains(name));
        if entry.file.is_empty() || !wanted {
            continue;
        }
        let row = look(&arguments, &entry);
        println!("{}", tsv(&row));
        rows.push(row);
    }
    if let Err(fault) = write(&arguments.out, &rows) {
        eprintln!("zoo: {}: {fault}", arguments.out.display());
        std::process::exit(1);
    }
}

fn look(arguments: &Arguments, entry: &Entry) -> Row {
    let mut row = Row {
        name: entry.name.clone(),
        ..Row::default()
    };
    let start = Instant::now();
    let graph = std::fs::read(arguments.folder.join(&entry.file))
        .map_err(|fault| fault.to_string())
        .and_then(|bytes| secateur::readers::read_model(bytes.into()).map_err(|fault| fault.to_string()));
    row.read_seconds = start.elapsed().as_secs_f64();
    let graph = match graph {
        Ok(graph) => graph,
        Err(message) => {
            row.read = message.replace('\n', " ");
            return row;
        }
    };
    let graph = enlivened(graph);
    row.read = "ok".into();
    row.nodes = graph.nodes.len();
    row.layers = secateur::topology::layers(&graph).len();
    let runtime = Runtime::new();
    let start = Instant::now();
    let options = Options {
        heads: arguments.heads,
        ..options(entry, None)
    };
    let mut walked = walk(&graph, &options, &runtime);
    let found = coupling(&mut walked);
    row.couple_seconds = start.elapsed().as_secs_f64();
    row.opaque = found
        .issues
        .iter()
        .map(|issue| format!("{} ({}): {}", issue.op, issue.scope, issue.message))
        .collect();
    row.groups = found.groups.len();
    row.frozen = found.frozen.len();
    if arguments.prove {
        let inputs = inputs(&options);
        prove(&mut row, &walked, &options, &found, &runtime, &inputs);
    }
    row
}

fn options(entry: &Entry, batch: Option<usize>) -> Options {
    let mut options = Options::of_shapes([]);
    options.inputs = entry
        .inputs
        .iter()
        .map(|input| {
            let mut shape = input.shape.clone();
            if let (Some(batch), Some(first)) = (batch, shape.first_mut()) {
                *first = batch;
            }
            (shape, DType::from_name(&input.dtype).unwrap_or(DType::F32))
        })
        .collect();
    options
}

/// The same network with parameters and buffers of one value everywhere made uneven: a norm whose scale was set to 0 at
/// the start, or a layer scale of 1e-5, would hide whatever removal did behind it.
fn enlivened(mut graph: Graph) -> Graph {
    let mut next = random();
    for param in graph.params.iter_mut().filter(|param| param.tensor.dtype().is_float()) {
        let mut values = param.tensor.to_f64();
        let first = values.first().copied().unwrap_or(0.0);
        if values.len() > 1 && values.iter().all(|&value| value == first) {
            values.iter_mut().for_each(|value| *value += 0.25 + 0.5 * next());
            param.tensor = Tensor::from_f64(param.tensor.shape(), &values).cast(param.tensor.dtype());
        }
    }
    graph
}

/// Reproducible numbers from 0 to 1.
fn random() -> impl FnMut() -> f64 {
    let mut state = 1_u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    }
}

/// Reproducible numbers, float or small whole ones.
fn inputs(options: &Options) -> Vec<Tensor> {
    let mut next = random();
    let tensors = options.inputs.iter().map(|(shape, dtype)| {
        let numel = shape.iter().product();
        let values: Vec<f64> = (0..numel)
            .map(|_| {
                if dtype.is_float() {
                    next() * 4.0 - 2.0
                } else {
                    (next() * 100.0).floor()
                }
            })
            .collect();
        Tensor::from_f64(shape.clone(), &values).cast(*dtype)
    });
    tensors.collect()
}

/// Removes a random half of each group alone (up to 25 groups, evenly chosen) and of all groups at once.
fn prove(row: &mut Row, walked: &Walked, options: &Options, found: &Coupling, runtime: &Runtime, inputs: &[Tensor]) {
    let mut together = Removal::default();
    let step = found.groups.len().div_ceil(25).max(1);
    for (at, group) in found.groups.iter().enumerate() {
        let units = half(group.units, &group.balance, at as u64);
        let labels = units.iter().flat_map(|&unit| {
            let param = &group.params[0];
            let id = walked.graph.param_named(&param.name);
            let row = id.and_then(|id| walked.labels.row(id, param.axis));
            param.indices[unit]
                .iter()
                .filter_map(move |&index| row.as_ref().map(|row| row[index]))
                .collect::<Vec<_>>()
        });
        let removal = match Removal::of(walked, labels) {
            Ok(removal) => removal,
            Err(fault) => {
                row.each.failed.push(fault.to_string());
                continue;
            }
        };
        together = together.and(removal.clone());
        if at % step == 0 {
            record(
                &mut row.each,
                proof(walked, options, &removal, runtime, inputs).map_err(|fault| fault.to_string()),
            );
        }
    }
    if !found.groups.is_empty() {
        record(
            &mut row.all,
            at_two_batch_sizes(walked, options, &together, runtime, inputs),
        );
    }
}

/// The smaller network at the batch size of the walk, and at a larger one where the whole network runs at it.
fn at_two_batch_sizes(
    walked: &Walked,
    options: &Options,
    removal: &Removal,
    runtime: &Runtime,
    inputs: &[Tensor],
) -> Result<f64, String> {
    let smaller = remove(walked, options, removal, runtime).map_err(|fault| fault.to_string())?;
    let zeroed = zero(walked, removal).map_err(|fault| fault.to_string())?;
    let first = difference(&smaller, &zeroed, runtime, inputs).map_err(|fault| fault.to_string())?;
    let mut larger = options.clone();
    for (shape, _) in &mut larger.inputs {
        if let Some(batch) = shape.first_mut() {
            *batch += 1;
        }
    }
    let larger = self::inputs(&larger);
    if difference(&zeroed, &zeroed, runtime, &larger).is_err() {
        return Ok(first);
    }
    let second = difference(&smaller, &zeroed, runtime, &larger).map_err(|fault| format!("a larger batch: {fault}"))?;
    Ok(first.max(second))
}

fn record(proof: &mut Proof, result: Result<f64, String>) {
    proof.tried += 1;
    match result {
        Ok(difference) => proof.worst = proof.worst.max(difference),
        Err(message) => proof.failed.push(message),
    }
}

/// A pseudo-random half of the units, equally many of each balanced block, at least one of each left.
fn half(units: usize, balance: &[Vec<usize>], seed: u64) -> Vec<usize> {
    let pick = |pool: &[usize]| {
        let mut order: Vec<(u64, usize)> = pool
            .iter()
            .map(|&unit| {
                (
                    (unit as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (seed << 17)) >> 13,
                    unit,
                )
            })
            .collect();
        order.sort_unstable();
        order
            .into_iter()
            .take(pool.len() / 2)
            .map(|(_, unit)| unit)
            .collect::<Vec<_>>()
    };
    if balance.is_empty() {
        return pick(&(0..units).collect::<Vec<_>>());
    }
    balance.iter().flat_map(|block| pick(block)).collect()
}

fn tsv(row: &Row) -> String {
    let proof = |proof: &Proof| match proof.failed.first() {
        Some(message) => format!("{} of {} failed: {message}", proof.failed.len(), proof.tried),
        None if proof.tried == 0 => "-".into(),
        None => format!("{:.1e}", proof.worst),
    };
    [
        row.name.clone(),
        row.read.clone(),
        row.nodes.to_string(),
        row.opaque.len().to_string(),
        row.groups.to_string(),
        format!("{}/{}", row.frozen, row.layers),
        proof(&row.each),
        proof(&row.all),
        format!("{:.2}", row.read_seconds),
        format!("{:.2}", row.couple_seconds),
        row.opaque.first().cloned().unwrap_or_default(),
    ]
    .join("\t")
}

const HEADER: [&str; 11] = [
    "network",
    "read",
    "nodes",
    "opaque",
    "groups",
    "frozen layers",
    "proof, one group",
    "proof, all groups",
    "seconds to read",
    "seconds to couple",
    "first opaque node",
];

fn write(folder: &Path, rows: &[Row]) -> std::io::Result<()> {
    let lines: Vec<String> = rows.iter().map(tsv).collect();
    std::fs::write(
        folder.join("zoo.tsv"),
        format!("{}\n{}\n", HEADER.join("\t"), lines.join("\n")),
    )?;
    let cell = |text: &str| format!("| {} |\n", text.replace('|', "\\|").replace('\t', " | "));
    let mut markdown = cell(&HEADER.join("\t"));
    markdown += &cell(&vec!["---"; HEADER.len()].join("\t"));
    lines.iter().for_each(|line| markdown += &cell(line));
    std::fs::write(folder.join("zoo.md"), markdown)
}
