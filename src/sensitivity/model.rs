//! A model as it is run: its graph, plain or lowered, with the tensors and programs made of it.
//!
//! Owns what is made once and shared by all passes: parameters on the device, what folding and packing make of them, one
//! replay a target. Deliberately knows nothing of micro-batches and of the order of cells.

use super::perturb::Perturbation;
use super::replay::{Replay, Source, compile, site_of};
use crate::graph::{Def, Graph, ParamId, ValueId, graph_leaves};
use crate::lower::{Lowered, Site};
use crate::runtime::{Device, DeviceTensor, Program, RuntimeError, Shared, is_finite, to_torch, with_worker};
use crate::tensor::{DType, Tensor, WeightError};
use std::collections::{BTreeMap, BTreeSet};

/// A target as a replay is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub target: usize,
    /// The layer's weight, where every cell keeps or masks whole filters of one layer.
    pub filters: Option<ParamId>,
}

/// A graph, what it is run on, and what was made of it so far.
pub struct Model {
    pub graph: Graph,
    sites: Vec<Site>,
    /// The outputs that are measured.
    pub outputs: Vec<ValueId>,
    device: Device,
    /// Whether its arithmetic is in bfloat16.
    reduced: bool,
    /// Parameters, constants, and what depends on them alone.
    fixed: BTreeMap<ValueId, Shared>,
    replays: BTreeMap<Way, Replay>,
}

impl Model {
    pub fn new(lowered: Lowered, outputs: Vec<ValueId>, device: Device, reduced: bool) -> Model {
        let Lowered { graph, sites } = lowered;
        Model {
            graph,
            sites,
            outputs,
            device,
            reduced,
            fixed: BTreeMap::new(),
            replays: BTreeMap::new(),
        }
    }

    /// Compiles a target's replay unless it is there; `params` are those that its cells may change.
    pub fn prepare(&mut self, way: Way, params: &[ParamId]) -> Result<(), RuntimeError> {
        if self.replays.contains_key(&way) {
            return Ok(());
        }
        let site = way.filters.and_then(|weight| site_of(&self.graph, &self.sites, weight));
        let replay = compile(&self.graph, params, site, &self.outputs, self.device, self.reduced)?;
        let fixed = |source: &Source| match source {
            Source::Fixed(value) => Some(*value),
            _ => None,
        };
        let wanted: Vec<ValueId> = replay.inputs.iter().filter_map(fixed).collect();
        self.load(&wanted)?;
        self.replays.insert(way, replay);
        Ok(())
    }

    /// A value by its name.
    pub fn named(&self, name: &str) -> Option<ValueId> {
        self.graph
            .value_ids()
            .find(|&value| self.graph.value(value).name == name)
    }

    /// A prepared replay.
    pub fn replay(&self, way: Way) -> Option<&Replay> {
        self.replays.get(&way)
    }

    /// A tensor that does not depend on samples; it was loaded.
    pub fn fixed(&self, value: ValueId) -> Option<DeviceTensor> {
        self.fixed.get(&value).map(Shared::get)
    }

    /// What a replay of a cell reads that no baseline keeps.
    pub fn own(&self, cell: &CellTensors, source: &Source) -> Option<DeviceTensor> {
        match *source {
            Source::Kept(_) => None,
            Source::Fixed(value) => self.fixed(value),
            Source::Cell(at) => cell.made.get(at).map(Shared::get),
            Source::Keep => cell.keep.as_ref().map(Shared::get),
        }
    }

    /// Whether no number of these loaded tensors is infinite or not a number.
    pub fn is_finite(&self, values: &[ValueId]) -> Result<bool, RuntimeError> {
        values
            .iter()
            .filter_map(|&value| self.fixed(value))
            .try_fold(true, |finite, tensor| Ok(finite && is_finite(&tensor)?))
    }

