//! `extends: base.yaml`: the file's tree laid over that of another file.
//!
//! Mappings are merged key by key, lists and words are replaced, and a key set to nothing is taken out. Where exactly one
//! of several keys may stand (a source), another one replaces the whole. Values keep their places, so an error points
//! into the file that wrote the value.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::Outside;
use crate::spec::Reading;
use crate::spec::bounds::{choices, resolve as follow};
use crate::spec::node::{Data, Entry, Node};

/// The longest chain of files.
const LONGEST: usize = 16;

/// Takes `extends` out of a file's tree and lays the tree over the file that it names, which may extend another.
///
/// `chain` holds the files on the way here, the innermost last: paths as the user would write them.
pub(crate) fn resolve(
    mut root: Node,
    chain: &[PathBuf],
    schema: &Value,
    outside: &dyn Outside,
    reading: &mut Reading,
) -> Node {
    let Some(entry) = take(&mut root, "extends") else {
        return root;
    };
    let span = entry.value.span;
    let report = |reading: &mut Reading, message: String, help: &str| {
        let mut fault = reading.sources.diagnostic(span, "extends", message);
        fault.help = (!help.is_empty()).then(|| help.to_owned());
        reading.faults.push(fault);
        reading.partial = true;
    };
    let written = match &entry.value.data {
        Data::Text(text) if !text.is_empty() && !text.contains('\0') => text.clone(),
        Data::Broken => return root,
        _ => {
            let message = format!("expected the path of a pipeline file, found {}", entry.value.describe());
            report(reading, message, "for example: extends: base.yaml");
            return root;
        }
    };
    let here = chain.last().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    let path = plain(&here.join(&written));
    if chain.iter().any(|file| plain(file) == path) || chain.len() >= LONGEST {
        let mut names: Vec<String> = chain.iter().map(|file| file.display().to_string()).collect();
        names.push(path.display().to_string());
        let message = match chain.len() >= LONGEST {
            true => format!("more than {LONGEST} files extend each other"),
            false => format!("files extend each other in a cycle: {}", names.join(" → ")),
        };
        report(reading, message, "");
        return root;
    }
    let content = match outside.file(&path) {
        Ok(content) => content,
        Err(error) => {
            let message = match error.kind() {
                std::io::ErrorKind::NotFound => format!("there is no file {}", path.display()),
                _ => format!("cannot read {}: {error}", path.display()),
            };
            report(reading, message, "");
            return root;
        }
    };
    let first = chain.first().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    let folder = path.parent().map(|folder| relative(folder, first)).unwrap_or_default();
    let Some(base) = reading.tree(&content, &path, folder) else {
        reading.partial = true;
        return root;
    };
    if !matches!(base.data, Data::Map(_)) {
        let message = format!("a pipeline file is a mapping, found {}", base.describe());
        reading.faults.push(reading.sources.diagnostic(base.span, "", message));
        reading.partial = true;
        return root;
    }
    let chain = [chain, &[path]].concat();
    let base = resolve(base, &chain, schema, outside, reading);
    merge(base, root, Some(schema), schema)
}

/// Takes an entry out of a mapping.
pub(super) fn take(node: &mut Node, key: &str) -> Option<Entry> {
    let Data::Map(entries) = &mut node.data else {
        return None;
    };
    let index = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(index))
}

/// Lays one value over another. `schema` is what may stand here, as far as that is known.
fn merge(base: Node, over: Node, schema: Option<&Value>, root: &Value) -> Node {
    let Node { span, data } = over;
    let (mut below, above) = match (base.data, data) {
        (Data::Map(below), Data::Map(above)) => (below, above),
        (_, data) => return Node { span, data },
    };
    let one_of = schema.is_some_and(|schema| !choices(root, schema).tagged.is_empty());
    if one_of
        && above
            .iter()
            .any(|entry| below.iter().all(|other| other.key != entry.key))
    {
        return Node {
            span,
            data: Data::Map(above),
        };
    }
    // What this file writes comes first: it is what an error about the whole points at.
    let mut merged = Vec::new();
    for entry in above {
        let nothing = matches!(entry.value.data, Data::Null);
        let Some(index) = below.iter().position(|other| other.key == entry.key) else {
            // What the base has not either is as good as taken out; a word that is no key stays, to be reported.
            let known = schema.is_some_and(|schema| property(root, schema, &entry.key).is_some());
            if !(nothing && known) {
                merged.push(entry);
            }
            continue;
        };
        let other = below.remove(index);
        if !nothing {
            let schema = schema.and_then(|schema| property(root, schema, &entry.key));
            let value = merge(other.value, entry.value, schema, root);
            merged.push(Entry { value, ..entry });
        }
    }
    merged.append(&mut below);
    Node {
        span,
        data: Data::Map(merged),
    }
}

/// The schema of a key of a mapping.
fn property<'a>(root: &'a Value, schema: &'a Value, key: &str) -> Option<&'a Value> {
    let choices = choices(root, schema);
    let tagged = choices.tagged.iter().find(|(name, _)| *name == key);
    let plain = || {
        let mut plain = choices.plain.iter().map(|plain| follow(root, plain).1);
        plain.find_map(|plain| plain.get("properties")?.get(key))
    };
    tagged.map(|(_, schema)| *schema).or_else(plain)
}

/// A path without `.` and, where that is a matter of words, `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// `folder` as seen from `from`; both as the user would write them.
fn relative(folder: &Path, from: &Path) -> PathBuf {
    let (folder, from) = (plain(folder), plain(from));
    if folder.is_absolute() != from.is_absolute() || from.components().any(|part| part == Component::ParentDir) {
        // Seen from a folder above the current one, only the whole path is certain.
        return match folder == from {
            true => PathBuf::new(),
            false => std::path::absolute(&folder).unwrap_or(folder),
        };
    }
    let shared = folder
        .components()
        .zip(from.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(folder.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_seen_from_the_file() {
        let seen = |folder: &str, from: &str| relative(Path::new(folder), Path::new(from)).display().to_string();
        assert_eq!(seen("a", "a"), "");
        assert_eq!(seen("a/b", "a"), "b");
        assert_eq!(seen("shared", "a/b"), "../../shared");
        assert_eq!(seen("../x", ""), "../x");
        assert_eq!(seen("/x/y", "/x/z"), "../y");
        assert_eq!(seen("../x", "../x"), "");
        assert!(Path::new(&seen("../y", "../x")).is_absolute());
        assert_eq!(plain(Path::new("a/./b/../c")), Path::new("a/c"));
    }
}
