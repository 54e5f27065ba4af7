//! Runs of stages without a model.

use super::*;
use crate::pipeline::fake::{Act, Fake};
use crate::pipeline::{InputRecord, Past, Record, StageRecord, Verdict, Versions, assess};
use crate::store::Patience;
use serde_json::json;
use std::path::Path;

type Checked = Result<(), Box<dyn std::error::Error>>;

fn options() -> Options {
    Options {
        only: Vec::new(),
        no_cache: false,
        keep_going: false,
        wait: Wait::Yes,
        share: Share::Whole,
    }
}

/// Runs in `folder` and writes the record, as the command does.
fn run(folder: &Path, stages: Vec<Fake>, options: &Options) -> Result<Run, Box<dyn std::error::Error>> {
    let dag = Dag::new(
        stages
            .into_iter()
            .map(|stage| Box::new(stage) as Box<dyn Stage>)
            .collect(),
    )?;
    let store = Store::open(&folder.join("store"))?;
    let output = Output::open(
        &folder.join("out"),
        &mut Patience {
            wait: Wait::No,
            waiting: &mut |_| {},
            stopped: &|| false,
        },
    )?;
    let run = execute(&dag, &store, &output, options, &Stop::default(), &|_: &Event| {})?;
    output.remove_gone(&run.stages, &|kind| match kind {
        "fake" => &["out.txt", "old.txt"],
        _ => &["out.txt", "other.txt", "other.*.txt"],
    })?;
    output.write_record(&Record {
        version: 1,
        name: "test".into(),
        spec: json!({}),
        inputs: Vec::<InputRecord>::new(),
        stages: run.stages.iter().map(StageRecord::from).collect(),
        versions: Versions {
            secateur: "0".into(),
            libtorch: None,
            isa: "x".into(),
        },
    })?;
    Ok(run)
}

fn statuses(run: &Run) -> Vec<(String, &'static str, u64, u64)> {
    let stages = run.stages.iter();
    stages
        .map(|stage| {
            (
                stage.id.clone(),
                stage.status.name(),
                stage.cells.computed,
                stage.cells.reused,
            )
        })
        .collect()
}

fn two(parameter: u64) -> Vec<Fake> {
    let first = Fake {
        parameter,
        ..Fake::new("a", &[])
    };
    vec![first, Fake::new("b", &["a"])]
}

