//! `flops`: multiply-accumulates and parameters, layer by layer.

use super::shared::Shared;
use super::tables;
use crate::pipeline::{Context, Failure, Outcome, Pending, Read, Stage};
use crate::spec;
use crate::store::{Change, Document, Store};
use crate::topology;
use std::sync::Arc;

pub const KIND: &str = "flops";
pub const NAMES: &[&str] = &["flops.csv"];

/// Raised whenever the same model gives another table.
const ALGORITHM: u32 = 2;

pub struct Flops {
    shared: Arc<Shared>,
    step: spec::Flops,
}

impl Flops {
    pub fn new(shared: Arc<Shared>, step: spec::Flops) -> Flops {
        Flops { shared, step }
    }
}

impl Stage for Flops {
    fn id(&self) -> &str {
        &self.step.id
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn names(&self) -> &'static [&'static str] {
        NAMES
    }

    fn document(&self, store: &Store, _: &Read) -> Result<Document, Failure> {
        Ok(Document::new()
            .with("stage", KIND)
            .with("algorithm", ALGORITHM)
            .with("topology", self.shared.topology_document(store)?))
    }

    fn explain(&self, store: &Store, change: &Change, _: Option<&Pending>) -> Option<Vec<String>> {
        self.shared.explain(store, change)
    }

    fn run(&self, context: &Context<'_>) -> Result<Outcome, Failure> {
        let walked = self.shared.walk()?;
        let flops = topology::flops(&walked, walked.batch);
        let mut rows = vec![tables::row(["layer", "type", "output_shape", "params", "macs"])];
        for cost in &flops.rows {
            let shape: Vec<String> = cost.output_shape.iter().map(ToString::to_string).collect();
            let (params, macs) = (cost.params.to_string(), cost.macs.to_string());
            rows.push(vec![
                cost.layer.clone(),
                cost.class.clone(),
                shape.join("x"),
                params,
                macs,
            ]);
        }
        let (params, macs) = (flops.params.to_string(), flops.macs.to_string());
        rows.push(tables::row(["total", "", "", &params, &macs]));
        let mut outcome = Outcome::default();
        outcome.files.insert("flops.csv".into(), tables::csv(rows)?);
        outcome.summary.push(format!(
            "{} multiply-accumulates a sample, {} parameters",
            tables::number(flops.macs),
            tables::number(flops.params)
        ));
        self.shared.unchanged(context.store)?;
        Ok(outcome)
    }
}
