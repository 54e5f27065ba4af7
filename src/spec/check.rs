//! The shape of a pipeline: walks the tree along the schema and reports every key, type and range that is wrong.
//!
//! The schema is the only source of what is valid, so an editor and this checker agree. A misspelt key is reported and
//! then read as the word that was probably meant, so that one error hides no other. Rules between fields live in
//! `rules`.

use std::str::FromStr;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::bounds::{
    Choices, allowed, allowed_values, and, choices, expected_keys, fits, has_type, home, or, out_of_range, required,
    resolve,
};
use super::cron::Cron;
use super::diagnostic::{Diagnostic, Sources, Span};
use super::near::nearest;
use super::node::{Data, Entry, Node, item_path, key_path, shorten};
use super::schedule::{Period, Timezone};
use super::tree::plain;
use super::words::{Device, FilePath, LayerPattern, Memory, Name, WordError};

/// The keys of a mapping that takes none.
static NO_KEYS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// Walks the whole file.
pub(super) fn check(root: &mut Node, schema: &Value, sources: &Sources, faults: &mut Vec<Diagnostic>) {
    let mut checker = Checker {
        root: schema,
        sources,
        faults,
    };
    if let Data::Map(_) = root.data {
        checker.node(schema, root, "", None);
    } else {
        let found = root.describe();
        checker.report(root.span, "", format!("a pipeline file is a mapping, found {found}"));
    }
}

