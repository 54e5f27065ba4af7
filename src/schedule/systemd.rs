//! A schedule as a systemd timer, and the service that it starts.

use super::{Job, MARK, ScheduleError};
use crate::spec::Schedule;
use std::collections::BTreeSet;
use std::fmt::Write;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// The names of a pipeline's units: the service and the timer.
pub fn unit_names(name: &str) -> [String; 2] {
    ["service", "timer"].map(|kind| format!("secateur-{name}.{kind}"))
}

/// The contents of the units.
pub fn unit_files(job: &Job) -> Result<[String; 2], ScheduleError> {
    let words: Vec<String> = job.command("systemd")?.iter().map(|word| quote(word)).collect();
    let folder = super::text(&job.folder, "systemd")?.replace('%', "%%");
    let description = format!("secateur run of {}", job.name);
    // Another run that holds the lock is no failure: it is at the very work.
    let service = format!(
        "{MARK}\n[Unit]\nDescription={description}\n\n[Service]\nType=oneshot\nWorkingDirectory={folder}\n\
         ExecStart={}\nSuccessExitStatus=9\n",
        words.join(" ")
    );
    let mut timer = format!("{MARK}\n[Unit]\nDescription={description}, by its schedule\n\n[Timer]\n");
    for calendar in calendars(&job.schedule) {
        let _ = writeln!(timer, "OnCalendar={calendar}");
    }
    if let Some(jitter) = job.schedule.jitter {
        let _ = writeln!(timer, "RandomizedDelaySec={}", jitter.duration().as_secs());
    }
    // A run that was missed while the machine was off is caught up once.
    timer.push_str("Persistent=true\n\n[Install]\nWantedBy=timers.target\n");
    Ok([service, timer])
}

/// The schedule as systemd writes calendars. Days of the month and weekdays are alternatives to cron, and both wanted to
/// systemd: two calendars.
pub(super) fn calendars(schedule: &Schedule) -> Vec<String> {
    let cron = &schedule.cron;
    let list = |set: &BTreeSet<u8>| {
        set.iter()
            .map(|number| format!("{number:02}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let full = |set: &BTreeSet<u8>, count: usize| if set.len() == count { "*".to_owned() } else { list(set) };
    let optional = |set: &Option<BTreeSet<u8>>| set.as_ref().map_or_else(|| "*".to_owned(), list);
    let time = format!("{}:{}:00", full(&cron.hours, 24), full(&cron.minutes, 60));
    let months = optional(&cron.months);
    let zone = schedule.timezone.name();
    let by_day = |days: &str| format!("*-{months}-{days} {time} {zone}");
    let by_weekday = |set: &BTreeSet<u8>| {
        // systemd counts from Monday; the order of a list does not matter to it.
        let names = set.iter().filter_map(|day| WEEKDAYS.get(usize::from(*day)).copied());
        format!("{} *-{months}-* {time} {zone}", names.collect::<Vec<_>>().join(","))
    };
    match (&cron.days, &cron.weekdays) {
        (None, None) => vec![by_day("*")],
        (Some(days), None) => vec![by_day(&list(days))],
        (None, Some(weekdays)) => vec![by_weekday(weekdays)],
        (Some(days), Some(weekdays)) => vec![by_day(&list(days)), by_weekday(weekdays)],
    }
}

/// A word of a command line: systemd expands `%` and `$`, and reads C escapes within quotes.
fn quote(word: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            '%' | '$' => {
                quoted.push(letter);
                quoted.push(letter);
            }
            '\t' => quoted.push_str("\\t"),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
