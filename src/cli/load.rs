//! Pipeline files, read and turned into stages; everything wrong with all of them is shown before anything happens.

use super::{CliError, say, says_json};
use crate::history::RunRecord;
use crate::pipeline::{Dag, Failure, InputRecord, Stop};
use crate::spec::{self, Diagnostic, Hook, Memory, Outside, Schedule, Set, Spec};
use crate::stages::explain::{ExplainError, Explanation, explain};
use crate::stages::{self, Shared};
use crate::store::Store;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A valid pipeline: a file, or one combination of a file's matrix.
pub struct Loaded {
    pub file: PathBuf,
    pub dag: Dag,
    shared: Arc<Shared>,
}

impl Loaded {
    pub fn name(&self) -> &str {
        &self.shared.spec.pipeline.name
    }

    /// The folder of this pipeline's results: `--output` relative to the current folder, `output:` to the file.
    pub fn output_folder(&self, output: Option<&Path>) -> PathBuf {
        let written = self.shared.spec.pipeline.output.as_ref();
        let parent = match (output, written) {
            (Some(folder), _) => folder.into(),
            (None, Some(written)) => written.resolve(self.shared.base()),
            (None, None) => PathBuf::from("out"),
        };
        parent.join(self.name())
    }

    /// The name of the file's pipelines, without the values of a matrix.
    pub fn family(&self) -> &str {
        &self.shared.spec.family
    }

    /// When the pipeline runs by itself.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.shared.spec.pipeline.schedule.as_ref()
    }

    /// Whether the file says where results go.
    pub fn writes_output(&self) -> bool {
        self.shared.spec.pipeline.output.is_some()
    }

    /// What runs after a failure, and after a change.
    pub fn hooks(&self) -> (Option<&Hook>, Option<&Hook>) {
        let pipeline = &self.shared.spec.pipeline;
        (pipeline.on_failure.as_ref(), pipeline.on_change.as_ref())
    }

    /// The folder that the file's paths are relative to.
    pub fn base(&self) -> &Path {
        self.shared.base()
    }

    /// The specification with every default filled in.
    pub fn resolved(&self) -> serde_json::Value {
        self.shared.spec.pipeline.resolved()
    }

    /// Why layers of the model go together.
    pub fn explain(&self, layers: &[String]) -> Result<Explanation, ExplainError> {
        explain(&self.shared, layers)
    }

    /// Remembers the model for later plans, once stages have run.
    pub fn remember_model(&self, store: &Store) {
        self.shared.remember_model(store);
    }

    /// From now on what waits ends when `stop` is set.
    pub fn obey(&self, stop: &Stop) {
        self.shared.obey(stop);
    }

    /// Lets go what only a running pipeline needs.
    pub fn release(&self) {
        self.shared.release();
    }

    /// Hooks that cannot run where this runs; a run does its work without them.
    pub fn missing_hooks(&self) -> Vec<Diagnostic> {
        stages::missing_hooks(&self.shared)
    }

    /// Lets the pipeline's plug-ins measure a batch several times, and tells what came of it.
    pub fn rehearse(&self) -> Result<Vec<String>, Failure> {
        stages::rehearse(&self.shared)
    }

    /// What was read, once stages have run.
    pub fn inputs(&self) -> Vec<InputRecord> {
        self.shared.inputs()
    }
}

/// Reads files as far as they say themselves what they mean; models and data are not looked at.
pub fn outlined(files: &[PathBuf], sets: &[String]) -> Result<Vec<Loaded>, CliError> {
    let outlines = outlines(files, sets);
    match outlines.whole {
        true => Ok(outlines.loaded),
        false => Err(show(&outlines.faults)),
    }
}

/// What files say themselves.
struct Outlines {
    loaded: Vec<Loaded>,
    /// What is wrong with the others.
    faults: Vec<Diagnostic>,
    /// Whether all could be read and nothing is wrong.
    whole: bool,
}

fn outlines(files: &[PathBuf], sets: &[String]) -> Outlines {
    let mut faults = Vec::new();
    let mut loaded = Vec::new();
    let mut readable = true;
    let sets: Vec<Set> = sets.iter().map(|set| Set::new(set.as_str())).collect();
    for file in files {
        let content = match read(file) {
            Ok(content) => content,
            Err(error) => {
                say(&format!("error: cannot read {}: {error}", file.display()));
                readable = false;
                continue;
            }
        };
        let members = spec::read_family(content, file, &sets, &Surroundings);
        match members.and_then(|members| {
            members
                .into_iter()
                .map(|spec| load(file, spec))
                .collect::<Result<Vec<_>, _>>()
        }) {
            Ok(members) => loaded.extend(members),
            Err(more) => faults.extend(more),
        }
    }
    Outlines {
        loaded,
        whole: readable && faults.is_empty(),
        faults,
    }
}

