//! Where both towers meet: one file a step kind, and their registry.
//!
//! Owns what each step reads, computes and writes: key documents, tables, and everything of a pipeline file that can be
//! checked before it runs. Deliberately prints nothing, and neither stores nor measures anything itself.

mod check;
mod data;
mod dependencies;
pub mod explain;
mod flops;
mod foreign;
mod gate;
mod inputs;
mod layers;
mod mask_fix;
mod plugins;
mod rehearsal;
mod runs;
mod sensitivity;
mod shared;
mod stored;
mod tables;
mod weights;

pub use crate::runtime::peak_memory;
pub use check::{check, check_model, unreadable};
pub use plugins::missing_hooks;
pub use rehearsal::rehearse;
pub use shared::Shared;

use crate::pipeline::{Dag, DagError, Stage, Versions};
use crate::spec::{Diagnostic, Step};
use std::sync::Arc;

/// The pipeline's stages in their order; nothing but the pipeline file is looked at.
pub fn build(shared: &Arc<Shared>) -> Result<Dag, Vec<Diagnostic>> {
    let steps = &shared.spec.pipeline.steps;
    let stages = steps.iter().map(|step| stage(shared, step)).collect();
    Dag::new(stages).map_err(|error| {
        let culprit = match &error {
            DagError::Cycle { ids } => ids.first(),
            DagError::Duplicate { id } | DagError::Unknown { id, .. } | DagError::NoSuchStage { id, .. } => Some(id),
        };
        let index = steps
            .iter()
            .position(|step| culprit.is_some_and(|id| **id == **step.id()));
        let path = index.map_or("steps".to_owned(), |index| format!("steps[{index}]"));
        vec![shared.spec.spans.diagnostic(&path, error.to_string(), None)]
    })
}

fn stage(shared: &Arc<Shared>, step: &Step) -> Box<dyn Stage> {
    let shared = Arc::clone(shared);
    match step {
        Step::Sensitivity(step) => Box::new(sensitivity::Sensitivity::new(shared, step.clone())),
        Step::Dependencies(step) => Box::new(dependencies::Dependencies::new(shared, step.clone())),
        Step::Flops(step) => Box::new(flops::Flops::new(shared, step.clone())),
        Step::MaskFix(step) => Box::new(mask_fix::MaskFix::new(shared, step.clone())),
        Step::Gate(step) => Box::new(gate::Gate::new(shared, step.clone())),
    }
}

/// Every file that a kind of step may write.
pub fn names_of_kind(kind: &str) -> &'static [&'static str] {
    match kind {
        sensitivity::KIND => sensitivity::NAMES,
        dependencies::KIND => dependencies::NAMES,
        flops::KIND => flops::NAMES,
        mask_fix::KIND => mask_fix::NAMES,
        gate::KIND => gate::NAMES,
        _ => &[],
    }
}

/// What computes here.
pub fn versions() -> Versions {
    Versions {
        secateur: env!("CARGO_PKG_VERSION").into(),
        libtorch: Some(crate::runtime::libtorch_version().into()),
        isa: crate::runtime::isa_class().into(),
    }
}
