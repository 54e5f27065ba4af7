//! The `dataset.source` section: one type a kind of source.
//!
//! Owns what each kind is told. What the files hold is for `dataset` to find out; nothing here opens one.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::words::FilePath;

/// Where samples come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Two files in the IDX format of MNIST, `.gz` or plain.
    Idx(IdxSource),
    /// Arrays of a NumPy `.npz` file.
    Npz(ArraySource),
    /// NumPy `.npy` files, one an array.
    Npy(NpySource),
    /// Tensors of a safetensors file.
    Safetensors(ArraySource),
    /// A folder of images: one folder a class, sorted by name.
    ImageFolder(ImageFolderSource),
}

/// Two files in the IDX format of MNIST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdxSource {
    /// The inputs.
    #[schemars(example = &"quickstart/images.idx.gz")]
    pub images: FilePath,
    /// The targets. Only the metric `agreement` does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"quickstart/labels.idx.gz")]
    pub labels: Option<FilePath>,
}

/// Arrays of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArraySource {
    /// The file.
    pub path: FilePath,
    /// The name of the array of inputs, whose first axis counts samples; where the model has several inputs, the names
    /// of their arrays: a list where they are called as the inputs are, else a mapping from input to array.
    #[schemars(example = &"x", example = ["ids", "mask"], example = json!({"ids": "input_ids", "mask": "attention_mask"}))]
    pub inputs: ArrayNames,
    /// The name of the array of targets. Only the metric `agreement` does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"y")]
    pub targets: Option<String>,
}

/// The names of arrays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ArrayNames {
    /// The array of a model's only input.
    One(#[schemars(length(min = 1))] String),
    /// Arrays that are called as the model's inputs are.
    Listed(#[schemars(length(min = 1), inner(length(min = 1)), extend("uniqueItems" = true))] Vec<String>),
    /// The array of each input, by the input's name under `model.inputs`.
    Named(#[schemars(extend("minProperties" = 1))] IndexMap<String, String>),
}

/// NumPy files, one an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NpySource {
    /// The file of inputs, whose first axis counts samples; where the model has several inputs, a mapping from each to
    /// its file.
    #[schemars(example = &"x.npy", example = json!({"ids": "ids.npy", "mask": "mask.npy"}))]
    pub inputs: ArrayFiles,
    /// The file of targets. Only the metric `agreement` does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"y.npy")]
    pub targets: Option<FilePath>,
}

/// The files of arrays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ArrayFiles {
    /// The file of a model's only input.
    One(FilePath),
    /// The file of each input, by the input's name under `model.inputs`.
    Named(#[schemars(extend("minProperties" = 1))] IndexMap<String, FilePath>),
}

/// A folder of images, one folder a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFolderSource {
    /// The folder that holds the classes' folders.
    pub path: FilePath,
    /// The length to which the shorter side is resized, bilinear with antialias. Omit it to keep the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536), example = 256)]
    pub resize: Option<u32>,
    /// The side of the square that is cut from the centre. Omit it to keep the whole image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536), example = 224)]
    pub crop: Option<u32>,
}

impl ArraySource {
    /// Writes the names of arrays in one way: a list names inputs and arrays alike.
    pub(super) fn normalise(&mut self) {
        if let ArrayNames::Listed(names) = &mut self.inputs {
            let pairs = names.drain(..).map(|name| (name.clone(), name));
            self.inputs = ArrayNames::Named(pairs.collect());
        }
    }
}

impl Source {
    /// The files and folders of the source: the place below `dataset.source`, the path, and whether a folder is expected.
    pub(super) fn paths(&self) -> Vec<(String, &FilePath, bool)> {
        match self {
            Source::Idx(source) => {
                let images = [("idx.images".to_owned(), &source.images, false)].into_iter();
                let labels = source.labels.iter().map(|path| ("idx.labels".to_owned(), path, false));
                images.chain(labels).collect()
            }
            Source::Npz(source) => vec![("npz.path".to_owned(), &source.path, false)],
            Source::Npy(source) => {
                let mut paths: Vec<(String, &FilePath, bool)> = match &source.inputs {
                    ArrayFiles::One(path) => vec![("npy.inputs".to_owned(), path, false)],
                    ArrayFiles::Named(files) => files
                        .iter()
                        .map(|(name, path)| (super::node::key_path("npy.inputs", name), path, false))
                        .collect(),
                };
                paths.extend(
                    source
                        .targets
                        .iter()
                        .map(|path| ("npy.targets".to_owned(), path, false)),
                );
                paths
            }
            Source::Safetensors(source) => vec![("safetensors.path".to_owned(), &source.path, false)],
            Source::ImageFolder(source) => vec![("image_folder.path".to_owned(), &source.path, true)],
        }
    }
}