struct Checker<'a> {
    root: &'a Value,
    sources: &'a Sources,
    faults: &'a mut Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, span: Span, path: &str, message: String) -> Option<&mut Diagnostic> {
        self.faults.push(self.sources.diagnostic(span, path, message));
        self.faults.last_mut()
    }

    fn resolve(&self, schema: &'a Value) -> (Option<&'a str>, &'a Value) {
        resolve(self.root, schema)
    }

    fn choices(&self, schema: &'a Value) -> Choices<'a> {
        choices(self.root, schema)
    }

    /// Checks one value. `key` is the place of its key, where it has one.
    fn node(&mut self, schema: &'a Value, node: &mut Node, path: &str, key: Option<Span>) {
        if let Data::Broken = node.data {
            return;
        }
        let written = schema;
        let (name, schema) = self.resolve(schema);
        self.settle(name, schema, node);
        if let Some(rule) = name.and_then(word_rule) {
            return self.word(name, rule, written, node, path, key);
        }
        let choices = self.choices(schema);
        let fitting = choices.plain.iter().find(|plain| fits(plain, node)).copied();
        match &node.data {
            Data::Map(_) if !choices.tagged.is_empty() => self.tagged(&choices, node, path, key),
            Data::Text(text) if fitting.is_none() && (!choices.words.is_empty() || !choices.tagged.is_empty()) => {
                self.choose(&choices, text, node.span, path);
            }
            _ => match fitting {
                Some(schema) => self.typed(schema, node, path, key),
                None => self.mistyped(written, node, path, key),
            },
        }
    }

    /// Decides what a variable's value is here: a string where one may stand, else what the word means.
    fn settle(&self, name: Option<&str>, schema: &'a Value, node: &mut Node) {
        let Data::Given(text) = &mut node.data else { return };
        let text = std::mem::take(text);
        let meant = Node {
            span: node.span,
            data: plain(text.clone()),
        };
        let plain = self.choices(schema).plain;
        let string = name.and_then(word_rule).is_some() || plain.iter().any(|plain| has_type(plain, "string"));
        node.data = match !string && plain.iter().any(|plain| fits(plain, &meant)) {
            true => meant.data,
            false => Data::Text(text),
        };
    }

    /// A value that is neither of the types that are allowed here.
    fn mistyped(&mut self, schema: &'a Value, node: &Node, path: &str, key: Option<Span>) {
        let (_, resolved) = self.resolve(schema);
        let message = format!("expected {}, found {}", self.expectation(resolved), node.describe());
        let texts = self
            .choices(resolved)
            .plain
            .iter()
            .any(|plain| has_type(plain, "string"));
        let help = match &node.data {
            Data::Number(_, text) if texts => Some(format!("write it in quotes: \"{}\"", shorten(text))),
            // Not every word that looks like a number is one (`014`): only what quotes alone keep from it.
            Data::Text(text) if !texts && matches!(plain(text.clone()), Data::Number(..)) => {
                Some(format!("write it without quotes: {}", shorten(text)))
            }
            Data::Bool(value) if texts => Some(format!("write it in quotes: \"{value}\"")),
            _ => schema
                .get("examples")
                .and_then(|examples| examples.get(0))
                .map(|example| format!("for example: {example}")),
        };
        // Nothing at all can be pointed at only by its key.
        let span = match (&node.data, key) {
            (Data::Null, Some(key)) if node.span.start == node.span.end && node.span.source == key.source => key,
            _ => node.span,
        };
        if let Some(fault) = self.report(span, path, message) {
            fault.help = help;
        }
    }

    /// What a schema allows, in words.
    fn expectation(&self, schema: &'a Value) -> String {
        let choices = self.choices(schema);
        let mut parts: Vec<String> = Vec::new();
        for word in &choices.words {
            parts.push(format!("`{word}`"));
        }
        for (key, _) in &choices.tagged {
            parts.push(format!("`{{{key}: …}}`"));
        }
        for plain in &choices.plain {
            for (name, words) in [
                ("string", "a string"),
                ("integer", "an integer"),
                ("number", "a number"),
                ("boolean", "`true` or `false`"),
                ("array", "a list"),
                ("object", "a mapping"),
            ] {
                if has_type(plain, name) {
                    parts.push(words.to_owned());
                }
            }
        }
        or(&parts)
    }

    /// A string with a rule of its own.
    fn word(
        &mut self,
        name: Option<&str>,
        rule: fn(&str) -> Option<WordError>,
        schema: &'a Value,
        node: &mut Node,
        path: &str,
        key: Option<Span>,
    ) {
        if let (Some("LayerPattern"), Data::Number(_, text)) = (name, &node.data) {
            node.data = Data::Text(text.clone());
        }
        let Data::Text(text) = &mut node.data else {
            return self.mistyped(schema, node, path, key);
        };
        if let Some(error) = rule(text) {
            let near = match name {
                Some("Device") => nearest(text, ["cpu", "cuda"]).map(str::to_owned),
                _ => None,
            };
            let message = match name {
                Some("Device") => format!("{error}, found `{}`", shorten(text)),
                _ => error.to_string(),
            };
            if let Some(fault) = self.report(node.span, path, message) {
                fault.suggestion = near;
            }
        } else if name == Some("FilePath") {
            // What a base file names lies beside that file.
            let path = self.sources.folder(node.span.source).join(&*text);
            if let Some(seen) = path.to_str() {
                *text = seen.to_owned();
            }
        }
    }

    /// A word where a choice of words is expected.
    fn choose(&mut self, choices: &Choices<'a>, text: &str, span: Span, path: &str) {
        if choices.words.contains(&text) {
            return;
        }
        if let Some((key, value)) = choices.tagged.iter().find(|(key, _)| *key == text) {
            let help = if has_type(self.resolve(value).1, "object") {
                format!("write `{{{key}: {{}}}}`")
            } else {
                format!("write `{{{key}: N}}`")
            };
            if let Some(fault) = self.report(span, path, format!("`{key}` needs a value")) {
                fault.help = Some(help);
            }
            return;
        }
        let tags = choices.tagged.iter().map(|(key, _)| *key);
        let near = nearest(text, choices.words.iter().copied().chain(tags)).map(str::to_owned);
        let message = format!("expected {}, found `{}`", allowed_values(choices), shorten(text));
        if let Some(fault) = self.report(span, path, message) {
            fault.suggestion = near;
        }
    }

    /// A mapping whose one key says what it is: a step, a source, a metric.
    fn tagged(&mut self, choices: &Choices<'a>, node: &mut Node, path: &str, key: Option<Span>) {
        let span = node.span;
        let Data::Map(entries) = &mut node.data else { return };
        let keys: Vec<&str> = choices.tagged.iter().map(|(key, _)| *key).collect();
        match entries.as_mut_slice() {
            [] => {
                let message = format!("expected exactly one of {}, found none", allowed(choices));
                self.report(key.unwrap_or(span), path, message);
            }
            [entry] => self.tag(choices, &keys, entry, path),
            [first, rest @ ..] => {
                let also_kinds = rest.iter().filter(|entry| keys.contains(&entry.key.as_str())).count();
                let names: Vec<String> = std::iter::once(&*first)
                    .chain(&*rest)
                    .take(8)
                    .map(|entry| format!("`{}`", shorten(&entry.key)))
                    .collect();
                let message = format!("expected exactly one of {}, found {}", allowed(choices), and(&names));
                let help = if also_kinds == rest.len() {
                    "keep one of them".to_owned()
                } else {
                    format!("indent what belongs to `{}` below it", shorten(&first.key))
                };
                let empty = matches!(first.value.data, Data::Null);
                if let Some(fault) = self.report(rest[0].span, path, message) {
                    fault.help = Some(help);
                }
                if !empty {
                    self.tag(choices, &keys, first, path);
                }
                for entry in rest.iter_mut().filter(|entry| keys.contains(&entry.key.as_str())) {
                    self.tag(choices, &keys, entry, path);
                }
            }
        }
    }

    fn tag(&mut self, choices: &Choices<'a>, keys: &[&str], entry: &mut Entry, path: &str) {
        let below = key_path(path, &entry.key);
        if choices.words.contains(&entry.key.as_str()) {
            let message = format!("`{}` takes no value", entry.key);
            let help = format!("write `{}` alone", entry.key);
            if let Some(fault) = self.report(entry.span, path, message) {
                fault.help = Some(help);
            }
            return;
        }
        if !keys.contains(&entry.key.as_str()) {
            let words = choices.words.iter().copied();
            let near = nearest(&entry.key, keys.iter().copied().chain(words));
            let message = format!("unknown key `{}`", shorten(&entry.key));
            let help = format!("expected {}", allowed(choices));
            if let Some(fault) = self.report(entry.span, &below, message) {
                fault.suggestion = near.map(str::to_owned);
                fault.help = Some(help);
            }
            match near {
                Some(near) => entry.meant = near.to_owned(),
                None => return,
            }
        }
        let found = choices.tagged.iter().find(|(key, _)| *key == entry.meant);
        if let Some((key, schema)) = found {
            if let Data::Null = entry.value.data
                && has_type(self.resolve(schema).1, "object")
            {
                let help = format!("write `{key}: {{}}`");
                let message = format!("expected a mapping, found nothing below `{key}`");
                if let Some(fault) = self.report(entry.span, &below, message) {
                    fault.help = Some(help);
                }
                return;
            }
            self.node(schema, &mut entry.value, &below, Some(entry.span));
        }
    }

    /// A value of the right type: its contents.
    fn typed(&mut self, schema: &'a Value, node: &mut Node, path: &str, key: Option<Span>) {
        let span = node.span;
        match &mut node.data {
            Data::Map(entries) => self.mapping(schema, entries, span, path, key),
            Data::List(items) => self.items(schema, items, key.unwrap_or(span), path),
            Data::Number(number, text) => {
                if let Some(message) = out_of_range(schema, number, text) {
                    self.report(span, path, message);
                }
            }
            Data::Text(text) => {
                let shortest = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
                if (text.chars().count() as u64) < shortest {
                    self.report(span, path, "must not be empty".to_owned());
                }
            }
            Data::Null | Data::Bool(_) | Data::Given(_) | Data::Broken => {}
        }
    }

    fn mapping(&mut self, schema: &'a Value, entries: &mut [Entry], span: Span, path: &str, key: Option<Span>) {
        let properties = match schema.get("properties") {
            Some(Value::Object(properties)) => properties,
            _ => &*NO_KEYS,
        };
        // A mapping from names of the user's to values of one kind.
        if let Some(every @ Value::Object(_)) = schema.get("additionalProperties") {
            if entries.is_empty() && schema.get("minProperties").is_some() {
                self.report(key.unwrap_or(span), path, "must not be empty".to_owned());
            }
            for entry in entries {
                let below = key_path(path, &entry.key);
                self.node(every, &mut entry.value, &below, Some(entry.span));
            }
            return;
        }
        for index in 0..entries.len() {
            let entry = &entries[index];
            if properties.contains_key(&entry.key) {
                continue;
            }
            let near = nearest(&entry.key, properties.keys().map(String::as_str));
            let message = format!("unknown key `{}`", shorten(&entry.key));
            let help = match near {
                Some(_) => None,
                None => Some(match home(self.root, &entry.key) {
                    Some(home) => format!("`{}` belongs in `{home}`", entry.key),
                    None => expected_keys(properties),
                }),
            };
            let (entry_span, below) = (entry.span, key_path(path, &entry.key));
            if let Some(fault) = self.report(entry_span, &below, message) {
                fault.suggestion = near.map(str::to_owned);
                fault.help = help;
            }
            let free = |near: &&str| !entries.iter().any(|other| other.meant == *near);
            if let Some(near) = near.filter(free) {
                entries[index].meant = near.to_owned();
            }
        }
        for required in required(schema) {
            if !entries.iter().any(|entry| entry.meant == required) {
                let at = match (key, entries.first()) {
                    (Some(key), _) => key,
                    (None, Some(first)) => first.span,
                    (None, None) => span,
                };
                let message = format!("missing key `{required}`");
                let examples = properties.get(required).and_then(|schema| schema.get("examples"));
                let help = examples
                    .and_then(|examples| examples.get(0))
                    .map(|example| format!("for example: {required}: {example}"));
                if let Some(fault) = self.report(at, path, message) {
                    fault.help = help;
                }
            }
        }
        for entry in entries {
            if let Some(schema) = properties.get(&entry.meant) {
                let below = key_path(path, &entry.key);
                self.node(schema, &mut entry.value, &below, Some(entry.span));
            }
        }
    }

    fn items(&mut self, schema: &'a Value, items: &mut [Node], key: Span, path: &str) {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            self.report(key, path, "must not be empty".to_owned());
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            for index in 1..items.len() {
                let (earlier, rest) = items.split_at(index);
                let Some(text) = rest[0].as_text() else { continue };
                if earlier.iter().any(|other| other.as_text() == Some(text)) {
                    let message = format!("`{}` is repeated", shorten(text));
                    self.report(rest[0].span, &item_path(path, index), message);
                }
            }
        }
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter_mut().enumerate() {
                self.node(schema, item, &item_path(path, index), None);
            }
        }
    }
}

/// The rule of a string type, by the name of its definition.
fn word_rule(name: &str) -> Option<fn(&str) -> Option<WordError>> {
    fn rule<T: FromStr<Err = WordError>>(text: &str) -> Option<WordError> {
        text.parse::<T>().err()
    }
    match name {
        "Name" => Some(rule::<Name>),
        "FilePath" => Some(rule::<FilePath>),
        "Device" => Some(rule::<Device>),
        "LayerPattern" => Some(rule::<LayerPattern>),
        "Cron" => Some(rule::<Cron>),
        "Timezone" => Some(rule::<Timezone>),
        "Period" => Some(rule::<Period>),
        "Memory" => Some(rule::<Memory>),
        _ => None,
    }
}
