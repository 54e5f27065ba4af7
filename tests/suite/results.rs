//! What a run leaves on the disk and in the store, and what comes of it when it is disturbed.

use super::run::{Checked, Place, stderr};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every file below a folder.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn cut(path: &Path) -> std::io::Result<()> {
    let bytes = fs::read(path)?;
    fs::write(path, &bytes[..bytes.len() / 2])
}

fn statuses(place: &Place) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let all = place.statuses("out/topology")?;
    Ok(all.into_iter().map(|(_, status)| status).collect())
}

#[test]
fn the_same_bytes_wherever_they_are_made() -> Checked {
    let place = Place::new()?;
    let text = fs::read_to_string(place.path("topology.yaml"))?;
    place.write("topology.yaml", &format!("{text}output: beside\n"))?;
    place.expect(0, &["run", "topology.yaml"])?;
    let first = place.results("beside/topology")?;
    assert_eq!(first.len(), 5, "{:?}", first.keys());
    fs::create_dir(place.path("elsewhere"))?;
    // `output:` is relative to the file, `--output` and the store to the current folder.
    let mut command = place.command(&["run", "--output", "o", "--jobs", "1", "../topology.yaml"]);
    // Nothing of the environment is needed.
    let command = command.env_clear().env("SECATEUR_STORE", "own");
    let output = command.current_dir(place.path("elsewhere")).output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(place.path("elsewhere/own/FORMAT").exists() && !place.path("elsewhere/.secateur").exists());
    assert_eq!(place.results("elsewhere/o/topology")?, first);
    Ok(())
}

#[test]
fn files_that_are_right_are_left_alone_and_stale_ones_go() -> Checked {
    let place = Place::new()?;
    let modified = || fs::metadata(place.path("out/topology/flops/flops.csv"))?.modified();
    place.expect(0, &["run", "topology.yaml"])?;
    let before = modified()?;
    place.expect(0, &["run", "--no-cache", "topology.yaml"])?;
    assert_eq!(modified()?, before);
    let fewer = ["run", "--set", "steps.dependencies.kinds=[channel]", "topology.yaml"];
    place.expect(0, &fewer)?;
    assert!(place.path("out/topology/dependencies/channel.csv").exists());
    assert!(!place.path("out/topology/dependencies/group.csv").exists());
    Ok(())
}

#[test]
fn plan_says_why() -> Checked {
    let place = Place::new()?;
    place.expect(0, &["run", "topology.yaml"])?;
    let fewer = "steps.dependencies.kinds=[channel]";
    let plan = place.expect(5, &["plan", "--exit-code", "--set", fewer, "topology.yaml"])?;
    let text = String::from_utf8(plan.stdout)?;
    assert!(
        text.contains("1 of 2 steps to run") && text.contains("kinds") && text.contains("flops: cached"),
        "{text}"
    );
    Ok(())
}

#[test]
fn sets_are_checked_like_the_file() -> Checked {
    let place = Place::new()?;
    for set in [
        "bogus=1",
        "steps.flops.nothing=1",
        "version=2",
        "steps[7].id=x",
        "name=[",
        "seed=-1",
    ] {
        let output = place.expect(2, &["run", "--set", set, "topology.yaml"])?;
        assert!(stderr(&output).contains("--set"), "{set}: {}", stderr(&output));
    }
    assert!(!place.path("out").exists() && !place.path(".secateur").exists());
    Ok(())
}

#[test]
fn the_worst_of_several_files_counts_and_all_run() -> Checked {
    let place = Place::new()?;
    let text = fs::read_to_string(place.path("topology.yaml"))?;
    place.write("broken.pt", "no archive")?;
    let broken = text.replace("quickstart/model.pt", "broken.pt");
    place.write("broken.yaml", &broken.replace("name: topology", "name: broken"))?;
    let output = place.expect(1, &["run", "broken.yaml", "topology.yaml"])?;
    assert_eq!(stderr(&output).matches("broken.pt").count(), 1, "{}", stderr(&output));
    assert_eq!(statuses(&place)?, ["computed", "computed"]);
    assert_eq!(place.statuses("out/broken")?[1].1, "skipped");
    place.expect(4, &["run", "--keep-going", "broken.yaml", "topology.yaml"])?;
    assert_eq!(place.statuses("out/broken")?[1].1, "failed");
    Ok(())
}

