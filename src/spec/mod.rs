//! The pipeline file as written: its types, its schema, and reading it with every error at once.
//!
//! Text goes in; [`Spec`]s or [`Diagnostic`]s come out. Nothing here opens a file (a caller hands in what a file extends,
//! through [`Outside`]), knows what a step does, or decides what runs: `pipeline` does.
//!
//! Reading has five passes, and each goes on where the one before found faults:
//! 1. `tree`: YAML into a tree of `node`s with places.
//! 2. `family`: the tree laid over those of the files that it extends; `set` puts the assignments of `--set` into it;
//!    variables are filled in; the matrix makes it several.
//! 3. `check`, with `bounds`: each tree against the schema: keys, types, ranges, near words.
//! 4. `rules`: what the schema cannot say, between fields and between steps.
//! 5. serde, only where nothing is wrong: the tree into [`Pipeline`], its defaults filled.

mod bounds;
mod check;
mod command;
mod cron;
mod diagnostic;
mod family;
mod model;
mod near;
mod node;
mod rules;
mod schedule;
mod schema;
mod set;
mod sources;
mod steps;
mod tree;
mod types;
mod words;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use command::{DatasetCommand, Direction, MetricCommand, Program};
pub use cron::Cron;
pub use diagnostic::{Diagnostic, Spans, render};
pub use family::Outside;
pub use model::{InputType, Model, ModelInput, OutputChoice};
pub use near::nearest;
pub use schedule::{Hook, Period, Schedule, Timezone};
pub use schema::schema_json;
pub use set::Set;
pub use sources::{
    ArrayFiles, ArrayNames, ArraySource, Cifar10Source, Cifar100Labels, Cifar100Source, Expected, IdxSource,
    ImageFolderSource, JsonField, NpySource, ParquetSource, Source, WebdatasetLabel, WebdatasetSource,
};
pub use steps::{
    Against, Bounds, CellBounds, Compat, Dependencies, DependencyKind, Drift, EarlyStop, Estimate, Flops, Gate,
    Granularity, HeadCut, MaskFix, Masks, Method, Sensitivity, Step, StepMasks, StopMode, round_sparsity,
};
pub use types::{
    Dataset, InputPath, Metric, Normalize, Pipeline, Precision, Resources, Samples, ScriptedDirection, ScriptedMetric,
};
pub use words::{Device, FilePath, LayerPattern, Memory, Name, WordError};

use diagnostic::{Place, Sources, Span};
use family::Nothing;
pub use node::key_path;
use node::{Data, Node, item_path};
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
    /// The pipeline's name without what a matrix added.
    pub family: String,
}

/// Reads a text that stands alone: without other files, variables of the environment, or a matrix of several pipelines.
pub fn read(content: impl AsRef<[u8]>, file: &Path, sets: &[Set]) -> Result<Spec, Vec<Diagnostic>> {
    let mut members = read_family(content, file, sets, &Nothing)?;
    match members.len() {
        1 => Ok(members.remove(0)),
        count => {
            let spans = &members[0].spans;
            let message = format!("this file is {count} pipelines, and one is expected here");
            Err(vec![spans.diagnostic("", message, None)])
        }
    }
}

