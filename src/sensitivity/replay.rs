//! Programs that run only what depends on a target.
//!
//! Owns which values a replay reads and where it begins: at a layer's end, whose masked channels are known constants, or
//! at the parameters that a cell changes. Deliberately holds no tensor: what to give each input is said by [`Source`].

use crate::graph::{Arg, Def, Graph, ParamId, Type, ValueId, graph_leaves, subset};
use crate::lower::{Editor, Site, fixed, prelude};
use crate::runtime::{Device, Program, RuntimeError};
use std::collections::{BTreeMap, BTreeSet};

/// ATen's numbers of element types.
const FLOAT32: Arg = Arg::Int(6);
const BFLOAT16: Arg = Arg::Int(15);

/// A target's descendants, from the values that they read to the outputs that are measured.
pub struct Replay {
    /// None when no output depends on the target: its cells are the baseline.
    pub program: Option<Program>,
    /// What the program reads, in order.
    pub inputs: Vec<Source>,
    /// What each cell computes once.
    pub cell: Option<CellProgram>,
    /// Where it enters at a layer's end: the value that the baseline keeps there, in float32 whatever the program's
    /// arithmetic. What a cell makes then broadcasts over samples, so that one run may hold samples of several cells.
    pub entry: Option<ValueId>,
    /// Operators that the program runs.
    pub cost: usize,
}

/// Where an input of a replay comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A value that the baseline keeps for each micro-batch, or an input of the model.
    Kept(ValueId),
    /// What depends on parameters and constants alone.
    Fixed(ValueId),
    /// An output of the cell's own program.
    Cell(usize),
    /// Which channels the cell keeps.
    Keep,
}

impl Source {
    /// The value that a baseline keeps for it.
    pub fn kept(&self) -> Option<ValueId> {
        match self {
            Source::Kept(value) => Some(*value),
            _ => None,
        }
    }
}

/// Computes what a cell's changed parameters make, once a cell: folded norms, packed weights, constants of masked channels.
pub struct CellProgram {
    pub program: Program,
    /// Parameters, constants, or [`Source::Keep`].
    pub inputs: Vec<Source>,
    /// Axes behind that of the channels, for the shape of [`Source::Keep`].
    pub trailing: usize,
}

/// The values that depend on any of these parameters.
pub fn descendants(graph: &Graph, params: &[ParamId]) -> Vec<bool> {
    following(graph, &values_of(graph, params), None)
}

/// The values that depend on any of these, themselves included, not followed through `stop`.
fn following(graph: &Graph, roots: &BTreeSet<ValueId>, stop: Option<ValueId>) -> Vec<bool> {
    let mut depends: Vec<bool> = graph.value_ids().map(|value| roots.contains(&value)).collect();
    for node in &graph.nodes {
        if node.reads().iter().any(|value| depends[value.0 as usize]) {
            let outputs = node.outputs.iter().filter(|&&value| Some(value) != stop);
            outputs.for_each(|value| depends[value.0 as usize] = true);
        }
    }
    depends
}

fn values_of(graph: &Graph, params: &[ParamId]) -> BTreeSet<ValueId> {
    let changed = |value: &ValueId| graph.param_of(*value).is_some_and(|param| params.contains(&param));
    graph.value_ids().filter(changed).collect()
}

/// What is read to make `outputs` again where they depend on something: `given` values are always read.
///
/// Only tensors are kept: a number or a list that is read is made again from what it was made of, and so is what `again`
/// says.
fn reads_of(
    graph: &Graph,
    depends: &[bool],
    again: &[bool],
    given: &BTreeSet<ValueId>,
    outputs: &[ValueId],
) -> Option<Vec<ValueId>> {
    if !outputs.iter().any(|output| depends[output.0 as usize]) {
        return None;
    }
    let mut kept = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut waiting = outputs.to_vec();
    while let Some(value) = waiting.pop() {
        if !seen.insert(value) {
            continue;
        }
        let made = depends[value.0 as usize] || again[value.0 as usize] || graph.value(value).ty != Type::Tensor;
        match graph.value(value).def {
            Def::Node { node, .. } if made && !given.contains(&value) => waiting.extend(graph.node(node).reads()),
            _ => {
                kept.insert(value);
            }
        }
    }
    Some(kept.into_iter().collect())
}

