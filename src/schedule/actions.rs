//! A schedule as a workflow of GitHub Actions. GitHub counts in UTC: a schedule in another time zone is written once for
//! each of the zone's offsets, and a step asks which of them is the right one today.

use super::{Job, MARK, ScheduleError, field, ranges};
use crate::spec::Schedule;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// The most schedules of one workflow.
const MOST: usize = 24;

/// The path of a pipeline's workflow in its repository.
pub fn actions_file(name: &str) -> String {
    format!(".github/workflows/secateur-{name}.yml")
}

/// The workflow of a pipeline. `top` is the root of its repository.
pub fn workflow(job: &Job, top: &Path, year: i16) -> Result<String, ScheduleError> {
    let entries = entries(&job.schedule, year)?;
    let mut words = job.command("GitHub")?;
    words.extend(job.jitter());
    let top = super::text(top, "GitHub")?;
    let command: Vec<String> = words.iter().map(|word| in_checkout(word, &top)).collect();
    let zone = job.schedule.timezone.name();
    let name = &job.name;
    let mut text = format!("{MARK}\nname: secateur {name}\non:\n  schedule:\n");
    let mut lines: Vec<(&String, Vec<&String>)> = Vec::new();
    for (line, offset) in &entries {
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, offsets)) => offsets.push(offset),
            None => lines.push((line, vec![offset])),
        }
    }
    let several = entries.iter().any(|(_, offset)| *offset != entries[0].1);
    for (line, offsets) in &lines {
        let offsets: Vec<&str> = offsets.iter().map(|offset| offset.as_str()).collect();
        let why = if several {
            format!(" # while {zone} is at {}", offsets.join(" and "))
        } else {
            String::new()
        };
        let _ = writeln!(text, "    - cron: \"{line}\"{why}");
    }
    let _ = write!(
        text,
        "  workflow_dispatch: {{}}\nconcurrency: {{group: secateur-{name}, cancel-in-progress: false}}\njobs:\n  run:\n    \
         # The binary, the store and the data lie on this machine.\n    runs-on: self-hosted\n    steps:\n      \
         - uses: actions/checkout@v4\n"
    );
    let mut guard = "";
    if several {
        guard = "        if: steps.due.outputs.now == 'yes'\n";
        let cases: Vec<String> = entries
            .iter()
            .map(|(line, offset)| format!("'{line} {offset}'"))
            .collect();
        let _ = write!(
            text,
            "      - id: due\n        env: {{SCHEDULE: \"${{{{ github.event.schedule }}}}\"}}\n        run: |\n          \
             case \"$SCHEDULE $(TZ={zone} date +%z)\" in\n            ' '*|{}) echo now=yes >> \"$GITHUB_OUTPUT\" ;;\n          \
             esac\n",
            cases.join("|")
        );
    }
    let _ = write!(
        text,
        "      - name: secateur run\n{guard}        run: {}\n",
        yaml(&command.join(" "))
    );
    Ok(text)
}

/// Schedules in UTC, each with the offset of the time zone under which it is meant.
pub(super) fn entries(schedule: &Schedule, year: i16) -> Result<Vec<(String, String)>, ScheduleError> {
    let cron = &schedule.cron;
    let timezone = schedule.timezone.name();
    let mut found = Vec::new();
    for offset in offsets(timezone, year) {
        // Minutes of UTC, and the hours and the shift of the day that go with each.
        let mut groups: BTreeMap<(u8, i32), BTreeSet<u8>> = BTreeMap::new();
        for &hour in &cron.hours {
            for &minute in &cron.minutes {
                let at = i32::from(hour) * 60 + i32::from(minute) - offset;
                let (day, at) = (at.div_euclid(1440), at.rem_euclid(1440));
                // Below 60 and below 24, so both fit.
                let (hour, minute) = ((at / 60) as u8, (at % 60) as u8);
                groups.entry((minute, day)).or_default().insert(hour);
            }
        }
        let mut lines: BTreeMap<(BTreeSet<u8>, i32), BTreeSet<u8>> = BTreeMap::new();
        for ((minute, day), hours) in groups {
            lines.entry((hours, day)).or_default().insert(minute);
        }
        for ((hours, day), minutes) in lines {
            if day != 0 && (cron.days.is_some() || cron.months.is_some()) {
                let (cron, timezone) = (cron.text().to_owned(), timezone.to_owned());
                return Err(ScheduleError::OtherDay { cron, timezone });
            }
            let optional = |set: &Option<BTreeSet<u8>>| set.as_ref().map_or_else(|| "*".to_owned(), ranges);
            let weekdays = cron.weekdays.as_ref().map(|set| {
                let shifted = set
                    .iter()
                    .map(|&weekday| (i32::from(weekday) + day).rem_euclid(7) as u8);
                shifted.collect::<BTreeSet<u8>>()
            });
            let line = format!(
                "{} {} {} {} {}",
                field(&minutes, 60),
                field(&hours, 24),
                optional(&cron.days),
                optional(&cron.months),
                optional(&weekdays)
            );
            let sign = if offset < 0 { '-' } else { '+' };
            found.push((line, format!("{sign}{:02}{:02}", offset.abs() / 60, offset.abs() % 60)));
        }
    }
    if found.len() > MOST {
        return Err(ScheduleError::TooMany {
            cron: cron.text().to_owned(),
            timezone: timezone.to_owned(),
            lines: found.len(),
        });
    }
    Ok(found)
}

/// The offsets of a time zone from UTC in a year, in minutes.
fn offsets(timezone: &str, year: i16) -> BTreeSet<i32> {
    let Ok(zone) = TimeZone::get(timezone) else {
        return BTreeSet::from([0]);
    };
    let days = (1..=12).flat_map(|month| [1, 15].map(|day| (month, day)));
    let offsets = days.filter_map(|(month, day)| {
        let noon = jiff::civil::Date::new(year, month, day).ok()?.at(12, 0, 0, 0);
        Some(zone.to_ambiguous_zoned(noon).compatible().ok()?.offset().seconds() / 60)
    });
    offsets.collect()
}

/// A word for the shell of a step; paths in the repository are those of the checkout.
fn in_checkout(word: &str, top: &str) -> String {
    let quote = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
    match word.strip_prefix(top) {
        Some("") => "\"$GITHUB_WORKSPACE\"".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("\"$GITHUB_WORKSPACE\"{}", quote(rest)),
        _ if word.starts_with('-') => word.to_owned(),
        _ => quote(word),
    }
}

/// A string of YAML in double quotes.
fn yaml(text: &str) -> String {
    // JSON's strings are YAML's. An expression of GitHub's cannot stand in a path that begins with `$`.
    serde_json::Value::from(text).to_string().replace("${{", "$\\u007b{")
}
