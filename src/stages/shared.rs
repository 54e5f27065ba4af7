//! What the steps of one pipeline share: the model, read at most once, and the digests of what was read.
//!
//! Everything is lazy: a run whose results all lie in the store reads no more than names and digests.

use super::foreign::Foreign;
use super::inputs;
use super::weights;
use crate::dataset::Input;
use crate::formats::source::Source;
use crate::graph::{Declare, Evaluate, Graph};
use crate::labels::Split;
use crate::pipeline::{Failure, InputRecord, Stop};
use crate::readers;
use crate::runtime::{self, Runtime};
use crate::sensitivity::size_that_runs;
use crate::spec::{HeadCut, Memory, Spec};
use crate::store::{Change, Digest, DigestError, Document, Key, Store};
use crate::tensor::{DType, Tensor};
use crate::topology::{self, Declared, Options, Walked};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Raised whenever a reader makes another graph of the same file.
pub(super) const READER: u32 = 4;

/// The most numbers of a made-up sample.
const MADE_UP: usize = 1 << 28;

/// An input whose content cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct Unreadable {
    pub path: PathBuf,
    pub message: String,
}

/// Opens a model file, of whose inputs the sizes may be known, and reads its structure.
pub(super) fn read_graph(path: &Path, declared: &dyn Declare) -> Result<Model, Unreadable> {
    let unreadable = |message: String| Unreadable {
        path: path.to_owned(),
        message,
    };
    let source = Source::open(path).map_err(|error| unreadable(error.to_string()))?;
    let graph = readers::read_model_from(&source, declared).map_err(|error| unreadable(error.to_string()))?;
    Ok(Model { graph, source })
}

/// A model as it was read.
pub struct Model {
    pub graph: Graph,
    /// What its weights are read from.
    source: Source,
}

/// One pipeline's shared state.
pub struct Shared {
    pub spec: Spec,
    base: PathBuf,
    /// Whether models run as they were read.
    plain: AtomicBool,
    /// Bytes that were free at the start.
    free: Option<u64>,
    /// Bytes that the command line allows.
    limit: OnceLock<u64>,
    model: OnceLock<Result<Model, Unreadable>>,
    /// The plug-in that holds the dataset.
    pub(super) foreign: Foreign,
    stop: OnceLock<Stop>,
    /// What was read, by its place in the pipeline file.
    read: Mutex<BTreeMap<String, Seen>>,
}

/// The content under which an input was used.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    digest: Key,
    bytes: u64,
    /// The files and their digests.
    files: Vec<(PathBuf, Digest)>,
}