/// What a program of everything that depends on these parameters reads.
pub fn reads(graph: &Graph, params: &[ParamId], outputs: &[ValueId]) -> Option<Vec<ValueId>> {
    let depends = descendants(graph, params);
    reads_of(graph, &depends, &vec![false; depends.len()], &BTreeSet::new(), outputs)
}

/// Views of what samples make, and the samples and what is kept at the entry in another number format: made again at no
/// cost, so that what is kept has a row for each sample. What is kept at the entry is none.
fn views(graph: &Graph, entry: Option<ValueId>) -> Vec<bool> {
    let fixed = fixed(graph);
    let mut views = vec![false; fixed.len()];
    for node in &graph.nodes {
        let (Some(&output), Some(of)) = (node.outputs.first(), node.value("self").or_else(|| node.value("input")))
        else {
            continue;
        };
        let is_view = match node.op.as_str() {
            "aten::permute" | "aten::reshape" => true,
            "aten::to" => matches!(graph.value(of).def, Def::Input(_)) || Some(of) == entry,
            _ => false,
        };
        views[output.0 as usize] = is_view && !fixed[output.0 as usize] && Some(output) != entry;
    }
    views
}

/// Compiles the replay of a target: entered at its layer's end where `site` says where that is, and nothing else reads
/// what the target changes; at its parameters else. `reduced` says whether the graph's arithmetic is in bfloat16.
///
/// # Errors
/// When libtorch refuses a program.
pub fn compile(
    graph: &Graph,
    params: &[ParamId],
    site: Option<&Site>,
    outputs: &[ValueId],
    device: Device,
    reduced: bool,
) -> Result<Replay, RuntimeError> {
    if let Some(site) = site
        && let Some(replay) = at_site(graph, params, site, outputs, device, reduced)?
    {
        return Ok(replay);
    }
    at_params(graph, params, outputs, device)
}

/// The site at which a layer with these parameters ends, if there is one only.
pub fn site_of<'s>(graph: &Graph, sites: &'s [Site], weight: ParamId) -> Option<&'s Site> {
    let made = following(graph, &values_of(graph, &[weight]), None);
    let mut found = sites.iter().filter(|site| made[site.weight.0 as usize]);
    let fixed = fixed(graph);
    let first = found.next().filter(|site| fixed[site.weight.0 as usize])?;
    found
        .next()
        .is_none_or(|other| !fixed[other.weight.0 as usize])
        .then_some(first)
}

fn at_params(graph: &Graph, params: &[ParamId], outputs: &[ValueId], device: Device) -> Result<Replay, RuntimeError> {
    let changed = values_of(graph, params);
    let depends = following(graph, &changed, None);
    let mut given: BTreeSet<ValueId> = prelude(graph)
        .into_iter()
        .filter(|value| depends[value.0 as usize])
        .collect();
    given.extend(changed);
    build(graph, graph, &depends, &given, None, outputs, device)
}

