//! A schedule of five fields, as cron reads it: `0 3 * * 1-5`.
//!
//! Owns the text and its meaning as sets of numbers, so that it can be written for schedulers that know no cron. Only what
//! every cron understands is read: numbers, names, `*`, lists, ranges and steps. As in cron, a restricted day of the month
//! and a restricted weekday are alternatives.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::words::{WordError, refuse};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The longest that each month gets.
const DAYS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Minutes at which something is due, in some time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    pub minutes: BTreeSet<u8>,
    pub hours: BTreeSet<u8>,
    /// Days of the month; none where any will do.
    pub days: Option<BTreeSet<u8>>,
    /// From 1; none where any will do.
    pub months: Option<BTreeSet<u8>>,
    /// Sunday is 0; none where any will do.
    pub weekdays: Option<BTreeSet<u8>>,
}

impl Cron {
    /// The five fields, one space between them.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for Cron {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            let count = fields.len();
            return refuse(format!(
                "needs five fields (minute, hour, day of the month, month, weekday), found {count}"
            ));
        };
        let mut weekdays = field(weekday, "weekday", 0..=7, &WEEKDAYS, 0)?;
        if weekdays.remove(&7) {
            weekdays.insert(0);
        }
        let days = field(day, "day of the month", 1..=31, &[], 1)?;
        let months = field(month, "month", 1..=12, &MONTHS, 1)?;
        let any = |word: &str, set: BTreeSet<u8>| (!word.starts_with('*') || word.contains('/')).then_some(set);
        let cron = Cron {
            text: fields.join(" "),
            minutes: field(minute, "minute", 0..=59, &[], 0)?,
            hours: field(hour, "hour", 0..=23, &[], 0)?,
            days: any(day, days.clone()),
            months: any(month, months.clone()),
            weekdays: any(weekday, weekdays),
        };
        let longest = months
            .iter()
            .filter_map(|month| DAYS.get(usize::from(*month) - 1))
            .max();
        if cron.days.is_some() && cron.weekdays.is_none() && days.first() > longest {
            return refuse("is never due: no such month has such a day");
        }
        Ok(cron)
    }
}

/// The numbers that a field allows.
fn field(
    text: &str,
    what: &str,
    range: RangeInclusive<u8>,
    names: &[&str],
    first: u8,
) -> Result<BTreeSet<u8>, WordError> {
    let number = |word: &str| -> Result<u8, WordError> {
        let name = names.iter().position(|name| name.eq_ignore_ascii_case(word));
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let found = match name {
            Some(place) => u8::try_from(place).ok().map(|place| place + first),
            None if digits => word.parse().ok(),
            None => return refuse(format!("`{word}` is no {what}")),
        };
        match found.filter(|found| range.contains(found)) {
            Some(found) => Ok(found),
            None => refuse(format!(
                "the {what} lies between {} and {}, found {word}",
                range.start(),
                range.end()
            )),
        }
    };
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (span, step) = match part.split_once('/') {
            None => (part, 1),
            Some((span, step)) => match step.parse::<u8>() {
                Ok(step) if step > 0 => (span, step),
                _ => return refuse(format!("`{step}` is no step")),
            },
        };
        let (from, to) = match span.split_once('-') {
            _ if span == "*" => (*range.start(), *range.end()),
            Some((from, to)) => (number(from)?, number(to)?),
            None if part.contains('/') => (number(span)?, *range.end()),
            None => (number(span)?, number(span)?),
        };
        if from > to {
            return refuse(format!("the range {span} of the {what} runs backwards"));
        }
        all.extend((from..=to).step_by(usize::from(step)));
    }
    Ok(all)
}

impl TryFrom<String> for Cron {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.text
    }
}

impl JsonSchema for Cron {
    fn schema_name() -> Cow<'static, str> {
        "Cron".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Five fields as cron reads them: minute, hour, day of the month, month, weekday.",
            "type": "string",
            "minLength": 9,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_sets() {
        let cron: Cron = " 0,30  */6 1-10/3 jan,MAR 5-7 ".parse().unwrap();
        assert_eq!(cron.text(), "0,30 */6 1-10/3 jan,MAR 5-7");
        assert_eq!(cron.minutes, [0, 30].into());
        assert_eq!(cron.hours, [0, 6, 12, 18].into());
        assert_eq!(cron.days, Some([1, 4, 7, 10].into()));
        assert_eq!(cron.months, Some([1, 3].into()));
        assert_eq!(cron.weekdays, Some([0, 5, 6].into()));
        let cron: Cron = "5/20 3 * * *".parse().unwrap();
        assert_eq!(cron.minutes, [5, 25, 45].into());
        assert_eq!((cron.days, cron.months, cron.weekdays), (None, None, None));
    }

    #[test]
    fn what_no_cron_understands_is_refused() {
        for (text, part) in [
            ("0 3 * *", "five fields"),
            ("0 0 3 * * *", "found 6"),
            ("60 3 * * *", "the minute lies between 0 and 59, found 60"),
            ("0 3 * foo *", "`foo` is no month"),
            ("0 3 L * *", "`L` is no day of the month"),
            ("0 3 * * 5#2", "`5#2` is no weekday"),
            ("0 5-3 * * *", "runs backwards"),
            ("*/0 3 * * *", "is no step"),
            ("0 3 31 2,4 *", "never due"),
            ("0 3 , * *", "is no day"),
            ("-1 3 * * *", "is no minute"),
        ] {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        // One of the two alternatives is enough.
        assert!("0 3 31 2 1".parse::<Cron>().is_ok());
    }
}
