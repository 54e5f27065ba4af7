//! Schedules on the real binary: what is written, what systemd thinks of it, and that it goes away again.

use super::run::{Checked, Place, stderr};
use std::fs;
use std::process::Command;

const SCHEDULED: &str = "version: 1
name: nightly
model: {path: quickstart/model.pt, input: [1, 28, 28]}
schedule: {cron: \"0 3 * * *\", timezone: Europe/Berlin, jitter: 10m}
matrix: {seed: [0, 1]}
steps: [flops: {}]
";

#[test]
fn the_next_ten_times() -> Checked {
    let place = Place::new()?;
    place.write("s.yaml", SCHEDULED)?;
    let output = place.expect(0, &["schedule", "check", "s.yaml"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("nightly: 0 3 * * * in Europe/Berlin, up to 10m later\n"),
        "{text}"
    );
    let times: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(times.len(), 10);
    for time in &times {
        assert!(time.contains(" 03:00 +0") && time.ends_with(":00"), "{time}");
    }
    place.expect(2, &["schedule", "check", "topology.yaml"])?;
    for (wrong, part) in [
        ("cron=0 3 31 2 *", "never due"),
        ("cron=0 3 * *", "five fields"),
        ("timezone=Europe/Berln", "no time zone is called"),
        ("jitter=10", "write it in quotes"),
        ("jitter=10x", "a number and its unit"),
        ("corn=x", "did you mean `cron`?"),
    ] {
        let said = stderr(&place.expect(
            2,
            &["schedule", "check", "s.yaml", "--set", &format!("schedule.{wrong}")],
        )?);
        assert!(said.contains(part), "{wrong}: {said}");
    }
    Ok(())
}

/// Runs with a home of its own, so that nothing of the user's is touched.
fn at_home(place: &Place, code: i32, words: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let mut command = place.command(words);
    command
        .env("XDG_CONFIG_HOME", place.path("config"))
        .env("HOME", place.path("."));
    command
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    let output = command.output()?;
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{}", stderr(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn units_are_written_and_taken_back() -> Checked {
    let place = Place::new()?;
    place.write("s.yaml", SCHEDULED)?;
    let shown = at_home(&place, 0, &["schedule", "install", "s.yaml", "--systemd", "--dry-run"])?;
    let folder = place.path("config/systemd/user");
    assert!(
        !folder.exists() && shown.contains("OnCalendar=*-*-* 03:00:00 Europe/Berlin"),
        "{shown}"
    );
    at_home(
        &place,
        0,
        &["schedule", "install", "s.yaml", "--systemd", "--store", "kept"],
    )?;
    let (service, timer) = (
        folder.join("secateur-nightly.service"),
        folder.join("secateur-nightly.timer"),
    );
    let text = fs::read_to_string(&service)?;
    let start = text
        .lines()
        .find(|line| line.starts_with("ExecStart="))
        .unwrap_or_default();
    let root = fs::canonicalize(place.path("."))?;
    for part in ["s.yaml\"", "\"--store\" \"", "kept\"", "\"--no-wait\""] {
        assert!(start.contains(part), "{start}");
    }
    assert!(start.contains(root.to_str().unwrap_or_default()), "{start}");
    match Command::new("systemd-analyze")
        .args(["verify", "--user"])
        .arg(&timer)
        .arg(&service)
        .output()
    {
        Ok(output) => {
            let said = stderr(&output);
            // A container without systemd may lack folders of the user's manager; of our files nothing is to be said.
            assert!(!said.contains("secateur-nightly"), "{said}");
        }
        Err(_) => println!("skipped: systemd-analyze is not here"),
    }
    // What somebody else wrote is left alone.
    fs::write(&service, "[Unit]\n")?;
    at_home(&place, 2, &["schedule", "install", "s.yaml", "--systemd"])?;
    at_home(&place, 2, &["schedule", "uninstall", "s.yaml", "--systemd"])?;
    assert!(service.exists());
    fs::write(&service, text)?;
    at_home(&place, 0, &["schedule", "install", "s.yaml", "--systemd"])?;
    at_home(&place, 0, &["schedule", "uninstall", "s.yaml", "--systemd"])?;
    assert!(!service.exists() && !timer.exists());
    let again = at_home(&place, 0, &["schedule", "uninstall", "s.yaml", "--systemd"])?;
    assert!(again.contains("there is no"), "{again}");
    Ok(())
}

#[test]
fn the_written_command_runs_as_cron_runs_it() -> Checked {
    let place = Place::new()?;
    place.write("s.yaml", SCHEDULED)?;
    let output = place
        .command(&["schedule", "install", "s.yaml", "--crontab", "--print"])
        .env("TZ", "UTC")
        .output()?;
    let block = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(block.contains("CRON_TZ=Europe/Berlin\n0 3 * * * cd "), "{block}");
    let line = block
        .lines()
        .find(|line| line.contains("--no-wait"))
        .unwrap_or_default();
    assert!(line.ends_with("--jitter 10m"), "{line}");
    // As cron does it: an empty environment, another folder, no terminal, and here without the delay.
    let command = line
        .replace("0 3 * * * ", "")
        .replace("\\%", "%")
        .replace("--jitter 10m", "--jitter 1s");
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &format!("umask 077; {command}")])
        .current_dir("/")
        .env_clear()
        .stdin(std::process::Stdio::null());
    let output = shell.output()?;
    assert_eq!(output.status.code(), Some(0), "{command}\n{}", stderr(&output));
    for name in ["nightly-0", "nightly-1"] {
        assert_eq!(place.statuses(&format!("out/{name}"))?.len(), 1);
    }
    place.expect(0, &["runs", "show", "last_success"])?;
    Ok(())
}

#[test]
fn a_workflow_lies_in_the_repository() -> Checked {
    let place = Place::new()?;
    fs::create_dir_all(place.path("repo/.git"))?;
    fs::create_dir(place.path("repo/exp"))?;
    place.write("repo/exp/s.yaml", SCHEDULED)?;
    place.expect(0, &["schedule", "install", "repo/exp/s.yaml", "--github-actions"])?;
    let path = place.path("repo/.github/workflows/secateur-nightly.yml");
    let text = fs::read_to_string(&path)?;
    let yaml: serde_yaml::Value = serde_yaml::from_str(&text)?;
    assert_eq!(yaml["concurrency"]["group"], "secateur-nightly");
    assert!(
        text.contains("GITHUB_WORKSPACE") && text.contains("'/exp/s.yaml'"),
        "{text}"
    );
    place.expect(0, &["schedule", "uninstall", "repo/exp/s.yaml", "--github-actions"])?;
    assert!(!path.exists());
    // One target, and only one.
    place.expect(2, &["schedule", "install", "repo/exp/s.yaml"])?;
    place.expect(2, &["schedule", "install", "repo/exp/s.yaml", "--crontab", "--systemd"])?;
    Ok(())
}
