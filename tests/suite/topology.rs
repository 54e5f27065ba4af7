//! The small networks of `tests/data/torchscript/networks`: what goes together in each, proven by removal.
//!
//! `tests/oracles/small_networks.py` made them. For both cuts of attention heads a half of each group's units is removed,
//! one group at a time and all groups at once, and the result compared in float64 with the network whose units are zeroed.

use secateur::graph::{Evaluate, Graph, NodeId, ParamId};
use secateur::labels::{FROZEN, Label, Link, Paths, Split};
use secateur::mask::{LayerMask, Mask, MaskSet, file};
use secateur::ops::Fact;
use secateur::prune::{PruneError, Removal, difference, proof, remove, zero};
use secateur::runtime::Runtime;
use secateur::tensor::Tensor;
use secateur::topology::{Coupling, Group, Options, Walked, coupling, layers, place, walk};
use std::path::{Path, PathBuf};

use super::run::{Checked, Place};
use super::zoo::models::Entry;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript/networks")
}

pub fn entries() -> Vec<Entry> {
    let (entries, faults) = super::zoo::models::entries(&folder()).expect("index.jsonl");
    assert!(faults.is_empty(), "{faults:?}");
    entries
}

pub fn read(entry: &Entry) -> Graph {
    let bytes = std::fs::read(folder().join(&entry.file)).expect("an archive of the index");
    secateur::readers::read_model(bytes.into()).expect("a readable archive")
}

pub fn options(entry: &Entry, batch: usize, heads: Split) -> Options {
    let inputs = entry.inputs.iter().map(|(shape, dtype)| {
        let mut shape = shape.clone();
        shape[0] = batch;
        (shape, *dtype)
    });
    Options {
        inputs: inputs.collect(),
        heads,
        ..Options::of_shapes([])
    }
}

/// Reproducible inputs, float or small whole numbers.
fn inputs(options: &Options) -> Vec<Tensor> {
    let tensors = options.inputs.iter().map(|(shape, dtype)| {
        let numel: usize = shape.iter().product();
        let float = |at: usize| ((at as f64 + 1.0) * 12.9898).sin() * 2.0;
        let whole = |at: usize| (at * 7 % 11) as f64;
        let value = |at| if dtype.is_float() { float(at) } else { whole(at) };
        let values: Vec<f64> = (0..numel).map(value).collect();
        Tensor::from_f64(shape.clone(), &values).cast(*dtype)
    });
    tensors.collect()
}

/// The first half of the units, of each balanced block alike.
fn half(group: &Group) -> Vec<usize> {
    if group.balance.is_empty() {
        return (0..group.units / 2).collect();
    }
    let blocks = group.balance.iter();
    blocks.flat_map(|block| block[..block.len() / 2].to_vec()).collect()
}

fn removal(walked: &Walked, group: &Group, units: &[usize]) -> Removal {
    let param = &group.params[0];
    let known = walked.graph.params.iter().position(|known| known.name() == param.name);
    let id = ParamId(known.expect("a parameter of the graph") as u32);
    let indices: Vec<usize> = units.iter().flat_map(|&unit| param.indices[unit].clone()).collect();
    Removal::of_indices(walked, id, param.axis, &indices).expect("units of a group may go")
}

/// What one network gave.
pub struct Proven {
    pub found: Coupling,
    /// The largest difference of any removal.
    pub worst: f64,
}

/// Removes a half of each group alone, then of all groups at once; the latter at two batch sizes.
pub fn prove(entry: &Entry, heads: Split, runtime: &Runtime) -> Result<Proven, String> {
    let graph = read(entry);
    let options_2 = options(entry, 2, heads);
    let mut walked = walk(&graph, &options_2, runtime);
    let found = coupling(&mut walked);
    let given = inputs(&options_2);
    let mut worst: f64 = 0.0;
    for group in &found.groups {
        let units = half(group);
        if units.is_empty() {
            continue;
        }
        let one = removal(&walked, group, &units);
        let difference = proof(&walked, &options_2, &one, runtime, &given)
            .map_err(|fault| format!("{:?} {:?}: {fault}", group.outputs, group.inputs))?;
        worst = worst.max(difference);
    }
    // The batch size at which the network is made smaller, and another at which it runs.
    for (declared, other) in [(2, 3), (1, 2)] {
        let options_here = options(entry, declared, heads);
        let mut walked = walk(&graph, &options_here, runtime);
        let found = coupling(&mut walked);
        let together = found.groups.iter().fold(Removal::default(), |all, group| {
            all.and(removal(&walked, group, &half(group)))
        });
        let fault = |fault: PruneError| format!("all groups, made smaller at a batch of {declared}: {fault}");
        let smaller = remove(&walked, &options_here, &together, runtime).map_err(fault)?;
        let zeroed = zero(&walked, &together).map_err(fault)?;
        alive(&walked, &together, runtime, &given)?;
        for batch in [declared, other] {
            let given = inputs(&options(entry, batch, heads));
            let difference = difference(&smaller, &zeroed, runtime, &given).map_err(|fault| {
                format!("all groups, made smaller at a batch of {declared}, run at {batch}: {fault}")
            })?;
            worst = worst.max(difference);
        }
    }
    Ok(Proven { found, worst })
}

