//! `dependencies`: which layers lose channels together.

use super::shared::{Cut, Shared, Walk};
use super::tables;
use crate::pipeline::{Context, Failure, Outcome, Pending, Read, Stage};
use crate::spec::{self, Compat, DependencyKind, HeadCut};
use crate::store::{Change, Document, Store};
use crate::topology;
use serde_json::json;
use std::sync::Arc;

pub const KIND: &str = "dependencies";
pub const NAMES: &[&str] = &["channel.csv", "group.csv", "input_channel.csv", "coupling.json"];

/// Raised whenever the same model gives other tables.
const ALGORITHM: u32 = 2;

pub struct Dependencies {
    shared: Arc<Shared>,
    step: spec::Dependencies,
}

impl Dependencies {
    pub fn new(shared: Arc<Shared>, step: spec::Dependencies) -> Dependencies {
        Dependencies { shared, step }
    }

    fn walk(&self, heads: HeadCut) -> Result<Walk<'_>, Failure> {
        self.shared.walk_cut(Cut {
            heads,
            approximate: self.step.approximate,
            ..Cut::default()
        })
    }
}

impl Stage for Dependencies {
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
            .with("topology", self.shared.topology_document(store)?)
            .with("kinds", json!(self.step.kinds))
            .with("compat", json!(self.step.compat))
            .with("heads", json!(self.step.heads))
            .with("approximate", self.step.approximate))
    }

    fn explain(&self, store: &Store, change: &Change, _: Option<&Pending>) -> Option<Vec<String>> {
        self.shared.explain(store, change)
    }

    fn run(&self, context: &Context<'_>) -> Result<Outcome, Failure> {
        let mut walked = self.walk(self.step.heads)?;
        let nni = (self.step.compat == Compat::Nni).then(|| topology::nni_sets(&walked));
        let title = if nni.is_some() {
            "Convolutional Layers"
        } else {
            "Layers"
        };
        // The seed's tables list convolutions only.
        let only_convolutions = |sets: Vec<Vec<String>>| -> Vec<Vec<String>> {
            let Some(nni) = &nni else { return sets };
            let kept = sets.into_iter().map(|mut set| {
                set.retain(|layer| nni.convolutions.contains(layer));
                set
            });
            kept.filter(|set| !set.is_empty()).collect()
        };
        let mut outcome = Outcome::default();
        for kind in &self.step.kinds {
            let (name, bytes) = match kind {
                DependencyKind::Channel => {
                    let sets = match &nni {
                        Some(nni) => nni.channel.clone(),
                        None => topology::channel_sets(&walked),
                    };
                    let sets = only_convolutions(sets);
                    outcome.summary.push(tell("output channels", &sets));
                    ("channel.csv", tables::sets(title, sets)?)
                }
                DependencyKind::InputChannel => {
                    let sets = match &nni {
                        Some(nni) => nni.input_channel.clone(),
                        None => topology::input_channel_sets(&walked),
                    };
                    let sets = only_convolutions(sets);
                    outcome.summary.push(tell("input channels", &sets));
                    ("input_channel.csv", tables::sets(title, sets)?)
                }
                DependencyKind::Group => {
                    let multiples: Vec<(String, usize)> = match &nni {
                        Some(nni) => nni.group.iter().map(|(layer, of, _)| (layer.clone(), *of)).collect(),
                        None => topology::conv_group_multiples(&walked),
                    };
                    let bound = multiples.iter().filter(|(_, of)| *of > 1).count();
                    let layers = tables::count(bound, "layer has", "layers have");
                    outcome.summary.push(format!("{layers} to keep filters in multiples"));
                    let rows = multiples.into_iter().map(|(layer, of)| vec![layer, of.to_string()]);
                    let header = std::iter::once(tables::row(["Conv Layer Name", "Group"]));
                    ("group.csv", tables::csv(header.chain(rows))?)
                }
            };
            outcome.files.insert(name.into(), bytes);
        }
        let mut coupling = topology::coupling(&mut walked);
        if !walked.head_splits.is_empty() {
            let other = match self.step.heads {
                HeadCut::Within => HeadCut::Whole,
                HeadCut::Whole => HeadCut::Within,
            };
            coupling.alternatives = topology::coupling(&mut self.walk(other)?.walked).groups;
            coupling.alternatives.retain(|group| group.heads.is_some());
        }
        let groups = tables::count(coupling.groups.len(), "coupled group", "coupled groups");
        let frozen = tables::count(coupling.frozen.len(), "layer", "layers");
        outcome
            .summary
            .push(format!("{groups}; {frozen} with channels that must stay"));
        if !coupling.issues.is_empty() {
            let issues = tables::count(
                coupling.issues.len(),
                "operator is not understood and freezes what it touches",
                "operators are not understood and freeze what they touch",
            );
            outcome.warnings.push(format!("{issues}: see issues in coupling.json"));
        }
        outcome.files.insert("coupling.json".into(), tables::json(&coupling)?);
        self.shared.unchanged(context.store)?;
        Ok(outcome)
    }
}

fn tell(what: &str, sets: &[Vec<String>]) -> String {
    let tied = sets.iter().filter(|set| set.len() > 1).count();
    let all = tables::count(sets.len(), "set", "sets");
    format!("{what}: {all} of layers, {tied} with more than one")
}
