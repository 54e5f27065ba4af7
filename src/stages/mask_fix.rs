//! stub
use super::shared::Shared;
use crate::pipeline::{Context, Failure, Outcome, Read, Stage};
use crate::spec;
use crate::store::{Document, Store};
use std::sync::Arc;
pub const KIND: &str = "mask_fix";
pub const NAMES: &[&str] = &[];
pub struct MaskFix {
    _shared: Arc<Shared>,
    step: spec::MaskFix,
}
impl MaskFix {
    pub fn new(shared: Arc<Shared>, step: spec::MaskFix) -> MaskFix {
        MaskFix { _shared: shared, step }
    }
}
impl Stage for MaskFix {
    fn id(&self) -> &str {
        &self.step.id
    }
    fn kind(&self) -> &'static str {
        KIND
    }
    fn names(&self) -> &'static [&'static str] {
        NAMES
    }
    fn document(&self, _: &Store, _: &Read) -> Result<Document, Failure> {
        Err(Failure::of("stub"))
    }
    fn run(&self, _: &Context<'_>) -> Result<Outcome, Failure> {
        Err(Failure::of("stub"))
    }
}
