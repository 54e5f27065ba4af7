//! Sources made of arrays: axis 0 counts samples.
//!
//! Owns the pairing of inputs and targets, and reading rows by ranges so that memory holds a batch, never a file. Readers
//! that have come some way into a compressed stream are kept for whoever reads on from there. Deliberately knows no file
//! format: those readers are `formats/`'.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;

use crate::formats::{DataError, Rows, idx, npy, npz, safetensors};
use crate::tensor::{DType, Tensor};

use super::convert::Conversion;
use super::{DatasetError, Raw, Source};

/// The format and place of an array.
#[derive(Clone, Debug)]
enum Place {
    Idx(PathBuf),
    Npy(PathBuf),
    Npz(PathBuf, String),
    Safetensors(PathBuf, String),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Place::Idx(path) | Place::Npy(path) | Place::Npz(path, _) | Place::Safetensors(path, _) => path,
        }
    }

    /// File and name, for messages.
    fn title(&self) -> String {
        let path = self.path().display();
        match self {
            Place::Idx(_) | Place::Npy(_) => path.to_string(),
            Place::Npz(_, name) => format!("{path}, array {name:?}"),
            Place::Safetensors(_, name) => format!("{path}, tensor {name:?}"),
        }
    }

    fn open(&self) -> Result<Rows, DataError> {
        match self {
            Place::Idx(path) => idx::open(path),
            Place::Npy(path) => npy::open(path),
            Place::Npz(path, name) => npz::open(path, name),
            Place::Safetensors(path, name) => safetensors::open(path, name),
        }
    }
}

/// How many readers of one array are kept open while nobody uses them.
const IDLE_READERS: usize = 4;

/// An array in a file, of which only the header has been read.
struct Array {
    place: Place,
    dtype: DType,
    shape: Vec<usize>,
    seekable: bool,
    /// Readers that nobody uses, with the row that follows those they have read.
    idle: Mutex<Vec<(usize, Rows)>>,
}

impl Array {
    fn open(place: Place) -> Result<Array, DatasetError> {
        let rows = place.open()?;
        let (dtype, shape) = (rows.dtype(), rows.shape().to_vec());
        Ok(Array {
            place,
            dtype,
            shape,
            seekable: rows.is_seekable(),
            idle: Mutex::new(vec![(0, rows)]),
        })
    }

    /// Number of rows.
    fn len(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// The shape of a row.
    fn row(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// A reader for rows from `start` on: the one that needs to skip the least, else a new one.
    fn reader(&self, start: usize) -> Result<Rows, DatasetError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = idle.iter().enumerate().filter(|(_, (next, _))| *next <= start);
        if let Some((index, _)) = behind.max_by_key(|(_, (next, _))| *next) {
            return Ok(idle.swap_remove(index).1);
        }
        drop(idle);
        Ok(self.place.open()?)
    }

    fn give_back(&self, next: usize, rows: Rows) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == IDLE_READERS {
            idle.remove(0);
        }
        idle.push((next, rows));
    }

    /// These rows, one after the other; runs of neighbours are read in one go.
    fn read(&self, rows: &[usize]) -> Result<Tensor, DatasetError> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &row in rows {
            match runs.last_mut() {
                Some((_, end)) if *end == row => *end += 1,
                _ => runs.push((row, row + 1)),
            }
        }
        let (start, end) = (runs.first().map_or(0, |run| run.0), runs.last().map_or(0, |run| run.1));
        let mut reader = self.reader(start)?;
        let read = match runs[..] {
            [] => reader.read_rows(0, 0)?,
            [(start, end)] => reader.read_rows(start, end)?,
            _ => {
                let mut data = BytesMut::new();
                for (start, end) in runs {
                    data.extend_from_slice(reader.read_rows(start, end)?.data());
                }
                let mut shape = self.shape.clone();
                shape[0] = rows.len();
                Tensor::new(self.dtype, shape, data.freeze())
                    .map_err(|error| DatasetError::Reader(format!("{}: {error}", self.place.title())))?
            }
        };
        self.give_back(end, reader);
        Ok(read)
    }
}

/// Inputs and, mostly, targets.
pub(super) struct Arrays {
    /// One a model input; there is at least one.
    inputs: Vec<Array>,
    targets: Option<Array>,
}

