//! The pipeline's plug-ins as the stages use them: started, checked, and as part of keys.

use super::shared::Shared;
use super::{data, inputs};
use crate::dataset::Dataset;
use crate::metric::{self, Forward, Metric, Score};
use crate::pipeline::{Failure, Stop};
use crate::plugin::{self, CommandMetric, Launch, PluginError};
use crate::runtime::Runtime;
use crate::spec::{self, Diagnostic, MetricCommand};
use crate::store::Store;
use globset::{GlobBuilder, GlobMatcher};
use serde_json::{Value, json};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// The most files and folders that globs are compared with.
const MOST_FILES: usize = 100_000;

/// The plug-ins among the pipeline's metrics, with their places in its file.
fn commands(shared: &Shared) -> Vec<(String, &MetricCommand)> {
    let pipeline = &shared.spec.pipeline;
    let metrics = pipeline.measured().into_iter().enumerate();
    let command = metrics.filter_map(|(at, metric)| match metric {
        spec::Metric::Command(command) => Some((format!("{}.command", pipeline.metric_place(at)), command.as_ref())),
        _ => None,
    });
    command.collect()
}

/// Starts a plug-in.
pub fn start(shared: &Shared, command: &MetricCommand, stop: &Stop) -> Result<CommandMetric, PluginError> {
    let stop = stop.clone();
    // Where our own binary cannot be found, starting tells so.
    let own = || std::env::current_exe().unwrap_or_else(|_| "secateur".into());
    let launch = Launch {
        name: name(shared, command),
        argv: command.argv.clone(),
        folder: folder(shared),
        env: command.env.clone().into_iter().collect(),
        pass_env: command.pass_env.clone(),
        timeout: Duration::from_secs(command.timeout.into()),
        workers: command.workers as usize,
        sandbox: command.sandbox.then(own),
        stop: std::sync::Arc::new(move || stop.is_set()),
    };
    let direction = command.direction.map(|direction| match direction {
        spec::Direction::Maximize => plugin::Direction::Maximize,
        spec::Direction::Minimize => plugin::Direction::Minimize,
    });
    CommandMetric::start(&launch, direction)
}

/// The pipeline's folder.
fn folder(shared: &Shared) -> PathBuf {
    match shared.base() {
        base if base.as_os_str().is_empty() => PathBuf::from("."),
        base => base.to_owned(),
    }
}

/// What outputs call a plug-in.
pub fn name(shared: &Shared, command: &MetricCommand) -> String {
    if let Some(name) = &command.name {
        return name.to_string();
    }
    let named = (1..command.argv.len()).find(|&at| file(shared, command, at).is_some());
    let word = Path::new(&command.argv[named.unwrap_or(0)]);
    word.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The file inside the pipeline's folder that a word of `argv` names. The first word is a program in PATH, unless it has
/// a slash.
fn file(shared: &Shared, command: &MetricCommand, at: usize) -> Option<PathBuf> {
    let word = command.argv.get(at)?;
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

/// What decides the values of the metric: for a plug-in the content of its files, not where they lie; its arguments,
/// variables and version; not how many processes it has, nor how long they may take.
pub fn document(shared: &Shared, store: &Store, written: &str, command: &MetricCommand) -> Result<Value, Failure> {
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
    for (at, word) in command.argv.iter().enumerate() {
        argv.push(match file(shared, command, at) {
            Some(path) => json!({"file": digest(&format!("{written}.argv[{at}]"), &path)?}),
            None => json!(word),
        });
    }
    let mut files = Vec::new();
    for (at, pattern) in command.files.iter().enumerate() {
        let found = matches(&folder(shared), pattern).map_err(Failure::of)?;
        for (number, path) in found.iter().enumerate() {
            files.push(digest(&format!("{written}.files[{at}] {number:06}"), path)?);
        }
    }
    Ok(json!({"command": {
        "protocol": plugin::VERSION,
        "argv": argv,
        "files": files,
        "env": command.env,
        "version": command.version,
    }}))
}

/// What else plug-ins change in tables: their names and directions.
pub fn labels(shared: &Shared) -> Vec<Value> {
    let label =
        |(_, command): (_, &MetricCommand)| json!({"name": name(shared, command), "direction": command.direction});
    commands(shared).into_iter().map(label).collect()
}

/// What is wrong with plug-ins before they are started.
pub fn check(shared: &Shared) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut report = |place: String, message: String| {
        found.push(shared.spec.spans.diagnostic(&place, message, None));
    };
    for (written, command) in commands(shared) {
        if let Some(word) = command.argv.first().filter(|word| word.contains('/')) {
            let path = folder(shared).join(word);
            if !path.is_file() {
                report(
                    format!("{written}.argv[0]"),
                    format!("there is no file {}", path.display()),
                );
            }
        }
        for (at, pattern) in command.files.iter().enumerate() {
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

/// Starts the plug-ins that the pipeline names and lets each measure the unmasked model on the first batch, twice in one
/// process and once in another: a line for each that said the same each time.
pub fn rehearse(shared: &Shared) -> Result<Vec<String>, Failure> {
    let commands = commands(shared).into_iter();
    commands.map(|(_, command)| rehearse_one(shared, command)).collect()
}

fn rehearse_one(shared: &Shared, command: &MetricCommand) -> Result<String, Failure> {
    let config = data::config(shared).ok_or_else(|| Failure::of("the pipeline names no dataset"))?;
    let dataset = Dataset::open(&config).map_err(Failure::of)?;
    let size = shared
        .spec
        .pipeline
        .dataset
        .as_ref()
        .map_or(1, |dataset| dataset.batch_size as usize);
    let batch = dataset.read(0..size.min(dataset.len())).map_err(Failure::of)?;
    let graph = &shared.model().map_err(Failure::of)?.graph;
    let (_, output) =
        inputs::output(&shared.spec.pipeline.model, graph).map_err(|misfit| Failure::of(misfit.message))?;
    let given: Vec<_> = graph.inputs.iter().copied().zip(batch.inputs.iter().cloned()).collect();
    let outputs = Runtime::new().run(graph, &given, &[output]).map_err(Failure::of)?;
    let forward = Forward {
        cell: "the unmasked model",
        outputs: &outputs,
        baseline: Some(&outputs),
        batch: &batch,
    };
    let single = MetricCommand {
        workers: 1,
        ..command.clone()
    };
    let mut first: Option<Score> = None;
    for times in [2, 1] {
        let metric = start(shared, &single, &Stop::default()).map_err(Failure::of)?;
        metric.check_targets(dataset.targets()).map_err(Failure::of)?;
        for _ in 0..times {
            let cell = metric::open(&metric, forward.cell).map_err(Failure::of)?;
            cell.add(&forward).map_err(Failure::of)?;
            let score = cell.finish().map_err(Failure::of)?;
            let first = first.get_or_insert_with(|| score.clone());
            if format!("{first:?}") != format!("{score:?}") {
                return Err(Failure::of(format!(
                    "plug-in {}: the same {} samples gave {:?} first, then {:?}: seed what it draws, or its cells cannot \
                     be kept",
                    metric.name(),
                    batch.len(),
                    first.value,
                    score.value
                )));
            }
        }
    }
    let name = name(shared, command);
    let samples = batch.len();
    Ok(format!(
        "plug-in {name}: {samples} samples measured three times, in two processes: the same"
    ))
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
