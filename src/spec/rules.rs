//! The rules between fields: what the schema cannot say.
//!
//! They read the tree, not the types, so that a rule still speaks where something else in the file is wrong; a value
//! that is missing or of the wrong type has been reported by `check` and makes its rules silent.

use super::diagnostic::{Diagnostic, Sources, Span};
use super::near::nearest;
use super::node::{Data, Entry, Node, item_path, key_path, shorten};
use super::steps::round_sparsity;
use super::words::LayerPattern;

/// The name of the file beside the steps' folders.
const RESERVED_ID: &str = "run.json";

/// The most numbers in one sample of an input: whatever a model makes of it, what it costs is still counted in 64 bits.
const MOST_ELEMENTS: f64 = (1_u64 << 40) as f64;

/// Steps that yield masks to other steps.
const YIELDS_MASKS: [&str; 1] = ["mask_fix"];

/// Applies every rule to the file.
pub(super) fn apply(root: &Node, sources: &Sources, faults: &mut Vec<Diagnostic>) {
    let mut rules = Rules { root, sources, faults };
    rules.model();
    rules.dataset();
    let steps = rules.steps();
    rules.ids(&steps);
    rules.references(&steps);
    for step in &steps {
        match step.kind {
            "sensitivity" => rules.sensitivity(step),
            "gate" => rules.gate(step, &steps),
            _ => {}
        }
        rules.cuts(step);
    }
}

/// A step as far as it can be read.
struct Step<'a> {
    kind: &'a str,
    id: &'a str,
    /// Where the id is written, or the kind that stands for it.
    id_span: Span,
    id_path: String,
    entry: &'a Entry,
    path: String,
}

struct Rules<'a, 'b> {
    root: &'a Node,
    sources: &'b Sources,
    faults: &'b mut Vec<Diagnostic>,
}