/// Reads a pipeline file, given its content and the name to show for it, with assignments put in: one pipeline, or one
/// for each combination of its matrix. Gives every error.
///
/// A caller that reads the file itself need not read more than [`LARGEST_FILE`] + 1 bytes.
pub fn read_family(
    content: impl AsRef<[u8]>,
    file: &Path,
    sets: &[Set],
    outside: &dyn Outside,
) -> Result<Vec<Spec>, Vec<Diagnostic>> {
    let mut reading = Reading::default();
    let schema = schema::schema();
    let Some(root) = reading.tree(content.as_ref(), file, PathBuf::new()) else {
        return Err(reading.faults);
    };
    let mut root = family::extend(root, &[file.to_owned()], schema, outside, &mut reading);
    let Reading {
        mut sources,
        mut faults,
        mut doubts,
        partial,
    } = reading;
    for set in sets {
        if let Err(more) = set::apply(set, &mut root, &mut sources, &mut doubts) {
            faults.extend(more);
        }
    }
    family::substitute(&mut root, outside, &sources, &mut faults);
    let family = root
        .get("name")
        .map(Node::to_json)
        .and_then(|name| name.as_str().map(str::to_owned));
    let family = family.unwrap_or_default();
    let members = family::expand(root, &sources, &mut faults);
    let mut specs = Vec::new();
    for mut member in members {
        let mut found = Vec::new();
        check::check(&mut member, schema, &sources, &mut found);
        rules::apply(&member, &sources, &mut found);
        if found.is_empty() && faults.is_empty() {
            match finish(&member, &sources, &family) {
                Ok(spec) => specs.push(spec),
                Err(fault) => found.push(*fault),
            }
        }
        // Nobody knows what a file that could not be read would have said.
        found.retain(|fault| !(partial && fault.message.starts_with("missing key")));
        // What is wrong in every member is wrong once.
        for fault in found {
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }
    if faults.is_empty() {
        faults = doubts;
    }
    match faults.is_empty() {
        true => Ok(specs),
        false => Err(tidy(faults, &sources)),
    }
}

/// The types from a tree in which nothing is wrong.
fn finish(root: &Node, sources: &Sources, family: &str) -> Result<Spec, Box<Diagnostic>> {
    let mut spans = Spans {
        sources: sources.clone(),
        ..Spans::default()
    };
    record(root, String::new(), None, &mut spans);
    match serde_path_to_error::deserialize::<_, Pipeline>(root.to_json()) {
        Ok(mut pipeline) => {
            pipeline.normalise();
            let family = family.to_owned();
            Ok(Spec {
                pipeline,
                spans,
                family,
            })
        }
        Err(error) => {
            let path = error.path().to_string();
            Err(Box::new(spans.diagnostic(&path, error.into_inner().to_string(), None)))
        }
    }
}

/// The texts that were read so far, and what is wrong with them.
#[derive(Default)]
struct Reading {
    sources: Sources,
    faults: Vec<Diagnostic>,
    /// What counts only where nothing else is wrong.
    doubts: Vec<Diagnostic>,
    /// Whether a file that the pipeline extends could not be had.
    partial: bool,
}

impl Reading {
    /// Reads one file's text into a tree; nothing when there is none or it is no YAML, which is reported. `folder` is
    /// what its paths are relative to, as seen from the first file's folder.
    fn tree(&mut self, content: &[u8], file: &Path, folder: PathBuf) -> Option<Node> {
        let name = file.display().to_string();
        let text = match decode(content, &name, &mut self.sources) {
            Ok(text) => text,
            Err(fault) => {
                self.faults.push(*fault);
                return None;
            }
        };
        self.sources.lies_in(folder);
        let source = self.sources.last();
        let mut reader = Reader::new(&self.sources, source, 0);
        let root = reader.read(text);
        let silent = reader.faults.is_empty();
        self.faults.append(&mut reader.faults);
        self.doubts.extend(reader.doubt);
        if root.is_none() && silent {
            let fault = self
                .sources
                .diagnostic(Span::new(source, 0..0), "", "the file is empty");
            let help = "a pipeline starts with `version: 1`; see pipelines/quickstart.yaml";
            self.faults.push(fault.with_help(help));
        }
        root
    }
}

/// The text of the file without its byte order mark, or why it is none.
fn decode<'a>(content: &'a [u8], name: &str, sources: &mut Sources) -> Result<&'a str, Box<Diagnostic>> {
    if content.len() > LARGEST_FILE {
        let source = sources.add(name, "", 0);
        let message = format!("the file is larger than {LARGEST_FILE} bytes, too large for a pipeline");
        return Err(Box::new(sources.diagnostic(Span::new(source, 0..0), "", message)));
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
            let source = sources.add(name, &String::from_utf8_lossy(content), skipped);
            let utf16 = content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]);
            let message = if utf16 {
                "the file is UTF-16, not UTF-8"
            } else {
                "the file is not UTF-8 here"
            };
            let fault = sources.diagnostic(Span::new(source, at..at + 1), "", message);
            Err(Box::new(fault.with_help("save it as UTF-8")))
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

/// Errors in the order of the file, those of the files that it extends and of assignments after them, and not absurdly
/// many.
fn tidy(mut faults: Vec<Diagnostic>, sources: &Sources) -> Vec<Diagnostic> {
    faults.sort_by_key(|fault| match sources.position(&fault.file) {
        place if fault.file.starts_with("--set ") => (place, 0),
        place => (place, fault.bytes.start),
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
