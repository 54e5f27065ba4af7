//! What is found out before anything is measured: how the model takes the data, what that costs, and what it holds.

use super::Sensitivity;
use super::format::Format;
use crate::dataset::{Dataset, DatasetError};
use crate::graph::{Graph, ValueId};
use crate::pipeline::{Cells, Failure};
use crate::sensitivity::{Batching, Budget, Footprint, Precision, Target, WAVE, micro_batch};
use crate::stages::{data, inputs, shared};
use crate::topology::{self, Walked};

/// The data, and how the model takes it.
pub(super) struct Ready<'g> {
    pub dataset: Dataset,
    /// What the metrics are given, the model's chosen one first.
    pub outputs: Vec<ValueId>,
    pub batching: Batching,
    /// What is known of the model's values for the smallest batch that it takes.
    pub walked: Walked<'g>,
    pub micro_batch: usize,
}

impl Sensitivity {
    /// Opens the data and finds out how the model takes it; `whole` asks for all that it returns.
    pub(super) fn prepare<'g>(&self, graph: &'g Graph, whole: bool) -> Result<Ready<'g>, Failure> {
        let pipeline = &self.shared.spec.pipeline;
        let dataset = data::open(&self.shared)?;
        let outputs = inputs::outputs(&pipeline.model, graph, whole).map_err(|misfit| Failure::of(misfit.message))?;
        graph.read_weights().map_err(Failure::of)?;
        // How much is run at once goes by the first, so that cells of the same metric share their keys.
        let output = outputs[0];
        let first = dataset.read(0..1).map_err(unread)?.inputs;
        let batch = pipeline
            .dataset
            .as_ref()
            .map_or(1, |dataset| dataset.batch_size as usize);
        let evaluator = shared::evaluator();
        let batching = Batching::probe(graph, &first, output, batch, evaluator).map_err(Failure::of)?;
        let walked = batching.walk(graph, &first, evaluator);
        Ok(Ready {
            micro_batch: micro_batch(&walked, &topology::layers(graph), &[output], batch, batching),
            dataset,
            outputs,
            batching,
            walked,
        })
    }

    /// What the measurement takes, and how much of it is done at once for that.
    pub(super) fn budget(&self, ready: &Ready<'_>, targets: &[Target], format: Format) -> (Footprint, Budget) {
        let Ready {
            walked,
            outputs,
            micro_batch,
            batching,
            ..
        } = ready;
        let batch = batching.least();
        let levels = self.step.sparsities.len();
        let together = match self.step.estimate {
            Some(_) => targets.len() * levels,
            None => WAVE,
        };
        let mut footprint = Footprint::of(walked, batch, targets, levels, outputs, *micro_batch, together);
        if format.precision == Precision::Auto {
            footprint = footprint.with_bfloat16(walked.graph);
        }
        let at_once = footprint.at_once(self.shared.memory(), rayon::current_num_threads());
        let budget = Budget::of(walked, batch, targets, at_once);
        (footprint, budget)
    }
}

/// Samples that cannot be read end a stage; those that nobody waits for any more do so without a fault.
pub(super) fn unread(fault: DatasetError) -> Failure {
    match fault {
        DatasetError::Stopped => Failure::Stopped(Cells::default()),
        fault => Failure::of(fault),
    }
}
