//! What is wrong with a pipeline file, and where: sources, spans, diagnostics and how they are shown.
//!
//! A diagnostic carries the line that it shows, so it outlives the file it speaks of. This module knows nothing of YAML
//! or of the file's format.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// One error, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as the user named it, or `--set PATH=VALUE`.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes of the file that the error is about.
    pub bytes: Range<usize>,
    /// The place in the pipeline, such as `steps[0].sensitivity.sparsities[2]`; empty for the file as a whole.
    pub path: String,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// The word that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Excerpt,
}

impl Diagnostic {
    /// Adds what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the word that was probably meant, if there is one.
    pub fn with_suggestion(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// The part of the line that is shown, and the bytes of it that are marked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Excerpt {
    text: String,
    marked: Range<usize>,
    /// Whether the line begins before the text.
    cut: bool,
}

/// How many bytes of a long line are shown before and after the place of an error.
const CONTEXT: usize = 80;

/// Shows diagnostics the way rustc does: message, place, line with a caret, help.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&renderer.render(&[group(diagnostic)]));
        out.push('\n');
    }
    out
}

fn group(diagnostic: &Diagnostic) -> Group<'_> {
    let title = if diagnostic.path.is_empty() {
        diagnostic.message.clone()
    } else {
        format!("{}: {}", diagnostic.path, diagnostic.message)
    };
    let Excerpt { text, marked, cut } = &diagnostic.excerpt;
    let file = diagnostic.file.as_str();
    let snippet = Snippet::source(text.as_str())
        .line_start(diagnostic.line)
        .annotation(AnnotationKind::Primary.span(marked.clone()));
    let title = Level::ERROR.primary_title(title);
    let mut group = if *cut {
        // The renderer counts the column in what it is shown, so a line that is cut names its place itself.
        let origin = Origin::path(file).line(diagnostic.line).char_column(diagnostic.column);
        title.element(origin).element(snippet)
    } else {
        title.element(snippet.path(file))
    };
    if let Some(word) = &diagnostic.suggestion {
        group = group.element(Level::HELP.message(format!("did you mean `{word}`?")));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// Bytes of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(source: usize, range: Range<usize>) -> Self {
        Self {
            source,
            start: range.start,
            end: range.end.max(range.start),
        }
    }
}

/// A text that spans point into: the file, or an assignment of `--set`.
#[derive(Debug, Clone)]
struct Source {
    name: String,
    text: Arc<str>,
    /// The byte at which each line starts.
    lines: Vec<usize>,
    /// How many bytes of the file stand before the text (a byte order mark).
    skipped: usize,
    /// The folder that its paths are relative to, as seen from the first file's.
    folder: PathBuf,
}