#[test]
fn the_second_run_computes_nothing() -> Checked {
    let folder = tempfile::tempdir()?;
    let first = run(folder.path(), two(1), &options())?;
    assert_eq!(
        statuses(&first),
        [("a".into(), "computed", 4, 0), ("b".into(), "computed", 0, 4)]
    );
    let second = run(folder.path(), two(1), &options())?;
    assert_eq!(
        statuses(&second),
        [("a".into(), "cached", 0, 4), ("b".into(), "cached", 0, 4)]
    );
    assert_eq!(second.stages[0].summary, ["found"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("out/b/out.txt"))?, "0\n1\n");
    // Results come back though the output is gone or wrong.
    std::fs::write(folder.path().join("out/a/out.txt"), "wrong")?;
    std::fs::remove_dir_all(folder.path().join("out/b"))?;
    run(folder.path(), two(1), &options())?;
    assert_eq!(std::fs::read_to_string(folder.path().join("out/a/out.txt"))?, "1\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("out/b/out.txt"))?, "0\n1\n");
    Ok(())
}

#[test]
fn no_cache_computes_again() -> Checked {
    let folder = tempfile::tempdir()?;
    run(folder.path(), two(1), &options())?;
    let again = Options {
        no_cache: true,
        ..options()
    };
    let second = run(folder.path(), two(1), &again)?;
    assert_eq!(
        statuses(&second),
        [("a".into(), "computed", 4, 0), ("b".into(), "computed", 4, 0)]
    );
    Ok(())
}

#[test]
fn only_runs_what_is_needed() -> Checked {
    let folder = tempfile::tempdir()?;
    let only = Options {
        only: vec!["b".into()],
        ..options()
    };
    let mut stages = two(1);
    stages.push(Fake::new("c", &[]));
    let run = run(folder.path(), stages, &only)?;
    let found: Vec<&str> = run.stages.iter().map(|stage| stage.status.name()).collect();
    assert_eq!(found, ["computed", "computed", "skipped"]);
    assert!(!folder.path().join("out/c").exists());
    Ok(())
}

#[test]
fn failures_stop_or_are_gone_around() -> Checked {
    let stages = || {
        let bad = Fake {
            act: Act::Fail,
            ..Fake::new("bad", &[])
        };
        vec![bad, Fake::new("reader", &["bad"]), Fake::new("other", &[])]
    };
    let folder = tempfile::tempdir()?;
    let stopped = run(folder.path(), stages(), &options())?;
    let found: Vec<&str> = stopped.stages.iter().map(|stage| stage.status.name()).collect();
    assert_eq!(found, ["failed", "skipped", "skipped"]);
    assert_eq!(stopped.stages[0].message.as_deref(), Some("it broke"));
    assert!(stopped.failed() && !stopped.stopped);
    let going = Options {
        keep_going: true,
        ..options()
    };
    let run = run(folder.path(), stages(), &going)?;
    let found: Vec<&str> = run.stages.iter().map(|stage| stage.status.name()).collect();
    assert_eq!(found, ["failed", "skipped", "computed"]);
    Ok(())
}

#[test]
fn a_stopped_run_keeps_its_cells() -> Checked {
    let folder = tempfile::tempdir()?;
    let stages = |act| {
        let first = Fake {
            act,
            ..Fake::new("a", &[])
        };
        vec![first, Fake::new("b", &[])]
    };
    let stopped = run(folder.path(), stages(Act::Interrupt), &options())?;
    assert!(stopped.stopped && !stopped.failed());
    assert_eq!(
        statuses(&stopped),
        [("a".into(), "skipped", 2, 0), ("b".into(), "skipped", 0, 0)]
    );
    let second = run(folder.path(), stages(Act::Succeed), &options())?;
    assert_eq!(statuses(&second)[0], ("a".into(), "computed", 2, 2));
    Ok(())
}

#[test]
fn stale_results_go_and_the_users_stay() -> Checked {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    run(folder.path(), two(1), &options())?;
    std::fs::write(out.join("a/mine.txt"), "x")?;
    std::fs::create_dir(out.join("mine"))?;
    std::fs::write(out.join("mine/out.txt"), "x")?;
    // The file that an earlier version of the step wrote goes, the user's own does not.
    let changed = Fake {
        parameter: 9,
        ..Fake::new("a", &[])
    };
    run(folder.path(), vec![changed], &options())?;
    assert!(out.join("a/old.txt").exists() && !out.join("a/out.txt").exists());
    assert!(!out.join("b").exists() && out.join("a/mine.txt").exists() && out.join("mine/out.txt").exists());
    // A step that fails with other parameters leaves nothing of the old ones.
    let failing = Fake {
        parameter: 3,
        act: Act::Fail,
        ..Fake::new("a", &[])
    };
    run(folder.path(), vec![failing], &options())?;
    assert!(!out.join("a/old.txt").exists() && out.join("a/mine.txt").exists());
    Ok(())
}

#[test]
fn a_step_of_another_kind_leaves_its_own_files_only() -> Checked {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    run(folder.path(), two(1), &options())?;
    // As if the last run had made another kind of step of that name.
    let record = std::fs::read_to_string(out.join("run.json"))?;
    std::fs::write(out.join("run.json"), record.replacen("\"fake\"", "\"other\"", 1))?;
    for name in ["other.txt", "other.more.txt", "mine.txt"] {
        std::fs::write(out.join("a").join(name), "x")?;
    }
    run(folder.path(), two(1), &options())?;
    let mut left: Vec<_> = std::fs::read_dir(out.join("a"))?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["mine.txt", "out.txt"]);
    Ok(())
}

#[test]
fn what_is_not_asked_for_stays_while_it_is_right() -> Checked {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let stages = |parameter| {
        let mut stages = two(parameter);
        stages.push(Fake::new("c", &[]));
        stages
    };
    let only = Options {
        only: vec!["c".into()],
        ..options()
    };
    run(folder.path(), stages(1), &options())?;
    // Also when the run before did not ask for it either.
    for _ in 0..3 {
        let again = run(folder.path(), stages(1), &only)?;
        assert!(again.stages[0].key.is_some() && out.join("a/out.txt").exists() && out.join("b/out.txt").exists());
    }
    let other = run(folder.path(), stages(2), &only)?;
    assert_eq!(other.stages[0].key, None);
    assert!(!out.join("a").exists() && !out.join("b").exists() && out.join("c/out.txt").exists());
    Ok(())
}

#[test]
fn plans_say_why() -> Checked {
    let folder = tempfile::tempdir()?;
    run(folder.path(), two(1), &options())?;
    let plan = |parameter| -> Result<Vec<Verdict>, Box<dyn std::error::Error>> {
        let stages = two(parameter)
            .into_iter()
            .map(|stage| Box::new(stage) as Box<dyn Stage>);
        let dag = Dag::new(stages.collect())?;
        let store = Store::peek(&folder.path().join("store"));
        let previous = Output::previous(&folder.path().join("out"));
        let past = previous.stages.into_iter().map(|(id, stage)| {
            let document = stage.key.and_then(|key| store.artifact_document(key));
            let (key, cost) = (stage.key, None);
            (id, Past { key, document, cost })
        });
        let assessments = assess(&dag, &store, &past.collect(), &options())?;
        Ok(assessments.into_iter().map(|one| one.verdict).collect())
    };
    assert_eq!(plan(1)?, [Verdict::Cached, Verdict::Cached]);
    let run = Verdict::Run {
        reasons: vec!["parameter: 1 → 2".into()],
    };
    let waits = Verdict::Waits {
        needs: vec!["a".into()],
    };
    assert_eq!(plan(2)?, [run, waits]);
    Ok(())
}
