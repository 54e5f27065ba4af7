//! What can be wrong with a dataset: one enum, each variant naming file and sample where there is one.

use std::io;
use std::path::PathBuf;

use crate::dataset::image::ImageError;
use crate::formats::DataError;
use crate::tensor::DType;

/// Why a dataset could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("{}: {source}", path.display())]
    Image { path: PathBuf, source: ImageError },
    #[error("the dataset holds no sample")]
    Empty,
    #[error("`samples` is 0: ask for at least one sample, or leave it out for all")]
    NoSamples,
    #[error("`samples` asks for {wanted} samples, but the dataset holds {found}")]
    TooFew { wanted: usize, found: usize },
    #[error(
        "{inputs} holds {found_inputs} samples, but {targets} holds {found_targets}: one target a sample is needed"
    )]
    Counts {
        inputs: String,
        targets: String,
        found_inputs: usize,
        found_targets: usize,
    },
    #[error("{origin}: a sample has shape {found:?}, but the model's input is {wanted:?}")]
    Shape {
        origin: String,
        found: Vec<usize>,
        wanted: Vec<usize>,
    },
    #[error("{origin}: the model wants {wanted} inputs, which {found} values cannot become without loss")]
    InputType {
        origin: String,
        found: DType,
        wanted: DType,
    },
    #[error("the dataset cannot make {0} inputs, only float32 and int64 ones")]
    Wanted(DType),
    #[error("`normalize` has {means} means and {stds} standard deviations, but a sample has {channels} channels")]
    Channels { means: usize, stds: usize, channels: usize },
    #[error("`normalize` has a standard deviation of {0}: give numbers other than 0")]
    Deviation(f64),
    #[error("`normalize` needs float32 inputs, but the model wants int64 ones: leave it out")]
    NormalizedIntegers,
    #[error("{origin}: the target {value} does not fit int64")]
    TargetRange { origin: String, value: u64 },
    #[error(
        "{}: images have shape [3, height, width], but the model's input is {wanted:?}",
        path.display()
    )]
    Images { path: PathBuf, wanted: Vec<usize> },
    #[error("{}: {message}", path.display())]
    Folder { path: PathBuf, message: String },
    #[error("samples {start}..{end} were asked for, but the dataset has {len}")]
    Range { start: usize, end: usize, len: usize },
    #[error("the thread that reads the dataset stopped: {0}")]
    Reader(String),
}
