//! The models of a folder, and what each is run on.
//!
//! Owns the index, the samples that are made up, and the values that would hide what a removal does.

use secateur::formats::source::Source;
use secateur::graph::{Arg, Def, Graph, Type, ValueId};
use secateur::readers::traced_inputs;
use secateur::runtime::Runtime;
use secateur::tensor::{DType, Tensor, WeightError};
use secateur::topology::{Declared, Options};
use std::collections::BTreeSet;
use std::path::Path;

/// One model of the folder.
pub struct Entry {
    pub name: String,
    pub file: String,
    /// Shape, batch included, and element type of each input; nothing where the index has none.
    pub inputs: Vec<(Vec<usize>, DType)>,
}

/// A line of `index.jsonl`, as the script that exports the models prints them; `error` where it could not.
#[derive(serde::Deserialize)]
struct Line {
    name: String,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    inputs: Vec<Input>,
}

#[derive(serde::Deserialize)]
struct Input {
    shape: Vec<usize>,
    dtype: String,
}

/// The models of a folder, by its index or else by name, and what could not be made out.
pub fn entries(folder: &Path) -> Result<(Vec<Entry>, Vec<String>), String> {
    let index = folder.join("index.jsonl");
    match std::fs::read_to_string(&index) {
        Ok(text) => Ok(indexed(&text)),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => archives(folder).map(|found| (found, Vec::new())),
        Err(fault) => Err(format!("{}: {fault}", index.display())),
    }
}

fn indexed(text: &str) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let found = serde_json::from_str::<Line>(line).map_err(|fault| fault.to_string());
        match found.and_then(entry) {
            Ok(entry) => entries.extend(entry),
            Err(fault) => faults.push(format!("index.jsonl:{}: {fault}", at + 1)),
        }
    }
    (entries, faults)
}

fn entry(line: Line) -> Result<Option<Entry>, String> {
    let Some(file) = line.file else { return Ok(None) };
    let inputs = line.inputs.into_iter().map(|input| {
        let dtype =
            DType::from_name(&input.dtype).ok_or_else(|| format!("no element type is called {}", input.dtype))?;
        Ok((input.shape, dtype))
    });
    Ok(Some(Entry {
        name: line.name,
        file,
        inputs: inputs.collect::<Result<_, String>>()?,
    }))
}

fn archives(folder: &Path) -> Result<Vec<Entry>, String> {
    let fault = |fault: std::io::Error| format!("{}: {fault}", folder.display());
    let mut entries = Vec::new();
    for found in std::fs::read_dir(folder).map_err(fault)? {
        let path = found.map_err(fault)?.path();
        let stem = path
            .file_stem()
            .filter(|_| path.extension().is_some_and(|end| end == "pt" || end == "pth"));
        if let (Some(stem), Some(file)) = (stem, path.file_name()) {
            entries.push(Entry {
                name: stem.to_string_lossy().into_owned(),
                file: file.to_string_lossy().into_owned(),
                inputs: Vec::new(),
            });
        }
    }
    if entries.is_empty() {
        return Err(format!(
            "{}: there is neither an index.jsonl nor a *.pt",
            folder.display()
        ));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// A model as it was read, and what its inputs are.
pub fn read(folder: &Path, entry: &Entry, runtime: &Runtime) -> Result<(Graph, Options), String> {
    let source = Source::open(&folder.join(&entry.file)).map_err(|fault| fault.to_string())?;
    let mut inputs = entry.inputs.clone();
    if inputs.is_empty() {
        inputs = traced_inputs(&source).unwrap_or_default();
    }
    let samples: Vec<_> = (inputs.iter())
        .map(|(shape, dtype)| (shape.get(1..).unwrap_or_default().to_vec(), *dtype))
        .collect();
    let declared = Declared::new(Box::new(move |_| Some(samples.clone())), runtime);
    let graph = secateur::readers::read_model_from(&source, &declared).map_err(|fault| fault.to_string())?;
    if inputs.len() != graph.inputs.len() {
        let known = match inputs.len() {
            0 => "of none is the shape known: name them in index.jsonl".to_owned(),
            known => format!("of {known} the shapes are given"),
        };
        return Err(format!("the model takes {} inputs, and {known}", graph.inputs.len()));
    }
    let options = Options {
        inputs,
        ..Options::of_shapes([])
    };
    Ok((graph, options))
}

/// The same network with parameters and buffers of one value everywhere made uneven: a norm whose scale was set to 0 at
/// the start, or a layer scale of 1e-5, would hide whatever removal did behind it.
pub fn enlivened(mut graph: Graph) -> Result<Graph, WeightError> {
    let mut next = random();
    for param in graph.params.iter_mut().filter(|param| param.tensor.dtype().is_float()) {
        let mut values = param.tensor.read()?.to_f64();
        let first = values.first().copied().unwrap_or(0.0);
        if values.len() > 1 && values.iter().all(|&value| value == first) {
            values.iter_mut().for_each(|value| *value += 0.25 + 0.5 * next());
            let uneven = Tensor::from_f64(param.tensor.shape(), &values);
            param.tensor = uneven.cast(param.tensor.dtype()).into();
        }
    }
    Ok(graph)
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

/// Reproducible samples: floats from -2 to 2, whole numbers that every table which they index has a row for.
pub fn samples(graph: &Graph, options: &Options) -> Vec<Tensor> {
    let mut next = random();
    let tensors = graph
        .inputs
        .iter()
        .zip(&options.inputs)
        .map(|(&value, (shape, dtype))| {
            let rows = rows(graph, value).min(100) as f64;
            let numel = shape.iter().product();
            let values: Vec<f64> = (0..numel)
                .map(|_| match dtype.is_float() {
                    true => next() * 4.0 - 2.0,
                    false => (next() * rows).floor(),
                })
                .collect();
            Tensor::from_f64(shape.clone(), &values).cast(*dtype)
        });
    tensors.collect()
}

/// The fewest rows of a table that an input indexes, through whatever moves or shifts it on the way.
fn rows(graph: &Graph, input: ValueId) -> usize {
    let mut reached = BTreeSet::from([input]);
    let mut rows = usize::MAX;
    for node in &graph.nodes {
        if !node.reads().iter().any(|value| reached.contains(value)) {
            continue;
        }
        if node.op == "aten::embedding" {
            let table = node.arg("weight").and_then(Arg::as_value);
            if let Some(Def::Param(id)) = table.map(|value| graph.value(value).def) {
                rows = rows.min(graph.params[id.0 as usize].tensor.shape()[0]);
            }
            continue;
        }
        let tensors = node
            .outputs
            .iter()
            .filter(|&&value| graph.value(value).ty == Type::Tensor);
        reached.extend(tensors);
    }
    rows
}