impl Arrays {
    pub fn idx(images: &Path, labels: Option<&Path>, conversions: &[Conversion]) -> Result<Arrays, DatasetError> {
        let place = |path: &Path| Place::Idx(path.to_owned());
        Arrays::open(vec![place(images)], labels.map(place), conversions)
    }

    pub fn npy(inputs: &[PathBuf], targets: Option<&Path>, conversions: &[Conversion]) -> Result<Arrays, DatasetError> {
        let inputs = inputs.iter().cloned().map(Place::Npy).collect();
        Arrays::open(inputs, targets.map(|path| Place::Npy(path.to_owned())), conversions)
    }

    pub fn npz(
        path: &Path,
        inputs: &[String],
        targets: Option<&str>,
        conversions: &[Conversion],
    ) -> Result<Arrays, DatasetError> {
        let place = |name: &str| Place::Npz(path.to_owned(), name.to_owned());
        let inputs = inputs.iter().map(|name| place(name)).collect();
        Arrays::open(inputs, targets.map(place), conversions)
    }

    pub fn safetensors(
        path: &Path,
        inputs: &[String],
        targets: Option<&str>,
        conversions: &[Conversion],
    ) -> Result<Arrays, DatasetError> {
        let place = |name: &str| Place::Safetensors(path.to_owned(), name.to_owned());
        let inputs = inputs.iter().map(|name| place(name)).collect();
        Arrays::open(inputs, targets.map(place), conversions)
    }

    fn open(inputs: Vec<Place>, targets: Option<Place>, conversions: &[Conversion]) -> Result<Arrays, DatasetError> {
        if inputs.len() != conversions.len() {
            return Err(DatasetError::Inputs {
                found: inputs.len(),
                wanted: conversions.len(),
            });
        }
        let mut faults = Vec::new();
        let mut note = |opened: Result<Array, DatasetError>| opened.map_err(|fault| faults.push(fault)).ok();
        let accepted = |(place, conversion): (Place, &Conversion)| {
            let array = Array::open(place)?;
            conversion.accepts(array.dtype, array.row(), &array.place.title())?;
            Ok(array)
        };
        let pairs = inputs.into_iter().zip(conversions);
        let inputs: Vec<Array> = pairs.filter_map(|pair| note(accepted(pair))).collect();
        let targets = targets.and_then(|targets| note(Array::open(targets)));
        if let Some(fault) = DatasetError::of(faults) {
            return Err(fault);
        }
        let Some((first, others)) = inputs.split_first() else {
            return Err(DatasetError::Empty);
        };
        if let Some(other) = others.iter().chain(&targets).find(|other| other.len() != first.len()) {
            return Err(DatasetError::Counts {
                inputs: first.place.title(),
                others: other.place.title(),
                found_inputs: first.len(),
                found_others: other.len(),
            });
        }
        Ok(Arrays { inputs, targets })
    }
}

impl Source for Arrays {
    fn len(&self) -> usize {
        self.inputs.first().map_or(0, Array::len)
    }

    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError> {
        Ok(Raw {
            inputs: self
                .inputs
                .iter()
                .map(|input| input.read(rows))
                .collect::<Result<_, _>>()?,
            targets: self.targets.as_ref().map(|targets| targets.read(rows)).transpose()?,
        })
    }

    fn place(&self, row: usize) -> String {
        let array = self.targets.as_ref().or(self.inputs.first());
        let title = array.map_or_else(String::new, |array| array.place.title());
        format!("{title}, sample {row}")
    }

    fn targets(&self) -> Option<DType> {
        let dtype = self.targets.as_ref()?.dtype;
        Some(if dtype.is_float() { DType::F32 } else { DType::I64 })
    }

    fn raw_bytes(&self) -> usize {
        let bytes = |array: &Array| array.row().iter().product::<usize>() * array.dtype.size();
        self.inputs.iter().chain(&self.targets).map(bytes).sum()
    }

    fn target_numbers(&self) -> usize {
        self.targets
            .as_ref()
            .map_or(0, |targets| targets.row().iter().product())
    }

    fn is_seekable(&self) -> bool {
        self.inputs.iter().chain(&self.targets).all(|array| array.seekable)
    }

    fn files(&self, _: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf> {
        let arrays = self.inputs.iter().chain(&self.targets);
        let mut files: Vec<PathBuf> = arrays.map(|array| array.place.path().to_owned()).collect();
        files.dedup();
        files
    }
}
