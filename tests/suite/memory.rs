//! Memory: what a plan expects, what a run takes, and that a bound changes no result.

use super::run::{Checked, Place, stderr};

const PIPELINE: &str = "version: 1
name: bounded
model: {path: quickstart/model.pt, input: [1, 28, 28]}
dataset:
  source:
    idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}
  normalize: {mean: [0.286], std: [0.353]}
  samples: 256
metric: accuracy
resources: {memory: 2GiB}
steps:
  - sensitivity: {id: sens, sparsities: [0.5]}
";

/// The bytes behind a text, as in `… 230 MiB of memory …`.
fn bytes(text: &str, before: &str) -> Option<f64> {
    let mut words = text.split(before).nth(1)?.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    Some(number * if words.next()? == "GiB" { 1024.0 } else { 1.0 })
}

#[test]
fn a_run_takes_what_its_plan_expects() -> Checked {
    let place = Place::new()?;
    place.write("b.yaml", PIPELINE)?;
    let plan = place.expect(0, &["plan", "b.yaml", "--jobs", "2"])?;
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    let expected = bytes(&plan, "expected to take ").ok_or_else(|| format!("no memory in\n{plan}"))?;
    let run = stderr(&place.expect(0, &["run", "b.yaml", "--jobs", "2", "-v"])?);
    if cfg!(target_os = "linux") {
        let taken = bytes(&run, "at most ").ok_or_else(|| format!("no memory in\n{run}"))?;
        assert!(taken <= 1.2 * expected, "{taken} MiB taken, {expected} expected");
    }

    // Less memory than one micro-batch takes: one at a time, a warning, and the same table.
    let first = place.results("out")?;
    let tight = place.expect(0, &["run", "b.yaml", "--jobs", "2", "--memory", "1MiB", "--no-cache"])?;
    assert!(stderr(&tight).contains("of memory"), "{}", stderr(&tight));
    assert_eq!(place.results("out")?, first);
    place.expect(2, &["run", "b.yaml", "--memory", "much"])?;
    Ok(())
}