fn at_site(
    graph: &Graph,
    params: &[ParamId],
    site: &Site,
    outputs: &[ValueId],
    device: Device,
    reduced: bool,
) -> Result<Option<Replay>, RuntimeError> {
    let Some(shift) = site.shift else {
        return Ok(None);
    };
    let entered = Entered::new(graph, site, shift, reduced);
    let find = |name: &str| {
        entered
            .graph
            .value_ids()
            .find(|&id| entered.graph.value(id).name == name)
    };
    let same = |value: ValueId| find(&graph.value(value).name);
    let cells: Option<BTreeSet<ValueId>> = entered.cells.iter().map(|name| find(name)).collect();
    let position = |output: &ValueId| graph.output_values().iter().position(|value| value == output);
    let all = entered.graph.output_values();
    let outputs: Option<Vec<ValueId>> = outputs.iter().map(|output| Some(all[position(output)?])).collect();
    let (Some(cells), Some(keep), Some(end), Some(outputs)) = (cells, find(&entered.keep), same(site.output), outputs)
    else {
        return Ok(None);
    };
    let mut roots = cells.clone();
    roots.insert(keep);
    let depends = following(&entered.graph, &roots, Some(end));
    // Whatever else the parameters reach must lie before the layer's end.
    let again = views(&entered.graph, Some(end));
    let inputs = reads_of(&entered.graph, &depends, &again, &cells, &outputs).unwrap_or_default();
    let reached = following(&entered.graph, &values_of(&entered.graph, params), Some(end));
    let mut others = inputs.iter().filter(|&input| *input != end && !cells.contains(input));
    let apart = others.all(|input| !reached[input.0 as usize]);
    if !apart {
        return Ok(None);
    }
    let entry = Entry {
        keep,
        kept: end,
        trailing: site.trailing,
    };
    build(&entered.graph, graph, &depends, &cells, Some(entry), &outputs, device).map(Some)
}

struct Entry {
    keep: ValueId,
    /// What the baseline keeps where the replay enters.
    kept: ValueId,
    trailing: usize,
}

/// A graph in which a layer's end is read through a choice, channel by channel, between what the baseline kept and what a
/// masked filter makes.
struct Entered {
    graph: Graph,
    /// Names of the input that says which channels stay, and of what a cell computes once.
    keep: String,
    cells: Vec<String>,
}

impl Entered {
    fn new(graph: &Graph, site: &Site, shift: ValueId, reduced: bool) -> Entered {
        let (mut editor, nodes) = Editor::new(graph.clone());
        let keep = editor.input("entry_keep");
        let mut cells = Vec::new();
        let mut entered = site.output;
        for mut node in nodes {
            let ends = node.outputs.contains(&site.output);
            for (_, arg) in &mut node.args {
                arg.map_values(&mut |value| if value == site.output { entered } else { value });
            }
            editor.keep(node);
            if ends {
                (entered, cells) = choose(&mut editor, site, shift, keep, reduced);
            }
        }
        editor.redirect_outputs(site.output, entered);
        let name = |value: ValueId| editor.graph().value(value).name.clone();
        Entered {
            keep: name(keep),
            cells: cells.into_iter().map(name).collect(),
            graph: editor.finish(),
        }
    }
}

/// Writes the choice; gives its result, and what of it depends on parameters alone.
///
/// What is kept comes in float32. A graph in bfloat16 has it cast: behind the clamp, which is four times faster in float32.
fn choose(editor: &mut Editor, site: &Site, shift: ValueId, keep: ValueId, reduced: bool) -> (ValueId, Vec<ValueId>) {
    let mut shape = vec![Arg::Int(-1)];
    shape.resize(site.trailing + 1, Arg::Int(1));
    let shift = editor.op("entry_shift", "aten::reshape", &[Arg::Value(shift), Arg::List(shape)]);
    let activated = |editor: &mut Editor, name: &str, value: ValueId| match site.activation.is_none() {
        true => value,
        false => {
            let output = editor.value(name);
            site.activation.write(editor, output, value);
            output
        }
    };
    let cast = |editor: &mut Editor, name: &str, value: ValueId, dtype: Arg| match reduced {
        false => value,
        true => editor.op(name, "aten::to", &[Arg::Value(value), dtype]),
    };
    let keep = Arg::Value(keep);
    match site.other {
        // One constant a channel: both bounds of a masked channel are its constant, and others have none. (A clamp reads and
        // writes the activation once; `where` with a broadcast condition is five times slower.)
        None => {
            let constant = activated(editor, "entry_constant", shift);
            let constant = cast(editor, "entry_constant_exact", constant, FLOAT32);
            let mut bound = |name: &str, none: f64| {
                let args = [keep.clone(), Arg::Float(none), Arg::Value(constant)];
                editor.op(name, "aten::where", &args)
            };
            let low = bound("entry_low", f64::NEG_INFINITY);
            let high = bound("entry_high", f64::INFINITY);
            let bounds = [Arg::Value(site.output), Arg::Value(low), Arg::Value(high)];
            let entered = editor.op("entry", "aten::clamp", &bounds);
            (cast(editor, "entry_reduced", entered, BFLOAT16), vec![low, high])
        }
        Some(other) => {
            let sum = editor.op("entry_sum", "aten::add", &[Arg::Value(other), Arg::Value(shift)]);
            let masked = activated(editor, "entry_masked", sum);
            let kept = cast(editor, "entry_kept", site.output, BFLOAT16);
            let entered = editor.op("entry", "aten::where", &[keep, Arg::Value(kept), Arg::Value(masked)]);
            (entered, vec![shift])
        }
    }
}

