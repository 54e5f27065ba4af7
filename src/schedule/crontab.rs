//! A schedule as lines of a crontab, between marks.

use super::{Job, MARK, ScheduleError, plain};

/// The lines of a pipeline. `local` is the time zone that the machine's cron goes by: where the schedule is in another
/// one, `CRON_TZ` says so, and is set back behind it.
pub fn crontab_block(job: &Job, local: &str) -> Result<String, ScheduleError> {
    let mut words = job.command("cron")?;
    words.extend(job.jitter());
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    let folder = quote(&super::text(&job.folder, "cron")?);
    let line = format!("{} cd {folder} && {}", plain(&job.schedule.cron), words.join(" "));
    let zone = job.schedule.timezone.name();
    let line = match zone == local {
        true => line,
        false => format!("CRON_TZ={zone}\n{line}\nCRON_TZ={local}"),
    };
    let [begin, end] = marks(&job.name);
    Ok(format!("{begin}\n{MARK}\n{line}\n{end}\n"))
}

fn marks(name: &str) -> [String; 2] {
    [format!("# begin secateur {name}"), format!("# end secateur {name}")]
}

/// A crontab with a pipeline's lines in place of its earlier ones.
pub fn with_block(crontab: &str, name: &str, block: &str) -> String {
    let (mut rest, _) = without_block(crontab, name);
    if !rest.is_empty() && !rest.ends_with('\n') {
        rest.push('\n');
    }
    rest + block
}

/// A crontab without a pipeline's lines, and the lines that went.
pub fn without_block(crontab: &str, name: &str) -> (String, String) {
    let [begin, end] = marks(name);
    let (mut kept, mut gone, mut inside) = (String::new(), String::new(), false);
    // A begin without an end is not ours to guess at.
    let whole = crontab.lines().any(|line| line == end);
    for line in crontab.split_inclusive('\n') {
        let plain = line.trim_end_matches('\n');
        inside |= whole && plain == begin;
        match inside {
            true => gone.push_str(line),
            false => kept.push_str(line),
        }
        inside &= plain != end;
    }
    (kept, gone)
}

/// A word for the shell, in a line in which cron takes a bare `%` for a line break.
fn quote(word: &str) -> String {
    let safe = |letter: char| letter.is_ascii_alphanumeric() || "/._-=:,@+".contains(letter);
    let quoted = match !word.is_empty() && word.chars().all(safe) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    // cron takes the backslash away before the shell sees the line.
    quoted.replace('%', r"\%")
}
