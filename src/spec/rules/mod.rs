//! The rules between fields: what the schema cannot say.
//!
//! They read the tree, not the types, so that a rule still speaks where something else in the file is wrong; a value
//! that is missing or of the wrong type has been reported by `check` and makes its rules silent.
//!
//! Owns the walk over the file and what the rules have in common; each kind of rule is in a file of its own.

mod data;
mod references;
mod steps;

use super::diagnostic::{Diagnostic, Sources, Span};
use super::node::{Entry, Node, item_path, key_path, shorten};

/// The name of the file beside the steps' folders.
const RESERVED_ID: &str = "run.json";

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
}
