//! A stage without a model, for the tests of this module.

use super::{Cells, Context, Failure, Outcome, Read, Stage};
use crate::store::{Document, NewCell, Store};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a fake stage does when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Succeed,
    Fail,
    /// Asks the run to stop after its second cell.
    Interrupt,
}

/// Leaves one file that holds a parameter and what it read, and computes four cells.
pub(super) struct Fake {
    pub id: String,
    pub needs: Vec<String>,
    pub parameter: u64,
    pub act: Act,
    pub runs: Arc<AtomicUsize>,
}

impl Fake {
    pub(super) fn new(id: &str, needs: &[&str]) -> Fake {
        Fake {
            id: id.into(),
            needs: needs.iter().map(|&need| need.into()).collect(),
            parameter: 0,
            act: Act::Succeed,
            runs: Arc::default(),
        }
    }

    pub(super) fn boxed(id: &str, needs: &[&str]) -> Box<dyn Stage> {
        Box::new(Fake::new(id, needs))
    }
}

impl Stage for Fake {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> &'static str {
        "fake"
    }

    fn needs(&self) -> Vec<String> {
        self.needs.clone()
    }

    fn names(&self) -> &'static [&'static str] {
        &["out.txt", "old.txt"]
    }

    fn document(&self, _: &Store, read: &Read) -> Result<Document, Failure> {
        let digests: serde_json::Map<_, _> = self
            .needs
            .iter()
            .map(|need| (need.clone(), json!(read[need].files["out.txt"].digest)))
            .collect();
        Ok(Document::new().with("parameter", self.parameter).with("reads", digests))
    }

    fn run(&self, context: &Context<'_>) -> Result<Outcome, Failure> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let mut cells = Cells::default();
        for index in 0..4 {
            let document = Document::new().with("cell", index);
            if !context.fresh && context.store.cell(document.key()).map_err(Failure::of)?.is_some() {
                cells.reused += 1;
                continue;
            }
            if context.stop.is_set() {
                return Err(Failure::Stopped(cells));
            }
            let value = json!(index);
            context
                .store
                .put_cells(&[NewCell { document, value }])
                .map_err(Failure::of)?;
            cells.computed += 1;
            context.progress(cells.computed, 4);
            if self.act == Act::Interrupt && index == 1 {
                context.stop.set();
            }
        }
        if self.act == Act::Fail {
            return Err(Failure::of("it broke"));
        }
        let mut text = format!("{}\n", self.parameter);
        for need in &self.needs {
            let bytes = context.read[need]
                .read("out.txt")
                .map_err(Failure::of)?
                .unwrap_or_default();
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        let name = if self.parameter == 9 { "old.txt" } else { "out.txt" };
        Ok(Outcome {
            files: BTreeMap::from([(name.to_owned(), text.into_bytes())]),
            cells,
            summary: vec!["found".into()],
            ..Outcome::default()
        })
    }
}
