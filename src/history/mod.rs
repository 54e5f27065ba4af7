//! The history of runs: what each one was, which one is meant by a word, and how two differ.
//!
//! Owns the content of records, references such as `last_success`, the comparison of two runs with its paired test, and
//! what git knows of a file. Records lie in the store; nothing here runs a stage or prints.

mod compare;
mod git;
mod noise;
mod outcomes;
mod past;
mod record;
mod reference;
mod values;

pub use compare::{CellMove, Comparison, Moved, StepDifference, changed_fields, compare};
pub use git::{Git, Revision};
pub use noise::NOISE;
pub use outcomes::{CELLS_FILE, CellKeys, OUTCOMES};
pub use past::past;
pub use record::{RunRecord, StageEntry, Status};
pub use reference::{HistoryError, find, runs, successful_before, with_results_before};
pub use values::{Row, Values};