/// Every text that a pipeline was read from. The first one is the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// Adds a text and gives its index.
    pub fn add(&mut self, name: impl Into<String>, text: &str, skipped: usize) -> usize {
        let bytes = text.as_bytes();
        let breaks = (0..bytes.len()).filter(|&at| match bytes[at] {
            b'\n' => true,
            // A lone carriage return breaks a line in YAML.
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        });
        let lines = std::iter::once(0).chain(breaks.map(|at| at + 1)).collect();
        self.0.push(Source {
            name: name.into(),
            text: text.into(),
            lines,
            skipped,
            folder: PathBuf::new(),
        });
        self.0.len() - 1
    }

    /// Says where the paths of the last text are relative to.
    pub fn lies_in(&mut self, folder: PathBuf) {
        if let Some(source) = self.0.last_mut() {
            source.folder = folder;
        }
    }

    /// The folder that a source's paths are relative to, as seen from the first file's.
    pub fn folder(&self, source: usize) -> &Path {
        self.0.get(source).map_or(Path::new(""), |source| &source.folder)
    }

    /// Where a source stands in the order in which they were read.
    pub fn position(&self, name: &str) -> usize {
        self.0
            .iter()
            .position(|source| source.name == name)
            .unwrap_or(self.0.len())
    }

    /// The source that was added last.
    pub fn last(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// The line of a place, from 1.
    pub fn line(&self, span: Span) -> usize {
        self.0
            .get(span.source)
            .map_or(1, |source| source.lines.partition_point(|&line| line <= span.start))
    }

    /// An error at a place.
    pub fn diagnostic(&self, span: Span, path: impl Into<String>, message: impl Into<String>) -> Diagnostic {
        let mut diagnostic = Diagnostic {
            file: String::new(),
            line: 1,
            column: 1,
            bytes: 0..0,
            path: path.into(),
            message: message.into(),
            suggestion: None,
            help: None,
            excerpt: Excerpt::default(),
        };
        let Some(source) = self.0.get(span.source) else {
            return diagnostic;
        };
        let text = &*source.text;
        let start = floor(text, span.start);
        let line = source.lines.partition_point(|&line| line <= start);
        let from = source.lines.get(line - 1).copied().unwrap_or(0);
        let to = source.lines.get(line).copied().unwrap_or(text.len());
        let to = from + text[from..to].trim_end_matches(['\n', '\r']).len();
        let start = start.min(to);
        let end = floor(text, span.end).clamp(start, to);
        // Long lines are shown in part, from a little before the place to a little after it.
        let first = if start - from > 2 * CONTEXT {
            floor(text, start - CONTEXT)
        } else {
            from
        };
        let end = floor(text, end.min(start + 2 * CONTEXT)).max(start);
        let last = if to - end > 2 * CONTEXT {
            floor(text, end + CONTEXT)
        } else {
            to
        };
        let lead = if first > from { "… " } else { "" };
        let tail = if last < to { " …" } else { "" };
        let offset = lead.len();
        diagnostic.file = source.name.clone();
        diagnostic.line = line;
        diagnostic.column = text[from..start].chars().count() + 1;
        diagnostic.bytes = start + source.skipped..floor(text, span.end).max(start) + source.skipped;
        diagnostic.excerpt = Excerpt {
            text: format!("{lead}{}{tail}", &text[first..last]),
            marked: start - first + offset..end - first + offset,
            cut: first > from,
        };
        diagnostic
    }
}

/// The nearest character boundary at or before a byte.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

/// Where each value of a pipeline was written, so that later errors (a layer that is not there) can point at it.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    pub(super) sources: Sources,
    pub(super) places: BTreeMap<String, Place>,
}

/// The key and the value at a path. A list's items and the file itself have no key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub key: Option<Span>,
    pub value: Span,
}

impl Spans {
    /// An error at the value of `path`, or, where that was not written (a default), at the key of the nearest thing
    /// around it.
    pub fn diagnostic(&self, path: &str, message: impl Into<String>, help: Option<String>) -> Diagnostic {
        let span = match self.places.get(path) {
            Some(place) => place.value,
            None => self.around(path),
        };
        let mut diagnostic = self.sources.diagnostic(span, path, message);
        diagnostic.help = help;
        diagnostic
    }

    /// Whether `path` was written, in the file or by `--set`.
    pub fn is_written(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    fn around(&self, path: &str) -> Span {
        let mut rest = path;
        while let Some(cut) = rest.rfind(['.', '[']) {
            rest = &rest[..cut];
            if let Some(place) = self.places.get(rest) {
                return place.key.unwrap_or(place.value);
            }
        }
        Span {
            source: 0,
            start: 0,
            end: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sources, Span, render};

    #[test]
    fn lines_and_columns_count_characters() {
        let mut sources = Sources::default();
        let text = "a: 1\r\nœ: é x\rlast";
        sources.add("f.yaml", text, 0);
        let at = |start: usize| {
            let found = sources.diagnostic(Span::new(0, start..start + 1), "", "m");
            (found.line, found.column, found.excerpt.text)
        };
        assert_eq!(at(0), (1, 1, "a: 1".to_owned()));
        let x = text.find('x').unwrap();
        assert_eq!(at(x), (2, 6, "œ: é x".to_owned()));
        assert_eq!(at(text.find("last").unwrap()), (3, 1, "last".to_owned()));
        assert_eq!(at(text.len() + 10), (3, 5, "last".to_owned()));
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let mut sources = Sources::default();
        let text = format!("{}é!{}", "x".repeat(5000), "y".repeat(5000));
        sources.add("f.yaml", &text, 0);
        let found = sources.diagnostic(Span::new(0, 5002..5003), "p", "m");
        assert_eq!((found.line, found.column), (1, 5002));
        assert!(found.excerpt.text.len() < 500);
        assert_eq!(&found.excerpt.text[found.excerpt.marked.clone()], "!");
        assert!(render(&[found], false).contains("f.yaml:1:5002"));
    }
}
