//! The binary files of CIFAR-10 and CIFAR-100: records of one or two label bytes and 3 072 bytes of pixels.
//!
//! Owns the records. Several files follow one another in the order in which they are given. Deliberately converts
//! nothing.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::formats::DataError;
use crate::tensor::{DType, Tensor};

use super::convert::Conversion;
use super::{DatasetError, Raw, Source};

/// One image: channels, rows, columns.
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// Which of CIFAR's sets, and which of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    Ten,
    /// The 100 classes.
    HundredFine,
    /// The 20 classes above them.
    HundredCoarse,
}

impl Cifar {
    /// Label bytes of a record, and which of them counts.
    fn labels(self) -> (usize, usize) {
        match self {
            Cifar::Ten => (1, 0),
            Cifar::HundredCoarse => (2, 0),
            Cifar::HundredFine => (2, 1),
        }
    }

    fn classes(self) -> usize {
        match self {
            Cifar::Ten => 10,
            Cifar::HundredFine => 100,
            Cifar::HundredCoarse => 20,
        }
    }
}

/// The records of some files.
pub(super) struct CifarFiles {
    set: Cifar,
    /// Each file with its first row, counted over all of them.
    files: Vec<(usize, PathBuf)>,
    len: usize,
}

impl CifarFiles {
    /// Opens files by their lengths.
    pub fn open(set: Cifar, files: &[PathBuf], conversion: &Conversion) -> Result<CifarFiles, DatasetError> {
        let record = set.labels().0 + PIXELS;
        let mut found = CifarFiles {
            set,
            files: Vec::new(),
            len: 0,
        };
        for path in files {
            let io = |source| DatasetError::Io {
                path: path.clone(),
                source,
            };
            let length = std::fs::metadata(path).map_err(io)?.len();
            if length == 0 || length % record as u64 != 0 {
                let problem = format!("{length} bytes are no whole number of records of {record}");
                return Err(malformed(path.display().to_string(), problem));
            }
            conversion.accepts(DType::U8, &SHAPE, &path.display().to_string())?;
            found.files.push((found.len, path.clone()));
            found.len += (length / record as u64) as usize;
        }
        Ok(found)
    }

    fn file_of(&self, row: usize) -> usize {
        self.files.partition_point(|(start, _)| *start <= row).saturating_sub(1)
    }
}

fn malformed(place: String, problem: String) -> DatasetError {
    DatasetError::Data(DataError::Malformed { place, problem })
}

impl Source for CifarFiles {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError> {
        let (labels, which) = self.set.labels();
        let mut pixels = Vec::with_capacity(rows.len() * PIXELS);
        let mut classes = Vec::with_capacity(rows.len());
        let mut record = vec![0; labels + PIXELS];
        let mut open: Option<(usize, File)> = None;
        for &row in rows {
            let at = self.file_of(row);
            let (start, path) = &self.files[at];
            let io = |source| DatasetError::Io {
                path: path.clone(),
                source,
            };
            let file = match &mut open {
                Some((number, file)) if *number == at => file,
                other => &mut other.insert((at, File::open(path).map_err(io)?)).1,
            };
            file.seek(SeekFrom::Start(((row - start) * record.len()) as u64))
                .map_err(io)?;
            file.read_exact(&mut record).map_err(io)?;
            let class = i64::from(record[which]);
            if class >= self.set.classes() as i64 {
                let problem = format!(
                    "class {class} is beyond {} classes: is it another of CIFAR's sets?",
                    self.set.classes()
                );
                return Err(malformed(self.place(row), problem));
            }
            classes.push(class);
            pixels.extend_from_slice(&record[labels..]);
        }
        let shape = [&[rows.len()], &SHAPE[..]].concat();
        let pixels = Tensor::new(DType::U8, shape, pixels).map_err(|error| DatasetError::Reader(error.to_string()))?;
        Ok(Raw {
            inputs: vec![pixels],
            targets: Some(Tensor::from_i64([rows.len()], &classes)),
        })
    }

    fn place(&self, row: usize) -> String {
        let (start, path) = &self.files[self.file_of(row)];
        format!("{}, sample {}", path.display(), row - start)
    }

    fn targets(&self) -> Option<DType> {
        Some(DType::I64)
    }

    fn raw_bytes(&self) -> usize {
        PIXELS + 1
    }

    fn target_numbers(&self) -> usize {
        1
    }

    fn classes(&self) -> Option<usize> {
        Some(self.set.classes())
    }

    fn files(&self, _: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf> {
        self.files.iter().map(|(_, path)| path.clone()).collect()
    }
}
