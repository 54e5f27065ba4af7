//! The `dataset.source` section: one type a kind of source.
//!
//! Owns what each kind is told. What the files hold is for `dataset` to find out; nothing here opens one.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::command::DatasetCommand;
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
    /// WebDataset: tar archives with an image and a label a sample.
    Webdataset(WebdatasetSource),
    /// Parquet files with an image and a label a row, as Hugging Face's datasets have them.
    Parquet(ParquetSource),
    /// The binary files of CIFAR-10.
    Cifar10(Cifar10Source),
    /// The binary files of CIFAR-100.
    Cifar100(Cifar100Source),
    /// What another program holds, in any language.
    Command(Box<DatasetCommand>),
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

/// Tar archives with an image and a label a sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebdatasetSource {
    /// An archive, or a folder of archives (`.tar`, `.tar.gz`, `.tgz`), which follow one another by name.
    #[schemars(example = &"shards")]
    pub path: FilePath,
    /// The ending of the images, behind the first dot of a name. Omit it for the usual ones (jpg, png, webp, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"jpg")]
    pub image: Option<String>,
    /// The ending of the files that hold the class as a number, or `{json: FIELD}` for a field of the sample's `.json`.
    #[serde(default)]
    #[schemars(example = &"cls", example = json!({"json": "label"}))]
    pub label: WebdatasetLabel,
    /// The length to which the shorter side is resized, bilinear with antialias. Omit it to keep the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536), example = 256)]
    pub resize: Option<u32>,
    /// The side of the square that is cut from the centre. Omit it to keep the whole image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536), example = 224)]
    pub crop: Option<u32>,
}

/// Where a sample's class stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WebdatasetLabel {
    /// The ending of the files that hold it as a number.
    Ending(#[schemars(length(min = 1))] String),
    /// A field of the sample's `.json`.
    Field(JsonField),
}

/// A field of a sample's `.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonField {
    /// The field's name.
    #[schemars(length(min = 1), example = &"label")]
    pub json: String,
}

impl Default for WebdatasetLabel {
    fn default() -> Self {
        Self::Ending("cls".to_owned())
    }
}

/// Parquet files with an image and a label a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetSource {
    /// A file, or a folder of `.parquet` files, which follow one another by name.
    #[schemars(example = &"data")]
    pub path: FilePath,
    /// The column of the images: a struct of `bytes` and `path`, or plain bytes.
    #[serde(default = "image_column")]
    #[schemars(length(min = 1), example = &"image")]
    pub image: String,
    /// The column of the labels; a dot leads into a struct. Only the metric `agreement` does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"label")]
    pub label: Option<String>,
    /// The length to which the shorter side is resized, bilinear with antialias. Omit it to keep the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536), example = 256)]
    pub resize: Option<u32>,
    /// The side of the square that is cut from the centre. Omit it to keep the whole image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536), example = 224)]
    pub crop: Option<u32>,
}

fn image_column() -> String {
    "image".to_owned()
}

/// The binary files of CIFAR-10.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cifar10Source {
    /// The files, one after the other.
    #[schemars(length(min = 1), example = ["cifar-10-batches-bin/test_batch.bin"])]
    pub files: Vec<FilePath>,
}

/// The binary files of CIFAR-100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cifar100Source {
    /// The files, one after the other.
    #[schemars(length(min = 1), example = ["cifar-100-binary/test.bin"])]
    pub files: Vec<FilePath>,
    /// Which of its two labels counts.
    #[serde(default)]
    pub labels: Cifar100Labels,
}

/// A label of CIFAR-100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cifar100Labels {
    /// One of 100 classes.
    #[default]
    Fine,
    /// One of the 20 classes above them.
    Coarse,
}

/// What is expected at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    File,
    Folder,
    /// A file, or a folder of such.
    Either,
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
    /// The files and folders of the source: the place below `dataset.source`, the path, and what is expected there.
    pub(super) fn paths(&self) -> Vec<(String, &FilePath, Expected)> {
        match self {
            Source::Idx(source) => {
                let images = [("idx.images".to_owned(), &source.images, Expected::File)].into_iter();
                let labels = source
                    .labels
                    .iter()
                    .map(|path| ("idx.labels".to_owned(), path, Expected::File));
                images.chain(labels).collect()
            }
            Source::Npz(source) => vec![("npz.path".to_owned(), &source.path, Expected::File)],
            Source::Npy(source) => {
                let mut paths: Vec<(String, &FilePath, Expected)> = match &source.inputs {
                    ArrayFiles::One(path) => vec![("npy.inputs".to_owned(), path, Expected::File)],
                    ArrayFiles::Named(files) => files
                        .iter()
                        .map(|(name, path)| (super::node::key_path("npy.inputs", name), path, Expected::File))
                        .collect(),
                };
                paths.extend(
                    source
                        .targets
                        .iter()
                        .map(|path| ("npy.targets".to_owned(), path, Expected::File)),
                );
                paths
            }
            Source::Safetensors(source) => vec![("safetensors.path".to_owned(), &source.path, Expected::File)],
            Source::Webdataset(source) => vec![("webdataset.path".to_owned(), &source.path, Expected::Either)],
            Source::Parquet(source) => vec![("parquet.path".to_owned(), &source.path, Expected::Either)],
            Source::Cifar10(source) => listed("cifar10.files", &source.files),
            Source::Cifar100(source) => listed("cifar100.files", &source.files),
            Source::ImageFolder(source) => vec![("image_folder.path".to_owned(), &source.path, Expected::Folder)],
            // Which files its words name is for the stages to find out.
            Source::Command(_) => Vec::new(),
        }
    }
}

/// Files that a list names.
fn listed<'a>(place: &str, files: &'a [FilePath]) -> Vec<(String, &'a FilePath, Expected)> {
    let item = |(at, path)| (super::node::item_path(place, at), path, Expected::File);
    files.iter().enumerate().map(item).collect()
}