/// Holds that what goes matters: zeroing it changes every output that is not an integer.
fn alive(walked: &Walked, removal: &Removal, runtime: &Runtime, given: &[Tensor]) -> Result<(), String> {
    let zeroed = zero(walked, removal).map_err(|fault| fault.to_string())?;
    let run = |graph: &Graph| {
        let given: Vec<_> = graph.inputs.iter().copied().zip(given.iter().cloned()).collect();
        let found = runtime.evaluate(graph, &given, &graph.output_values());
        found.map_err(|fault| fault.to_string())
    };
    let same = run(walked.graph)? == run(&zeroed)?;
    if same {
        Err("nothing that may go changes the outputs".into())
    } else {
        Ok(())
    }
}

/// What is found, in a line: the units of each group; of those that are balanced also the length of each block, of those
/// that lie in attention heads how they are cut, how many heads there are, and of which size.
fn told(found: &Coupling) -> String {
    let group = |group: &Group| {
        let blocks = group.balance.iter().map(|block| block.len().to_string());
        let balance = blocks.collect::<Vec<_>>().join("+");
        let heads = group.heads.as_ref();
        let heads = heads.map(|heads| format!("({} {}x{})", heads.cut, heads.count, heads.size));
        let balance = if balance.is_empty() {
            balance
        } else {
            format!("={balance}")
        };
        format!("{}{balance}{}", group.units, heads.unwrap_or_default())
    };
    found.groups.iter().map(group).collect::<Vec<_>>().join(" ")
}
#[test]
fn small_networks_are_proven_by_removal() {
    let runtime = Runtime::new();
    let mut faults = Vec::new();
    let mut found = String::new();
    for entry in entries() {
        for heads in [Split::Within, Split::Whole] {
            let place = format!("{} {}", entry.name, format!("{heads:?}").to_lowercase());
            match prove(&entry, heads, &runtime) {
                Ok(Proven { worst, .. }) if worst > 1e-9 => faults.push(format!("{place}: differs by {worst:.1e}")),
                Ok(proven) => found.push_str(&format!("{place}: {}\n", told(&proven.found))),
                Err(fault) => faults.push(format!("{place}: {fault}")),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let expected = std::fs::read_to_string(folder().join("groups.txt")).expect("groups.txt");
    let differ: Vec<&str> = found
        .lines()
        .filter(|line| !expected.lines().any(|other| other == *line))
        .collect();
    assert!(
        found == expected,
        "other groups than in groups.txt:\n{}",
        differ.join("\n")
    );
}

/// A folder with the archive of one network and a pipeline over it.
fn prepare(network: &str, steps: &str) -> Result<Place, Box<dyn std::error::Error>> {
    let place = Place::new()?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/grouped/data.npz");
    std::fs::copy(folder().join(format!("{network}.pt")), place.path("model.pt"))?;
    std::fs::copy(data, place.path("data.npz"))?;
    let head = "version: 1
name: heads
model: {path: model.pt, input: [3, 10, 10]}
dataset: {source: {npz: {path: data.npz, inputs: x}}, samples: 4}
metric: {agreement: {}}
steps:
";
    place.write("heads.yaml", &format!("{head}{steps}"))?;
    Ok(place)
}

fn json(place: &Place, file: &str) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    Ok(serde_json::from_slice(&std::fs::read(place.path(file))?)?)
}

#[test]
fn heads_are_cut_as_the_step_says() -> Checked {
    let place = prepare(
        "fused",
        "  - dependencies: {}
  - dependencies: {id: whole, heads: whole}
  - dependencies: {id: mixed, approximate: true}
",
    )?;
    place.expect(0, &["run", "heads.yaml"])?;
    let cuts = |file: &str, key: &str| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let groups = json(&place, file)?[key].as_array().cloned().unwrap_or_default();
        let tell = |group: &serde_json::Value| {
            let heads = &group["heads"];
            let numbers = ["count", "size", "axis"].map(|name| heads[name].to_string());
            (!heads.is_null()).then(|| format!("{} {} {}", group["outputs"], heads["cut"], numbers.join(" ")))
        };
        Ok(groups.iter().filter_map(tell).collect())
    };
    let within = ["[\"qkv\"] \"within\" 2 4 3", "[\"qkv2\"] \"within\" 3 4 2"];
    let whole = within.map(|line| line.replace("within", "whole"));
    assert_eq!(cuts("out/heads/dependencies/coupling.json", "groups")?, within);
    assert_eq!(cuts("out/heads/dependencies/coupling.json", "alternatives")?, whole);
    assert_eq!(cuts("out/heads/whole/coupling.json", "groups")?, whole);
    assert_eq!(cuts("out/heads/whole/coupling.json", "alternatives")?, within);
    let exact = json(&place, "out/heads/dependencies/coupling.json")?;
    let mixed = json(&place, "out/heads/mixed/coupling.json")?;
    let marked = |found: &serde_json::Value| {
        let groups = found["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().filter(|group| group["approximate"] == true).count()
    };
    assert_eq!((marked(&exact), marked(&mixed)), (0, 1), "{mixed}");
    Ok(())
}

#[test]
fn masks_and_cells_follow_the_cut_of_heads() -> Checked {
    let place = prepare(
        "fused",
        "  - mask_fix: {id: whole, masks: masks.safetensors, heads: whole}
  - mask_fix: {id: within, masks: masks.safetensors}
  - sensitivity: {id: cells, granularity: group, heads: whole, layers: [qkv], sparsities: [0.5]}
  - sensitivity: {id: mixed, granularity: group, approximate: true, layers: [patch], sparsities: [0.5]}
",
    )?;
    // The first of two heads, in q, k and v.
    let mut mask = Mask::full(&[24, 8]);
    for filter in [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19] {
        mask.clear(0, filter);
    }
    let mut masks = MaskSet::new();
    masks.insert(
        "qkv",
        LayerMask {
            weight: mask,
            bias: None,
        },
    );
    std::fs::write(place.path("masks.safetensors"), file::to_safetensors(&masks))?;
    place.expect(0, &["run", "heads.yaml"])?;
    let changes = |id: &str| -> std::io::Result<usize> {
        let text = std::fs::read_to_string(place.path(&format!("out/heads/{id}/changes.csv")))?;
        Ok(text.lines().count() - 1)
    };
    // Whole heads can be cut out as they are; positions within heads are kept, since the other head keeps them.
    assert_eq!((changes("whole")?, changes("within")?), (0, 12));
    let cell = |id: &str| -> Result<(u64, u64), Box<dyn std::error::Error>> {
        let cell = json(&place, &format!("out/heads/{id}/sensitivity.json"))?["cells"][0].clone();
        Ok((cell["pruned"].as_u64().unwrap_or(0), cell["of"].as_u64().unwrap_or(0)))
    };
    // One of two heads; four of the eight channels that the layer norms mix.
    assert_eq!((cell("cells")?, cell("mixed")?), ((1, 2), (4, 8)));
    Ok(())
}

/// Whether an operator touches a label: it stands in a row of something that the operator reads or gives.
fn touches(walked: &Walked, node: NodeId, label: Label) -> bool {
    fn holds(fact: &Fact, label: Label) -> bool {
        match fact {
            Fact::Tensor(tensor) => tensor.axes.rows.iter().flatten().any(|row| row.contains(&label)),
            Fact::List(items) => items.iter().any(|item| holds(item, label)),
            _ => false,
        }
    }
    let node = walked.graph.node(node);
    let mut values = node.reads().into_iter().chain(node.outputs.iter().copied());
    values.any(|value| holds(walked.fact(value), label))
}

/// Each operator of a chain touches both ends of its step, and each step starts where the last one ended.
#[test]
fn every_step_of_every_chain_is_true() {
    let runtime = Runtime::new();
    let (mut chains, mut frozen) = (0, 0);
    for entry in entries() {
        let graph = read(&entry);
        let options = Options {
            every_reason: true,
            ..options(&entry, 2, Split::Within)
        };
        let mut walked = walk(&graph, &options, &runtime);
        coupling(&mut walked);
        let paths = Paths::new(&walked.labels);
        let freezing = paths.freezing();
        let layers = layers(&graph);
        let rows: Vec<Vec<Label>> = layers
            .iter()
            .map(|layer| walked.labels.row(layer.weight, layer.output_axis()).unwrap_or_default())
            .collect();
        let hold = |chain: &[Link]| {
            for (at, link) in chain.iter().enumerate() {
                assert!(at == 0 || chain[at - 1].to == link.from, "{}: a gap", entry.name);
                let Some(node) = link.reason.node else { continue };
                for end in [link.from, link.to].into_iter().filter(|&end| end != FROZEN) {
                    assert!(
                        touches(&walked, node, end),
                        "{}: {} does not touch {:?}: {}",
                        entry.name,
                        place(&graph, node),
                        walked.labels.position(end),
                        link.reason.what
                    );
                }
            }
        };
        for (at, from) in rows.iter().enumerate() {
            for to in &rows[at + 1..] {
                let chain = paths.shortest(from, &to.iter().copied().collect());
                chains += usize::from(chain.is_some());
                hold(&chain.unwrap_or_default());
            }
            for &label in from {
                let chain = freezing.chain(label);
                assert_eq!(chain.is_some(), walked.labels.find(label) == FROZEN);
                frozen += usize::from(chain.is_some());
                hold(&chain.unwrap_or_default());
            }
        }
    }
    assert!(chains > 30 && frozen > 500, "{chains} chains, {frozen} frozen channels");
}
