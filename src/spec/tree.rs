//! A YAML document as a tree in which every key and value knows its place.
//!
//! granit-parser gives the structure and the places, serde_yaml the values of plain words. This module refuses what
//! YAML can say and a pipeline file may not (tags, merge keys, several documents, absurd depth or size); it knows
//! nothing of pipelines.

use std::collections::BTreeMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError};
use serde_yaml::Value as Yaml;

use super::diagnostic::{Diagnostic, Sources, Span};

/// The deepest nesting that is read.
pub(super) const DEEPEST: usize = 64;

/// The most values that are read, aliases expanded.
const MOST_VALUES: usize = 20_000;

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
            Data::Text(text) => format!("the string `{}`", shorten(text)),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a mapping".to_owned(),
            Data::Broken => "something unreadable".to_owned(),
        }
    }

    /// How many values the node holds, itself included.
    fn size(&self) -> usize {
        match &self.data {
            Data::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Data::Map(entries) => 1 + entries.iter().map(|entry| 1 + entry.value.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// How many levels the node has below itself.
    fn depth(&self) -> usize {
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
            Data::Text(text) => Json::String(text.clone()),
            Data::List(items) => items.iter().map(Node::to_json).collect(),
            Data::Map(entries) => entries
                .iter()
                .map(|entry| (entry.meant.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// The first node that serde_yaml reads differently, if any.
    fn disagrees_with<'a>(&'a self, yaml: &Yaml) -> Option<&'a Node> {
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

/// The value of a plain word, as serde_yaml reads it.
fn plain(text: String) -> Data {
    // Only words that begin like one of these can be anything but a string.
    let candidate = text.starts_with(|c: char| c.is_ascii_digit() || "+-.~ntfNTF".contains(c));
    if text.is_empty() {
        return Data::Null;
    }
    if !candidate {
        return Data::Text(text);
    }
    match serde_yaml::from_str(&text) {
        Ok(Yaml::Null) => Data::Null,
        Ok(Yaml::Bool(value)) => Data::Bool(value),
        Ok(Yaml::Number(number)) => Data::Number(number, text),
        // An integer of more than 64 bits is an error to serde_yaml and still a number to the person who wrote it.
        Err(_) => match text.parse::<f64>() {
            Ok(number) => Data::Number(number.into(), text),
            Err(_) => Data::Text(text),
        },
        Ok(_) => Data::Text(text),
    }
}

/// A list or mapping that is still being read.
struct Open {
    span: Span,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    /// The entries, and the key whose value comes next.
    Map(Vec<Entry>, Option<Key>),
}

enum Key {
    Good(String, Span),
    /// Reported already: its value is read and dropped.
    Bad,
}

/// Reads one document and notes every fault in it.
pub(super) struct Reader<'a> {
    pub sources: &'a Sources,
    /// Which source the text is part of, and the byte of it at which the text starts.
    pub source: usize,
    pub offset: usize,
    pub faults: Vec<Diagnostic>,
    /// What serde_yaml thinks of the text, where it does not agree. It counts only where nothing else is wrong.
    pub doubt: Option<Diagnostic>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    values: usize,
    root: Option<Node>,
}

/// Reading cannot go on; the fault has been reported.
struct Stop;

impl<'a> Reader<'a> {
    pub fn new(sources: &'a Sources, source: usize, offset: usize) -> Self {
        Self {
            sources,
            source,
            offset,
            faults: Vec::new(),
            doubt: None,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            values: 0,
            root: None,
        }
    }

    /// The document's value; nothing for an empty text or one that could not be read (`faults` tells which).
    pub fn read(&mut self, text: &str) -> Option<Node> {
        let mut options = Options::default();
        options.emit_comments = false;
        options.emit_unresolved_aliases = true;
        let mut documents = 0;
        for next in Parser::new_from_str_with_options(text, options) {
            let stopped = match next {
                Ok((Event::DocumentStart(..), span)) => {
                    documents += 1;
                    if documents > 1 {
                        let span = self.span(&span);
                        self.fault(span, "a pipeline file holds one YAML document, and here starts another");
                        return None;
                    }
                    false
                }
                Ok((event, span)) => self.event(event, &span).is_err(),
                Err(error) => {
                    self.syntax(text, &error);
                    true
                }
            };
            if stopped {
                return None;
            }
        }
        let root = self.root.take()?;
        self.doubt = self.compare(text, &root);
        Some(root)
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let range = span.byte_range().unwrap_or(0..0);
        Span::new(self.source, range.start + self.offset..range.end + self.offset)
    }

    fn fault(&mut self, span: Span, message: impl Into<String>) {
        self.faults.push(self.sources.diagnostic(span, self.path(), message));
    }

    fn fault_with_help(&mut self, span: Span, message: &str, help: &str) {
        let diagnostic = self.sources.diagnostic(span, self.path(), message);
        self.faults.push(diagnostic.with_help(help));
    }

    /// The path of the value that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.inside {
                Inside::List(items) => path = item_path(&path, items.len()),
                Inside::Map(_, Some(Key::Good(key, _))) => path = key_path(&path, key),
                Inside::Map(..) => {}
            }
        }
        path
    }

    fn event(&mut self, event: Event<'_>, span: &granit_parser::Span) -> Result<(), Stop> {
        let place = self.span(span);
        let tagged = self.tag(&event, span);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let text = text.into_owned();
                let data = match style {
                    _ if tagged => Data::Broken,
                    ScalarStyle::Plain => {
                        if self.expects_key() {
                            return self.key(text, place, true);
                        }
                        plain(text)
                    }
                    _ if self.expects_key() => return self.key(text, place, false),
                    _ => Data::Text(text),
                };
                self.count(1, place)?;
                self.close(Node { span: place, data }, anchor);
            }
            Event::SequenceStart(_, anchor, _) => self.enter(place, anchor, Inside::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => self.enter(place, anchor, Inside::Map(Vec::new(), None))?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let data = match open.inside {
                        Inside::List(items) => Data::List(items),
                        Inside::Map(entries, _) => Data::Map(entries),
                    };
                    let span = Span::new(self.source, open.span.start..place.end);
                    self.close(Node { span, data }, open.anchor);
                }
            }
            Event::Alias(id) => {
                let data = match self.anchors.get(&id) {
                    Some(node) if self.open.len() + node.depth() > DEEPEST => return self.too_deep(place),
                    Some(node) => {
                        let (size, data) = (node.size(), node.data.clone());
                        self.count(size, place)?;
                        data
                    }
                    None => {
                        self.fault(place, "this alias stands inside the value that it refers to");
                        Data::Broken
                    }
                };
                self.close(Node { span: place, data }, 0);
            }
            Event::UnresolvedAlias(name) => {
                let name = shorten(&name);
                let message = format!("`*{name}` is YAML for a reference, and no `&{name}` stands before it");
                self.fault_with_help(place, &message, "quote a pattern that starts with `*`");
                self.close(
                    Node {
                        span: place,
                        data: Data::Broken,
                    },
                    0,
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a value carries a tag, which is reported.
    fn tag(&mut self, event: &Event<'_>, span: &granit_parser::Span) -> bool {
        if event.tag().is_none() {
            return false;
        }
        let place = span.tag_span().map_or_else(|| self.span(span), |span| self.span(&span));
        self.fault_with_help(
            place,
            "tags are not supported",
            "write the value without `!`, or quote it",
        );
        true
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                inside: Inside::Map(_, None),
                ..
            })
        )
    }

    fn key(&mut self, text: String, span: Span, plain: bool) -> Result<(), Stop> {
        self.count(1, span)?;
        if plain && text == "<<" {
            self.fault_with_help(span, "merge keys (`<<`) are not supported", "write the keys out");
            self.set_key(Key::Bad);
            return Ok(());
        }
        let earlier = match self.open.last() {
            Some(Open {
                inside: Inside::Map(entries, _),
                ..
            }) => entries.iter().find(|entry| entry.key == text),
            _ => None,
        };
        if let Some(earlier) = earlier {
            let line = self.sources.line(earlier.span);
            let path = key_path(&self.path(), &text);
            let message = format!(
                "the key `{}` is repeated; it stands in line {line} already",
                shorten(&text)
            );
            self.faults.push(self.sources.diagnostic(span, path, message));
            self.set_key(Key::Bad);
        } else {
            self.set_key(Key::Good(text, span));
        }
        Ok(())
    }

    fn set_key(&mut self, key: Key) {
        if let Some(Open {
            inside: Inside::Map(_, next),
            ..
        }) = self.open.last_mut()
        {
            *next = Some(key);
        }
    }

    fn enter(&mut self, span: Span, anchor: usize, inside: Inside) -> Result<(), Stop> {
        self.count(1, span)?;
        if self.open.len() >= DEEPEST {
            return self.too_deep(span);
        }
        self.open.push(Open { span, anchor, inside });
        Ok(())
    }

    fn too_deep(&mut self, span: Span) -> Result<(), Stop> {
        self.fault(span, format!("nested more than {DEEPEST} levels deep"));
        Err(Stop)
    }

    fn count(&mut self, values: usize, span: Span) -> Result<(), Stop> {
        self.values = self.values.saturating_add(values);
        if self.values <= MOST_VALUES {
            return Ok(());
        }
        self.fault(span, format!("more than {MOST_VALUES} values, aliases expanded"));
        Err(Stop)
    }

    /// A value is complete: it goes where it belongs.
    fn close(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let complex_key = match self.open.last_mut().map(|open| &mut open.inside) {
            None => {
                self.root = Some(node);
                return;
            }
            Some(Inside::List(items)) => {
                items.push(node);
                return;
            }
            Some(Inside::Map(entries, next)) => match next.take() {
                Some(Key::Good(key, span)) => {
                    entries.push(Entry {
                        meant: key.clone(),
                        key,
                        span,
                        value: node,
                    });
                    return;
                }
                Some(Key::Bad) => return,
                None => node.span,
            },
        };
        self.set_key(Key::Bad);
        // A tagged or undefined key is broken and has been reported.
        if !matches!(node.data, Data::Broken) {
            let path = self.path();
            let fault = self.sources.diagnostic(complex_key, path, "a key must be a word");
            self.faults.push(fault);
        }
    }

    fn syntax(&mut self, text: &str, error: &ScanError) {
        let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
        let line = text[..text.floor_char_boundary(at)]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let indent = text[line..]
            .split(|c: char| c != ' ' && c != '\t')
            .next()
            .unwrap_or_default();
        let tab = indent.find('\t').map(|tab| line + tab);
        let at = tab.unwrap_or(at) + self.offset;
        let message = format!("not YAML: {}", shorten_info(&error.info()));
        let mut fault = self.sources.diagnostic(Span::new(self.source, at..at), "", message);
        if tab.is_some() {
            fault = fault.with_help("this line is indented with a tab; YAML indents with spaces");
        }
        self.faults.push(fault);
    }

    /// serde_yaml must read the same: a file that two YAML readers read differently is refused.
    fn compare(&self, text: &str, root: &Node) -> Option<Diagnostic> {
        if !self.faults.is_empty() {
            return None;
        }
        match serde_yaml::from_str::<Yaml>(text) {
            Ok(yaml) => {
                let node = root.disagrees_with(&yaml)?;
                let message = format!("YAML readers disagree about {}", node.describe());
                Some(self.sources.diagnostic(node.span, "", message).with_help("quote it"))
            }
            Err(error) => {
                let at = self.offset + error.location().map_or(0, |location| location.index());
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or_default();
                let span = Span::new(self.source, at..at);
                Some(
                    self.sources
                        .diagnostic(span, "", format!("not YAML: {}", shorten_info(message))),
                )
            }
        }
    }
}

/// A parser's message, on one line and of bounded length.
fn shorten_info(message: &str) -> String {
    message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

/// The path of an item of a list.
pub(super) fn item_path(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// The path of a key of a mapping.
pub(super) fn key_path(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let key = shorten(key);
    match (path.is_empty(), plain) {
        (true, true) => key,
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}
