//! `matrix`: one file, several pipelines, one for each combination of the values.

use super::KEYS;
use super::extends::take;
use crate::spec::diagnostic::{Diagnostic, Sources};
use crate::spec::node::{Data, Entry, Node, key_path, shorten};
use crate::spec::set;

/// The most pipelines of one file.
const MOST: usize = 1000;

/// The longest part of a name that a value gives; longer ones are counted instead.
const LONGEST_PART: usize = 40;

/// Takes `matrix` out of the tree and gives one tree for each combination of its values, the first axis slowest. Without
/// a matrix that is the tree itself.
pub(crate) fn expand(mut root: Node, sources: &Sources, faults: &mut Vec<Diagnostic>) -> Vec<Node> {
    let Some(matrix) = take(&mut root, "matrix") else {
        return vec![root];
    };
    let Data::Map(axes) = &matrix.value.data else {
        if !matches!(matrix.value.data, Data::Broken) {
            let message = format!("expected lists of values by key, found {}", matrix.value.describe());
            let fault = sources.diagnostic(matrix.value.span, "matrix", message);
            faults.push(fault.with_help("for example: matrix: {seed: [0, 1]}"));
        }
        return vec![root];
    };
    let before = faults.len();
    for axis in axes {
        faults.extend(fault(axis, sources));
    }
    let combinations = axes
        .iter()
        .try_fold(1usize, |count, axis| count.checked_mul(axis.value.items().len()));
    if combinations.is_none_or(|count| count > MOST) {
        let message = format!("the matrix has more than {MOST} combinations");
        faults.push(sources.diagnostic(matrix.span, "matrix", message));
    }
    if faults.len() > before {
        return vec![root];
    }
    let names: Vec<Vec<String>> = axes.iter().map(|axis| parts(axis.value.items())).collect();
    let mut members = vec![(root, String::new())];
    for (axis, names) in axes.iter().zip(&names) {
        let mut next = Vec::new();
        for (member, name) in members {
            for (value, part) in axis.value.items().iter().zip(names) {
                let mut member = member.clone();
                if let Err(more) = set::put(&axis.key, axis.span, value.clone(), &mut member, sources) {
                    // The same path is wrong in every combination.
                    if !faults.contains(&more) {
                        faults.push(*more);
                    }
                }
                next.push((member, format!("{name}-{part}")));
            }
        }
        members = next;
    }
    members
        .into_iter()
        .map(|(mut member, suffix)| {
            if let Data::Map(entries) = &mut member.data
                && let Some(entry) = entries.iter_mut().find(|entry| entry.key == "name")
                && let Data::Text(name) | Data::Given(name) = &mut entry.value.data
            {
                name.push_str(&suffix);
            }
            member
        })
        .collect()
}

/// What is wrong with an axis.
fn fault(axis: &Entry, sources: &Sources) -> Option<Diagnostic> {
    let path = key_path("matrix", &axis.key);
    let first = axis.key.split(['.', '[']).next().unwrap_or_default();
    if ["name", "version", "schedule"].contains(&first) || KEYS.contains(&first) {
        let message = format!("`{}` cannot vary", shorten(&axis.key));
        let fault = sources.diagnostic(axis.span, path, message);
        return Some(fault.with_help("each combination is named by its values already"));
    }
    match &axis.value.data {
        Data::List(items) if !items.is_empty() => None,
        Data::Broken => None,
        _ => {
            let message = match &axis.value.data {
                Data::List(_) => "must not be empty".to_owned(),
                _ => format!("expected a list of values, found {}", axis.value.describe()),
            };
            let fault = sources.diagnostic(axis.value.span, path, message);
            Some(fault.with_help(format!("for example: {}: [{}]", axis.key, example(&axis.value))))
        }
    }
}

fn example(node: &Node) -> String {
    match &node.data {
        Data::Text(text) | Data::Number(_, text) => shorten(text),
        _ => "…".to_owned(),
    }
}

/// How the values of an axis are called in names: as they are written; a path by its last part. Where that is too long,
/// or two are called alike, values are counted from 1.
fn parts(values: &[Node]) -> Vec<String> {
    let plain: Vec<String> = values.iter().map(part).collect();
    let usable = |part: &String| !part.is_empty() && part.len() <= LONGEST_PART;
    let distinct = |index: usize| !plain[..index].contains(&plain[index]);
    match plain.iter().all(usable) && (0..plain.len()).all(distinct) {
        true => plain,
        false => (1..=values.len()).map(|number| number.to_string()).collect(),
    }
}

fn part(value: &Node) -> String {
    let text = match &value.data {
        Data::Text(text) | Data::Number(_, text) | Data::Given(text) => text
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned(),
        _ => value.to_json().to_string(),
    };
    let kept = text.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
        _ => '-',
    });
    let kept: String = kept.collect();
    let mut short = String::new();
    for part in kept.split('-').filter(|part| !part.is_empty()) {
        if !short.is_empty() {
            short.push('-');
        }
        short.push_str(part);
    }
    short
}
