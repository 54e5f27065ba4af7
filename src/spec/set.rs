//! `--set PATH=VALUE`: assignments from the command line, put into the tree before it is checked.
//!
//! A path is keys and list indices, `dataset.batch_size` or `steps[0].sensitivity.method` or `steps.0.method`; a step
//! may also be named by its id. What is assigned keeps the assignment as its place, so errors show it.

use super::diagnostic::{Diagnostic, Sources, Span};
use super::near::nearest;
use super::node::{Data, Entry, Node, item_path, key_path, shorten};
use super::tree::{DEEPEST, Reader};

/// One assignment, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    text: String,
}

impl Set {
    /// An assignment `PATH=VALUE`. It is checked when the file is read.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl From<&str> for Set {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// One part of a path, and its bytes in the assignment.
#[derive(Debug, Clone)]
struct Segment {
    text: String,
    start: usize,
    end: usize,
}

/// Puts one assignment into the tree. `doubts` count only where nothing else is wrong.
pub(super) fn apply(
    set: &Set,
    root: &mut Node,
    sources: &mut Sources,
    doubts: &mut Vec<Diagnostic>,
) -> Result<(), Vec<Diagnostic>> {
    let text = set.text.as_str();
    let source = sources.add(format!("--set {}", shorten(text)), text, 0);
    let all = Span::new(source, 0..text.len());
    let Some(equals) = text.find('=') else {
        let fault = sources.diagnostic(all, "", "expected PATH=VALUE, found no `=`");
        return Err(vec![fault.with_help("for example: --set dataset.batch_size=32")]);
    };
    let segments = segments(&text[..equals]);
    if segments.iter().any(|segment| segment.text.is_empty()) {
        let span = Span::new(source, 0..equals);
        let fault = sources.diagnostic(span, "", "a path is keys and list indices with dots between them");
        return Err(vec![fault.with_help("for example: --set dataset.batch_size=32")]);
    }
    if segments.len() > DEEPEST {
        let span = Span::new(source, 0..equals);
        return Err(vec![sources.diagnostic(
            span,
            "",
            format!("the path has more than {DEEPEST} parts"),
        )]);
    }
    let mut reader = Reader::new(sources, source, equals + 1);
    let value = reader.read(&text[equals + 1..]);
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    doubts.extend(reader.doubt);
    let value = value.unwrap_or(Node {
        span: Span::new(source, equals + 1..text.len()),
        data: Data::Null,
    });
    if segments[0].text == "extends" {
        let span = Span::new(source, 0..equals);
        let fault = sources.diagnostic(span, "extends", "`extends` cannot be set: it belongs to the file");
        return Err(vec![fault.with_help("name another FILE")]);
    }
    let mut assignment = Assignment {
        sources,
        source,
        offset: 0,
        value: Some(value),
    };
    assignment.put(root, "", &segments).map_err(|fault| vec![*fault])
}

/// Puts a value at a path that is written at `place`, in a file.
pub(super) fn put(path: &str, place: Span, value: Node, root: &mut Node, sources: &Sources) -> Result<(), Fault> {
    let mut assignment = Assignment {
        sources,
        source: place.source,
        offset: place.start,
        value: Some(value),
    };
    let segments = segments(path);
    if let Some(empty) = segments.iter().find(|segment| segment.text.is_empty()) {
        let message = "a path is keys and list indices with dots between them".to_owned();
        return assignment.fault(empty, path, message, None);
    }
    assignment.put(root, "", &segments)
}

/// Splits at dots and brackets: `steps[0].id` is `steps`, `0`, `id`.
fn segments(path: &str) -> Vec<Segment> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut push = |start: usize, end: usize| {
        let text = path[start..end].to_owned();
        found.push(Segment { text, start, end });
    };
    let bytes = path.as_bytes();
    let mut at = 0;
    while at <= bytes.len() {
        match bytes.get(at) {
            None | Some(b'.' | b'[') => {
                // After a closing bracket the next part may follow at once.
                if !(at > 0 && bytes[at - 1] == b']' && start == at) {
                    push(start, at);
                }
                start = at + 1;
            }
            Some(b']') if start > 0 && bytes[start - 1] == b'[' => {
                push(start, at);
                start = at + 1;
            }
            Some(_) => {}
        }
        at += 1;
    }
    found
}

struct Assignment<'a> {
    sources: &'a Sources,
    source: usize,
    /// The byte at which the path starts.
    offset: usize,
    value: Option<Node>,
}

type Fault = Box<Diagnostic>;