impl<'a> Rules<'a, '_> {
    fn report(&mut self, span: Span, path: &str, message: impl Into<String>, help: Option<&str>) {
        let mut fault = self.sources.diagnostic(span, path, message);
        fault.help = help.map(str::to_owned);
        self.faults.push(fault);
    }

    /// The nodes below a node, with their paths as written.
    fn below(&self, node: &'a Node, path: &str, keys: &[&str]) -> Option<(&'a Node, String, Span)> {
        let mut found = (node, path.to_owned(), node.span);
        for key in keys {
            let entry = found.0.entry(key)?;
            found = (&entry.value, key_path(&found.1, &entry.key), entry.span);
        }
        Some(found)
    }

    /// Inputs are written in exactly one of two ways.
    fn model(&mut self) {
        let Some((model, path, key)) = self.below(self.root, "", &["model"]) else {
            return;
        };
        match (model.entry("input"), model.entry("inputs")) {
            (None, None) if matches!(model.data, Data::Map(_)) => {
                let help = "for example: input: [3,224,224], or inputs: {ids: {shape: [128], dtype: int64}}";
                self.report(key, &path, "missing key `input`", Some(help));
            }
            (Some(_), Some(inputs)) => {
                let (span, below) = (inputs.span, key_path(&path, &inputs.key));
                let message = "`input` gives the one input of a model, and `inputs` all of them";
                self.report(span, &below, message, Some("keep one of them"));
            }
            _ => {}
        }
        let one = model
            .entry("input")
            .map(|entry| (&entry.value, key_path(&path, &entry.key)));
        let inputs = model.entry("inputs").into_iter();
        let several = inputs.flat_map(|inputs| {
            let path = key_path(&path, &inputs.key);
            let shapes = inputs.value.entries().iter();
            shapes.filter_map(move |input| {
                let shape = input.value.entry("shape")?;
                Some((&shape.value, key_path(&key_path(&path, &input.key), &shape.key)))
            })
        });
        for (shape, path) in one.into_iter().chain(several) {
            let extents: Vec<f64> = shape.items().iter().filter_map(Node::as_f64).collect();
            let elements: f64 = extents.iter().product();
            // What is wrong with one extent alone has been said.
            let usual = extents
                .iter()
                .all(|extent| (1.0..=f64::from(i32::MAX)).contains(extent));
            if usual && elements > MOST_ELEMENTS {
                let message =
                    format!("a sample of {elements:.3e} numbers is larger than any that could be computed with");
                self.report(shape.span, &path, message, None);
            }
        }
    }

    fn dataset(&mut self) {
        let means = self.below(self.root, "", &["dataset", "normalize", "mean"]);
        let stds = self.below(self.root, "", &["dataset", "normalize", "std"]);
        if let (Some((mean, ..)), Some((std, path, key))) = (means, stds) {
            let (means, stds) = (mean.items().len(), std.items().len());
            if means != stds && means > 0 && stds > 0 {
                let message =
                    format!("`mean` has {means} and `std` has {stds} numbers; each channel needs one of both");
                self.report(key, &path, message, None);
            }
        }
        for source in ["image_folder", "webdataset", "parquet"] {
            self.crop(&["dataset", "source", source]);
        }
        self.several();
        self.targets();
        self.arrays();
    }

    /// Where arrays are named, each input of the model has one.
    fn arrays(&mut self) {
        let named = self.below(self.root, "", &["model", "inputs"]);
        let inputs: Vec<&str> = match &named {
            Some((node, ..)) => node.entries().iter().map(|entry| entry.key.as_str()).collect(),
            None => Vec::new(),
        };
        if named.is_none() && self.below(self.root, "", &["model", "input"]).is_none() {
            return;
        }
        for source in ["npz", "npy", "safetensors"] {
            let Some((node, path, span)) = self.below(self.root, "", &["dataset", "source", source, "inputs"]) else {
                continue;
            };
            // The names with their places: those of a list, or the keys of a mapping.
            let listed = node.items().iter().enumerate();
            let listed = listed.filter_map(|(at, item)| Some((item.as_text()?, item.span, item_path(&path, at))));
            let keys = node.entries().iter();
            let keys = keys.map(|entry| (entry.key.as_str(), entry.span, key_path(&path, &entry.key)));
            let given: Vec<(&str, Span, String)> = listed.chain(keys).collect();
            if given.is_empty() {
                if node.as_text().is_some() && inputs.len() > 1 {
                    let message = format!("the model has {} inputs, but this is the array of one", inputs.len());
                    let help = format!("name one for each of `{}`", inputs.join("`, `"));
                    self.report(node.span, &path, message, Some(&help));
                }
                continue;
            }
            if named.is_none() {
                let help = "name its array alone, or write `model.inputs`";
                self.report(span, &path, "the model's one input has no name", Some(help));
                continue;
            }
            for (name, span, path) in &given {
                if !inputs.contains(name) {
                    let near = nearest(name, inputs.iter().copied()).map(str::to_owned);
                    let message = format!("`model.inputs` has no `{}`", shorten(name));
                    self.report(*span, path, message, None);
                    if let Some(fault) = self.faults.last_mut() {
                        fault.suggestion = near;
                    }
                }
            }
            let lacking: Vec<&str> = inputs
                .iter()
                .copied()
                .filter(|input| !given.iter().any(|(name, ..)| name == input))
                .collect();
            if !lacking.is_empty() && given.iter().all(|(name, ..)| inputs.contains(name)) {
                let message = format!("the model's input `{}` has no array", lacking.join("`, `"));
                self.report(span, &path, message, None);
            }
        }
    }

    /// A crop fits into what resizing leaves.
    fn crop(&mut self, source: &[&str]) {
        let resize = self.below(self.root, "", &[source, &["resize"]].concat());
        let crop = self.below(self.root, "", &[source, &["crop"]].concat());
        if let (Some((resize, ..)), Some((crop, path, _))) = (resize, crop)
            && let (Some(resize), Some(side)) = (resize.as_f64(), crop.as_f64())
            && side > resize
        {
            let message = format!("the crop of {side} does not fit into images resized to {resize}");
            self.report(crop.span, &path, message, Some("crop at most what `resize` leaves"));
        }
    }

    /// The metrics by their words, with their places.
    fn metrics(&self) -> Vec<(&'a str, Span, String)> {
        let one = self.below(self.root, "", &["metric"]);
        let one = one.map(|(node, path, _)| (node, path)).into_iter();
        let listed = self.below(self.root, "", &["metrics"]);
        let listed = listed.into_iter().flat_map(|(node, path, _)| {
            let items = node.items().iter().enumerate();
            items.map(move |(at, item)| (item, item_path(&path, at)))
        });
        let named = one
            .chain(listed)
            .filter_map(|(node, path)| match (node.as_text(), node.entries()) {
                (Some(name), _) => Some((name, node.span, path)),
                (None, [only]) => Some((only.meant.as_str(), node.span, path)),
                _ => None,
            });
        named.collect()
    }

    /// Metrics are written in one of two ways, and none twice: each names a file.
    fn several(&mut self) {
        if self.root.entry("metric").is_some()
            && let Some(metrics) = self.root.entry("metrics")
        {
            let (span, path) = (metrics.span, metrics.key.clone());
            let message = "`metric` is the one that is measured, and `metrics` are all of them";
            self.report(span, &path, message, Some("keep one of them"));
        }
        let Some((listed, path, _)) = self.below(self.root, "", &["metrics"]) else {
            return;
        };
        let items = listed.items();
        for (at, item) in items.iter().enumerate() {
            let earlier = &items[..at];
            let name = metric_name(item);
            if earlier.iter().any(|one| one.to_json() == item.to_json()) {
                self.report(
                    item.span,
                    &item_path(&path, at),
                    "is measured already",
                    Some("leave it out"),
                );
            } else if let Some(name) =
                name.filter(|name| earlier.iter().any(|one| metric_name(one).as_ref() == Some(name)))
            {
                let message = format!("another metric is called `{}` as well", shorten(&name));
                self.report(
                    item.span,
                    &item_path(&path, at),
                    message,
                    Some("give it a `name` of its own"),
                );
            }
        }
    }

    /// A metric that compares with targets needs them.
    fn targets(&mut self) {
        let metrics = self.metrics();
        let needs =
            |metric: &&(&str, Span, String)| !matches!(metric.0, "agreement" | "kl" | "torchscript" | "command");
        let Some(&(name, ..)) = metrics.iter().find(needs) else {
            return;
        };
        for (source, key) in [
            ("idx", "labels"),
            ("npz", "targets"),
            ("npy", "targets"),
            ("safetensors", "targets"),
            ("parquet", "label"),
        ] {
            if let Some((node, path, span)) = self.below(self.root, "", &["dataset", "source", source])
                && !node.entries().is_empty()
                && node.get(key).is_none()
            {
                let message = format!("missing key `{key}`: the metric `{}` needs it", shorten(name));
                self.report(
                    span,
                    &path,
                    message,
                    Some("only `{agreement: {}}` and `{kl: {}}` do without"),
                );
            }
        }
    }

    fn steps(&self) -> Vec<Step<'a>> {
        let Some((steps, path, _)) = self.below(self.root, "", &["steps"]) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (index, node) in steps.items().iter().enumerate() {
            let [entry] = node.entries() else { continue };
            let path = key_path(&item_path(&path, index), &entry.key);
            let (id, id_span, id_path) = match entry.value.entry("id") {
                Some(id) => match id.value.as_text() {
                    Some(text) => (text, id.value.span, key_path(&path, &id.key)),
                    None => continue,
                },
                None => (entry.meant.as_str(), entry.span, path.clone()),
            };
            found.push(Step {
                kind: &entry.meant,
                id,
                id_span,
                id_path,
                entry,
                path,
            });
        }
        found
    }

    fn ids(&mut self, steps: &[Step<'_>]) {
        for (index, step) in steps.iter().enumerate() {
            if step.id.eq_ignore_ascii_case(RESERVED_ID) {
                let message = format!("the id `{}` is taken by the file of that name", step.id);
                self.report(step.id_span, &step.id_path, message, Some("give the step another `id`"));
            }
            let same = |other: &&Step<'_>| other.id.eq_ignore_ascii_case(step.id);
            if let Some(earlier) = steps[..index].iter().find(same) {
                let line = self.sources.line(earlier.id_span);
                let id = shorten(step.id);
                let message = if earlier.id == step.id {
                    format!("the id `{id}` is taken by the step in line {line}")
                } else {
                    format!("the id `{id}` differs only in case from that of the step in line {line}")
                };
                self.report(
                    step.id_span,
                    &step.id_path,
                    message,
                    Some("give the step an `id` of its own"),
                );
            }
        }
    }

    fn references(&mut self, steps: &[Step<'_>]) {
        // Which step each step waits for, where that is a step that yields masks.
        let mut waits: Vec<Option<usize>> = vec![None; steps.len()];
        for (index, step) in steps.iter().enumerate() {
            let Some((node, path, span)) = self.reference(step) else {
                continue;
            };
            let Some(id) = node.as_text() else { continue };
            let target = steps.iter().position(|other| other.id == id);
            match target.map(|target| (target, steps[target].kind)) {
                None => {
                    let yielding = steps
                        .iter()
                        .enumerate()
                        .filter(|(other, step)| *other != index && YIELDS_MASKS.contains(&step.kind))
                        .map(|(_, step)| step.id);
                    let near = nearest(id, yielding).map(str::to_owned);
                    self.report(span, &path, format!("no step has the id `{}`", shorten(id)), None);
                    if let Some(fault) = self.faults.last_mut() {
                        fault.suggestion = near;
                    }
                }
                Some((target, _)) if target == index => {
                    self.report(span, &path, "a step cannot wait for itself", None);
                }
                Some((target, kind)) if YIELDS_MASKS.contains(&kind) => waits[index] = Some(target),
                Some((_, kind)) => {
                    let message = format!("the step `{}` is of kind `{kind}`, which yields no masks", shorten(id));
                    self.report(span, &path, message, Some("refer to a step of kind `mask_fix`"));
                }
            }
        }
        self.cycles(steps, &waits);
    }

    /// The step reference of a step, if it has one.
    fn reference<'s>(&self, step: &Step<'s>) -> Option<(&'s Node, String, Span)> {
        if step.kind != "mask_fix" {
            return None;
        }
        let masks = step.entry.value.entry("masks")?;
        let reference = masks.value.entry("step")?;
        let path = key_path(&key_path(&step.path, &masks.key), &reference.key);
        Some((&reference.value, path, reference.value.span))
    }

    /// Each step waits for at most one other, so following that from each step finds every cycle; it is reported at
    /// its first step.
    fn cycles(&mut self, steps: &[Step<'_>], waits: &[Option<usize>]) {
        // Where each step was last passed: the start of that walk.
        let mut passed: Vec<Option<usize>> = vec![None; steps.len()];
        for start in 0..steps.len() {
            let mut at = start;
            while passed[at].is_none() {
                passed[at] = Some(start);
                match waits[at] {
                    Some(next) => at = next,
                    None => break,
                }
            }
            if passed[at] != Some(start) || waits[at].is_none() {
                continue;
            }
            let mut cycle = vec![at];
            let mut next = waits[at];
            while let Some(step) = next.filter(|step| *step != at) {
                cycle.push(step);
                next = waits[step];
            }
            let first = cycle
                .iter()
                .enumerate()
                .min_by_key(|(_, step)| **step)
                .map_or(0, |(place, _)| place);
            cycle.rotate_left(first);
            cycle.push(cycle[0]);
            let names: Vec<String> = cycle.iter().map(|step| shorten(steps[*step].id)).collect();
            if let Some((_, path, span)) = self.reference(&steps[cycle[0]]) {
                let message = format!("steps wait for each other in a cycle: {}", names.join(" → "));
                self.report(span, &path, message, Some("let one of them read its masks from a file"));
            }
        }
    }

    /// How units are cut says something only where there are units.
    fn cuts(&mut self, step: &Step<'_>) {
        let body = &step.entry.value;
        let word = |key: &str| body.get(key).and_then(Node::as_text);
        let (message, help) = match step.kind {
            "sensitivity" if word("granularity") != Some("group") => (
                "means something for coupled groups only",
                "add `granularity: group`, or leave it out",
            ),
            "mask_fix" if word("compat") == Some("nni") => {
                ("means nothing to NNI", "use `compat: exact`, or leave it out")
            }
            _ => return,
        };
        for key in ["heads", "approximate"] {
            let Some(entry) = body.entry(key) else { continue };
            if entry.value.as_text() == Some("whole") || matches!(entry.value.data, Data::Bool(true)) {
                let message = format!("`{key}` {message}");
                self.report(entry.value.span, &key_path(&step.path, &entry.key), message, Some(help));
            }
        }
    }

    /// Bounds that some number can keep.
    fn ordered(&mut self, bounds: &Node, path: &str) {
        let number = |key| bounds.get(key).and_then(Node::as_f64);
        if let (Some(min), Some(max), Some(entry)) = (number("min"), number("max"), bounds.entry("max"))
            && min > max
        {
            let message = "`max` is less than `min`, so nothing can be within";
            self.report(entry.value.span, &key_path(path, &entry.key), message, None);
        }
    }

    /// A gate holds a sensitivity step, and holds something.
    fn gate(&mut self, step: &Step<'_>, steps: &[Step<'_>]) {
        let body = &step.entry.value;
        let parts = ["baseline", "layer", "drift"].map(|key| body.entry(key));
        if parts.iter().all(Option::is_none) && !matches!(body.data, Data::Broken | Data::Null) {
            let message = "a gate needs at least one of `baseline`, `layer` and `drift`";
            let help = Some("for example: baseline: {min: 0.9}");
            self.report(step.entry.span, &step.path, message, help);
        }
        let measuring: Vec<&Step<'_>> = steps.iter().filter(|other| other.kind == "sensitivity").collect();
        let held = match body.entry("step") {
            Some(entry) => {
                let Some(id) = entry.value.as_text() else { return };
                let held = measuring.iter().find(|other| other.id == id);
                if held.is_none() {
                    let near = nearest(id, measuring.iter().map(|step| step.id)).map(str::to_owned);
                    let message = format!("no sensitivity step has the id `{}`", shorten(id));
                    self.report(entry.value.span, &key_path(&step.path, &entry.key), message, None);
                    if let Some(fault) = self.faults.last_mut() {
                        fault.suggestion = near;
                    }
                }
                held
            }
            None => {
                let (message, help) = match measuring.as_slice() {
                    [] => (
                        "a gate holds the results of a sensitivity step, and there is none",
                        None,
                    ),
                    [_] => ("", None),
                    _ => (
                        "there are several sensitivity steps to hold",
                        Some("name one: `step: ID`"),
                    ),
                };
                if !message.is_empty() {
                    self.report(step.entry.span, &step.path, message, help);
                }
                measuring.first()
            }
        };
        if let Some(bounds) = parts[0].filter(|entry| entry.value.entries().is_empty()) {
            let path = key_path(&step.path, &bounds.key);
            self.report(
                bounds.span,
                &path,
                "needs `min` or `max`",
                Some("for example: baseline: {min: 0.9}"),
            );
        }
        if let Some(bounds) = parts[0] {
            self.ordered(&bounds.value, &key_path(&step.path, &bounds.key));
        }
        let Some(layers) = parts[1] else { return };
        let path = key_path(&step.path, &layers.key);
        if layers.value.entries().is_empty() && matches!(layers.value.data, Data::Map(_)) {
            let help = Some("for example: layer: {conv1: {sparsity: 0.5, max_drop: 0.05}}");
            self.report(layers.span, &path, "names no layer", help);
        }
        let known = held.and_then(|held| held.entry.value.get("sparsities"));
        let known: Option<Vec<f64>> = known.map(|known| {
            known
                .items()
                .iter()
                .filter_map(Node::as_f64)
                .map(round_sparsity)
                .collect()
        });
        let known = known.unwrap_or_else(super::steps::default_sparsities);
        for entry in layers.value.entries() {
            let path = key_path(&path, &entry.key);
            if let Err(error) = entry.key.parse::<LayerPattern>() {
                self.report(entry.span, &path, error.to_string(), None);
            }
            self.ordered(&entry.value, &path);
            let bounds = ["max_drop", "min", "max"];
            if bounds.iter().all(|key| entry.value.get(key).is_none()) && matches!(entry.value.data, Data::Map(_)) {
                self.report(entry.span, &path, "needs `max_drop`, `min` or `max`", None);
            }
            let Some(sparsity) = entry.value.entry("sparsity") else {
                continue;
            };
            if let Some(wanted) = sparsity.value.as_f64().filter(|wanted| *wanted > 0.0 && *wanted < 1.0)
                && held.is_some()
                && !known.contains(&round_sparsity(wanted))
            {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                let message = format!("the step measures no sparsity {wanted}, but {}", known.join(", "));
                self.report(sparsity.value.span, &key_path(&path, &sparsity.key), message, None);
            }
        }
    }

    fn sensitivity(&mut self, step: &Step<'_>) {
        for needed in ["dataset", "metric"] {
            let listed = needed == "metric" && self.root.get("metrics").is_some();
            if self.root.get(needed).is_none() && !listed {
                let message = format!("a sensitivity step measures, so the file needs `{needed}`");
                self.report(step.entry.span, &step.path, message, None);
            }
        }
        let body = &step.entry.value;
        if let Some(entry) = body.entry("sparsities") {
            let path = key_path(&step.path, &entry.key);
            for (index, item) in entry.value.items().iter().enumerate() {
                let Some(sparsity) = item.as_f64().filter(|s| *s > 0.0 && *s < 1.0) else {
                    continue;
                };
                let rounded = round_sparsity(sparsity);
                if rounded <= 0.0 || rounded >= 1.0 {
                    let message = format!("is {rounded} when rounded to hundredths; must be above 0 and below 1");
                    let help = Some("sparsities are rounded to hundredths: 0.01 is the least, 0.99 the most");
                    self.report(item.span, &item_path(&path, index), message, help);
                }
            }
        }
        let word = |key: &str| body.get(key).and_then(Node::as_text);
        if word("granularity") == Some("group") {
            let clash = |key: &str| {
                body.entry(key)
                    .map(|entry| (entry.value.span, key_path(&step.path, &entry.key)))
            };
            if word("compat") == Some("nni")
                && let Some((span, path)) = clash("compat")
            {
                let message = "NNI has no `granularity: group`";
                self.report(
                    span,
                    &path,
                    message,
                    Some("use `compat: exact`, or `granularity: layer`"),
                );
            }
            if let Some(method @ ("level" | "fine_grained")) = word("method")
                && let Some((span, path)) = clash("method")
            {
                let message = format!("`{method}` masks single weights, and `granularity: group` whole units");
                self.report(span, &path, message, Some("use `l1` or `l2`, or `granularity: layer`"));
            }
        }
    }
}

/// What outputs call a metric, where the file tells.
fn metric_name(metric: &Node) -> Option<String> {
    let entry = match (metric.as_text(), metric.entries()) {
        (Some(name), _) => return Some(name.to_owned()),
        (None, [only]) => only,
        _ => return None,
    };
    let named = entry.value.get("name").and_then(Node::as_text);
    match (entry.meant.as_str(), named) {
        ("top_k", _) => Some(format!("top_{}", entry.value.as_f64()?)),
        ("command", None) => None,
        (_, Some(name)) => Some(name.to_owned()),
        (kind, None) => Some(kind.to_owned()),
    }
}
