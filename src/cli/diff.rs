//! `diff A B`: how two runs differ, or a pipeline at two revisions of its repository.

use super::load::Surroundings;
use super::runs::pretty;
use super::{CliError, Exit, StoreArgs, answer};
use crate::history::{self, Revision, RunRecord, changed_fields, compare};
use crate::report;
use crate::spec::{self, Outside, Spec};
use crate::store::Store;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The earlier run (an id, the beginning of it, `last`, `last_success`, `last~1`), or with --pipeline a git revision.
    #[arg(value_name = "A")]
    before: String,
    /// The later one.
    #[arg(value_name = "B")]
    after: String,
    /// Compare this pipeline file at two git revisions, and the runs recorded of them.
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub fn diff(args: &Args) -> Result<Exit, CliError> {
    let store = args.store.peek()?;
    match &args.pipeline {
        None => {
            let before = history::find(&store, &args.before, None)?;
            let after = history::find(&store, &args.after, None)?;
            show_runs(&before, &after, &store, args.json)?;
        }
        Some(file) => {
            let before = Past::read(&args.before, file)?;
            let after = Past::read(&args.after, file)?;
            show_revisions(&before, &after, &store, args.json)?;
        }
    }
    Ok(Exit::Done)
}

fn show_runs(before: &RunRecord, after: &RunRecord, store: &Store, as_json: bool) -> Result<(), CliError> {
    let comparison = compare(before, after, store);
    answer(&if as_json {
        let found = comparison_fields(&comparison);
        pretty(&json!({"before": before.id, "after": after.id, "fields": found["fields"], "steps": found["steps"]}))
    } else {
        let line = |run: &RunRecord| format!("{} of {}, {}", run.id, run.name, run.status.name());
        format!(
            "{}\n→ {}\n\n{}",
            line(before),
            line(after),
            report::comparison(&comparison)
        )
    })
}

fn comparison_fields(comparison: &history::Comparison) -> Value {
    // Numbers and strings only, so this cannot fail.
    serde_json::to_value(comparison).unwrap_or_default()
}

/// A pipeline file as it was at a revision.
struct Past {
    revision: Revision,
    members: Vec<Spec>,
}

/// The files of a revision, and today's environment.
struct Then<'a>(&'a Revision);

impl Outside for Then<'_> {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn variable(&self, name: &str) -> Result<String, &'static str> {
        Surroundings.variable(name)
    }
}

impl Past {
    fn read(word: &str, file: &Path) -> Result<Past, CliError> {
        let unknown = || {
            let file = file.display();
            CliError::Usage(format!("git knows no revision `{word}` of the repository of {file}"))
        };
        let revision = Revision::find(word, file).ok_or_else(unknown)?;
        let content = revision
            .read(file)
            .map_err(|error| CliError::Usage(format!("cannot read {} at {word}: {error}", file.display())))?;
        let members = spec::read_family(content, file, &[], &Then(&revision)).map_err(|mut faults| {
            for fault in &mut faults {
                fault.file = format!("{word}:{}", fault.file);
            }
            super::load::show(&faults)
        })?;
        Ok(Past { revision, members })
    }

    /// The newest run of this very file, with nothing uncommitted, that has results.
    fn run(&self, store: &Store, name: &str) -> Result<Option<RunRecord>, CliError> {
        let runs = history::runs(store, Some(name))?;
        let ours = |run: &RunRecord| {
            let git = run.git.as_ref();
            let clean = git
                .is_some_and(|git| !git.dirty && git.commit == self.revision.commit && git.path == self.revision.path);
            clean && run.stages.iter().any(history::StageEntry::is_done)
        };
        Ok(runs.into_iter().rev().find(ours))
    }
}

/// Members of a matrix are paired by name.
fn show_revisions(before: &Past, after: &Past, store: &Store, as_json: bool) -> Result<(), CliError> {
    let mut all = Vec::new();
    let mut text = String::new();
    let name = |spec: &Spec| spec.pipeline.name.to_string();
    let mut names: Vec<String> = after.members.iter().map(name).collect();
    names.extend(
        before
            .members
            .iter()
            .map(name)
            .filter(|name| !names.contains(name))
            .collect::<Vec<_>>(),
    );
    let member = |past: &Past, wanted: &str| {
        let found = past.members.iter().find(|spec| name(spec) == wanted);
        found.map(|spec| spec.pipeline.resolved())
    };
    for (index, name) in names.iter().enumerate() {
        let (old, new) = (member(before, name), member(after, name));
        let runs = (before.run(store, name)?, after.run(store, name)?);
        let words = (&before.revision.word, &after.revision.word);
        if index > 0 {
            text.push('\n');
        }
        text += &format!("{name} at {} → {}\n\n", words.0, words.1);
        let mut entry = json!({"name": name, "before": before.revision.commit, "after": after.revision.commit});
        match (&old, &new) {
            (None, _) => text += &format!("not a pipeline at {}\n", words.0),
            (_, None) => text += &format!("no longer a pipeline at {}\n", words.1),
            (Some(old), Some(new)) => match &runs {
                (Some(earlier), Some(later)) => {
                    let comparison = compare(earlier, later, store);
                    text += &report::comparison(&comparison);
                    entry["runs"] = json!([earlier.id, later.id]);
                    let found = comparison_fields(&comparison);
                    (entry["fields"], entry["steps"]) = (found["fields"].clone(), found["steps"].clone());
                }
                _ => {
                    let fields = changed_fields(old, new);
                    text += &report::fields(&fields);
                    let lines: Vec<String> = fields.iter().map(ToString::to_string).collect();
                    entry["fields"] = json!(lines);
                    for (run, word) in [(&runs.0, words.0), (&runs.1, words.1)] {
                        if run.is_none() {
                            text += &format!("no run of {word} is recorded (one without uncommitted changes)\n");
                        }
                    }
                }
            },
        }
        all.push(entry);
    }
    answer(&if as_json { pretty(&Value::Array(all)) } else { text })
}
