//! What goes into the model, the data and the metrics: rules between the sections at the top of the file.

use super::Rules;
use crate::spec::diagnostic::Span;
use crate::spec::near::nearest;
use crate::spec::node::{Data, Node, item_path, key_path, shorten};

/// The most numbers in one sample of an input: whatever a model makes of it, what it costs is still counted in 64 bits.
const MOST_ELEMENTS: f64 = (1_u64 << 40) as f64;

impl<'a> Rules<'a, '_> {
    /// Inputs are written in exactly one of two ways.
    pub(super) fn model(&mut self) {
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
        self.samples_of_inputs(model, &path);
    }

    /// Samples that could be computed with.
    fn samples_of_inputs(&mut self, model: &Node, path: &str) {
        let one = model.entry("input");
        let one = one.map(|entry| (&entry.value, key_path(path, &entry.key)));
        let inputs = model.entry("inputs").into_iter();
        let several = inputs.flat_map(|inputs| {
            let path = key_path(path, &inputs.key);
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

    pub(super) fn dataset(&mut self) {
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
