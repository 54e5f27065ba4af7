//! What one step says: how units are cut, what is measured, and what a gate holds.

use super::{Rules, Step};
use crate::spec::near::nearest;
use crate::spec::node::{Data, Node, item_path, key_path, shorten};
use crate::spec::steps::{default_sparsities, round_sparsity};
use crate::spec::words::LayerPattern;

impl Rules<'_, '_> {
    /// How units are cut says something only where there are units.
    pub(super) fn cuts(&mut self, step: &Step<'_>) {
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
    pub(super) fn gate(&mut self, step: &Step<'_>, steps: &[Step<'_>]) {
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
        let known = known.unwrap_or_else(default_sparsities);
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

    pub(super) fn sensitivity(&mut self, step: &Step<'_>) {
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