impl Assignment<'_> {
    fn span(&self, segment: &Segment) -> Span {
        Span::new(self.source, self.offset + segment.start..self.offset + segment.end)
    }

    fn fault<T>(&self, segment: &Segment, path: &str, message: String, near: Option<&str>) -> Result<T, Fault> {
        let fault = self.sources.diagnostic(self.span(segment), path, message);
        Err(Box::new(fault.with_suggestion(near)))
    }

    /// Walks from `node`, which stands at `path`, along the rest of the path, and puts the value there.
    fn put(&mut self, node: &mut Node, path: &str, rest: &[Segment]) -> Result<(), Fault> {
        let [segment, after @ ..] = rest else {
            if let Some(value) = self.value.take() {
                *node = value;
            }
            return Ok(());
        };
        // The keys of a matrix are paths themselves.
        if path == "matrix" && !after.is_empty() {
            let parts: Vec<&str> = rest.iter().map(|segment| segment.text.as_str()).collect();
            let end = rest.last().map_or(segment.end, |last| last.end);
            let whole = Segment {
                text: parts.join("."),
                start: segment.start,
                end,
            };
            return self.put(node, path, &[whole]);
        }
        let in_steps = path == "steps";
        if matches!(node.data, Data::Null) && !in_steps {
            node.data = Data::Map(Vec::new());
        }
        let span = self.span(segment);
        match &mut node.data {
            Data::Map(entries) => {
                let below = key_path(path, &segment.text);
                let index = match entries.iter().position(|entry| entry.key == segment.text) {
                    Some(index) => index,
                    None => {
                        let key = segment.text.clone();
                        let value = Node { span, data: Data::Null };
                        entries.push(Entry {
                            meant: key.clone(),
                            key,
                            span,
                            value,
                        });
                        entries.len() - 1
                    }
                };
                self.put(&mut entries[index].value, &below, after)
            }
            Data::List(items) => {
                let (index, used) = match in_steps {
                    true => self.step(items, rest)?,
                    false => (self.index(segment, items.len(), path)?, 1),
                };
                let below = item_path(path, index);
                let after = &rest[used..];
                if index == items.len() {
                    items.push(Node { span, data: Data::Null });
                }
                let by_id = used > 1 || segment.text.parse() != Ok(index);
                match in_steps && (by_id || !after.is_empty()) {
                    true => self.put_step(&mut items[index], &below, after),
                    false => self.put(&mut items[index], &below, after),
                }
            }
            _ => {
                let message = format!("cannot set `{}` in {}", shorten(&segment.text), node.describe());
                self.fault(segment, path, message, None)
            }
        }
    }

    /// A step's body is meant wherever the entry itself is not: the kind may be left out of the path.
    fn put_step(&mut self, node: &mut Node, path: &str, rest: &[Segment]) -> Result<(), Fault> {
        if let Data::Map(entries) = &mut node.data
            && let [entry] = entries.as_mut_slice()
        {
            let below = key_path(path, &entry.key);
            let rest = match rest {
                [kind, after @ ..] if kind.text == entry.key => after,
                _ => rest,
            };
            return self.put(&mut entry.value, &below, rest);
        }
        self.put(node, path, rest)
    }

    /// The index that a part of a path names; one beyond the last item adds one.
    fn index(&self, segment: &Segment, length: usize, path: &str) -> Result<usize, Fault> {
        match segment.text.parse::<usize>() {
            Ok(index) if index <= length => Ok(index),
            Ok(_) => {
                let message = format!("there is no item {}: the list has {length}", segment.text);
                self.fault(segment, path, message, None)
            }
            Err(_) => {
                let message = format!("expected the index of an item, found `{}`", shorten(&segment.text));
                self.fault(segment, path, message, None)
            }
        }
    }

    /// The step that a path names, by id or index, and how many parts of the path that took: an id may hold dots.
    fn step(&self, items: &[Node], rest: &[Segment]) -> Result<(usize, usize), Fault> {
        let ids: Vec<Option<&str>> = items.iter().map(step_id).collect();
        for used in (1..=rest.len()).rev() {
            let parts: Vec<&str> = rest[..used].iter().map(|segment| segment.text.as_str()).collect();
            let joined = parts.join(".");
            if let Some(index) = ids.iter().position(|id| *id == Some(joined.as_str())) {
                return Ok((index, used));
            }
        }
        let [segment, ..] = rest else { return Ok((0, 0)) };
        if segment.text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok((self.index(segment, items.len(), "steps")?, 1));
        }
        let near = nearest(&segment.text, ids.into_iter().flatten());
        let message = format!("no step has the id `{}`", shorten(&segment.text));
        self.fault(segment, "steps", message, near)
    }
}

/// The id of a step, written or by its kind.
fn step_id(node: &Node) -> Option<&str> {
    let [entry] = node.entries() else { return None };
    match entry.value.get("id") {
        Some(id) => id.as_text(),
        None => Some(&entry.key),
    }
}
