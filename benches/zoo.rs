//! Over a folder of model files: what the reader, the labels and removal make of each.
//!
//! `cargo xtask zoo DIR` runs this. It prints a line a model and writes `zoo.tsv` and `zoo.md` into `--out` (default: the
//! current folder), again after each model, so that a run that is cut short has lost nothing. A file `index.jsonl` beside the models names each one's inputs, as the script that exports them
//! prints them: `{"name": …, "file": …, "inputs": [{"shape": […], "dtype": …}]}`.

use secateur::graph::Graph;
use secateur::labels::Split;
use secateur::prune::{Prover, PruneError, Removal, difference, given, in_float64, remove, zero};
use secateur::runtime::Runtime;
use secateur::tensor::{DType, Tensor};
use secateur::topology::{Declared, Group, Options, Walked, coupling, walk};
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
    /// The shapes that the proof ran at.
    ran: Vec<String>,
    read_seconds: f64,
    couple_seconds: f64,
    prove_seconds: f64,
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
    /// How many groups are removed alone, evenly chosen.
    groups: usize,
    /// The side of the images that the proof runs on, where the network takes them.
    side: Option<usize>,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments {
        folder: PathBuf::new(),
        out: PathBuf::from("."),
        heads: Split::Within,
        names: Vec::new(),
        prove: true,
        groups: usize::MAX,
        side: None,
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
            "--groups" => found.groups = number(&word, words.next())?,
            "--side" => found.side = Some(number(&word, words.next())?),
            _ if word.starts_with("--") => {
                return Err(format!(
                    "{word}: expected DIR [NAME …] [--out DIR] [--heads whole|within] [--no-proof] [--groups N] [--side N]"
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

fn number(flag: &str, word: Option<String>) -> Result<usize, String> {
    let found = word.and_then(|word| word.parse().ok()).filter(|&number| number > 0);
    found.ok_or_else(|| format!("{flag} needs a number, 1 or more"))
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
    let entries: Vec<Entry> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let mut rows = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.file.is_empty()) {
        let named = |name: &String| entry.name == *name;
        if !arguments.names.is_empty() && !arguments.names.iter().any(named) {
            continue;
        }
        let row = look(&arguments, entry);
        println!("{}", tsv(&row));
        rows.push(row);
        if let Err(fault) = write(&arguments.out, &rows) {
            eprintln!("zoo: {}: {fault}", arguments.out.display());
            std::process::exit(1);
        }
    }
}

fn look(arguments: &Arguments, entry: &Entry) -> Row {
    let mut row = Row {
        name: entry.name.clone(),
        ..Row::default()
    };
    let runtime = Runtime::new();
    let inputs = options(entry, None).inputs.into_iter();
    let samples: Vec<_> = inputs
        .map(|(shape, dtype)| (shape.get(1..).unwrap_or_default().to_vec(), dtype))
        .collect();
    let declared = Declared::new(Box::new(move |_| Some(samples.clone())), &runtime);
    let start = Instant::now();
    let graph = std::fs::read(arguments.folder.join(&entry.file))
        .map_err(|fault| fault.to_string())
        .and_then(|bytes| {
            secateur::readers::read_model_with(bytes.into(), &declared).map_err(|fault| fault.to_string())
        });
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
        drop(walked);
        let start = Instant::now();
        let wide = in_float64(&graph);
        drop(graph);
        prove(
            &mut row,
            &wide,
            &sized(arguments, &wide, options, &runtime),
            arguments.groups,
            &runtime,
        );
        row.prove_seconds = start.elapsed().as_secs_f64();
    }
    row
}

/// The options with images of the wished side, where the whole network runs on them.
fn sized(arguments: &Arguments, graph: &Graph, options: Options, runtime: &Runtime) -> Options {
    let Some(side) = arguments.side else { return options };
    let mut smaller = options.clone();
    for (shape, _) in &mut smaller.inputs {
        if let [_, _, height, width] = &mut shape[..] {
            (*height, *width) = (side.min(*height), side.min(*width));
        }
    }
    if runs(graph, &smaller, runtime) {
        smaller
    } else {
        options
    }
}

/// Whether a network in float64 runs on inputs of these shapes.
fn runs(graph: &Graph, options: &Options, runtime: &Runtime) -> bool {
    let given = given(graph, &inputs(options));
    runtime.run(graph, &given, &graph.output_values()).is_ok()
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

/// Removes a random half of each group alone, and of all groups at once.
fn prove(row: &mut Row, graph: &Graph, options: &Options, groups: usize, runtime: &Runtime) {
    let mut walked = walk(graph, options, runtime);
    let found = coupling(&mut walked);
    if found.groups.is_empty() {
        return;
    }
    let inputs = inputs(options);
    let prover = match Prover::new(&walked, options, runtime, &inputs) {
        Ok(prover) => prover,
        Err(fault) => return record(&mut row.all, Err(fault.to_string())),
    };
    let mut together = Removal::default();
    let step = found.groups.len().div_ceil(groups);
    for (at, group) in found.groups.iter().enumerate() {
        let removal = match removal(&walked, group, at as u64) {
            Ok(removal) => removal,
            Err(message) => {
                record(&mut row.each, Err(message));
                continue;
            }
        };
        together = together.and(removal.clone());
        if at % step == 0 {
            record(&mut row.each, prover.proof(&removal).map_err(|fault| fault.to_string()));
        }
    }
    drop(prover);
    match at_two_batch_sizes(&walked, options, &together, runtime, &mut row.ran) {
        Ok(difference) => record(&mut row.all, Ok(difference)),
        Err(fault) => record(&mut row.all, Err(fault.to_string())),
    }
}

/// A random half of a group's units.
fn removal(walked: &Walked, group: &Group, seed: u64) -> Result<Removal, String> {
    let param = &group.params[0];
    let id = walked
        .graph
        .param_named(&param.name)
        .ok_or("its parameter is missing")?;
    let gone: Vec<usize> = half(group.units, &group.balance, seed)
        .into_iter()
        .flat_map(|unit| param.indices[unit].clone())
        .collect();
    Removal::of_indices(walked, id, param.axis, &gone).map_err(|fault| fault.to_string())
}

/// The smaller network at the batch size of the walk, and at a larger one where the whole network runs at it.
fn at_two_batch_sizes(
    walked: &Walked,
    options: &Options,
    removal: &Removal,
    runtime: &Runtime,
    ran: &mut Vec<String>,
) -> Result<f64, PruneError> {
    let smaller = remove(walked, options, removal, runtime)?;
    let zeroed = zero(walked, removal)?;
    let mut larger = options.clone();
    for (shape, _) in &mut larger.inputs {
        if let Some(batch) = shape.first_mut() {
            *batch += 1;
        }
    }
    let mut worst: f64 = 0.0;
    for options in [options, &larger] {
        let given = inputs(options);
        match difference(&smaller, &zeroed, runtime, &given) {
            Ok(difference) => worst = worst.max(difference),
            // A batch size that the trace wrote down.
            Err(_) if !ran.is_empty() && !runs(walked.graph, options, runtime) => continue,
            Err(fault) => return Err(fault),
        }
        let shapes = options
            .inputs
            .iter()
            .map(|(shape, _)| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"));
        ran.push(shapes.collect::<Vec<_>>().join(" "));
    }
    Ok(worst)
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
        row.each.tried.to_string(),
        row.ran.join(", "),
        format!("{:.2}", row.read_seconds),
        format!("{:.2}", row.couple_seconds),
        format!("{:.1}", row.prove_seconds),
        row.opaque.first().cloned().unwrap_or_default(),
    ]
    .join("\t")
}

const HEADER: [&str; 14] = [
    "network",
    "read",
    "nodes",
    "opaque",
    "groups",
    "frozen layers",
    "proof, one group",
    "proof, all groups",
    "groups removed alone",
    "inputs",
    "seconds to read",
    "seconds to couple",
    "seconds to prove",
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
