//! The pipeline file as written: its types, its schema, and reading it with every error at once.
//!
//! Text goes in; a [`Spec`] or [`Diagnostic`]s come out. Nothing here opens a file, knows what a step does, or decides
//! what runs: `pipeline` does.
//!
//! Reading has four passes, and each goes on where the one before found faults:
//! 1. `tree`: YAML into a tree of `node`s with places; `set` puts the assignments of `--set` into it.
//! 2. `check`, with `bounds`: the tree against the schema: keys, types, ranges, near words.
//! 3. `rules`: what the schema cannot say, between fields and between steps.
//! 4. serde, only where nothing is wrong: the tree into [`Pipeline`], its defaults filled.

mod bounds;
mod check;
mod diagnostic;
mod near;
mod node;
mod rules;
mod schema;
mod set;
mod steps;
mod tree;
mod types;
mod words;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use diagnostic::{Diagnostic, Spans, render};
pub use near::nearest;
pub use schema::schema_json;
pub use set::Set;
pub use steps::{
    Compat, Dependencies, DependencyKind, EarlyStop, Flops, Granularity, HeadCut, MaskFix, Masks, Method, Sensitivity,
    Step, StepMasks, StopMode, round_sparsity,
};
pub use types::{
    ArraySource, Dataset, IdxSource, ImageFolderSource, InputPath, Metric, Model, Normalize, Pipeline, Precision,
    Samples, Source,
};
pub use words::{Device, FilePath, LayerPattern, Name, WordError};

use diagnostic::{Place, Sources, Span};
use node::{Data, Node, item_path, key_path};
use tree::Reader;

/// The largest pipeline file that is read, in bytes.
pub const LARGEST_FILE: usize = 1 << 20;

/// The most errors of one file that are listed.
const MOST_FAULTS: usize = 1000;

/// A pipeline and where each of its values was written.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What the file says, its defaults filled.
    pub pipeline: Pipeline,
    /// Where it says so.
    pub spans: Spans,
}

/// Reads a pipeline file, given its content and the name to show for it, with assignments put in. Gives every error.
///
/// A caller that reads the file itself need not read more than [`LARGEST_FILE`] + 1 bytes.
pub fn read(content: impl AsRef<[u8]>, file: &Path, sets: &[Set]) -> Result<Spec, Vec<Diagnostic>> {
    let mut sources = Sources::default();
    let name = file.display().to_string();
    let text = decode(content.as_ref(), &name, &mut sources)?;

    let mut reader = Reader::new(&sources, 0, 0);
    let root = reader.read(text);
    let mut faults = reader.faults;
    let mut doubts: Vec<Diagnostic> = reader.doubt.into_iter().collect();
    let Some(mut root) = root else {
        if faults.is_empty() {
            let span = Span::new(0, 0..0);
            let fault = sources.diagnostic(span, "", "the file is empty");
            faults.push(fault.with_help("a pipeline starts with `version: 1`; see pipelines/quickstart.yaml"));
        }
        return Err(faults);
    };
    for set in sets {
        if let Err(more) = set::apply(set, &mut root, &mut sources, &mut doubts) {
            faults.extend(more);
        }
    }

    check::check(&mut root, schema::schema(), &sources, &mut faults);
    rules::apply(&root, &sources, &mut faults);
    if faults.is_empty() {
        faults = doubts;
    }
    let mut spans = Spans {
        sources,
        ..Spans::default()
    };
    if faults.is_empty() {
        record(&root, String::new(), None, &mut spans);
        match serde_path_to_error::deserialize::<_, Pipeline>(root.to_json()) {
            Ok(mut pipeline) => {
                pipeline.normalise();
                return Ok(Spec { pipeline, spans });
            }
            Err(error) => {
                let path = error.path().to_string();
                faults.push(spans.diagnostic(&path, error.into_inner().to_string(), None));
            }
        }
    }
    Err(tidy(faults, &spans.sources))
}

/// The text of the file without its byte order mark, or why it is none.
fn decode<'a>(content: &'a [u8], name: &str, sources: &mut Sources) -> Result<&'a str, Vec<Diagnostic>> {
    if content.len() > LARGEST_FILE {
        sources.add(name, "", 0);
        let message = format!("the file is larger than {LARGEST_FILE} bytes, too large for a pipeline");
        return Err(vec![sources.diagnostic(Span::new(0, 0..0), "", message)]);
    }
    let (skipped, content) = match content.strip_prefix("\u{feff}".as_bytes()) {
        Some(rest) => (3, rest),
        None => (0, content),
    };
    match str::from_utf8(content) {
        Ok(text) => {
            sources.add(name, text, skipped);
            Ok(text)
        }
        Err(error) => {
            let at = error.valid_up_to();
            sources.add(name, &String::from_utf8_lossy(content), skipped);
            let utf16 = content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]);
            let message = if utf16 {
                "the file is UTF-16, not UTF-8"
            } else {
                "the file is not UTF-8 here"
            };
            let fault = sources.diagnostic(Span::new(0, at..at + 1), "", message);
            Err(vec![fault.with_help("save it as UTF-8")])
        }
    }
}

/// Notes the place of every value.
fn record(node: &Node, path: String, key: Option<Span>, spans: &mut Spans) {
    match &node.data {
        Data::List(items) => {
            for (index, item) in items.iter().enumerate() {
                record(item, item_path(&path, index), None, spans);
            }
        }
        Data::Map(entries) => {
            for entry in entries {
                record(&entry.value, key_path(&path, &entry.key), Some(entry.span), spans);
            }
        }
        _ => {}
    }
    spans.places.insert(path, Place { key, value: node.span });
}

/// Errors in the order of the file, those of assignments after them, and not absurdly many.
fn tidy(mut faults: Vec<Diagnostic>, sources: &Sources) -> Vec<Diagnostic> {
    let file = sources.name(0).to_owned();
    faults.sort_by_key(|fault| match fault.file == file {
        true => (0, fault.bytes.start),
        false => (1, 0),
    });
    if faults.len() > MOST_FAULTS {
        let message = format!("{} more errors are not listed", faults.len() - MOST_FAULTS);
        faults.truncate(MOST_FAULTS);
        if let Some(mut last) = faults.last().cloned() {
            last.path.clear();
            last.message = message;
            last.help = None;
            last.suggestion = None;
            faults.push(last);
        }
    }
    faults
}
