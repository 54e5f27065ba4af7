//! What can be wrong with a dataset: one enum, each variant naming file and sample where there is one.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use crate::dataset::image::ImageError;
use crate::formats::DataError;
use crate::tensor::DType;

use super::Input;

/// Why a dataset could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("{origin}: {source}")]
    Image { origin: String, source: ImageError },
    #[error("the dataset holds no sample")]
    Empty,
    #[error("`samples` is 0: ask for at least one sample, or leave it out for all")]
    NoSamples,
    #[error("`samples` asks for {wanted} samples, but the dataset holds {found}")]
    TooFew { wanted: usize, found: usize },
    #[error("{inputs} holds {found_inputs} samples, but {others} holds {found_others}: each sample needs one of both")]
    Counts {
        inputs: String,
        others: String,
        found_inputs: usize,
        found_others: usize,
    },
    #[error("{origin}: a sample has shape {found:?}, but {} is {:?}", input.title(), input.shape)]
    Shape {
        origin: String,
        found: Vec<usize>,
        input: Input,
    },
    #[error("{origin}: {} is {}, which {found} values cannot become without loss", input.title(), input.dtype)]
    InputType { origin: String, found: DType, input: Input },
    #[error("{origin}: a value does not fit {}, which is {}", input.title(), input.dtype)]
    InputRange { origin: String, input: Input },
    #[error("the dataset cannot make {0} inputs, only float32, int64, int32, uint8 and bool ones")]
    Wanted(DType),
    #[error("the model has {wanted} inputs, but the source gives each sample {found}")]
    Inputs { found: usize, wanted: usize },
    #[error("`normalize` has {means} means and {stds} standard deviations, but a sample has {channels} channels")]
    Channels { means: usize, stds: usize, channels: usize },
    #[error("`normalize` has a standard deviation of {0}: give numbers other than 0")]
    Deviation(f64),
    #[error("`normalize` needs a float32 input, but the model takes integers only: leave it out")]
    NormalizedIntegers,
    #[error("{origin}: the target {value} does not fit int64")]
    TargetRange { origin: String, value: u64 },
    #[error("{origin}: images have shape [3, height, width], but {} is {:?}", input.title(), input.shape)]
    Images { origin: String, input: Input },
    #[error("{}: {message}", path.display())]
    Folder { path: PathBuf, message: String },
    #[error("samples {start}..{end} were asked for, but the dataset has {len}")]
    Range { start: usize, end: usize, len: usize },
    #[error("{0}")]
    Foreign(String),
    #[error("stopped")]
    Stopped,
    /// Faults that do not hide each other; more than one.
    #[error("{}", together(.0))]
    Several(Vec<DatasetError>),
    #[error("{origin} has no tensor for {}, but {found}", input.title())]
    NoTensor {
        origin: String,
        input: Input,
        found: String,
    },
    #[error("{origin} does not say how many samples it has: write how many are wanted")]
    Endless { origin: String },
    #[error("{origin} does not say how many samples it has, so none can be drawn: leave `shuffle` out")]
    Undrawn { origin: String },
    #[error("the thread that reads the dataset stopped: {0}")]
    Reader(String),
}

fn together(faults: &[DatasetError]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl DatasetError {
    /// All that was found as one; none where nothing was.
    pub(super) fn of(mut faults: Vec<DatasetError>) -> Option<DatasetError> {
        // One broken file is one fault, whatever was looked for in it.
        let mut said = BTreeSet::new();
        faults.retain(|fault| said.insert(fault.to_string()));
        match faults.len() {
            0 | 1 => faults.pop(),
            _ => Some(DatasetError::Several(faults)),
        }
    }

    /// The single faults.
    pub fn each(&self) -> &[DatasetError] {
        match self {
            DatasetError::Several(faults) => faults,
            one => std::slice::from_ref(one),
        }
    }
}
