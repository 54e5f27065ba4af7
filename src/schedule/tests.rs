//! Times around the change of clocks, and what is written, held against the schedulers' own readers where they are.

use super::*;
use std::process::Command;

fn schedule(cron: &str, timezone: &str, jitter: Option<&str>) -> Schedule {
    Schedule {
        cron: cron.parse().unwrap(),
        timezone: timezone.parse().unwrap(),
        jitter: jitter.map(|jitter| jitter.parse().unwrap()),
    }
}

fn job(schedule: Schedule) -> Job {
    Job {
        name: "night".into(),
        program: "/opt/50% off/secateur".into(),
        file: "/home/o'neil/night.yaml".into(),
        folder: "/home/o'neil".into(),
        store: "/srv/store".into(),
        output: Some("/home/o'neil/out".into()),
        sets: Vec::new(),
        schedule,
    }
}

fn times(cron: &str, timezone: &str, after: &str, count: usize) -> Vec<String> {
    let after: Zoned = after.parse().unwrap();
    let times = next_times(&schedule(cron, timezone, None), &after, count).unwrap();
    times
        .iter()
        .map(|time| time.strftime("%a %Y-%m-%d %H:%M %z").to_string())
        .collect()
}

#[test]
fn the_clock_changes() {
    // 02:30 does not exist on 28 March 2027 in Berlin, and exists twice on 31 October.
    let spring = times("30 2 * * *", "Europe/Berlin", "2027-03-26T12:00[UTC]", 3);
    let expected = [
        "Sat 2027-03-27 02:30 +0100",
        "Sun 2027-03-28 03:00 +0200",
        "Mon 2027-03-29 02:30 +0200",
    ];
    assert_eq!(spring, expected);
    let autumn = times("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00[UTC]", 2);
    assert_eq!(autumn, ["Sun 2027-10-31 02:30 +0200", "Mon 2027-11-01 02:30 +0100"]);
    let either = times("0 0 1 * 5", "UTC", "2027-01-01T12:00[UTC]", 3);
    assert_eq!(
        either,
        [
            "Fri 2027-01-08 00:00 +0000",
            "Fri 2027-01-15 00:00 +0000",
            "Fri 2027-01-22 00:00 +0000"
        ]
    );
    let leap = times("0 0 29 2 *", "UTC", "2027-01-01T12:00[UTC]", 2);
    assert_eq!(leap, ["Tue 2028-02-29 00:00 +0000", "Sun 2032-02-29 00:00 +0000"]);
}

#[test]
fn calendars_of_systemd() {
    let calendars = |cron: &str| systemd::calendars(&schedule(cron, "Europe/Berlin", None));
    assert_eq!(calendars("0 3 * * *"), ["*-*-* 03:00:00 Europe/Berlin"]);
    assert_eq!(calendars("*/30 * * 1-3 *"), ["*-01,02,03-* *:00,30:00 Europe/Berlin"]);
    let both = ["*-*-01 03:00:00 Europe/Berlin", "Sun,Mon *-*-* 03:00:00 Europe/Berlin"];
    assert_eq!(calendars("0 3 1 * 0-1"), both);
    // systemd itself must read them as we do.
    for cron in [
        "0 3 * * *",
        "*/20 6-8 * 2,3 *",
        "15 0 1 * 1,5",
        "0 12 * * sun",
        "59 23 31 12 *",
    ] {
        for timezone in ["UTC", "Europe/Berlin", "America/New_York"] {
            let schedule = schedule(cron, timezone, None);
            let from: Zoned = "2027-01-20T10:00[UTC]".parse().unwrap();
            let expected = next_times(&schedule, &from, 5).unwrap();
            let mut found = Vec::new();
            for calendar in systemd::calendars(&schedule) {
                let mut command = Command::new("systemd-analyze");
                command.args([
                    "calendar",
                    "--iterations=5",
                    "--base-time=2027-01-20 10:00:00 UTC",
                    &calendar,
                ]);
                let Ok(output) = command.env("TZ", "UTC").output() else {
                    println!("skipped: systemd-analyze is not here");
                    return;
                };
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(
                    output.status.success(),
                    "{calendar}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                // With TZ=UTC the next times are shown in UTC, as `Next elapse: Wed 2027-01-20 02:00:00 UTC`.
                let times = text
                    .lines()
                    .filter(|line| line.contains("elapse") || line.contains("Iter. #"));
                let times = times.filter(|line| !line.contains("in UTC")).filter_map(|line| {
                    let (_, time) = line.split_once(": ")?;
                    Some(time.trim().split(' ').skip(1).take(2).collect::<Vec<_>>().join(" "))
                });
                found.extend(times);
            }
            found.sort_unstable();
            found.dedup();
            found.truncate(5);
            let expected: Vec<String> = expected
                .iter()
                .map(|time| {
                    time.with_time_zone(TimeZone::UTC)
                        .strftime("%Y-%m-%d %H:%M:%S")
                        .to_string()
                })
                .collect();
            assert_eq!(found, expected, "{cron} in {timezone}");
        }
    }
}

#[test]
fn units_are_quoted() {
    let [service, timer] = unit_files(&job(schedule("0 3 * * *", "Europe/Berlin", Some("10m")))).unwrap();
    assert!(service.starts_with(MARK) && timer.starts_with(MARK));
    let start = "ExecStart=\"/opt/50%% off/secateur\" \"run\" \"/home/o'neil/night.yaml\" \"--store\" \"/srv/store\" \
                 \"--output\" \"/home/o'neil/out\" \"--no-wait\" \"--progress\" \"plain\"\n";
    assert!(service.contains(start), "{service}");
    for line in [
        "OnCalendar=*-*-* 03:00:00 Europe/Berlin\n",
        "RandomizedDelaySec=600\n",
        "Persistent=true\n",
        "WantedBy=timers.target\n",
    ] {
        assert!(timer.contains(line), "{timer}");
    }
    let mut broken = job(schedule("0 3 * * *", "UTC", None));
    broken.file = "/a\nb".into();
    assert!(matches!(unit_files(&broken), Err(ScheduleError::LineBreak { .. })));
}

#[test]
fn crontabs_keep_what_is_not_ours() {
    let job = job(schedule("0,30 3 * jan,mar 5-7", "Europe/Berlin", Some("90s")));
    let block = crontab_block(&job, "UTC").unwrap();
    let line = r"0,30 3 * 1,3 0,5,6 cd '/home/o'\''neil' && '/opt/50\% off/secateur' run '/home/o'\''neil/night.yaml' ";
    assert!(block.contains(line), "{block}");
    assert!(
        block.contains("--jitter 90s\nCRON_TZ=UTC\n# end secateur night\n"),
        "{block}"
    );
    assert!(!crontab_block(&job, "Europe/Berlin").unwrap().contains("CRON_TZ"));
    let users = "MAILTO=me\n5 4 * * * true";
    let installed = with_block(users, "night", &block);
    assert_eq!(with_block(&installed, "night", &block), installed);
    let (rest, gone) = without_block(&installed, "night");
    assert_eq!((rest.trim_end(), gone), (users, block.clone()));
    assert_eq!(without_block("# begin secateur night\nx\n", "night").1, "");
    // A real crontab must read it, where there is one that checks without installing.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &installed).unwrap();
    for flag in ["-T", "-n"] {
        if let Ok(output) = Command::new("crontab").arg(flag).arg(file.path()).output() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            if said.contains("invalid option") || said.contains("unrecognized") {
                continue;
            }
            assert!(output.status.success(), "{said}\n{installed}");
            return;
        }
    }
    println!("skipped: no crontab that checks a file is here");
}

