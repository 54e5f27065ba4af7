//! What a run would do and why, locks, and runs made again, on the real binary.

use super::run::{Checked, NIGHT, Place, stderr};
use super::weights::another;
use serde_json::Value;
use std::process::Output;

/// Two cells of few samples.
fn night() -> String {
    NIGHT
        .replace("samples: 60", "samples: 40")
        .replace("[0.5, 0.9]", "[0.5]")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn plans_say_why_by_field() -> Checked {
    let place = Place::new()?;
    place.write("night.yaml", &night())?;
    place.expect(0, &["run", "night.yaml"])?;
    // Neither names, comments, the order of keys, nor threads rerun anything.
    let night = night();
    let mut lines: Vec<&str> = night.lines().collect();
    lines.swap(2, 7);
    place.write("moved.yaml", "# a comment\n")?;
    let reordered = night
        .replace("metric: accuracy\n", "")
        .replace("steps:", "metric: accuracy  # here\nsteps:");
    place.write("moved.yaml", &reordered)?;
    place.expect(0, &["plan", "moved.yaml", "--exit-code"])?;

    let wider = "steps.sens.sparsities=[0.5, 0.95]";
    let text = stdout(&place.expect(5, &["plan", "night.yaml", "--exit-code", "--set", wider])?);
    for part in [
        "night: 1 of 2 steps to run, 2 cells, ",
        "sens: will run, 2 cells to compute, 3 in the store",
        "    sparsities: +0.95 (2 cells)\n",
        "multiply-accumulates, about ",
        "flops: cached",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let plan: Value = serde_json::from_slice(
        &place
            .expect(0, &["plan", "night.yaml", "--json", "--set", wider])?
            .stdout,
    )?;
    let stage = &plan[0]["stages"][0];
    assert_eq!(
        (&stage["verdict"], &stage["cells"]["to_compute"]),
        (&"run".into(), &2.into())
    );
    assert!(
        stage["macs"].as_u64() > Some(1_000_000) && stage["seconds"].is_number(),
        "{stage}"
    );
    // A plan keeps its word.
    place.expect(0, &["run", "night.yaml", "--set", wider])?;
    assert_eq!(place.record("out/night")?["stages"][0]["cells"]["computed"], 2);

    // One byte of one weight: the model is another, and the plan says where.
    let path = place.path("quickstart/model.pt");
    std::fs::write(&path, another(std::fs::read(&path)?)?)?;
    let text = stdout(&place.expect(0, &["plan", "night.yaml", "--set", wider])?);
    assert!(
        text.contains("    model weights ") && text.contains(" changed\n"),
        "{text}"
    );
    assert!(text.contains("5 cells to compute, 0 in the store"), "{text}");
    Ok(())
}

#[test]
fn locks_refuse_what_differs() -> Checked {
    let place = Place::new()?;
    place.write("night.yaml", &night())?;
    let missing = stderr(&place.expect(2, &["run", "night.yaml", "--locked"])?);
    assert!(missing.contains("there is no night.lock"), "{missing}");
    place.expect(0, &["run", "night.yaml", "--lock"])?;
    let first = std::fs::read(place.path("night.lock"))?;
    place.expect(0, &["run", "night.yaml", "--lock", "--no-cache", "--jobs", "1"])?;
    assert_eq!(std::fs::read(place.path("night.lock"))?, first);
    place.expect(0, &["check", "night.yaml", "--locked"])?;
    place.expect(0, &["run", "night.yaml", "--locked"])?;
    for verb in ["check", "run"] {
        let output = place.expect(2, &[verb, "night.yaml", "--locked", "--set", "dataset.samples=30"])?;
        let said = stderr(&output);
        assert!(said.contains("differs from night.lock"), "{said}");
        assert!(
            said.contains("steps.sens.document.ground.data.samples.count: 40 → 30"),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn a_recorded_run_is_made_again() -> Checked {
    let place = Place::new()?;
    place.write("night.yaml", &night())?;
    place.expect(0, &["run", "night.yaml"])?;
    // The file itself is not needed any more.
    std::fs::remove_file(place.path("night.yaml"))?;
    let same = stdout(&place.expect(0, &["reproduce", "last"])?);
    assert!(
        same.contains("sens (sensitivity): equal, 3 numbers and 2 files to the byte"),
        "{same}"
    );
    assert!(same.ends_with("every number is the same\n"), "{same}");
    let labels = place.path("quickstart/labels.idx.gz");
    let images = place.path("quickstart/model.pt");
    let mut bytes = std::fs::read(&images)?;
    for byte in bytes.iter_mut().skip(40_000).step_by(256).take(64) {
        *byte ^= 1;
    }
    assert!(labels.exists());
    std::fs::write(&images, bytes)?;
    let other = stdout(&place.expect(1, &["reproduce", "last"])?);
    assert!(other.contains("input quickstart/model.pt is another file"), "{other}");
    assert!(other.ends_with("not the same\n"), "{other}");
    let unknown = stderr(&place.expect(2, &["reproduce", "nope"])?);
    assert!(unknown.contains("no run is called `nope`"), "{unknown}");
    Ok(())
}
