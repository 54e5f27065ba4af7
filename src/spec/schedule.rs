//! When a pipeline runs by itself, and what runs after it: the words of `schedule`, `on_failure` and `on_change`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cron::Cron;
use super::words::{WordError, refuse};

/// When the pipeline runs by itself. `secateur schedule install` hands this to systemd, cron or GitHub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day of the month, month, weekday.
    #[schemars(example = &"0 3 * * *")]
    pub cron: Cron,
    /// The time zone of `cron`, by its IANA name. Omit it for UTC.
    #[serde(default)]
    #[schemars(example = &"Europe/Berlin")]
    pub timezone: Timezone,
    /// The longest random delay of a start, so that not everything starts at once. Omit it for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10m")]
    pub jitter: Option<Period>,
}

/// A time zone by its IANA name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Timezone(String);

impl Default for Timezone {
    fn default() -> Self {
        Timezone("UTC".to_owned())
    }
}

impl Timezone {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl FromStr for Timezone {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match jiff::tz::TimeZone::get(text) {
            Ok(zone) => Ok(Timezone(zone.iana_name().unwrap_or(text).to_owned())),
            Err(_) => refuse(format!(
                "no time zone is called {text:?}; expected a name such as Europe/Berlin or UTC"
            )),
        }
    }
}

impl TryFrom<String> for Timezone {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl JsonSchema for Timezone {
    fn schema_name() -> Cow<'static, str> {
        "Timezone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The IANA name of a time zone, such as Europe/Berlin.",
            "type": "string",
            "minLength": 1,
        })
    }
}

/// A length of time: a number and `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    seconds: u64,
}

impl Period {
    /// A number of seconds.
    pub const fn seconds(seconds: u64) -> Period {
        Period { seconds }
    }

    /// As the standard library has it.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl FromStr for Period {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let rule = || WordError::new("expected a number and its unit, as in 90s, 10m, 2h or 1d");
        let mut letters = text.chars();
        let unit = letters.next_back().ok_or_else(rule)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(rule)?;
        let digits = letters.as_str();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(rule());
        }
        let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(*seconds));
        match seconds.filter(|seconds| (1..=31 * 86_400).contains(seconds)) {
            Some(seconds) => Ok(Period { seconds }),
            None => refuse("must lie between 1s and 31d"),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| self.seconds.is_multiple_of(*seconds));
        let (name, seconds) = unit.copied().unwrap_or(('s', 1));
        write!(f, "{}{name}", self.seconds / seconds)
    }
}

impl TryFrom<String> for Period {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time: 90s, 10m, 2h or 1d.",
            "type": "string",
            "pattern": "^[0-9]+[smhd]$",
        })
    }
}

/// A command that runs after the pipeline, with the run's record as JSON on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WrittenHook")]
#[schemars(!from, with = "WrittenHook")]
pub struct Hook {
    /// The program and its arguments; no shell is asked.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Period,
}

/// The two ways in which a hook is written.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Hook")]
enum WrittenHook {
    /// The program and its arguments; no shell is asked.
    Command(#[schemars(length(min = 1))] Vec<String>),
    /// The same with a limit of time.
    Limited(LimitedHook),
}

/// A command and how long it may take.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LimitedHook {
    /// The program and its arguments; no shell is asked.
    #[schemars(length(min = 1), example = json!(["notify-send", "the nightly run"]))]
    command: Vec<String>,
    /// How long it may take before it is ended.
    #[serde(default = "default_timeout")]
    timeout: Period,
}

const fn default_timeout() -> Period {
    Period::seconds(60)
}

impl From<WrittenHook> for Hook {
    fn from(written: WrittenHook) -> Self {
        match written {
            WrittenHook::Command(command) => Self {
                command,
                timeout: default_timeout(),
            },
            WrittenHook::Limited(LimitedHook { command, timeout }) => Self { command, timeout },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        for (text, seconds, shown) in [
            ("90s", 90, "90s"),
            ("10m", 600, "10m"),
            ("120m", 7200, "2h"),
            ("2d", 172_800, "2d"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.seconds, period.to_string().as_str()), (seconds, shown));
        }
        for wrong in [
            "",
            "s",
            "10",
            "1.5h",
            "-1s",
            "0s",
            "32d",
            "99999999999999999999d",
            "10 m",
            "ü",
        ] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn time_zones() {
        assert_eq!("Europe/Berlin".parse::<Timezone>().unwrap().name(), "Europe/Berlin");
        assert_eq!("europe/berlin".parse::<Timezone>().unwrap().name(), "Europe/Berlin");
        for wrong in ["", "Europe/Berln", "+01:00", "../x"] {
            assert!(wrong.parse::<Timezone>().is_err(), "{wrong}");
        }
    }
}
