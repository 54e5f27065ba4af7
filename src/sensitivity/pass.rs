//! One micro-batch: the baseline, and the replay of each cell from the values that the baseline kept.
//!
//! Owns what each program is given. Deliberately knows nothing of metrics, of the
//! order in which cells are measured and of what is known already.

use super::SensitivityError;
use super::model::{CellTensors, Model, Way};
use super::perturb::Perturbation;
use super::programs::{Programs, Running, fault};
use super::replay::{Replay, Source};
use crate::dataset::Batch;
use crate::graph::{Def, ValueId};
use crate::runtime::{
    DeviceTensor, RuntimeError, Shared, from_torch, is_finite, rows_of, stacked, to_bfloat16, to_torch, with_worker,
};
use crate::tensor::Tensor;
use std::collections::btree_map::{BTreeMap, Entry};

/// What errors call the model as it is.
pub const WHOLE: &str = "the unmasked model";

/// One cell to be measured.
#[derive(Clone)]
pub struct Job<'a> {
    /// What to call it in errors.
    pub name: String,
    /// Index of its target.
    pub target: usize,
    pub perturbation: &'a Perturbation,
}

/// Cells ready to be measured.
pub struct Pass<'a> {
    pub(super) programs: &'a Programs<'a>,
    pub(super) jobs: Vec<Job<'a>>,
    pub(super) ways: Vec<Way>,
    pub(super) cells: Vec<CellTensors>,
    pub(super) reduced: Option<Reduced<'a>>,
}

/// What replays in bfloat16 need.
pub(super) struct Reduced<'a> {
    pub model: &'a Model,
    pub cells: Vec<CellTensors>,
    /// The values that its replays read, by those of the float32 model with the same names.
    pub mirrored: BTreeMap<ValueId, Option<ValueId>>,
}

/// What a replay came to.
enum Ran {
    Outputs(Vec<Tensor>),
    /// No output depends on the cell.
    Same,
    /// Something that it reads is not there.
    Missing,
}

/// What the unmasked model makes of one micro-batch.
pub struct Baseline {
    /// The measured outputs for the batch's own samples.
    pub outputs: Vec<Tensor>,
    kept: BTreeMap<ValueId, Shared>,
    /// What replays in bfloat16 read.
    reduced: BTreeMap<ValueId, Shared>,
}

