//! The laws of the house: who may use whom, that every module says what it owns, and that rooms stay small.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each module may use, besides itself. Dependencies go down only.
const MAY_USE: &[(&str, &[&str])] = &[
    ("tensor", &[]),
    ("graph", &["tensor"]),
    ("labels", &["graph", "tensor"]),
    ("ops", &["labels", "graph", "tensor"]),
    ("topology", &["ops", "labels", "graph", "tensor"]),
    ("formats", &["tensor"]),
    ("readers", &["formats", "graph", "tensor"]),
    ("mask", &["topology", "ops", "labels", "graph", "formats", "tensor"]),
    ("prune", &["mask", "topology", "ops", "labels", "graph", "tensor"]),
    ("lower", &["ops", "labels", "graph", "tensor"]),
    ("runtime", &["graph", "tensor"]),
    ("dataset", &["formats", "tensor"]),
    ("outcomes", &[]),
    ("metric", &["outcomes", "dataset", "graph", "tensor"]),
    ("plugin", &["metric", "dataset", "formats", "tensor"]),
    ("confidence", &[]),
    (
        "sensitivity",
        &[
            "lower",
            "runtime",
            "dataset",
            "metric",
            "confidence",
            "prune",
            "mask",
            "topology",
            "ops",
            "labels",
            "graph",
            "tensor",
        ],
    ),
    ("spec", &[]),
    ("store", &[]),
    ("pipeline", &["store", "spec"]),
    ("history", &["outcomes", "pipeline", "store", "spec"]),
    ("schedule", &["spec"]),
    (
        "stages",
        &[
            "history",
            "pipeline",
            "store",
            "spec",
            "sensitivity",
            "prune",
            "mask",
            "topology",
            "ops",
            "labels",
            "graph",
            "readers",
            "formats",
            "lower",
            "runtime",
            "dataset",
            "metric",
            "plugin",
            "confidence",
            "outcomes",
            "tensor",
        ],
    ),
    ("report", &["stages", "history", "pipeline", "store", "spec"]),
    (
        "cli",
        &[
            "report", "stages", "history", "schedule", "plugin", "pipeline", "store", "spec",
        ],
    ),
];

/// Lines of one file beyond which it is two.
const ROOM: usize = 620;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
            .expect("src is readable")
            .map(|entry| entry.expect("entry").path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

fn module(path: &Path) -> Option<String> {
    let inside = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .ok()?;
    let first = inside
        .components()
        .next()?
        .as_os_str()
        .to_str()?
        .trim_end_matches(".rs")
        .to_owned();
    (!matches!(first.as_str(), "lib" | "main")).then_some(first)
}

/// The modules that a source names after `crate::`, tests left out: they may reach for what they need.
fn used(text: &str) -> Vec<&str> {
    let product = text.split("#[cfg(test)]").next().unwrap_or(text);
    let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found: Vec<&str> = code
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .next()
                .unwrap_or("")
        })
        .filter(|name| !name.is_empty())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn dependencies_go_down_only() {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let Some(module) = module(&path) else { continue };
        let Some(allowed) = may_use.get(module.as_str()) else {
            faults.push(format!("{}: module {module} is not in the table", path.display()));
            continue;
        };
        let names = if path.ends_with("tests.rs") {
            Vec::new()
        } else {
            used(&text)
        };
        for name in names {
            if name != module && !allowed.contains(&name) && may_use.contains_key(name) {
                faults.push(format!("{}: {module} may not use {name}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_runtime_knows_tch() {
    for (path, text) in sources() {
        if module(&path).as_deref() != Some("runtime") {
            let uses = ["use tch", " tch::", "(tch::", "<tch::", "&tch::"]
                .iter()
                .any(|form| text.contains(form));
            assert!(!uses, "{} uses tch", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_stays_small() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//!"),
            "{} does not open with its contract",
            path.display()
        );
        let lines = text.lines().count();
        assert!(
            lines <= ROOM || path.ends_with("tests.rs"),
            "{} has {lines} lines: two rooms?",
            path.display()
        );
        assert!(!text.contains("use crate::*"), "{} imports everything", path.display());
    }
}
