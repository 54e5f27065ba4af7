//! Parquet files with an image in each row, as Hugging Face's datasets have them.
//!
//! Owns which columns are the image (`NAME.bytes` of a struct, or NAME itself where it holds bytes) and the label, and
//! the order of several files: that of their names. Readers that have come some way into a row group are kept for
//! whoever reads on from there. Deliberately knows nothing of the format and of pixels.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::formats::DataError;
use crate::formats::parquet::{Column, Cursor, Table};
use crate::formats::tar::shards;
use crate::tensor::{DType, Tensor};

use super::frame::Frame;
use super::{DatasetError, Raw, Source};

/// The rows of some files.
pub(super) struct ParquetImages {
    frame: Frame,
    files: Vec<File>,
    targets: Option<DType>,
}

struct File {
    path: PathBuf,
    /// The first row, counted over all files.
    start: usize,
    table: Table,
    image: Column,
    label: Option<Column>,
    /// Where reading of the two columns stands.
    cursors: Mutex<(Option<Cursor>, Option<Cursor>)>,
}

impl ParquetImages {
    /// `path` is a file, or a folder of them.
    pub fn open(path: &Path, image: &str, label: Option<&str>, frame: Frame) -> Result<ParquetImages, DatasetError> {
        let mut files: Vec<File> = Vec::new();
        let mut targets = None;
        for path in shards(path, &[".parquet"])? {
            let table = Table::open(&path)?;
            let nested = format!("{image}.bytes");
            let name = if table.has(&nested) { &nested } else { image };
            let malformed = |problem| {
                let place = path.display().to_string();
                DatasetError::Data(DataError::Malformed { place, problem })
            };
            let column = table.column(name)?;
            if !column.is_bytes() {
                return Err(malformed(format!("column {name:?} holds no bytes, so no images")));
            }
            let label = label
                .map(|label| Ok::<_, DatasetError>((label, table.column(label)?)))
                .transpose()?;
            if let Some((label, column)) = label {
                let Some(dtype) = column.dtype() else {
                    return Err(malformed(format!("column {label:?} holds no numbers, so no labels")));
                };
                if targets.is_some_and(|before| before != dtype) {
                    return Err(malformed(format!(
                        "column {label:?} is of another type than in the files before"
                    )));
                }
                targets = Some(dtype);
            }
            files.push(File {
                start: files.last().map_or(0, |last| last.start + last.table.rows()),
                table,
                image: column,
                label: label.map(|(_, column)| column),
                cursors: Mutex::default(),
                path,
            });
        }
        Ok(ParquetImages { frame, files, targets })
    }

    /// The file that holds a row.
    fn file_of(&self, row: usize) -> usize {
        self.files.partition_point(|file| file.start <= row).saturating_sub(1)
    }
}

impl Source for ParquetImages {
    fn len(&self) -> usize {
        self.files.last().map_or(0, |last| last.start + last.table.rows())
    }

    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError> {
        let mut images = Vec::with_capacity(rows.len());
        let mut labels: Vec<Tensor> = Vec::new();
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            let file = &self.files[self.file_of(first)];
            let end = file.start + file.table.rows();
            let count = rest
                .iter()
                .enumerate()
                .take_while(|&(at, &row)| row == first + at && row < end)
                .count();
            let (from, to) = (first - file.start, first - file.start + count);
            let mut cursors = file.cursors.lock().unwrap_or_else(PoisonError::into_inner);
            let (image, label) = &mut *cursors;
            images.extend(file.table.bytes(file.image, from, to, image)?);
            if let Some(column) = file.label {
                labels.push(file.table.numbers(column, from, to, label)?);
            }
            rest = &rest[count..];
        }
        let pixels = self.frame.batch(
            rows.len(),
            |index| Ok(images[index].data()),
            |index| self.place(rows[index]),
        )?;
        let bytes: Vec<u8> = labels.iter().flat_map(|part| part.data().to_vec()).collect();
        let targets = self.targets.map(|dtype| Tensor::new(dtype, [rows.len()], bytes));
        Ok(Raw {
            inputs: vec![pixels],
            targets: targets
                .transpose()
                .map_err(|error| DatasetError::Reader(error.to_string()))?,
        })
    }

    /// A row group is unpacked from its beginning.
    fn is_seekable(&self) -> bool {
        false
    }

    fn place(&self, row: usize) -> String {
        let file = &self.files[self.file_of(row)];
        format!("{}, row {}", file.path.display(), row - file.start)
    }

    fn targets(&self) -> Option<DType> {
        self.targets
    }

    fn raw_bytes(&self) -> usize {
        self.frame.bytes()
    }

    fn target_numbers(&self) -> usize {
        usize::from(self.targets.is_some())
    }

    fn files(&self, rows: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf> {
        let mut files: Vec<usize> = rows.map(|row| self.file_of(row)).collect();
        files.sort_unstable();
        files.dedup();
        files.into_iter().map(|file| self.files[file].path.clone()).collect()
    }
}
