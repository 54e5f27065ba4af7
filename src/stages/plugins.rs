//! The pipeline's plug-ins as the stages use them: started, checked, and as part of keys.
//!
//! Deliberately knows nothing of what they are for beyond that: `data` makes metrics and datasets of them, and `rehearsal`
//! tries them out.

use super::shared::Shared;
use crate::pipeline::{Failure, Stop};
use crate::plugin::{self, CommandDataset, CommandMetric, Launch, PluginError};
use crate::spec::{self, Diagnostic, MetricCommand, Program, Source};
use crate::store::Store;
use globset::{GlobBuilder, GlobMatcher};
use serde_json::{Value, json};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// The most files and folders that globs are compared with.
const MOST_FILES: usize = 100_000;

/// The place of the dataset's plug-in in the pipeline file.
pub const DATASET: &str = "dataset.source.command";

/// The plug-ins among the pipeline's metrics, with their places in its file.
pub(super) fn metrics(shared: &Shared) -> Vec<(String, &MetricCommand)> {
    let pipeline = &shared.spec.pipeline;
    let metrics = pipeline.measured().into_iter().enumerate();
    let command = metrics.filter_map(|(at, metric)| match metric {
        spec::Metric::Command(command) => Some((format!("{}.command", pipeline.metric_place(at)), command.as_ref())),
        _ => None,
    });
    command.collect()
}

/// The plug-in that holds the dataset.
pub(super) fn dataset(shared: &Shared) -> Option<Program<'_>> {
    match &shared.spec.pipeline.dataset.as_ref()?.source {
        Source::Command(command) => Some(command.program()),
        _ => None,
    }
}

/// All plug-ins.
fn programs(shared: &Shared) -> Vec<(String, Program<'_>)> {
    let dataset = dataset(shared).map(|program| (DATASET.to_owned(), program));
    let metrics = metrics(shared).into_iter();
    let metrics = metrics.map(|(place, command)| (place, command.program()));
    dataset.into_iter().chain(metrics).collect()
}

/// Starts a metric.
pub fn start_metric(shared: &Shared, command: &MetricCommand, stop: &Stop) -> Result<CommandMetric, PluginError> {
    let direction = command.direction.map(|direction| match direction {
        spec::Direction::Maximize => plugin::Direction::Maximize,
        spec::Direction::Minimize => plugin::Direction::Minimize,
    });
    CommandMetric::start(&launch(shared, command.program(), stop), direction)
}

/// Starts a dataset.
pub fn start_dataset(shared: &Shared, program: Program<'_>, stop: &Stop) -> Result<CommandDataset, PluginError> {
    CommandDataset::start(&launch(shared, program, stop))
}

fn launch(shared: &Shared, program: Program<'_>, stop: &Stop) -> Launch {
    let stop = stop.clone();
    // Where our own binary cannot be found, starting tells so.
    let own = || std::env::current_exe().unwrap_or_else(|_| "secateur".into());
    Launch {
        name: name(shared, program),
        argv: program.argv.to_vec(),
        folder: folder(shared),
        env: program.env.clone().into_iter().collect(),
        pass_env: program.pass_env.to_vec(),
        timeout: Duration::from_secs(program.timeout.into()),
        workers: program.workers as usize,
        sandbox: program.sandbox.then(own),
        stop: std::sync::Arc::new(move || stop.is_set()),
    }
}

/// The pipeline's folder.
fn folder(shared: &Shared) -> PathBuf {
    match shared.base() {
        base if base.as_os_str().is_empty() => PathBuf::from("."),
        base => base.to_owned(),
    }
}

/// What outputs call a plug-in.
pub fn name(shared: &Shared, program: Program<'_>) -> String {
    if let Some(name) = program.name {
        return name.to_string();
    }
    let named = (0..program.argv.len()).find(|&at| file(shared, program, at).is_some());
    let word = Path::new(&program.argv[named.unwrap_or(0)]);
    word.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The file inside the pipeline's folder that a word of `argv` names. The first word is a program in PATH, unless it has
/// a slash.
fn file(shared: &Shared, program: Program<'_>, at: usize) -> Option<PathBuf> {
    let word = program.argv.get(at)?;
    if at == 0 && !word.contains('/') {
        return None;
    }
    let base = folder(shared);
    let path = base.join(word);
    let inside = normal(&path)?.strip_prefix(normal(&base)?).is_ok();
    (inside && path.is_file()).then_some(path)
}

/// A path without `.` and `..`, absolute; none where it leaves the root.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in std::path::absolute(path).ok()?.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop().then_some(())?;
            }
            other => normal.push(other),
        }
    }
    Some(normal)
}

/// What decides what a plug-in says: the content of its files, not where they lie; its arguments, variables and version; not
/// how many processes it has, nor how long they may take.
pub fn document(shared: &Shared, store: &Store, written: &str, program: Program<'_>) -> Result<Value, Failure> {
    let digest = |place: &str, path: &Path| {
        let digest = store.digest(path).map_err(Failure::of)?;
        let shown = path.strip_prefix(folder(shared)).unwrap_or(path).display().to_string();
        shared.note(
            place,
            shown,
            digest.digest,
            digest.bytes,
            vec![(path.to_owned(), digest)],
        )?;
        Ok::<_, Failure>(json!(digest.digest))
    };
    let mut argv = Vec::new();
    for (at, word) in program.argv.iter().enumerate() {
        argv.push(match file(shared, program, at) {
            Some(path) => json!({"file": digest(&format!("{written}.argv[{at}]"), &path)?}),
            None => json!(word),
        });
    }
    let mut files = Vec::new();
    for (at, pattern) in program.files.iter().enumerate() {
        let found = matches(&folder(shared), pattern).map_err(Failure::of)?;
        for (number, path) in found.iter().enumerate() {
            files.push(digest(&format!("{written}.files[{at}] {number:06}"), path)?);
        }
    }
    Ok(json!({"command": {
        "protocol": plugin::VERSION,
        "argv": argv,
        "files": files,
        "env": program.env,
        "version": program.version,
    }}))
}