/// A recorded run's pipeline, as it was resolved then.
pub fn recorded(run: &RunRecord) -> Result<Loaded, CliError> {
    // What a variable left is plain text by now.
    fn plain(value: &mut Value) {
        match value {
            Value::String(text) => *text = text.replace('$', "$$"),
            Value::Array(items) => items.iter_mut().for_each(plain),
            Value::Object(fields) => fields.values_mut().for_each(plain),
            _ => {}
        }
    }
    let mut spec = run.spec.clone();
    plain(&mut spec);
    let file = Path::new(&run.folder).join(format!("run {}", run.id));
    let loaded = spec::read(spec.to_string(), &file, &[]).and_then(|spec| load(&file, spec));
    let loaded = loaded.map_err(|faults| show(&faults))?;
    match stages::check(&loaded.shared) {
        faults if faults.is_empty() => Ok(loaded),
        faults => Err(show(&faults)),
    }
}

/// Reads files and all headers that they name. Where anything is wrong, all that is wrong is shown: one file's errors hide no
/// other's.
pub fn checked(files: &[PathBuf], sets: &[String]) -> Result<Vec<Loaded>, CliError> {
    let Outlines {
        loaded,
        mut faults,
        whole,
    } = outlines(files, sets);
    faults.extend(loaded.iter().flat_map(|one| stages::check(&one.shared)));
    if whole && faults.is_empty() {
        return Ok(loaded);
    }
    let invalid = show(&faults);
    for message in unreadable(&loaded) {
        say(&format!("error: {message}"));
    }
    Err(invalid)
}

/// Reads a file of which only the model matters.
pub fn with_model(file: &Path, sets: &[String]) -> Result<Vec<Loaded>, CliError> {
    let loaded = outlined(&[file.to_owned()], sets)?;
    let diagnostics: Vec<Diagnostic> = loaded.iter().flat_map(|one| stages::check_model(&one.shared)).collect();
    if diagnostics.is_empty() {
        Ok(loaded)
    } else {
        Err(show(&diagnostics))
    }
}

/// Says whether models are lowered before they run.
pub fn lowering(loaded: &[Loaded], lower: bool) {
    let plain = loaded.iter().filter(|_| !lower);
    plain.for_each(|one| one.shared.run_plain());
}

/// Allows all of them so much memory, where the command line says so.
pub fn limit(loaded: &[Loaded], memory: Option<&Memory>) {
    if let Some(memory) = memory {
        loaded.iter().for_each(|one| one.shared.limit_memory(memory.bytes()));
    }
}

/// Contents that cannot be read: a run finds out by itself, `check` asks.
pub fn unreadable(loaded: &[Loaded]) -> Vec<String> {
    loaded.iter().flat_map(|one| stages::unreadable(&one.shared)).collect()
}

fn load(file: &Path, spec: Spec) -> Result<Loaded, Vec<Diagnostic>> {
    let base = file.parent().map(PathBuf::from).unwrap_or_default();
    let shared = Arc::new(Shared::new(spec, base));
    let dag = stages::build(&shared)?;
    Ok(Loaded {
        file: file.into(),
        dag,
        shared,
    })
}

/// The files and the environment of this process.
pub struct Surroundings;

impl Outside for Surroundings {
    fn file(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        read(path)
    }

    fn variable(&self, name: &str) -> Result<String, &'static str> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => "is not set",
            std::env::VarError::NotUnicode(_) => "is not UTF-8",
        })
    }
}

/// Reads no more than can be valid.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file)?
        .take(spec::LARGEST_FILE as u64 + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

pub fn show(diagnostics: &[Diagnostic]) -> CliError {
    let plain = says_json() || anstream::AutoStream::choice(&std::io::stderr()) == anstream::ColorChoice::Never;
    // One JSON object an error; for people all in one.
    let together = match says_json() {
        true => 1,
        false => diagnostics.len().max(1),
    };
    for some in diagnostics.chunks(together) {
        say(spec::render(some, !plain).trim_end());
    }
    CliError::Invalid
}
