//! What a model was made of, remembered so that a later plan can say what changed in it.
//!
//! One outline a model file: a digest of what the file says of each parameter (its checksum: no weight is read), and one
//! of the graph. It decides nothing: without it a plan says less.

use crate::graph::{Graph, print_headers};
use crate::store::{Document, Key, Store};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Raised whenever the same model gives another outline.
const ALGORITHM: u32 = 2;

/// Names that are listed before the rest is counted.
const LISTED: usize = 3;

fn document(model: &str) -> Document {
    Document::new()
        .with("outline", "weights")
        .with("algorithm", ALGORITHM)
        .with("model", model)
}

/// Digests of a model's parameters and of its graph.
fn outline(graph: &Graph) -> Value {
    let short = |key: Key| key.to_string()[..16].to_owned();
    let params = graph.params.iter().map(|param| {
        let mark = param.tensor.mark();
        (param.name().to_owned(), Value::from(short(Key::of(mark.as_bytes()))))
    });
    let params: Map<String, Value> = params.collect();
    json!({"params": params, "graph": short(Key::of(print_headers(graph).as_bytes()))})
}

/// Remembers a model of a digest.
pub fn remember(store: &Store, model: Key, graph: &Graph) {
    let document = document(&model.to_string());
    if store.outline(&document).is_some() {
        return;
    }
    if let Err(error) = store.put_outline(&document, &outline(graph)) {
        tracing::debug!("the model's outline is not remembered: {error}");
    }
}

/// What changed between a model that is remembered and this one.
pub fn changes(store: &Store, before: &str, graph: &Graph) -> Option<Vec<String>> {
    let earlier = store.outline(&document(before))?;
    let now = outline(graph);
    let (Value::Object(old), Value::Object(new)) = (&earlier["params"], &now["params"]) else {
        return None;
    };
    let layer = |name: &str| name.rsplit_once('.').map_or(name, |(layer, _)| layer).to_owned();
    let listed = |names: BTreeSet<String>| {
        let shown: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
        match names.len().checked_sub(LISTED) {
            Some(more) if more > 0 => format!("{} and {more} more", shown.join(", ")),
            _ => shown.join(", "),
        }
    };
    let both = old.keys().filter(|name| new.contains_key(*name));
    let changed: BTreeSet<String> = both
        .filter(|name| old[*name] != new[*name])
        .map(|name| layer(name))
        .collect();
    let gone: BTreeSet<String> = old.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
    let added: BTreeSet<String> = new.keys().filter(|name| !old.contains_key(*name)).cloned().collect();
    let mut told = Vec::new();
    if !changed.is_empty() {
        told.push(format!("model weights {} changed", listed(changed)));
    }
    if !added.is_empty() {
        told.push(format!("model parameters added: {}", listed(added)));
    }
    if !gone.is_empty() {
        told.push(format!("model parameters gone: {}", listed(gone)));
    }
    if told.is_empty() {
        told.push(match earlier["graph"] == now["graph"] {
            true => "the model file has other bytes, but the same weights and operators".to_owned(),
            false => "the model's operators changed, its weights did not".to_owned(),
        });
    }
    Some(told)
}