impl Pass<'_> {
    pub fn jobs(&self) -> &[Job<'_>] {
        &self.jobs
    }

    /// Operators that a cell's replay runs: what takes long has many.
    pub fn cost(&self, at: usize) -> usize {
        self.replay_of(at).map_or(0, |replay| replay.cost)
    }

    fn replay_of(&self, at: usize) -> Option<&Replay> {
        self.programs.model.replay(self.ways[at])
    }

    /// Runs the unmasked model, and keeps what the replays of these cells read.
    ///
    /// # Errors
    /// When it does not run, or where a lowered model meets what is not finite: fused activations take that for a bound
    /// of theirs.
    pub fn baseline(&self, batch: &Batch) -> Result<Baseline, SensitivityError> {
        let model = &self.programs.model;
        let (kept, outputs, finite) = with_worker(|| {
            // `Programs::pass` compiled it.
            let whole = self
                .programs
                .baseline
                .as_ref()
                .ok_or_else(|| RuntimeError::Leaf { name: WHOLE.into() })?;
            let mut given = Vec::with_capacity(model.graph.inputs.len() + whole.leaves.len());
            for input in &batch.inputs {
                given.push(to_torch(&self.padded(input), self.programs.running.device)?);
            }
            let samples: Vec<Shared> = given.iter().map(|tensor| Shared::new(tensor.shallow_clone())).collect();
            given.extend(whole.leaves.iter().filter_map(|&value| model.fixed(value)));
            let results = whole.program.run(&given)?;
            // Leaves have been looked at.
            let mut seen = given[..samples.len()].iter().chain(&results);
            let finite = self.programs.running.lowering.is_none() || {
                seen.try_fold(true, |finite, tensor| {
                    Ok::<_, RuntimeError>(finite && is_finite(tensor)?)
                })?
            };
            let measured = &results[..model.outputs.len()];
            let outputs = measured.iter().map(from_torch).collect::<Result<Vec<_>, _>>()?;
            let inputs = model.graph.inputs.iter().copied().zip(samples);
            let kept: BTreeMap<ValueId, Shared> = whole
                .outputs
                .iter()
                .copied()
                .zip(results.into_iter().map(Shared::new))
                .chain(inputs)
                .collect();
            Ok((kept, outputs, finite))
        })
        .map_err(fault(WHOLE))?;
        if !finite {
            return Err(SensitivityError::NotFinite);
        }
        let reduced = with_worker(|| self.kept_reduced(&kept)).map_err(fault(WHOLE))?;
        Ok(Baseline {
            outputs: self.measured(outputs, batch),
            kept,
            reduced,
        })
    }

    /// The measured outputs for the batch's own samples under cell number `at`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn replay(&self, at: usize, batch: &Batch, baseline: &Baseline) -> Result<Vec<Tensor>, SensitivityError> {
        let name = &self.jobs[at].name;
        let pick = |source: &Source| match *source {
            Source::Kept(value) => Ok(baseline.kept.get(&value).map(Shared::get)),
            ref own => Ok(self.programs.model.own(&self.cells[at], own)),
        };
        let outputs = self.run(&self.programs.model, at, pick).map_err(fault(name))?;
        match outputs {
            Ran::Same => Ok(baseline.outputs.clone()),
            Ran::Outputs(outputs) => Ok(self.measured(outputs, batch)),
            Ran::Missing => Err(fault(name)(RuntimeError::Leaf { name: name.clone() })),
        }
    }

    /// The same in bfloat16; none where it does not run so.
    pub fn replay_reduced(&self, at: usize, batch: &Batch, baseline: &Baseline) -> Option<Vec<Tensor>> {
        let reduced = self.reduced.as_ref()?;
        let entry = reduced.model.replay(self.ways[at])?.entry;
        let pick = |source: &Source| match *source {
            // Entered in float32.
            Source::Kept(value) if Some(value) == entry => {
                let exact = reduced.mirrored.get(&value).copied().flatten();
                Ok(exact.and_then(|value| baseline.kept.get(&value)).map(Shared::get))
            }
            Source::Kept(value) => Ok(baseline.reduced.get(&value).map(Shared::get)),
            ref own => Ok(reduced.model.own(&reduced.cells[at], own)),
        };
        let outputs = match self.run(reduced.model, at, pick) {
            Ok(Ran::Same) => return Some(baseline.outputs.clone()),
            Ok(Ran::Outputs(outputs)) => self.measured(outputs, batch),
            Ok(Ran::Missing) | Err(_) => return None,
        };
        let form = |tensor: &Tensor| (tensor.dtype(), tensor.shape().to_vec());
        outputs
            .iter()
            .map(form)
            .eq(baseline.outputs.iter().map(form))
            .then_some(outputs)
    }

    /// Cells that may be replayed together by [`Pass::replay_rows`]: those of one layer, else each alone.
    pub fn together(&self) -> Vec<Vec<usize>> {
        let mut of_way: BTreeMap<(Way, Option<usize>), Vec<usize>> = BTreeMap::new();
        for (at, &way) in self.ways.iter().enumerate() {
            let enters = self.replay_of(at).is_some_and(|replay| replay.entry.is_some());
            of_way.entry((way, (!enters).then_some(at))).or_default().push(at);
        }
        of_way.into_values().collect()
    }

    /// The outputs of some of the batch's samples, each under a cell of its own, in the order of `rows`; the cells are of
    /// those that go together. None where the replay does not run on a choice of samples.
    pub fn replay_rows(&self, rows: &[(usize, usize)], batch: &Batch, baseline: &Baseline) -> Option<Vec<Tensor>> {
        let Running { pad, micro_batch, .. } = self.programs.running;
        let (&(at, _), &last) = (rows.first()?, rows.last()?);
        // Weights are packed for whole micro-batches: another size has oneDNN pack them again, fifty times slower.
        let size = micro_batch.max(rows.len());
        let rows: Vec<(usize, usize)> = (0..size).map(|row| rows.get(row).copied().unwrap_or(last)).collect();
        let samples: Vec<usize> = rows.iter().map(|&(_, sample)| sample).collect();
        let one_cell = rows.iter().all(|&(cell, _)| cell == at);
        let count = if pad { micro_batch } else { batch.len() };
        let entry = self.replay_of(at).and_then(|replay| replay.entry);
        let rank = entry
            .and_then(|value| baseline.kept.get(&value))
            .map_or(0, |kept| kept.get().dim());
        let pick = |source: &Source| match *source {
            Source::Kept(value) => match baseline.kept.get(&value) {
                Some(tensor) => rows_of(&tensor.get(), count, &samples),
                None => Ok(None),
            },
            Source::Cell(_) | Source::Keep if !one_cell => {
                let own = |&(at, _): &(usize, usize)| self.programs.model.own(&self.cells[at], source);
                let each: Option<Vec<DeviceTensor>> = rows.iter().map(own).collect();
                each.map(|each| stacked(&each, rank)).transpose()
            }
            ref own => Ok(self.programs.model.own(&self.cells[at], own)),
        };
        match self.run(&self.programs.model, at, pick) {
            Ok(Ran::Outputs(outputs)) => {
                let whole = |output: &Tensor| output.shape().first() == Some(&size);
                outputs.iter().all(whole).then_some(outputs)
            }
            _ => None,
        }
    }

    /// Runs the replay of a cell in one of the models; `pick` gives what it reads.
    fn run(
        &self,
        model: &Model,
        at: usize,
        pick: impl Fn(&Source) -> Result<Option<DeviceTensor>, RuntimeError>,
    ) -> Result<Ran, RuntimeError> {
        let Some(replay) = model.replay(self.ways[at]) else {
            return Ok(Ran::Missing);
        };
        let Some(program) = &replay.program else {
            return Ok(Ran::Same);
        };
        with_worker(|| {
            let inputs: Option<Vec<DeviceTensor>> = replay.inputs.iter().map(pick).collect::<Result<_, _>>()?;
            let Some(inputs) = inputs else {
                return Ok(Ran::Missing);
            };
            let outputs: Result<Vec<Tensor>, RuntimeError> = program.run(&inputs)?.iter().map(from_torch).collect();
            Ok(Ran::Outputs(outputs?))
        })
    }

    /// What the replays in bfloat16 read, but for where they enter.
    fn kept_reduced(&self, kept: &BTreeMap<ValueId, Shared>) -> Result<BTreeMap<ValueId, Shared>, RuntimeError> {
        let mut found = BTreeMap::new();
        let Some(reduced) = &self.reduced else {
            return Ok(found);
        };
        for replay in self.ways.iter().filter_map(|&way| reduced.model.replay(way)) {
            let read = replay.inputs.iter().filter_map(Source::kept);
            for value in read.filter(|&value| Some(value) != replay.entry) {
                let exact = reduced.mirrored.get(&value).copied().flatten();
                let Some(exact) = exact.and_then(|exact| kept.get(&exact)) else {
                    continue;
                };
                if let Entry::Vacant(place) = found.entry(value) {
                    let tensor = match reduced.model.graph.value(value).def {
                        // The graph itself casts the model's inputs.
                        Def::Input(_) => exact.get(),
                        _ => to_bfloat16(&exact.get())?,
                    };
                    place.insert(Shared::new(tensor));
                }
            }
        }
        Ok(found)
    }

    /// A short batch with copies of its last sample behind it, where the model takes one size only.
    fn padded(&self, input: &Tensor) -> Tensor {
        let rows = input.shape()[0];
        match self.programs.running {
            Running {
                pad: true,
                micro_batch: wanted,
                ..
            } if rows != wanted && rows > 0 => {
                let order: Vec<usize> = (0..wanted).map(|row| row.min(rows - 1)).collect();
                input.select(0, &order)
            }
            _ => input.clone(),
        }
    }

    /// Outputs of the batch's own samples.
    fn measured(&self, outputs: Vec<Tensor>, batch: &Batch) -> Vec<Tensor> {
        if !self.programs.running.pad {
            return outputs;
        }
        let own = |output: Tensor| output.rows(0, batch.len()).unwrap_or(output);
        outputs.into_iter().map(own).collect()
    }
}
