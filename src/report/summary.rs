//! The end of a run on stdout: what each step found, and where its files lie.

use crate::pipeline::{Run, Status};
use std::fmt::Write;
use std::path::Path;

/// A few lines a step. Neither times nor the order of work stand in it.
pub fn summary(name: &str, folder: &Path, run: &Run) -> String {
    let mut text = format!("{name}: results in {}\n", folder.display());
    for stage in &run.stages {
        let _ = write!(text, "\n{} ({}", stage.id, stage.status.name());
        if stage.kind != stage.id {
            let _ = write!(text, ", {}", stage.kind);
        }
        text.push(')');
        if let Some(message) = stage.message.as_ref().filter(|_| stage.status != Status::Computed) {
            let _ = write!(text, ": {message}");
        }
        text.push('\n');
        for line in &stage.summary {
            let _ = writeln!(text, "  {line}");
        }
        for file in &stage.files {
            let _ = writeln!(text, "  → {}", folder.join(&stage.id).join(file).display());
        }
    }
    let _ = writeln!(text, "\nrecord of the run: {}", folder.join("run.json").display());
    text
}
