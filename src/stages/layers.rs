//! Which layers a step means: names, globs and the default.

use crate::graph::Graph;
use crate::spec::{LayerPattern, nearest};
use crate::topology::{Layer, LayerKind, Walked, all_layers, layers};

/// A pattern that means no layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// Which of the patterns.
    pub index: usize,
    pub message: String,
    pub suggestion: Option<String>,
    /// What there is instead.
    pub help: Option<String>,
}

/// Layers with filters in the order in which their modules were registered.
pub fn registered(graph: &Graph) -> Vec<Layer> {
    let mut found = layers(graph);
    found.retain(|layer| layer.kind != LayerKind::Embedding);
    found.sort_by_key(|layer| layer.weight);
    found
}

/// The layers that patterns mean; without patterns every convolution. Patterns add up, and order stays registration's.
pub fn choose(graph: &Graph, patterns: Option<&[LayerPattern]>) -> Result<Vec<Layer>, Vec<Unmatched>> {
    let mut layers = registered(graph);
    let Some(patterns) = patterns else {
        layers.retain(Layer::is_convolution);
        return Ok(layers);
    };
    let mut wanted = vec![false; layers.len()];
    let mut unmatched = Vec::new();
    for (index, pattern) in patterns.iter().enumerate() {
        let matches = matcher(pattern);
        let mut any = false;
        for (layer, wanted) in layers.iter().zip(&mut wanted) {
            if matches(&layer.name) {
                (*wanted, any) = (true, true);
            }
        }
        if !any {
            unmatched.push(miss(graph, &layers, index, pattern));
        }
    }
    if !unmatched.is_empty() {
        return Err(unmatched);
    }
    let mut wanted = wanted.into_iter();
    layers.retain(|_| wanted.next().unwrap_or_default());
    Ok(layers)
}

/// The layer of that name, embeddings and those of computed weights included; else what to write instead.
pub fn named(walked: &Walked, name: &str) -> Result<Layer, String> {
    const NEAREST: usize = 3;
    let (graph, all) = (walked.graph, all_layers(walked));
    if let Some(layer) = all.iter().find(|layer| layer.name == name) {
        return Ok(layer.clone());
    }
    let mut names: Vec<&str> = all.iter().map(|layer| layer.name.as_str()).collect();
    let inside: Vec<&str> = names
        .iter()
        .copied()
        .filter(|other| other.starts_with(&format!("{name}.")))
        .collect();
    if !inside.is_empty() {
        return Err(format!(
            "`{name}` is a module, not a layer; name one of {}",
            listed(&inside)
        ));
    }
    if let Some(module) = graph
        .modules
        .iter()
        .find(|module| module.path == name && !name.is_empty())
    {
        let class = &module.class;
        return Err(format!(
            "`{name}` is a {class}; layers are convolutions, linear layers and embeddings"
        ));
    }
    let mut near = Vec::new();
    while let Some(next) = nearest(name, names.iter().copied()).filter(|_| near.len() < NEAREST) {
        names.retain(|other| *other != next);
        near.push(format!("`{next}`"));
    }
    Err(match near.split_last() {
        None => format!("no layer is called `{name}`; layers are {}", listed(&names)),
        Some((last, [])) => format!("no layer is called `{name}`; did you mean {last}?"),
        Some((last, rest)) => format!(
            "no layer is called `{name}`; did you mean {} or {last}?",
            rest.join(", ")
        ),
    })
}

/// A name matches itself, whatever characters it has; else the pattern is a glob.
pub fn matcher(pattern: &str) -> impl Fn(&str) -> bool {
    let glob = globset::Glob::new(pattern).map(|glob| glob.compile_matcher()).ok();
    let pattern = pattern.to_owned();
    move |name| name == pattern || glob.as_ref().is_some_and(|glob| glob.is_match(name))
}

fn miss(graph: &Graph, layers: &[Layer], index: usize, pattern: &str) -> Unmatched {
    let module = graph
        .modules
        .iter()
        .find(|module| module.path == pattern && !pattern.is_empty());
    let inside = format!("{pattern}.*");
    let has_layers = layers
        .iter()
        .any(|layer| layer.name.starts_with(&inside[..inside.len() - 1]));
    let mut help = None;
    let (message, suggestion) = match module {
        Some(_) if has_layers => (
            format!("`{pattern}` is a module that holds layers, not a layer"),
            Some(inside),
        ),
        Some(module) => (
            format!(
                "`{pattern}` is a {}; only convolutions and linear layers have filters to mask",
                module.class
            ),
            None,
        ),
        None => {
            let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
            let suggestion = nearest(pattern, names.iter().copied()).map(str::to_owned);
            if suggestion.is_none() {
                help = Some(format!("layers are {}", listed(&names)));
            }
            (format!("no layer is called or matches `{pattern}`"), suggestion)
        }
    };
    Unmatched {
        index,
        message,
        suggestion,
        help,
    }
}

/// The first few of many names.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}
