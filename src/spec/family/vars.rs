//! `vars`: variables, and `${name}` in strings.
//!
//! Only what the file (or one that it extends) declares is a variable; the environment is asked for no other name. A
//! string that is nothing but one variable takes the variable's value as if it had been written there, so that a number
//! stays a number where one is expected.

use std::collections::BTreeMap;

use super::Outside;
use super::extends::take;
use crate::spec::diagnostic::{Diagnostic, Sources};
use crate::spec::near::nearest;
use crate::spec::node::{Data, Entry, Node, item_path, key_path, shorten};

/// A declared variable: its text, or nothing where that has been reported.
type Variables = BTreeMap<String, Option<String>>;

/// Takes `vars` out of the tree and puts the values in their places.
pub(crate) fn substitute(root: &mut Node, outside: &dyn Outside, sources: &Sources, faults: &mut Vec<Diagnostic>) {
    let mut variables = Variables::new();
    if let Some(declared) = take(root, "vars") {
        match &declared.value.data {
            Data::Map(entries) => {
                for entry in entries {
                    let value = declare(entry, outside, sources, faults);
                    variables.insert(entry.key.clone(), value);
                }
            }
            Data::Broken => {}
            _ => {
                let message = format!("expected a mapping of variables, found {}", declared.value.describe());
                let fault = sources.diagnostic(declared.value.span, "vars", message);
                faults.push(fault.with_help("for example: vars: {data: {env: DATA_DIR, default: /data}}"));
            }
        }
    }
    let mut filling = Filling {
        variables: &variables,
        sources,
        faults,
    };
    filling.node(root, "");
}

/// The value of a declared variable.
fn declare(entry: &Entry, outside: &dyn Outside, sources: &Sources, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let path = key_path("vars", &entry.key);
    let mut report = |span, path: &str, message: String, near: Option<&str>, help: &str| {
        let mut fault = sources.diagnostic(span, path, message).with_suggestion(near);
        fault.help = (!help.is_empty()).then(|| help.to_owned());
        faults.push(fault);
        None
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if entry.key.is_empty() || !entry.key.chars().all(word) {
        let message = format!("`{}` is no name of a variable", shorten(&entry.key));
        return report(
            entry.span,
            &path,
            message,
            None,
            "names hold letters, digits, `_` and `-`",
        );
    }
    let parts = match &entry.value.data {
        Data::Map(parts) => parts,
        Data::Broken => return None,
        _ => {
            return scalar(&entry.value).or_else(|| {
                let message = format!("expected a value or `{{env: NAME}}`, found {}", entry.value.describe());
                report(entry.value.span, &path, message, None, "")
            });
        }
    };
    let mut whole = true;
    for part in parts
        .iter()
        .filter(|part| !["env", "default"].contains(&part.key.as_str()))
    {
        let message = format!("unknown key `{}`", shorten(&part.key));
        let near = nearest(&part.key, ["env", "default"]);
        let help = if near.is_none() {
            "expected `env` or `default`"
        } else {
            ""
        };
        report(part.span, &key_path(&path, &part.key), message, near, help);
        whole = false;
    }
    let default = match entry.value.get("default") {
        None => None,
        Some(node) => Some(scalar(node).or_else(|| {
            let message = format!("expected a plain value, found {}", node.describe());
            report(node.span, &key_path(&path, "default"), message, None, "")
        })?),
    };
    let Some(name) = entry.value.get("env") else {
        return match whole {
            true => report(
                entry.span,
                &path,
                "missing key `env`".to_owned(),
                None,
                "for example: env: DATA_DIR",
            ),
            false => None,
        };
    };
    let Some(text) = name
        .as_text()
        .filter(|text| !text.is_empty() && !text.contains(['=', '\0']))
    else {
        let message = format!("expected the name of a variable, found {}", name.describe());
        return report(name.span, &key_path(&path, "env"), message, None, "");
    };
    match (outside.variable(text), default) {
        (Ok(value), _) => Some(value),
        (Err(_), Some(default)) => Some(default),
        (Err(why), None) => {
            let message = format!("the variable {text} of the environment {why}");
            let help = format!("set it, or write a default: {{env: {text}, default: …}}");
            report(name.span, &key_path(&path, "env"), message, None, &help)
        }
    }
}

/// The text of a plain value.
fn scalar(node: &Node) -> Option<String> {
    match &node.data {
        Data::Text(text) | Data::Number(_, text) => Some(text.clone()),
        Data::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

struct Filling<'a> {
    variables: &'a Variables,
    sources: &'a Sources,
    faults: &'a mut Vec<Diagnostic>,
}

impl Filling<'_> {
    fn node(&mut self, node: &mut Node, path: &str) {
        let span = node.span;
        match &mut node.data {
            Data::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, &item_path(path, index));
                }
            }
            Data::Map(entries) => {
                for entry in entries {
                    let below = key_path(path, &entry.key);
                    self.node(&mut entry.value, &below);
                }
            }
            Data::Text(text) if text.contains('$') => match self.fill(text) {
                Ok(data) => node.data = data,
                Err(faults) => {
                    for (message, near, help) in faults {
                        let fault = self.sources.diagnostic(span, path, message);
                        self.faults.push(fault.with_suggestion(near).with_help(help));
                    }
                    node.data = Data::Broken;
                }
            },
            _ => {}
        }
    }

    /// A text with its variables filled in, or all that is wrong with it: messages, near words, helps.
    fn fill(&self, text: &str) -> Result<Data, Vec<(String, Option<String>, String)>> {
        let mut filled = String::new();
        let mut faults = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(more) = after.strip_prefix('$') {
                filled.push('$');
                rest = more;
            } else if let Some(inner) = after.strip_prefix('{') {
                let Some(end) = inner.find('}') else {
                    faults.push((
                        "`${` without `}`".to_owned(),
                        None,
                        "write `$$` for a dollar sign".to_owned(),
                    ));
                    break;
                };
                let name = &inner[..end];
                match self.variables.get(name) {
                    Some(value) => filled.push_str(value.as_deref().unwrap_or_default()),
                    None => {
                        let near = nearest(name, self.variables.keys().map(String::as_str));
                        faults.push((
                            format!("no variable `{}` is declared", shorten(name)),
                            near.map(str::to_owned),
                            "declare it under `vars`; write `$$` for a dollar sign".to_owned(),
                        ));
                    }
                }
                rest = &inner[end + 1..];
            } else {
                filled.push('$');
                rest = after;
            }
        }
        filled.push_str(rest);
        if !faults.is_empty() {
            return Err(faults);
        }
        let names = text.strip_prefix("${").and_then(|inner| inner.strip_suffix('}'));
        let whole = names.is_some_and(|name| self.variables.contains_key(name));
        // A variable whose value has been reported is silent here.
        match names.and_then(|name| self.variables.get(name)) {
            Some(None) => Ok(Data::Broken),
            _ if whole => Ok(Data::Given(filled)),
            _ => Ok(Data::Text(filled)),
        }
    }
}