#[test]
fn workflows_follow_the_clock() {
    let entries = |cron: &str, timezone: &str| actions::entries(&schedule(cron, timezone, None), 2027);
    let pairs = |found: &[(&str, &str)]| -> Vec<(String, String)> {
        found
            .iter()
            .map(|(line, offset)| ((*line).to_owned(), (*offset).to_owned()))
            .collect()
    };
    assert_eq!(entries("0 3 * * *", "UTC").unwrap(), pairs(&[("0 3 * * *", "+0000")]));
    let berlin = pairs(&[("0 2 * * *", "+0100"), ("0 1 * * *", "+0200")]);
    assert_eq!(entries("0 3 * * *", "Europe/Berlin").unwrap(), berlin);
    let kolkata = pairs(&[("30 18,19 * * 0", "+0530")]);
    assert_eq!(entries("0 0,1 * * 1", "Asia/Kolkata").unwrap(), kolkata);
    let york = pairs(&[("0 3 * * 6", "-0500"), ("0 2 * * 6", "-0400")]);
    assert_eq!(entries("0 22 * * 5", "America/New_York").unwrap(), york);
    assert!(matches!(
        entries("0 0 1 * *", "Europe/Berlin"),
        Err(ScheduleError::OtherDay { .. })
    ));
    let mut job = job(schedule("0 3 * * *", "Europe/Berlin", Some("5m")));
    job.file = "/repo/pipelines/night.yaml".into();
    let text = workflow(&job, Path::new("/repo"), 2027).unwrap();
    let yaml: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let steps = yaml["jobs"]["run"]["steps"].as_sequence().unwrap();
    assert_eq!(steps.len(), 3);
    let run = steps[2]["run"].as_str().unwrap();
    assert!(
        run.starts_with("'/opt/50% off/secateur' 'run' \"$GITHUB_WORKSPACE\"'/pipelines/night.yaml' --store"),
        "{run}"
    );
    assert!(run.ends_with("--jitter '5m'"), "{run}");
    let due = steps[1]["run"].as_str().unwrap();
    assert!(due.contains("' '*|'0 2 * * * +0100'|'0 1 * * * +0200')"), "{due}");
    // The guard is a program of the shell: it must let exactly the right one through.
    for (line, date, passes) in [
        ("0 2 * * *", "+0100", true),
        ("0 1 * * *", "+0100", false),
        ("0 1 * * *", "+0200", true),
        ("", "+0200", true),
    ] {
        let script = due.replace("$(TZ=Europe/Berlin date +%z)", date);
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .env("SCHEDULE", line)
            .env("GITHUB_OUTPUT", file.path());
        assert!(command.status().unwrap().success());
        let said = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(said == "now=yes\n", passes, "{line} {date}");
    }
}