impl Shared {
    /// `base` is the folder of the pipeline file.
    pub fn new(spec: Spec, base: PathBuf) -> Shared {
        Shared {
            spec,
            base,
            plain: AtomicBool::new(false),
            free: runtime::free_memory(),
            limit: OnceLock::new(),
            model: OnceLock::new(),
            foreign: Foreign::default(),
            stop: OnceLock::new(),
            read: Mutex::default(),
        }
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Runs models as they were read, not lowered.
    pub fn run_plain(&self) {
        self.plain.store(true, Ordering::Relaxed);
    }

    pub fn runs_plain(&self) -> bool {
        self.plain.load(Ordering::Relaxed)
    }

    /// Allows so many bytes, whatever the file says; the first call counts.
    pub fn limit_memory(&self, bytes: u64) {
        let _ = self.limit.set(bytes);
    }

    /// The bytes that a run should stay within: what the command line allows, else the file, else half of what was free at
    /// the start.
    pub fn memory(&self) -> u64 {
        let written = self
            .spec
            .pipeline
            .resources
            .as_ref()
            .and_then(|resources| resources.memory.as_ref());
        let asked = self.limit.get().copied().or(written.map(Memory::bytes));
        asked.or(self.free.map(|free| free / 2)).unwrap_or(u64::MAX)
    }

    /// From now on what waits for the dataset's plug-in ends when `stop` is set.
    pub fn obey(&self, stop: &Stop) {
        // The first one is the run's.
        let _ = self.stop.set(stop.clone());
    }

    pub(super) fn stop(&self) -> Stop {
        self.stop.get().cloned().unwrap_or_default()
    }

    /// Lets go what only a running pipeline needs.
    pub fn release(&self) {
        self.foreign.release();
    }

    /// Where the model lies.
    pub fn model_path(&self) -> PathBuf {
        self.spec.pipeline.model.path.resolve(&self.base)
    }

    /// The model, read when it is first asked for.
    pub fn model(&self) -> Result<&Model, Unreadable> {
        let model = &self.spec.pipeline.model;
        let declared = |graph: &Graph| {
            let inputs = inputs::resolve(model, graph).ok()?.into_iter();
            Some(inputs.map(|input| (input.shape, input.dtype)).collect())
        };
        let read = || {
            let declared = Declared::new(Box::new(declared), evaluator());
            read_graph(&self.model_path(), &declared)
        };
        self.model.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// The digest of a file that the pipeline names at `place`; it is listed among the run's inputs.
    pub fn digest(&self, store: &Store, place: &str) -> Result<Key, Failure> {
        let inputs = self.spec.pipeline.input_paths();
        let Some(input) = inputs.iter().find(|input| input.place == place) else {
            return Err(Failure::of(format!("the pipeline names nothing at {place}")));
        };
        let path = input.path.resolve(&self.base);
        let digest = store.digest(&path).map_err(Failure::of)?;
        let written = input.path.to_string();
        self.note(place, written, digest.digest, digest.bytes, vec![(path, digest)])?;
        Ok(digest.digest)
    }

    /// Lists what was read at a place of the pipeline file.
    ///
    /// # Errors
    /// When something else was read there before: one run is of one content.
    pub fn note(
        &self,
        place: &str,
        path: String,
        digest: Key,
        bytes: u64,
        files: Vec<(PathBuf, Digest)>,
    ) -> Result<(), Failure> {
        let mut all = self.seen();
        if all.get(place).is_some_and(|seen| seen.digest != digest) {
            let changed = files
                .first()
                .map_or_else(|| PathBuf::from(&path), |(path, _)| path.clone());
            return Err(Failure::of(DigestError::Changed { path: changed }));
        }
        let seen = Seen {
            path,
            digest,
            bytes,
            files,
        };
        all.insert(place.into(), seen);
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read, in the order of the pipeline file.
    pub fn inputs(&self) -> Vec<InputRecord> {
        let seen = self.seen();
        let places = self.spec.pipeline.input_paths();
        let known = |place: &str| places.iter().any(|input| input.place == place);
        let found = places.iter().filter_map(|input| seen.get(&input.place));
        // Then the files of plug-ins, which only running finds.
        let found = found.chain(seen.iter().filter(|(place, _)| !known(place)).map(|(_, seen)| seen));
        found
            .map(|seen| InputRecord {
                path: seen.path.clone(),
                digest: seen.digest.to_string(),
                bytes: seen.bytes,
            })
            .collect()
    }

    /// Holds, after the work, that every input still is what the key says: a file that changed meanwhile must not leave
    /// results under the old content's key.
    pub fn unchanged(&self, store: &Store) -> Result<(), Failure> {
        let seen = self.seen().clone();
        for (path, digest) in seen.values().flat_map(|seen| &seen.files) {
            let now = store.digest(path).map_err(Failure::of)?;
            if now != *digest {
                return Err(Failure::of(DigestError::Changed { path: path.clone() }));
            }
        }
        match seen.get("model.path") {
            Some(seen) => self.read_of(store, seen.digest),
            None => Ok(()),
        }
    }

    /// Holds that the model, if it was read, was read from a file of this digest. Its weights are read one by one, each
    /// with its checksum, from the file as it was opened; so that is the file whose content must still be that.
    fn read_of(&self, store: &Store, digest: Key) -> Result<(), Failure> {
        let Some(Ok(Model { source, .. })) = self.model.get() else {
            return Ok(());
        };
        let Some(open) = source.open_file() else { return Ok(()) };
        let now = store.digest_open(open.file(), open.path()).map_err(Failure::of)?;
        match now.digest == digest {
            true => Ok(()),
            false => Err(Failure::of(DigestError::Changed {
                path: open.path().to_owned(),
            })),
        }
    }

    /// What every analysis of the model's structure depends on.
    pub fn topology_document(&self, store: &Store) -> Result<Document, Failure> {
        Ok(Document::new()
            .with("model", json!(self.digest(store, "model.path")?))
            .with("reader", READER)
            .with("input", self.input_document())
            .with("libtorch", runtime::libtorch_version()))
    }

    /// The model's inputs as they are written: the order decides where names do not.
    fn input_document(&self) -> serde_json::Value {
        let model = &self.spec.pipeline.model;
        match &model.inputs {
            None => json!(model.input),
            Some(inputs) => inputs
                .iter()
                .map(|(name, input)| json!({"name": name, "shape": input.shape, "dtype": input.dtype}))
                .collect(),
        }
    }

    /// What the model takes, in its own order where it can be read and takes that.
    pub fn inputs_of_model(&self) -> Vec<Input> {
        let model = &self.spec.pipeline.model;
        let read = self.model().ok();
        read.and_then(|read| inputs::resolve(model, &read.graph).ok())
            .unwrap_or_else(|| inputs::written(model))
    }

    /// Remembers what the model was made of, if it was read, so that a later plan can say what changed in it.
    pub fn remember_model(&self, store: &Store) {
        let seen = self.seen().get("model.path").map(|seen| seen.digest);
        if let (Some(Ok(model)), Some(digest)) = (self.model.get(), seen)
            && self.read_of(store, digest).is_ok()
        {
            weights::remember(store, digest, &model.graph);
        }
    }

    /// Says a change of a stage's document in the words of the pipeline: which weights, which files of the dataset.
    pub fn explain(&self, store: &Store, change: &Change) -> Option<Vec<String>> {
        let name = change.path.rsplit('.').next()?;
        match (name, &change.before, &change.after) {
            ("model", Some(Value::String(before)), Some(Value::String(_))) => {
                let model = self.model().ok()?;
                weights::changes(store, before, &model.graph)
            }
            ("files", Some(Value::Array(before)), Some(Value::Array(after))) if before.len() == after.len() => {
                let inputs = self.spec.pipeline.input_paths();
                let inputs = inputs.iter().filter(|input| input.place.starts_with("dataset."));
                let changed = inputs
                    .zip(before.iter().zip(after))
                    .filter(|(_, (before, after))| before != after);
                Some(
                    changed
                        .map(|(input, _)| format!("dataset {} changed", &**input.path))
                        .collect(),
                )
            }
            _ => None,
        }
    }

    /// The model, walked with labels.
    pub fn walk(&self) -> Result<Walk<'_>, Failure> {
        self.walk_cut(Cut::default())
    }

    /// The same, cut in a way of one's own.
    pub fn walk_cut(&self, cut: Cut) -> Result<Walk<'_>, Failure> {
        let graph = &self.model().map_err(Failure::of)?.graph;
        let mut walk = self.walk_graph(graph, cut)?;
        match walk.damage.take() {
            Some(damage) => Err(Failure::of(damage)),
            None => Ok(walk),
        }
    }

    fn walk_graph<'g>(&self, graph: &'g Graph, cut: Cut) -> Result<Walk<'g>, Failure> {
        let inputs = self.inputs_of_model();
        let with = |batch| {
            let batched = |input: &Input| {
                let shape = std::iter::once(batch).chain(input.shape.iter().copied());
                (shape.collect(), input.dtype)
            };
            let options = Options {
                heads: match cut.heads {
                    HeadCut::Within => Split::Within,
                    HeadCut::Whole => Split::Whole,
                },
                approximate: cut.approximate,
                tie_groups: cut.tie_groups,
                every_reason: cut.every_reason,
                ..Options::of_inputs(inputs.iter().map(batched))
            };
            let walked = topology::walk(graph, &options, evaluator());
            Walk { walked, batch }
        };
        // A trace may have its batch size baked in, and an operator that drops axes of length 1 takes a batch of one
        // for such an axis. The first batch size that comes out at the other end is right.
        let fits = |walk: &Walk<'_>| {
            let output = graph.output_values().first().map(|&value| walk.fact(value).shape());
            let kept = output.flatten().and_then(|shape| shape.first()) == Some(&walk.batch);
            kept && walk.issues.len() == graph.issues.len()
        };
        let first = with(1);
        if fits(&first) || first.damage.is_some() {
            return Ok(first);
        }
        if let Some(walk) = [2, 3].into_iter().map(with).find(fits) {
            return Ok(walk);
        }
        // Something is not understood; whether that is for the input's shape only a run tells.
        graph.read_weights().map_err(Failure::of)?;
        match self.size_that_runs(graph, &inputs) {
            Ok(1) => Ok(first),
            Ok(size) => Ok(with(size)),
            Err(fault) => Err(Failure::of(fault)),
        }
    }

    /// A batch size that the model runs with; 1 where its inputs cannot be made up.
    fn size_that_runs(&self, graph: &Graph, inputs: &[Input]) -> Result<usize, String> {
        let (_, output) = inputs::output(&self.spec.pipeline.model, graph).map_err(|misfit| misfit.message)?;
        let sample = |input: &Input| {
            let shape: Vec<usize> = std::iter::once(1).chain(input.shape.iter().copied()).collect();
            let numbers = shape.iter().try_fold(1_usize, |all, &extent| all.checked_mul(extent))?;
            let can = input.dtype == DType::F32 && numbers <= MADE_UP;
            can.then(|| Tensor::from_f32(shape, &vec![0.0; numbers]))
        };
        let Some(samples) = inputs.iter().map(sample).collect::<Option<Vec<Tensor>>>() else {
            return Ok(1);
        };
        size_that_runs(graph, &samples, output, evaluator()).map_err(|fault| {
            let shapes: Vec<String> = inputs.iter().map(|input| format!("{:?}", input.shape)).collect();
            format!(
                "the model does not run on inputs of shape {} (model.input, without the batch axis): {fault}",
                shapes.join(", ")
            )
        })
    }
}

/// What may be cut, and how.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub heads: HeadCut,
    /// Channels that a norm mixes as well.
    pub approximate: bool,
    /// Whether the groups of a convolution lose the same positions ([`Options::tie_groups`]).
    pub tie_groups: bool,
    /// For explanations ([`Options::every_reason`]).
    pub every_reason: bool,
}

impl Default for Cut {
    fn default() -> Cut {
        Cut {
            heads: HeadCut::default(),
            approximate: false,
            tie_groups: true,
            every_reason: false,
        }
    }
}

/// A walked model and the batch size that it was walked with.
pub struct Walk<'g> {
    pub walked: Walked<'g>,
    pub batch: usize,
}

impl<'g> Deref for Walk<'g> {
    type Target = Walked<'g>;

    fn deref(&self) -> &Walked<'g> {
        &self.walked
    }
}

impl DerefMut for Walk<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.walked
    }
}

/// What runs single operators for the topology.
pub fn evaluator() -> &'static (dyn Evaluate + Sync) {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(Runtime::new)
}