/// What else plug-ins change in tables: their names and directions.
pub fn labels(shared: &Shared) -> Vec<Value> {
    let label = |(_, command): (_, &MetricCommand)| json!({"name": name(shared, command.program()), "direction": command.direction});
    metrics(shared).into_iter().map(label).collect()
}

/// What is wrong with plug-ins before they are started.
pub fn check(shared: &Shared) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut report = |place: String, message: String| {
        found.push(shared.spec.spans.diagnostic(&place, message, None));
    };
    for (written, program) in programs(shared) {
        if let Some(message) = program.argv.first().and_then(|word| missing(shared.base(), word)) {
            report(format!("{written}.argv[0]"), message);
        }
        for (at, pattern) in program.files.iter().enumerate() {
            match matches(&folder(shared), pattern) {
                Ok(files) if files.is_empty() => {
                    report(format!("{written}.files[{at}]"), format!("no file matches `{pattern}`"));
                }
                Ok(_) => {}
                Err(message) => report(format!("{written}.files[{at}]"), message),
            }
        }
    }
    found
}

/// Hooks that cannot run.
pub fn missing_hooks(shared: &Shared) -> Vec<Diagnostic> {
    let pipeline = &shared.spec.pipeline;
    let hooks = [("on_failure", &pipeline.on_failure), ("on_change", &pipeline.on_change)];
    let found = hooks.into_iter().filter_map(|(key, hook)| {
        let message = missing(shared.base(), hook.as_ref()?.command.first()?)?;
        let places = [format!("{key}[0]"), format!("{key}.command[0]")];
        let place = places.into_iter().find(|place| shared.spec.spans.is_written(place));
        Some(
            shared
                .spec
                .spans
                .diagnostic(&place.unwrap_or(key.to_owned()), message, None),
        )
    });
    found.collect()
}

/// Why a program cannot be started: a word with a slash is a file seen from the pipeline's folder, any other a program
/// in PATH.
fn missing(folder: &Path, word: &str) -> Option<String> {
    if word.contains('/') {
        let path = folder.join(word);
        return (!path.is_file()).then(|| format!("there is no file {}", path.display()));
    }
    plugin::in_path(word)
        .is_none()
        .then(|| format!("there is no program `{word}` in PATH (one beside the pipeline is written ./{word})"))
}

/// The files below a folder that match a glob, in order of their paths.
fn matches(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob = glob.map_err(|error| error.to_string())?.compile_matcher();
    // Only below the part that holds no wildcard.
    let literal: PathBuf = Path::new(pattern)
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']))
        .collect();
    if Path::new(pattern).is_absolute() || literal.components().any(|part| part == Component::ParentDir) {
        return Err(format!("`{pattern}` leaves the pipeline's folder"));
    }
    let mut found = Vec::new();
    let mut seen = 0;
    walk(base, &literal, &glob, &mut found, &mut seen)?;
    found.sort();
    Ok(found)
}

fn walk(
    base: &Path,
    below: &Path,
    glob: &GlobMatcher,
    found: &mut Vec<PathBuf>,
    seen: &mut usize,
) -> Result<(), String> {
    let path = base.join(below);
    *seen += 1;
    if *seen > MOST_FILES {
        return Err(format!(
            "more than {MOST_FILES} files lie below {}: give a narrower glob",
            base.display()
        ));
    }
    // Links are not followed into folders, so that a circle ends.
    let Ok(data) = path.symlink_metadata() else {
        return Ok(());
    };
    if data.is_dir() {
        let entries = std::fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", path.display()))?;
            walk(base, &below.join(entry.file_name()), glob, found, seen)?;
        }
    } else if path.is_file() && glob.is_match(below) {
        found.push(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_files_or_in_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("here"), "").unwrap();
        for (word, expected) in [
            ("./here", None),
            ("sh", None),
            ("./gone", Some("there is no file")),
            (
                "here",
                Some("no program `here` in PATH (one beside the pipeline is written ./here)"),
            ),
        ] {
            let found = missing(folder.path(), word);
            let agrees = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(agrees, "{word}: {found:?}");
        }
    }

    #[test]
    fn globs_stay_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.py", "sub/b.py", "sub/deep/c.py", "sub/d.txt"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            matches(folder.path(), pattern).map(|files| {
                let relative = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
                files.iter().map(relative).collect::<Vec<_>>()
            })
        };
        assert_eq!(found("*.py").unwrap(), ["a.py"]);
        assert_eq!(found("**/*.py").unwrap(), ["a.py", "sub/b.py", "sub/deep/c.py"]);
        assert_eq!(found("sub/*").unwrap(), ["sub/b.py", "sub/d.txt"]);
        assert_eq!(found("a.py").unwrap(), ["a.py"]);
        assert_eq!(found("none/*").unwrap(), Vec::<String>::new());
        assert!(found("../*").is_err() && found("/etc/*").is_err() && found("[").is_err());
    }
}
