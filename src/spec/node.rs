//! The tree that a YAML document becomes: every key and value knows its place.
//!
//! It knows nothing of how YAML is written (`tree` reads it) nor of what a pipeline may say (`check` knows).

use serde_yaml::Value as Yaml;

use super::diagnostic::Span;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub span: Span,
    pub data: Data,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Null,
    Bool(bool),
    /// A number and the text that it was written as.
    Number(serde_yaml::Number, String),
    Text(String),
    /// What a variable gave for the whole string: a string where one is expected, else what the word would mean.
    Given(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Already reported; says nothing more.
    Broken,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key as written.
    pub key: String,
    /// The key as probably meant: the same, until the checker finds it misspelt.
    pub meant: String,
    pub span: Span,
    pub value: Node,
}

impl Node {
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of a mapping under the key that was meant.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.meant == key)
    }

    /// The value of a mapping under the key that was meant.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_f64(&self) -> Option<f64> {
        match &self.data {
            Data::Number(number, _) => number.as_f64(),
            _ => None,
        }
    }

    /// The node in words, for messages.
    pub fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(value) => format!("`{value}`"),
            Data::Number(_, text) => format!("the number {}", shorten(text)),
            Data::Text(text) if text.is_empty() => "an empty string".to_owned(),
            Data::Text(text) | Data::Given(text) => format!("the string `{}`", shorten(text)),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a mapping".to_owned(),
            Data::Broken => "something unreadable".to_owned(),
        }
    }

    /// How many values the node holds, itself included.
    pub fn size(&self) -> usize {
        match &self.data {
            Data::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Data::Map(entries) => 1 + entries.iter().map(|entry| 1 + entry.value.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// How many levels the node has below itself.
    pub fn depth(&self) -> usize {
        match &self.data {
            Data::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Data::Map(entries) => 1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The node as JSON, for serde. Numbers that JSON lacks become null; the checker has refused them before.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.data {
            Data::Null | Data::Broken => Json::Null,
            Data::Bool(value) => Json::Bool(*value),
            Data::Number(number, _) => serde_json::to_value(number).unwrap_or_default(),
            Data::Text(text) | Data::Given(text) => Json::String(text.clone()),
            Data::List(items) => items.iter().map(Node::to_json).collect(),
            Data::Map(entries) => entries
                .iter()
                .map(|entry| (entry.meant.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// The first node that serde_yaml reads differently, if any.
    pub fn disagrees_with<'a>(&'a self, yaml: &Yaml) -> Option<&'a Node> {
        let same = match (&self.data, yaml) {
            (Data::Null, Yaml::Null) => true,
            (Data::Bool(a), Yaml::Bool(b)) => a == b,
            (Data::Number(a, _), Yaml::Number(b)) => a == b || a.is_nan() && b.is_nan(),
            (Data::Text(a), Yaml::String(b)) => a == b,
            (Data::List(items), Yaml::Sequence(others)) if items.len() == others.len() => {
                return items.iter().zip(others).find_map(|(a, b)| a.disagrees_with(b));
            }
            (Data::Map(entries), Yaml::Mapping(others)) if entries.len() == others.len() => {
                return entries.iter().zip(others).find_map(|(entry, (key, value))| match key {
                    Yaml::String(key) if *key != entry.key => Some(&entry.value),
                    _ => entry.value.disagrees_with(value),
                });
            }
            _ => false,
        };
        if same { None } else { Some(self) }
    }
}

/// A text short enough for a message.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The path of an item of a list.
pub(super) fn item_path(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// The path of a key of a mapping.
pub fn key_path(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let key = shorten(key);
    match (path.is_empty(), plain) {
        (true, true) => key,
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}