#[test]
fn a_cut_artifact_is_never_served() -> Checked {
    let place = Place::new()?;
    place.expect(0, &["run", "topology.yaml"])?;
    let good = place.results("out/topology")?;
    let stored = files(&place.path(".secateur/artifacts"))?;
    let tables = stored.iter().filter(|path| path.ends_with("files/flops.csv"));
    for table in tables {
        cut(table)?;
    }
    fs::remove_dir_all(place.path("out"))?;
    place.expect(0, &["run", "topology.yaml"])?;
    assert_eq!(statuses(&place)?, ["cached", "computed"]);
    assert_eq!(place.results("out/topology")?, good);
    Ok(())
}

#[test]
fn a_cut_cell_is_measured_again() -> Checked {
    let place = Place::new()?;
    place.write(
        "sens.yaml",
        "version: 1
name: sens
model: {path: quickstart/model.pt, input: [1, 28, 28]}
dataset:
  source: {idx: {images: quickstart/images.idx.gz, labels: quickstart/labels.idx.gz}}
  samples: 8
metric: accuracy
steps: [{sensitivity: {layers: [conv1], sparsities: [0.25, 0.5]}}]
",
    )?;
    place.expect(0, &["run", "sens.yaml"])?;
    let good = place.results("out/sens")?;
    let cells = files(&place.path(".secateur/cells"))?;
    let first = cells.first().ok_or("no cells")?;
    cut(first)?;
    fs::remove_dir_all(place.path(".secateur/artifacts"))?;
    let output = place.expect(0, &["run", "sens.yaml"])?;
    assert!(stderr(&output).contains("damaged"), "{}", stderr(&output));
    let counts = &place.record("out/sens")?["stages"][0]["cells"];
    // Two sparsities and the whole model.
    assert_eq!(
        (counts["computed"].as_u64(), counts["reused"].as_u64()),
        (Some(1), Some(2))
    );
    assert_eq!(place.results("out/sens")?, good);
    Ok(())
}

#[test]
fn waiting_can_be_stopped() -> Checked {
    let place = Place::new()?;
    fs::create_dir_all(place.path("out/topology"))?;
    let folder = fs::File::open(place.path("out/topology"))?;
    folder.lock()?;
    for signal in ["INT", "TERM"] {
        let mut command = place.command(&["run", "topology.yaml"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains("waiting for"))));
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status()?.success());
        assert_eq!(child.wait()?.code(), Some(4), "{signal}");
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn modes_are_those_of_the_umask() -> Checked {
    use std::os::unix::fs::PermissionsExt;
    for (umask, file, folder) in [("022", 0o644, 0o755), ("077", 0o600, 0o700)] {
        let place = Place::new()?;
        let script = format!("umask {umask} && exec \"$0\" run -q topology.yaml");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_secateur")]);
        let output = command
            .current_dir(place.path("."))
            .env_remove("SECATEUR_STORE")
            .output()?;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        for (name, expected) in [
            ("out/topology/run.json", file),
            ("out/topology/flops/flops.csv", file),
            ("out/topology/flops", folder),
            (".secateur/FORMAT", file),
            (".secateur/artifacts", folder),
        ] {
            let mode = fs::metadata(place.path(name))?.permissions().mode() & 0o777;
            assert_eq!(mode, expected, "umask {umask}: {name}");
        }
    }
    Ok(())
}

/// Wrong numbers would be worse than none.
#[test]
fn a_model_that_does_not_run_on_its_input_is_refused() -> Checked {
    let place = Place::new()?;
    for (step, input) in [("flops", "[3, 28, 28]"), ("dependencies", "[28, 28]")] {
        let text = format!(
            "version: 1\nname: s\nmodel: {{path: quickstart/model.pt, input: {input}}}\nsteps: [{{{step}: {{}}}}]\n"
        );
        place.write("s.yaml", &text)?;
        let said = stderr(&place.expect(1, &["run", "s.yaml"])?);
        let wanted = format!("the model does not run on inputs of shape {input} (model.input");
        assert!(said.contains(&wanted), "{said}");
    }
    Ok(())
}