/// `graph` is what is compiled; `model` the graph whose values sources name.
fn build(
    graph: &Graph,
    model: &Graph,
    depends: &[bool],
    given: &BTreeSet<ValueId>,
    entry: Option<Entry>,
    outputs: &[ValueId],
    device: Device,
) -> Result<Replay, RuntimeError> {
    let again = views(graph, entry.as_ref().map(|entry| entry.kept));
    let Some(inputs) = reads_of(graph, depends, &again, given, outputs) else {
        return Ok(Replay {
            program: None,
            inputs: Vec::new(),
            cell: None,
            entry: None,
            cost: 0,
        });
    };
    let by_name: BTreeMap<&str, ValueId> = model
        .value_ids()
        .map(|value| (model.value(value).name.as_str(), value))
        .collect();
    let in_model = |value: ValueId| {
        let name = &graph.value(value).name;
        by_name
            .get(name.as_str())
            .copied()
            .ok_or_else(|| RuntimeError::Leaf { name: name.clone() })
    };
    let keep = entry.as_ref().map(|entry| entry.keep);
    let entered = entry.as_ref().map(|entry| in_model(entry.kept)).transpose()?;
    let fixed = fixed(graph);
    let made: Vec<ValueId> = inputs.iter().copied().filter(|value| given.contains(value)).collect();
    let source = |&value: &ValueId| {
        if Some(value) == keep {
            return Ok::<_, RuntimeError>(Source::Keep);
        }
        if let Some(at) = made.iter().position(|&cell| cell == value) {
            return Ok(Source::Cell(at));
        }
        let value_in_model = in_model(value)?;
        Ok(if fixed[value.0 as usize] {
            Source::Fixed(value_in_model)
        } else {
            Source::Kept(value_in_model)
        })
    };
    let sources = inputs.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let program = Program::compile_on(graph, &inputs, outputs, device)?;
    let mut leaves: Vec<ValueId> = keep.into_iter().collect();
    leaves.extend(graph_leaves(graph, &leaves, &made));
    let cell_inputs = leaves.iter().map(|&leaf| match Some(leaf) == keep {
        true => Ok(Source::Keep),
        // A constant that the entry brings along is none of the model's.
        false => in_model(leaf).map(Source::Fixed),
    });
    let cell = CellProgram {
        inputs: cell_inputs.collect::<Result<Vec<_>, _>>()?,
        program: Program::compile_on(graph, &leaves, &made, device)?,
        trailing: entry.map_or(0, |entry| entry.trailing),
    };
    Ok(Replay {
        program: Some(program),
        cost: subset(graph, &inputs, outputs).nodes.len(),
        inputs: sources,
        entry: entered,
        cell: (!made.is_empty()).then_some(cell),
    })
}
