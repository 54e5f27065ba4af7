//! The end of a run on stdout: a block a step, with what it found and where to look next.

use crate::pipeline::{Run, StageRun, Status};
use std::fmt::Write;
use std::path::Path;

/// A few lines a step. Neither times nor the order of work stand in it.
pub fn summary(name: &str, folder: &Path, run: &Run) -> String {
    let mut text = format!("{name}\n");
    for stage in &run.stages {
        text.push('\n');
        block(&mut text, folder, stage);
    }
    let stopped = if run.stopped { "; run again to go on" } else { "" };
    let _ = writeln!(
        text,
        "\n{}{stopped}: {}",
        counts(run),
        folder.join("run.json").display()
    );
    text
}

fn block(text: &mut String, folder: &Path, stage: &StageRun) {
    text.push_str(&stage.id);
    if stage.kind != stage.id {
        let _ = write!(text, " ({})", stage.kind);
    }
    let _ = write!(text, ": {}", stage.status.name());
    if stage.cells.computed + stage.cells.reused > 0 {
        let (computed, reused) = (stage.cells.computed, stage.cells.reused);
        let _ = write!(text, ", {computed} cells computed and {reused} reused");
    }
    text.push('\n');
    if let Some(message) = stage.message.as_ref().filter(|_| !stage.status.is_done()) {
        let _ = writeln!(text, "  {message}");
    }
    for line in &stage.failures {
        let _ = writeln!(text, "  broken: {line}");
    }
    for line in &stage.summary {
        let _ = writeln!(text, "  {line}");
    }
    if !stage.files.is_empty() {
        let files = folder.join(&stage.id).join(stage.files.join(", "));
        let _ = writeln!(text, "  → {}", files.display());
    }
}

/// `2 steps computed, 1 cached`.
fn counts(run: &Run) -> String {
    let order = [Status::Computed, Status::Cached, Status::Failed, Status::Skipped];
    let mut parts = Vec::new();
    for status in order {
        let count = run.stages.iter().filter(|stage| stage.status == status).count();
        if count > 0 {
            let steps = match (parts.is_empty(), count) {
                (true, 1) => " step",
                (true, _) => " steps",
                (false, _) => "",
            };
            parts.push(format!("{count}{steps} {}", status.name()));
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Cells;

    #[test]
    fn a_block_a_step() {
        let stage = |id: &str, status, files: &[&str], message: Option<&str>| StageRun {
            id: id.into(),
            kind: "flops",
            status,
            key: None,
            cells: Cells::default(),
            precision: None,
            seconds: 0.0,
            files: files.iter().map(|&file| file.to_owned()).collect(),
            summary: vec!["1 000 000 macs".into()],
            failures: Vec::new(),
            message: message.map(Into::into),
        };
        let mut failed = stage("other", Status::Failed, &[], Some("it broke"));
        failed.summary.clear();
        let run = Run {
            stages: vec![stage("flops", Status::Computed, &["a.csv", "b.csv"], None), failed],
            stopped: false,
        };
        assert_eq!(
            summary("net", Path::new("out/net"), &run),
            "net\n\nflops: computed\n  1 000 000 macs\n  → out/net/flops/a.csv, b.csv\n\n\
             other (flops): failed\n  it broke\n\n1 step computed, 1 failed: out/net/run.json\n"
        );
    }
}
