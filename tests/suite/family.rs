//! Families of experiments on the real binary: base files, variables, matrices.

use super::run::{Checked, Place, stderr};

const MATRIX: &str = "version: 1
name: family
vars: {data: {env: SECATEUR_TEST_DATA, default: ../quickstart}}
model: {path: \"${data}/model.pt\", input: [1, 28, 28]}
matrix:
  steps.dependencies.compat: [exact, nni]
  seed: [0, 1]
steps:
  - dependencies: {}
  - flops: {}
";

#[test]
fn each_combination_is_a_run_and_shares_what_it_can() -> Checked {
    let place = Place::new()?;
    std::fs::create_dir(place.path("base"))?;
    place.write("base/matrix.yaml", MATRIX)?;
    place.write("night.yaml", "extends: base/matrix.yaml\nname: night\n")?;
    place.expect(0, &["check", "night.yaml"])?;
    place.expect(0, &["run", "night.yaml"])?;
    // The seed decides nothing here, and the model's cost does not depend on whose rules are followed.
    let expected = [
        ("night-exact-0", ["computed", "computed"]),
        ("night-exact-1", ["cached", "cached"]),
        ("night-nni-0", ["computed", "cached"]),
        ("night-nni-1", ["cached", "cached"]),
    ];
    for (name, statuses) in expected {
        let found = place.statuses(&format!("out/{name}"))?;
        let found: Vec<&str> = found.iter().map(|(_, status)| status.as_str()).collect();
        assert_eq!(found, statuses, "{name}");
    }
    let record = place.record("out/night-nni-1")?;
    assert_eq!(record["inputs"][0]["path"], "base/../quickstart/model.pt");
    assert_eq!(record["spec"]["seed"], 1);
    Ok(())
}

#[test]
fn what_is_wrong_is_shown_where_it_was_written() -> Checked {
    let place = Place::new()?;
    std::fs::create_dir(place.path("base"))?;
    place.write("base/matrix.yaml", &MATRIX.replace("${data}", "${dta}"))?;
    place.write("night.yaml", "extends: base/matrix.yaml\nname: night\n")?;
    let refused = stderr(&place.expect(2, &["check", "night.yaml"])?);
    for part in [
        "base/matrix.yaml:4:15",
        "no variable `dta` is declared",
        "did you mean `data`?",
        "model: {path:",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // The environment decides where there is nothing to find.
    place.write("base/matrix.yaml", MATRIX)?;
    let mut command = place.command(&["check", "night.yaml"]);
    let output = command.env("SECATEUR_TEST_DATA", "nowhere").output()?;
    assert_eq!(output.status.code(), Some(2));
    let refused = stderr(&output);
    assert!(refused.contains("there is no file base/nowhere/model.pt"), "{refused}");
    assert!(refused.contains("base/matrix.yaml:4:15"), "{refused}");
    Ok(())
}