    /// Puts parameters and constants on the device, and computes what depends on them alone.
    pub fn load(&mut self, values: &[ValueId]) -> Result<(), RuntimeError> {
        let mut made = BTreeSet::new();
        for &value in values {
            if self.fixed.contains_key(&value) {
                continue;
            }
            match self.leaf(value, None)? {
                Some(tensor) => {
                    let tensor = to_torch(&tensor, self.device)?;
                    self.fixed.insert(value, Shared::new(tensor));
                }
                None if matches!(self.graph.value(value).def, Def::Node { .. }) => {
                    made.insert(value);
                }
                None => {}
            }
        }
        // One by one: what is unpacked and wide lives for one value only.
        for value in made {
            let leaves = graph_leaves(&self.graph, &[], &[value]);
            let program = Program::compile_on(&self.graph, &leaves, &[value], self.device)?;
            let results = self.run_on_leaves(&program, &leaves)?;
            self.fixed
                .extend(results.into_iter().map(|result| (value, Shared::new(result))));
        }
        Ok(())
    }

    fn run_on_leaves(&self, program: &Program, leaves: &[ValueId]) -> Result<Vec<DeviceTensor>, RuntimeError> {
        with_worker(|| {
            let given = leaves.iter().map(|&leaf| self.leaf_on_device(leaf, None));
            program.run(&given.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// A parameter (as a cell has it) or a constant.
    fn leaf(&self, value: ValueId, perturbation: Option<&Perturbation>) -> Result<Option<Tensor>, WeightError> {
        Ok(match self.graph.value(value).def {
            Def::Param(param) => {
                let tensor = self.graph.param(param).tensor.read()?;
                let changes = perturbation.map_or(&[][..], |perturbation| &perturbation.changes);
                let change = changes.iter().find(|change| change.param == param);
                Some(change.map_or_else(|| tensor.clone(), |change| change.apply(tensor)))
            }
            Def::Constant(index) => Some(self.graph.constants[index as usize].clone()),
            _ => None,
        })
    }

    fn leaf_on_device(
        &self,
        value: ValueId,
        perturbation: Option<&Perturbation>,
    ) -> Result<DeviceTensor, RuntimeError> {
        let leaf = self.leaf(value, perturbation)?.ok_or_else(|| RuntimeError::Leaf {
            name: self.graph.value(value).name.clone(),
        })?;
        to_torch(&leaf, self.device)
    }

    /// What a cell computes once.
    pub fn cell(&self, way: Way, perturbation: &Perturbation) -> Result<CellTensors, RuntimeError> {
        let Some(cell) = self.replay(way).and_then(|replay| replay.cell.as_ref()) else {
            return Ok(CellTensors::default());
        };
        let keep = perturbation.channels.as_deref().map(|keep| {
            let mut shape = vec![keep.len()];
            shape.resize(cell.trailing + 1, 1);
            let bytes: Vec<u8> = keep.iter().map(|&keep| u8::from(keep)).collect();
            Tensor::new(DType::Bool, shape, bytes)
        });
        let keep = match keep {
            Some(Ok(tensor)) => Some(to_torch(&tensor, self.device)?),
            _ => None,
        };
        let made = with_worker(|| {
            let given = cell.inputs.iter().map(|source| match (source, &keep) {
                (Source::Keep, Some(keep)) => Ok(keep.shallow_clone()),
                (Source::Fixed(value), _) => self.leaf_on_device(*value, Some(perturbation)),
                _ => Err(RuntimeError::Leaf {
                    name: "the kept channels".into(),
                }),
            });
            cell.program.run(&given.collect::<Result<Vec<_>, _>>()?)
        })?;
        Ok(CellTensors {
            keep: keep.map(Shared::new),
            made: made.into_iter().map(Shared::new).collect(),
        })
    }
}

/// The tensors of one cell.
#[derive(Default)]
pub struct CellTensors {
    pub keep: Option<Shared>,
    pub made: Vec<Shared>,
}
