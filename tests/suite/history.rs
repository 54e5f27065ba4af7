//! The history of runs on the real binary: records, comparisons, gates, and the commands that follow a run.

use super::run::{Checked, NIGHT, Place, stderr};
use serde_json::Value;
use std::process::{Command, Output};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(&output.stdout)
}

fn git(place: &Place, words: &[&str]) -> std::io::Result<bool> {
    let mut command = Command::new("git");
    command.current_dir(place.path("."));
    command.args([
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@t",
        "-c",
        "commit.gpgsign=false",
    ]);
    Ok(command.args(words).output()?.status.success())
}

#[test]
fn each_run_leaves_a_record() -> Checked {
    let place = Place::new()?;
    assert_eq!(stdout(&place.expect(0, &["runs"])?), "no runs yet\n");
    assert!(!place.path(".secateur").exists());
    let missing = place.expect(2, &["runs", "show", "last"])?;
    assert!(stderr(&missing).contains("holds no record"), "{}", stderr(&missing));
    place.write("night.yaml", NIGHT)?;
    place.expect(0, &["run", "night.yaml"])?;
    place.expect(0, &["run", "topology.yaml"])?;
    let list = json(&place.expect(0, &["runs", "--json"])?)?;
    let runs = list.as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = runs.iter().filter_map(|run| run["name"].as_str()).collect();
    assert_eq!(names, ["topology", "night"]);
    let only = json(&place.expect(0, &["runs", "--json", "--pipeline", "night"])?)?;
    assert_eq!(only.as_array().map(Vec::len), Some(1));
    let id = runs[1]["id"].as_str().unwrap_or_default();
    let table = stdout(&place.expect(0, &["runs"])?);
    assert!(
        table.starts_with("id ") && table.contains(id) && table.contains("  done  "),
        "{table}"
    );

    let record = json(&place.expect(0, &["runs", "show", id, "--json"])?)?;
    assert_eq!((&record["status"], &record["exit"]), (&"done".into(), &0.into()));
    assert_eq!(record["spec"]["dataset"]["samples"]["count"], 60);
    assert_eq!(record["inputs"].as_array().map(Vec::len), Some(3));
    let sens = &record["stages"][0];
    assert_eq!(sens["document"]["stage"], "sensitivity");
    assert_eq!(sens["values"]["rows"].as_array().map(Vec::len), Some(2));
    assert!(sens["files"]["sensitivity.csv"].is_string() && record["versions"]["isa"].is_string());
    // The beginning of an id is enough where it is the only one.
    let shown = stdout(&place.expect(0, &["runs", "show", &id[..19]])?);
    for part in [
        "run ",
        "night of night.yaml",
        "accuracy of the whole model",
        "4 cells from",
        "key ",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let vague = stderr(&place.expect(2, &["runs", "show", "2"])?);
    assert!(vague.contains("begins the ids of 2 runs"), "{vague}");
    assert!(stderr(&place.expect(2, &["runs", "show", "lats"])?).contains("did you mean `last`?"));
    // A run that fails leaves a record too.
    std::fs::write(place.path("quickstart/model.pt"), "rubbish")?;
    place.expect(1, &["run", "topology.yaml"])?;
    let failed = json(&place.expect(0, &["runs", "show", "last", "--json"])?)?;
    assert_eq!((&failed["status"], &failed["exit"]), (&"failed".into(), &1.into()));
    assert!(failed["stages"][0]["message"].is_string());
    let success = json(&place.expect(0, &["runs", "show", "last_success", "--json"])?)?;
    assert_eq!(success["id"], runs[0]["id"]);
    assert_eq!(
        json(&place.expect(0, &["runs", "show", "last~1", "--json"])?)?["id"],
        runs[0]["id"]
    );
    let few = stderr(&place.expect(2, &["runs", "show", "last~9"])?);
    assert!(few.contains("only 2 runs of topology"), "{few}");
    Ok(())
}

#[test]
fn two_runs_are_compared() -> Checked {
    let place = Place::new()?;
    place.write("night.yaml", NIGHT)?;
    place.expect(0, &["run", "night.yaml"])?;
    let changed = [
        "--set",
        "dataset.samples=50",
        "--set",
        "steps.sens.sparsities=[0.5, 0.95]",
    ];
    place.expect(0, &[&["run", "night.yaml"][..], &changed].concat())?;
    let text = stdout(&place.expect(0, &["diff", "last~1", "last"])?);
    for part in [
        "dataset.samples.count: 60 → 50",
        "steps.sens.sparsities: -0.9 +0.95",
        "sens (sensitivity): sensitivity.csv, sensitivity.json differ",
        "2 no longer measured, 2 new",
        "measured on different samples",
        "flops: equal",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let found = json(&place.expect(0, &["diff", "last~1", "last", "--json"])?)?;
    assert_eq!(found["fields"][0]["path"], "dataset.samples.count");
    assert_eq!(
        (&found["fields"][0]["before"], &found["fields"][0]["after"]),
        (&60.into(), &50.into())
    );
    assert_eq!(
        found["steps"][0]["cells"]["only_after"].as_array().map(Vec::len),
        Some(2)
    );
    let same = stdout(&place.expect(0, &["diff", "last", "last"])?);
    assert!(
        same.contains("no field differs") && same.contains("sens (sensitivity): equal"),
        "{same}"
    );
    Ok(())
}

#[test]
fn chance_is_told_from_change() -> Checked {
    let place = Place::new()?;
    let night = NIGHT.replace("samples: 60", "samples: 500");
    place.write("night.yaml", &night)?;
    place.write(
        "loss.yaml",
        &night.replace("accuracy", "cross_entropy").replace("night", "loss"),
    )?;
    let estimates = night.replace("[0.5, 0.9]", "[0.5, 0.9], estimate: {margin: 0.2}");
    place.write("guess.yaml", &estimates.replace("night", "guess"))?;
    let other = ["--set", "steps.sens.method=l2"];
    for file in ["night.yaml", "loss.yaml", "guess.yaml"] {
        place.expect(0, &["run", file])?;
        place.expect(0, &[&["run", file][..], &other].concat())?;
    }
    let run = |name: &str, place: &Place| -> Result<[String; 2], Box<dyn std::error::Error>> {
        let list = json(&place.expect(0, &["runs", "--json", "--pipeline", name])?)?;
        Ok([1, 0].map(|at| list[at]["id"].as_str().unwrap_or_default().to_owned()))
    };
    let [before, after] = run("night", &place)?;
    let found = json(&place.expect(0, &["diff", &before, &after, "--json"])?)?;
    let table = &found["steps"][0]["cells"];
    assert!(
        table["untested"].is_null() && table["baseline"]["p"].is_null(),
        "{table}"
    );
    let moved = table["moved"].as_array().cloned().unwrap_or_default();
    assert!(moved.len() > 1, "{table}");
    for cell in &moved {
        let p = cell["p"].as_f64().unwrap_or(f64::NAN);
        // A difference of so many samples all one way is not chance, one of a single sample is.
        let samples = (cell["change"].as_f64().unwrap_or_default() * 500.0).abs().round();
        assert!((0.0..=1.0).contains(&p), "{cell}");
        assert_eq!(cell["within_noise"], p > 0.05, "{cell}");
        assert!(samples < 80.0 || p < 0.05, "{cell}");
    }
    assert!(moved.iter().any(|cell| cell["within_noise"] == false), "{table}");
    let text = stdout(&place.expect(0, &["diff", &before, &after])?);
    assert!(
        text.contains("  changed (p = ") && !text.contains("not tested"),
        "{text}"
    );

    // Whoever takes the results in takes what is known of single samples along.
    place.expect(0, &["merge", ".secateur", "--store", "theirs"])?;
    let theirs = json(&place.expect(0, &["diff", &before, &after, "--json", "--store", "theirs"])?)?;
    assert_eq!(theirs, found);

    for (name, why) in [
        ("loss", "is not 0 or 1 for each sample"),
        ("guess", "values are estimates"),
    ] {
        let [before, after] = run(name, &place)?;
        let text = stdout(&place.expect(0, &["diff", &before, &after])?);
        assert!(text.contains("not tested for noise: ") && text.contains(why), "{text}");
    }
    // Results that are gone.
    place.expect(0, &["gc", "--max-size", "1kB"])?;
    let text = stdout(&place.expect(0, &["diff", &before, &after])?);
    assert!(text.contains("the store no longer has the tables' cells"), "{text}");
    Ok(())
}

#[test]
fn two_revisions_are_compared() -> Checked {
    let place = Place::new()?;
    if !git(&place, &["init", "-q"])? {
        println!("skipped: git is not here");
        return Ok(());
    }
    let flops =
        "version: 1\nname: cost\nmodel: {path: quickstart/model.pt, input: [1, 28, 28]}\nseed: 0\nsteps: [flops: {}]\n";
    std::fs::create_dir(place.path("exp"))?;
    place.write("exp/cost.yaml", &flops.replace("quickstart", "../quickstart"))?;
    for seed in ["0", "1", "2"] {
        place.write(
            "exp/cost.yaml",
            &flops
                .replace("quickstart", "../quickstart")
                .replace("seed: 0", &format!("seed: {seed}")),
        )?;
        assert!(git(&place, &["add", "exp"])? && git(&place, &["commit", "-q", "-m", seed])?);
        if seed != "2" {
            place.expect(0, &["run", "exp/cost.yaml"])?;
        }
    }
    let run = json(&place.expect(0, &["runs", "show", "last", "--json"])?)?;
    assert_eq!(
        (&run["git"]["dirty"], &run["git"]["path"]),
        (&false.into(), &"exp/cost.yaml".into())
    );
    let text = stdout(&place.expect(0, &["diff", "HEAD~2", "HEAD~1", "--pipeline", "exp/cost.yaml"])?);
    assert!(text.contains("seed: 0 → 1") && text.contains("flops: equal"), "{text}");
    let text = stdout(&place.expect(0, &["diff", "HEAD~1", "HEAD", "--pipeline", "exp/cost.yaml"])?);
    assert!(
        text.contains("seed: 1 → 2") && text.contains("no run of HEAD is recorded"),
        "{text}"
    );
    let found = json(&place.expect(
        0,
        &["diff", "HEAD~2", "HEAD~1", "--pipeline", "exp/cost.yaml", "--json"],
    )?)?;
    assert_eq!(found[0]["runs"].as_array().map(Vec::len), Some(2));
    let unknown = stderr(&place.expect(2, &["diff", "nope", "HEAD", "--pipeline", "exp/cost.yaml"])?);
    assert!(unknown.contains("no revision `nope`"), "{unknown}");
    // What is not committed makes a run dirty.
    place.write(
        "exp/cost.yaml",
        &flops
            .replace("quickstart", "../quickstart")
            .replace("seed: 0", "seed: 9"),
    )?;
    place.expect(0, &["run", "exp/cost.yaml"])?;
    let run = json(&place.expect(0, &["runs", "show", "last", "--json"])?)?;
    assert_eq!(run["git"]["dirty"], true);
    Ok(())
}

#[test]
fn gates_end_in_three_and_results_stay() -> Checked {
    let place = Place::new()?;
    let gated = |gate: &str| format!("{NIGHT}  - gate: {gate}\n");
    place.write("night.yaml", &gated("{baseline: {min: 0.5}, drift: {max: 0.01}}"))?;
    let passed = stdout(&place.expect(0, &["run", "night.yaml"])?);
    assert!(passed.contains("no earlier run to measure drift from"), "{passed}");
    let report: Value = serde_json::from_slice(&std::fs::read(place.path("out/night/gate/gate.json"))?)?;
    assert_eq!(report["passed"], true);

    place.write(
        "night.yaml",
        &gated("{baseline: {min: 1.5}, layer: {\"layer1.*\": {sparsity: 0.9, max_drop: 0.0001}, conv1: {min: 0}}}"),
    )?;
    let failed = place.expect(3, &["run", "night.yaml"])?;
    let said = stderr(&failed);
    assert!(said.contains("below the least allowed (1.5) by 0."), "{said}");
    assert!(said.contains("layer1.0.conv1 at sparsity 0.9 is 0."), "{said}");
    assert!(
        stdout(&failed).contains("broken: accuracy of the whole model is"),
        "{}",
        stdout(&failed)
    );
    let record = place.record("out/night")?;
    let gate = &record["stages"][2];
    assert_eq!((&gate["kind"], &gate["status"]), (&"gate".into(), &"computed".into()));
    assert_eq!(gate["failures"].as_array().map(Vec::len), Some(2));
    assert!(place.path("out/night/sens/sensitivity.csv").exists());
    // From the store it is as broken, and worse ends win over it.
    place.expect(3, &["run", "night.yaml"])?;
    place.expect(3, &["run", "topology.yaml", "night.yaml"])?;
    let record = json(&place.expect(0, &["runs", "show", "last", "--json"])?)?;
    assert_eq!((&record["status"], &record["exit"]), (&"gate_failed".into(), &3.into()));

    // Drift is measured from the last run that passed.
    place.write("night.yaml", &gated("{drift: {against: last_success, max: 0}}"))?;
    place.expect(0, &["run", "night.yaml"])?;
    let drifted = place.expect(3, &["run", "night.yaml", "--set", "dataset.samples=40"])?;
    assert!(
        stderr(&drifted).contains("a drift of more than allowed (0) by"),
        "{}",
        stderr(&drifted)
    );
    place.expect(0, &["run", "night.yaml"])?;
    for (gate, line) in [
        (
            "{layer: {conv9: {min: 0}}}",
            "`conv9` is no layer that the step measures",
        ),
        (
            "{layer: {conv1: {sparsity: 0.4, min: 0}}}",
            "the step measures no sparsity 0.4, but 0.5, 0.9",
        ),
        ("{step: sesn, baseline: {min: 0}}", "did you mean `sens`?"),
        ("{}", "at least one of `baseline`, `layer` and `drift`"),
        ("{baseline: {}, layer: {conv1: {}}}", "needs `max_drop`, `min` or `max`"),
    ] {
        place.write("wrong.yaml", &gated(gate))?;
        let said = stderr(&place.expect(2, &["check", "wrong.yaml"])?);
        assert!(said.contains(line), "{gate}: {said}");
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn commands_follow_a_run() -> Checked {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new()?;
    std::fs::create_dir(place.path("exp"))?;
    let hook = "#!/bin/sh\ncat > \"$SECATEUR_HOOK.json\"\necho \"hook $SECATEUR_RUN $1\"\nexit 5\n";
    place.write("exp/hook.sh", hook)?;
    std::fs::set_permissions(place.path("exp/hook.sh"), std::fs::Permissions::from_mode(0o755))?;
    let text = NIGHT.replace("quickstart/", "../quickstart/");
    let hooks = "on_failure: [./hook.sh, failed]\non_change: {command: [./hook.sh, changed], timeout: 20s}\n";
    place.write(
        "exp/night.yaml",
        &format!("{text}  - gate: {{baseline: {{max: 2}}}}\n{hooks}"),
    )?;
    let ran = |name: &str| place.path("exp").join(format!("{name}.json")).exists();
    // The first run is a change of nothing.
    place.expect(0, &["run", "exp/night.yaml"])?;
    place.expect(0, &["run", "exp/night.yaml"])?;
    assert!(!ran("on_failure") && !ran("on_change"));
    let changed = place.expect(0, &["run", "exp/night.yaml", "--set", "dataset.samples=40"])?;
    assert!(ran("on_change") && !ran("on_failure"));
    let said = stderr(&changed);
    assert!(
        said.contains(" changed\n") && said.contains("ended with exit status: 5"),
        "{said}"
    );
    assert!(!stdout(&changed).contains("hook"));
    let failed = place.expect(3, &["run", "exp/night.yaml", "--set", "steps.gate.baseline.max=0"])?;
    assert!(ran("on_failure") && stderr(&failed).contains(" failed\n"));
    let record: Value = serde_json::from_slice(&std::fs::read(place.path("exp/on_failure.json"))?)?;
    assert_eq!((&record["status"], &record["exit"]), (&"gate_failed".into(), &3.into()));
    // One that hangs is ended with all that it started; one that is not there is told of.
    place.write("exp/hook.sh", "#!/bin/sh\nsleep 600 & sleep 600\n")?;
    let set = "on_failure={command: [./hook.sh], timeout: 1s}";
    let gate = "steps.gate.baseline.max=0.1";
    let hung = place.expect(3, &["run", "exp/night.yaml", "--set", gate, "--set", set])?;
    assert!(
        stderr(&hung).contains("took longer than 1s and was ended"),
        "{}",
        stderr(&hung)
    );
    let set = "on_failure=[no-such-program]";
    let missing = place.expect(3, &["run", "exp/night.yaml", "--set", gate, "--set", set])?;
    assert!(
        stderr(&missing).contains("on_failure: cannot run \"no-such-program\""),
        "{}",
        stderr(&missing)
    );
    Ok(())
}
