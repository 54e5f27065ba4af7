//! Sources made of arrays: axis 0 counts samples.
//!
//! Owns the pairing of inputs and targets, and reading rows by ranges so that memory holds a batch, never a file. Readers
//! that have come some way into a compressed stream are kept for whoever reads on from there. Deliberately knows no file
//! format: those readers are `formats/`'.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;

use crate::formats::{DataError, Rows, idx, npz, safetensors};
use crate::tensor::{DType, Tensor};

use super::convert::Conversion;
use super::{DatasetError, Raw, Source};

/// The format and place of an array.
#[derive(Clone, Debug)]
enum Place {
    Idx(PathBuf),
    Npz(PathBuf, String),
    Safetensors(PathBuf, String),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Place::Idx(path) | Place::Npz(path, _) | Place::Safetensors(path, _) => path,
        }
    }

    /// File and name, for messages.
    fn title(&self) -> String {
        let path = self.path().display();
        match self {
            Place::Idx(_) => path.to_string(),
            Place::Npz(_, name) => format!("{path}, array {name:?}"),
            Place::Safetensors(_, name) => format!("{path}, tensor {name:?}"),
        }
    }

    fn open(&self) -> Result<Rows, DataError> {
        match self {
            Place::Idx(path) => idx::open(path),
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
    inputs: Array,
    targets: Option<Array>,
}

impl Arrays {
    pub fn idx(images: &Path, labels: Option<&Path>, conversion: &Conversion) -> Result<Arrays, DatasetError> {
        Arrays::open(
            Place::Idx(images.to_owned()),
            labels.map(|labels| Place::Idx(labels.to_owned())),
            conversion,
        )
    }

    pub fn npz(
        path: &Path,
        inputs: &str,
        targets: Option<&str>,
        conversion: &Conversion,
    ) -> Result<Arrays, DatasetError> {
        let place = |name: &str| Place::Npz(path.to_owned(), name.to_owned());
        Arrays::open(place(inputs), targets.map(place), conversion)
    }

    pub fn safetensors(
        path: &Path,
        inputs: &str,
        targets: Option<&str>,
        conversion: &Conversion,
    ) -> Result<Arrays, DatasetError> {
        let place = |name: &str| Place::Safetensors(path.to_owned(), name.to_owned());
        Arrays::open(place(inputs), targets.map(place), conversion)
    }

    fn open(inputs: Place, targets: Option<Place>, conversion: &Conversion) -> Result<Arrays, DatasetError> {
        let inputs = Array::open(inputs)?;
        conversion.accepts(inputs.dtype, inputs.row(), &inputs.place.title())?;
        let targets = targets.map(Array::open).transpose()?;
        if let Some(targets) = &targets
            && targets.len() != inputs.len()
        {
            return Err(DatasetError::Counts {
                inputs: inputs.place.title(),
                targets: targets.place.title(),
                found_inputs: inputs.len(),
                found_targets: targets.len(),
            });
        }
        Ok(Arrays { inputs, targets })
    }
}

impl Source for Arrays {
    fn len(&self) -> usize {
        self.inputs.len()
    }

    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError> {
        Ok(Raw {
            inputs: self.inputs.read(rows)?,
            targets: self.targets.as_ref().map(|targets| targets.read(rows)).transpose()?,
        })
    }

    fn place(&self, row: usize) -> String {
        format!(
            "{}, sample {row}",
            self.targets.as_ref().unwrap_or(&self.inputs).place.title()
        )
    }

    fn targets(&self) -> Option<DType> {
        let dtype = self.targets.as_ref()?.dtype;
        Some(if dtype.is_float() { DType::F32 } else { DType::I64 })
    }

    fn raw_bytes(&self) -> usize {
        let bytes = |array: &Array| array.row().iter().product::<usize>() * array.dtype.size();
        bytes(&self.inputs) + self.targets.as_ref().map_or(0, bytes)
    }

    fn target_numbers(&self) -> usize {
        self.targets
            .as_ref()
            .map_or(0, |targets| targets.row().iter().product())
    }

    fn files(&self, _: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf> {
        let mut files = vec![self.inputs.place.path().to_owned()];
        files.extend(self.targets.as_ref().map(|targets| targets.place.path().to_owned()));
        files.dedup();
        files
    }
}
