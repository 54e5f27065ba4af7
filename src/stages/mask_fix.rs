//! `mask_fix`: masks without conflicts, ready to be cut out.

use super::shared::{Cut, Shared};
use super::tables;
use crate::mask::conflict::{Axis, Repair, Rules, masked_axis, repair};
use crate::mask::{MaskSet, file, ties};
use crate::pipeline::{Context, Failure, Outcome, Pending, Read, Stage};
use crate::spec::{self, Compat, Masks};
use crate::store::{Change, Document, Store};
use crate::topology;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

pub const KIND: &str = "mask_fix";
pub const NAMES: &[&str] = &["masks.pth", "masks.safetensors", "changes.csv"];

/// Raised whenever the same masks become others.
const ALGORITHM: u32 = 2;

pub struct MaskFix {
    shared: Arc<Shared>,
    step: spec::MaskFix,
    /// The step's place in the pipeline file.
    place: String,
}

impl MaskFix {
    pub fn new(shared: Arc<Shared>, step: spec::MaskFix) -> MaskFix {
        let pipeline = &shared.spec.pipeline;
        let index = pipeline
            .steps
            .iter()
            .position(|known| *known.id() == step.id)
            .unwrap_or(0);
        let place = pipeline.step_place(index);
        MaskFix { shared, step, place }
    }

    fn masks(&self, context: &Context<'_>) -> Result<MaskSet, Failure> {
        match &self.step.masks {
            Masks::File(path) => {
                let resolved = path.resolve(self.shared.base());
                let bytes = std::fs::read(&resolved)
                    .map_err(|fault| Failure::of(format!("{}: {fault}", resolved.display())))?;
                file::read(Bytes::from(bytes), path).map_err(|fault| Failure::of(format!("{}: {fault}", &**path)))
            }
            Masks::Step(from) => {
                let lost = || Failure::of(format!("step {:?} left no masks", &*from.step));
                let artifact = context.read.get(&*from.step).ok_or_else(lost)?;
                let bytes = artifact.read("masks.pth").map_err(Failure::of)?.ok_or_else(lost)?;
                file::read(Bytes::from(bytes), "masks.pth").map_err(Failure::of)
            }
        }
    }

    fn repair(&self, masks: &mut MaskSet) -> Result<(Repair, Axis), Failure> {
        let graph = &self.shared.model().map_err(Failure::of)?.graph;
        let axis = masked_axis(masks, &ties::convolutions(graph));
        let (layers, rules) = match (self.step.compat, axis) {
            (Compat::Nni, _) => {
                let walked = self.shared.walk()?;
                (ties::nni(&walked, &topology::nni_sets(&walked), axis), Rules::Nni)
            }
            (Compat::Exact, _) => {
                let cut = Cut {
                    heads: self.step.heads,
                    approximate: self.step.approximate,
                    // That the groups of a convolution lose equally many filters is asked by the multiples.
                    tie_groups: axis == Axis::Inputs,
                    ..Cut::default()
                };
                (ties::exact(&self.shared.walk_cut(cut)?.walked, axis), Rules::Exact)
            }
        };
        let found = repair(masks, &layers, axis, rules).map_err(Failure::of)?;
        Ok((found, axis))
    }
}

impl Stage for MaskFix {
    fn id(&self) -> &str {
        &self.step.id
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn needs(&self) -> Vec<String> {
        match &self.step.masks {
            Masks::File(_) => Vec::new(),
            Masks::Step(from) => vec![from.step.to_string()],
        }
    }

    fn names(&self) -> &'static [&'static str] {
        NAMES
    }

    fn document(&self, store: &Store, read: &Read) -> Result<Document, Failure> {
        let masks: Value = match &self.step.masks {
            Masks::File(_) => json!(self.shared.digest(store, &format!("{}.masks", self.place))?),
            Masks::Step(from) => {
                let artifact = read
                    .get(&*from.step)
                    .and_then(|artifact| artifact.files.get("masks.pth"));
                json!(artifact.map(|file| file.digest.to_string()))
            }
        };
        Ok(Document::new()
            .with("stage", KIND)
            .with("algorithm", ALGORITHM)
            .with("topology", self.shared.topology_document(store)?)
            .with("masks", masks)
            .with("compat", json!(self.step.compat))
            .with("heads", json!(self.step.heads))
            .with("approximate", self.step.approximate))
    }

    fn explain(&self, store: &Store, change: &Change, _: Option<&Pending>) -> Option<Vec<String>> {
        self.shared.explain(store, change)
    }

    fn run(&self, context: &Context<'_>) -> Result<Outcome, Failure> {
        let mut masks = self.masks(context)?;
        let (found, axis) = self.repair(&mut masks)?;
        let mut rows = vec![tables::row(["layer", "channel", "before", "after", "reason"])];
        for change in &found.changes {
            let bit = |kept: bool| if kept { "1" } else { "0" };
            let channel = change.channel.to_string();
            rows.push(tables::row([
                &change.layer,
                &channel,
                bit(change.before),
                bit(change.after),
                &change.reason,
            ]));
        }
        let mut outcome = Outcome::default();
        outcome
            .files
            .insert("masks.pth".into(), file::to_pth(&masks).map_err(Failure::of)?);
        outcome
            .files
            .insert("masks.safetensors".into(), file::to_safetensors(&masks));
        outcome.files.insert("changes.csv".into(), tables::csv(rows)?);
        let channels = match axis {
            Axis::Filters => tables::count(found.changes.len(), "filter", "filters"),
            Axis::Inputs => tables::count(found.changes.len(), "input channel", "input channels"),
        };
        let layers = tables::count(masks.len(), "layer", "layers");
        outcome.summary.push(format!(
            "masks of {layers}: {channels} changed so that they can be cut out"
        ));
        outcome.warnings = found.warnings;
        self.shared.unchanged(context.store)?;
        Ok(outcome)
    }
}
