//! `command`: a metric that another program computes, or samples that it holds.
//!
//! Each of the two is a type of its own, so that each has its own words in the schema; [`Program`] is what they share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::words::Name;

/// A metric that another program computes, over the protocol of docs/plugin-protocol.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricCommand {
    /// The program and its arguments. It runs in this file's folder, and paths are relative to that.
    #[schemars(length(min = 1), inner(length(min = 1)), example = ["python3", "my_metric.py"])]
    pub argv: Vec<String>,
    /// Which way is better. Without it: as the program says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// What outputs call it. Without it: the program's file name, without ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"f1")]
    pub name: Option<Name>,
    /// Variables that the program sees.
    #[serde(default)]
    #[schemars(example = json!({"THRESHOLD": "0.5"}))]
    pub env: BTreeMap<String, String>,
    /// Variables of the surroundings that the program sees, beside HOME, LANG, LC_ALL, LC_CTYPE, PATH and TZ.
    #[serde(default)]
    #[schemars(inner(length(min = 1)), example = ["CUDA_VISIBLE_DEVICES"])]
    pub pass_env: Vec<String>,
    /// How many seconds one answer may take.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout: u32,
    /// How many processes are fed in turn.
    #[serde(default = "default_workers")]
    #[schemars(range(min = 1, max = 256))]
    pub workers: u32,
    /// Whether it may only read files and write to its own temporary folder, without network (Linux).
    #[serde(default)]
    pub sandbox: bool,
    /// Files that decide its values beside those that `argv` names, as globs relative to this file's folder.
    #[serde(default)]
    #[schemars(inner(length(min = 1)), example = ["metrics/**/*.py"])]
    pub files: Vec<String>,
    /// Change it where the values change although no file does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"2")]
    pub version: Option<String>,
}

/// Samples that another program holds, over the protocol of docs/plugin-protocol.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetCommand {
    /// The program and its arguments. It runs in this file's folder, and paths are relative to that.
    #[schemars(length(min = 1), inner(length(min = 1)), example = ["python3", "my_data.py"])]
    pub argv: Vec<String>,
    /// Variables that the program sees.
    #[serde(default)]
    #[schemars(example = json!({"SPLIT": "val"}))]
    pub env: BTreeMap<String, String>,
    /// Variables of the surroundings that the program sees, beside HOME, LANG, LC_ALL, LC_CTYPE, PATH and TZ.
    #[serde(default)]
    #[schemars(inner(length(min = 1)), example = ["HF_HOME"])]
    pub pass_env: Vec<String>,
    /// How many seconds one answer may take.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout: u32,
    /// How many processes each batch is shared out among. A stream comes from one.
    #[serde(default = "default_workers")]
    #[schemars(range(min = 1, max = 256))]
    pub workers: u32,
    /// Whether it may only read files and write to its own temporary folder, without network (Linux).
    #[serde(default)]
    pub sandbox: bool,
    /// Files that decide the samples beside those that `argv` names, as globs relative to this file's folder.
    #[serde(default)]
    #[schemars(inner(length(min = 1)), example = ["data/*.npz"])]
    pub files: Vec<String>,
    /// Change it where the samples change although no file does, nor what the program says of its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"2")]
    pub version: Option<String>,
}

/// Another program, whatever it is for.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    pub argv: &'a [String],
    pub name: Option<&'a Name>,
    pub env: &'a BTreeMap<String, String>,
    pub pass_env: &'a [String],
    pub timeout: u32,
    pub workers: u32,
    pub sandbox: bool,
    pub files: &'a [String],
    pub version: Option<&'a str>,
}

impl MetricCommand {
    pub fn program(&self) -> Program<'_> {
        Program {
            argv: &self.argv,
            name: self.name.as_ref(),
            env: &self.env,
            pass_env: &self.pass_env,
            timeout: self.timeout,
            workers: self.workers,
            sandbox: self.sandbox,
            files: &self.files,
            version: self.version.as_deref(),
        }
    }
}

impl DatasetCommand {
    pub fn program(&self) -> Program<'_> {
        Program {
            argv: &self.argv,
            name: None,
            env: &self.env,
            pass_env: &self.pass_env,
            timeout: self.timeout,
            workers: self.workers,
            sandbox: self.sandbox,
            files: &self.files,
            version: self.version.as_deref(),
        }
    }
}

fn default_timeout() -> u32 {
    600
}

fn default_workers() -> u32 {
    1
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    Maximize,
    /// Less is better.
    Minimize,
}
