//! A YAML document as a tree in which every key and value knows its place.
//!
//! granit-parser gives the structure and the places, serde_yaml the values of plain words. This module refuses what
//! YAML can say and a pipeline file may not (tags, merge keys, several documents, absurd depth or size); it knows
//! nothing of pipelines.

use std::collections::BTreeMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError};
use serde_yaml::Value as Yaml;

use super::diagnostic::{Diagnostic, Sources, Span};
use super::node::{Data, Entry, Node, item_path, key_path, shorten};

/// The deepest nesting that is read.
pub(super) const DEEPEST: usize = 64;

/// The most values that are read, aliases expanded.
const MOST_VALUES: usize = 20_000;

/// The value of a plain word, as serde_yaml reads it.
pub(super) fn plain(text: String) -> Data {
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
        let at = text.floor_char_boundary(at);
        let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let indent = text[line..]
            .split(|c: char| c != ' ' && c != '\t')
            .next()
            .unwrap_or_default();
        let tab = indent.find('\t').map(|tab| line + tab);
        let place = tab.unwrap_or(at) + self.offset;
        let message = format!("not YAML: {}", shorten_info(&error.info()));
        let mut fault = self
            .sources
            .diagnostic(Span::new(self.source, place..place), "", message);
        if text[at..].starts_with('*') {
            fault = fault.with_help("quote a pattern that starts with `*`");
        } else if tab.is_some() {
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
