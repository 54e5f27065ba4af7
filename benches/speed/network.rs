//! The network, its data and its cells.

use super::arguments::Arguments;
use secateur::dataset::{Config, Dataset, Input, Normalize, Samples, SourceConfig};
use secateur::formats::safetensors;
use secateur::graph::{Graph, ValueId};
use secateur::lower::Shapes;
use secateur::mask::saliency::{Method, Ties};
use secateur::metric::{Kind, Metric};
use secateur::runtime::Runtime;
use secateur::sensitivity::{Batching, Plan, Target, descendants, layer_targets, micro_batch, shapes};
use secateur::tensor::Tensor;
use secateur::topology::{Layer, Options, layers, walk};
use std::error::Error;
use std::path::{Path, PathBuf};

/// How filters are chosen.
pub const PLAN: Plan = Plan {
    method: Method::L1,
    ties: Ties::Exact,
};

pub struct Network {
    pub name: String,
    pub path: PathBuf,
    pub graph: Graph,
    pub dataset: Dataset,
    /// The one that is measured.
    pub outputs: Vec<ValueId>,
    pub shape: Vec<usize>,
    pub targets: Vec<Target>,
    pub layers: Vec<Layer>,
    pub metric: Box<dyn Metric>,
    pub sparsities: Vec<f64>,
    pub batching: Batching,
    pub micro_batch: usize,
    /// What lowering needs to know of the model's values.
    pub shapes: Shapes,
    pub batch: usize,
    /// Made-up samples lie here.
    _made: Option<tempfile::TempDir>,
}

impl Network {
    pub fn open(arguments: &Arguments) -> Result<Network, Box<dyn Error>> {
        let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart");
        let path = arguments.model.clone().unwrap_or_else(|| quickstart.join("model.pt"));
        let graph = secateur::readers::read_model(std::fs::read(&path)?.into())?;
        let mut made = None;
        let (source, normalize, shape) = if arguments.model.is_none() {
            let given = |file: &Option<PathBuf>, own: &str| file.clone().unwrap_or_else(|| quickstart.join(own));
            let source = SourceConfig::Idx {
                images: given(&arguments.images, "images.idx.gz"),
                labels: Some(given(&arguments.labels, "labels.idx.gz")),
            };
            let normalize = Normalize {
                mean: vec![0.286],
                std: vec![0.353],
            };
            (source, Some(normalize), vec![1, 28, 28])
        } else {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("data.safetensors");
            std::fs::write(&path, made_up(arguments, &arguments.input))?;
            made = Some(folder);
            let source = SourceConfig::Safetensors {
                path,
                inputs: vec!["x".into()],
                targets: Some("y".into()),
            };
            (source, None, arguments.input.clone())
        };
        let config = Config {
            source,
            normalize,
            samples: Some(Samples {
                count: arguments.samples,
                shuffle: false,
            }),
            seed: 0,
            inputs: vec![Input::only(&shape)],
        };
        let dataset = Dataset::open(&config)?;
        let runtime = Runtime::new();
        let output = graph.output_values()[0];
        let first = dataset.read(0..1)?.inputs;
        let batching = Batching::probe(&graph, &first, output, arguments.batch, &runtime)?;
        let walked = batching.walk(&graph, &first, &runtime);
        let all = layers(&graph);
        let micro_batch = micro_batch(&walked, &all, &[output], arguments.batch, batching);
        let shapes = shapes(&walked);
        let mut chosen: Vec<Layer> = all.iter().filter(|layer| layer.is_convolution()).cloned().collect();
        chosen.sort_by_key(|layer| layer.weight);
        Ok(Network {
            name: path
                .file_stem()
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            micro_batch,
            batch: arguments.batch,
            targets: layer_targets(&chosen),
            layers: chosen,
            metric: Kind::Accuracy.build(),
            sparsities: arguments.sparsities.clone(),
            path,
            shapes,
            dataset,
            outputs: vec![output],
            shape,
            batching,
            graph,
            _made: made,
        })
    }

    pub fn title(&self) -> String {
        format!(
            "{}: {} layers × {} sparsities, {} samples, batch {}",
            self.name,
            self.targets.len(),
            self.sparsities.len(),
            self.dataset.len(),
            self.batch
        )
    }

    /// Multiply-accumulates of one sample's replays: every operator behind a masked layer, once a cell.
    pub fn replay_macs(&self) -> u64 {
        let mut shape = vec![1];
        shape.extend(&self.shape);
        let walked = walk(&self.graph, &Options::of_shapes([shape]), &Runtime::new());
        let behind = |layer: &Layer| -> u64 {
            let depends = descendants(&self.graph, &[layer.weight]);
            let nodes = self.graph.nodes.iter().zip(&walked.macs);
            nodes
                .filter(|(node, _)| {
                    // The masked layer itself need not run: its masked channels are known.
                    let own = node
                        .reads()
                        .iter()
                        .any(|&value| self.graph.param_of(value) == Some(layer.weight));
                    !own && node.outputs.iter().any(|value| depends[value.0 as usize])
                })
                .map(|(_, macs)| macs)
                .sum()
        };
        self.layers.iter().map(behind).sum::<u64>() * self.sparsities.len() as u64
    }
}

/// Samples for networks that have none: numbers between -1 and 1, and classes.
fn made_up(arguments: &Arguments, shape: &[usize]) -> Vec<u8> {
    let count: usize = arguments.samples * shape.iter().product::<usize>();
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..count).map(|_| next()).collect();
    let mut extents = vec![arguments.samples];
    extents.extend(shape);
    let classes: Vec<i64> = (0..arguments.samples as i64).map(|sample| sample * 7 % 10).collect();
    safetensors::write(&[
        ("x".to_owned(), Tensor::from_f32(extents, &values)),
        ("y".to_owned(), Tensor::from_i64([arguments.samples], &classes)),
    ])
}
