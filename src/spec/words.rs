//! The words of a pipeline file that are more than free text: names, paths, devices and layer patterns.
//!
//! Each type owns its rule (`FromStr`) and its part of the schema, so that the checker, the schema and serde cannot
//! disagree about it. Nothing here touches the file system.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A word that breaks its rule. The text is a lowercase fragment that says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WordError(String);

impl WordError {
    pub(super) fn new(message: &str) -> Self {
        Self(message.to_owned())
    }
}

pub(super) fn refuse<T>(message: impl Into<String>) -> Result<T, WordError> {
    Err(WordError(message.into()))
}

/// The longest name or id: it becomes the name of a folder.
const LONGEST_NAME: usize = 200;

/// A name of a pipeline or the id of a step: `[A-Za-z0-9._-]+`, and neither `.` nor `..`, since it names a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl FromStr for Name {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        if text.is_empty() {
            return refuse("must not be empty");
        }
        if text == "." || text == ".." {
            return refuse(format!("`{text}` names no folder of its own"));
        }
        if let Some(bad) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c)))
        {
            return refuse(format!(
                "may hold letters, digits, `.`, `_` and `-` only, found {bad:?}"
            ));
        }
        if text.len() > LONGEST_NAME {
            return refuse(format!("must be at most {LONGEST_NAME} characters long"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Name {
    /// The default id of a step is its kind, which always obeys the rule.
    pub(super) fn from_kind(kind: &str) -> Self {
        Self(kind.to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Letters, digits, `.`, `_` and `-`; it names a folder, so neither `.` nor `..`.",
            "type": "string",
            "pattern": "^(?!\\.{1,2}$)[A-Za-z0-9._-]+$",
            "maxLength": LONGEST_NAME,
        })
    }
}

/// A path as written. A relative one is relative to the pipeline file's folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct FilePath(String);

impl FilePath {
    /// The path as the operating system needs it: `base` is the folder of the pipeline file.
    pub fn resolve(&self, base: &Path) -> PathBuf {
        base.join(&self.0)
    }
}

impl FromStr for FilePath {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        if text.is_empty() {
            return refuse("must not be empty");
        }
        if text.contains('\0') {
            return refuse("a path holds no NUL character");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for FilePath {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl Deref for FilePath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for FilePath {
    fn schema_name() -> Cow<'static, str> {
        "FilePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A path; a relative one is relative to the folder of this file.",
            "type": "string",
            "minLength": 1,
        })
    }
}

/// Where the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor.
    Cpu,
    /// One CUDA device, by its index; `cuda` alone is `cuda:0`.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let rule = || WordError("expected `cpu`, `cuda` or `cuda:N`".to_owned());
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let index = text.strip_prefix("cuda:").ok_or_else(rule)?;
                let plain = !index.is_empty() && index.len() <= 3 && index.bytes().all(|b| b.is_ascii_digit());
                if !plain {
                    return Err(rule());
                }
                index.parse().map(Self::Cuda).map_err(|_| rule())
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl JsonSchema for Device {
    fn schema_name() -> Cow<'static, str> {
        "Device".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where the network runs: `cpu`, `cuda` (the first CUDA device) or `cuda:N`.",
            "anyOf": [
                {"enum": ["cpu", "cuda"]},
                {"type": "string", "pattern": "^cuda(:[0-9]{1,3})?$"},
            ],
            "examples": ["cpu", "cuda", "cuda:1"],
        })
    }
}

/// An amount of memory, as it is written: `8GiB`, `512MiB`, `2GB`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Memory(String);

/// Units of memory, and their bytes.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl Memory {
    /// How many bytes that are.
    pub fn bytes(&self) -> u64 {
        // `from_str` has read it before.
        Self::read(&self.0).unwrap_or(u64::MAX)
    }

    fn read(text: &str) -> Option<u64> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)))?;
        let number = number.trim_end_matches(' ');
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let plain = [whole, part]
            .iter()
            .all(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number: f64 = number.parse().ok().filter(|_| plain)?;
        let bytes = number * unit as f64;
        (1.0..9e18).contains(&bytes).then_some(bytes as u64)
    }
}

impl FromStr for Memory {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match Self::read(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => refuse("expected a number and its unit, such as `8GiB`, `512MiB` or `2GB`"),
        }
    }
}

impl TryFrom<String> for Memory {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl JsonSchema for Memory {
    fn schema_name() -> Cow<'static, str> {
        "Memory".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An amount of memory: a number and `KiB`, `MiB`, `GiB`, `TiB`, `MB`, `GB` or `TB`.",
            "type": "string",
            "pattern": "^[0-9]+(\\.[0-9]+)? *([KMGT]iB|[MGT]B)$",
            "examples": ["8GiB", "512MiB"],
        })
    }
}

/// A layer's name or a glob over names; `*` also matches dots. A name that looks like a number needs no quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct LayerPattern(String);

impl FromStr for LayerPattern {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        if text.is_empty() {
            return refuse("must not be empty");
        }
        match globset::Glob::new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => refuse(format!("not a pattern: {}", error.kind())),
        }
    }
}

impl TryFrom<String> for LayerPattern {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl Deref for LayerPattern {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for LayerPattern {
    fn schema_name() -> Cow<'static, str> {
        "LayerPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A layer's name, or a glob over names in which `*` also matches dots (quote one that starts \
                            with `*`). Names that look like numbers need no quotes.",
            "type": ["string", "number"],
            "minLength": 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_number_and_a_unit() {
        for (text, bytes) in [("8GiB", 8 << 30), ("1.5 MiB", 3 << 19), ("2GB", 2_000_000_000)] {
            assert_eq!(text.parse::<Memory>().map(|memory| memory.bytes()).ok(), Some(bytes));
        }
        for text in [
            "8", "GiB", "8.GiB", ".5GiB", "8\tGiB", "-1GiB", "1e3MB", "0.0GiB", "8gib",
        ] {
            assert!(text.parse::<Memory>().is_err(), "{text:?}");
        }
    }
}
