//! The `model` section: the file, and what goes in and comes out.
//!
//! Owns the two ways in which inputs are written (`input`, one shape; `inputs`, a name, shape and type each). What the
//! model's own names are is for `stages` to find out; nothing here reads it.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::words::FilePath;

/// The network to examine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A TorchScript archive, as `torch.jit.trace(model, example).save(path)` writes it.
    #[schemars(example = &"quickstart/model.pt")]
    pub path: FilePath,
    /// The shape of one sample, without the batch axis, of a model that takes one float32 tensor. Exactly one of `input`
    /// and `inputs` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(range(min = 1, max = 2147483647u32)), example = [3, 224, 224])]
    pub input: Option<Vec<u32>>,
    /// Every input of the model: by the names of its forward's arguments, or, where none of those occurs, in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1))]
    #[schemars(example = json!({"ids": {"shape": [128], "dtype": "int64"}, "mask": {"shape": [128], "dtype": "int64"}}))]
    pub inputs: Option<IndexMap<String, ModelInput>>,
    /// Which output is measured, where the model gives several: its name in a dict, or its place in a tuple. Omit it for
    /// the first tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"logits", example = 0)]
    pub output: Option<OutputChoice>,
}

/// One input of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelInput {
    /// The shape of one sample, without the batch axis; `[]` for one number a sample.
    #[schemars(inner(range(min = 1, max = 2147483647u32)), example = [128])]
    pub shape: Vec<u32>,
    /// The type of its elements.
    #[serde(default)]
    pub dtype: InputType,
}

/// The type of a model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputType {
    /// 32-bit floats. uint8 data are divided by 255, and `normalize` applies.
    #[default]
    Float32,
    /// Integers such as token numbers, taken as they are.
    Int64,
    /// The same with 32 bits.
    Int32,
    /// Bytes, taken as they are.
    Uint8,
    /// Whether a value is other than 0.
    Bool,
}

/// An output of a model by its name or its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OutputChoice {
    /// The place in a tuple or list, from 0.
    Place(#[schemars(range(min = 0, max = 2147483647u32))] u32),
    /// The name in a dict.
    Name(#[schemars(length(min = 1))] String),
}
