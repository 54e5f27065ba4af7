//! The samples of a dataset in a random order.
//!
//! Owns what random access costs: a compressed array cannot be read from its middle, so its samples are unpacked once into
//! a temporary file without a name, which is gone with the dataset. All other sources are read where they lie.
//! Deliberately knows no order: `order` draws it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::tensor::{DType, Tensor};

use super::order::Order;
use super::{DatasetError, Raw, Source};

/// Bytes that are unpacked at once.
const STEP: usize = 4 << 20;

/// One tensor of all samples in a file.
struct Column {
    file: File,
    dtype: DType,
    /// Of a sample.
    shape: Vec<usize>,
}

impl Column {
    fn like(rows: &Tensor) -> Result<Column, DatasetError> {
        Ok(Column {
            file: tempfile::tempfile().map_err(fault)?,
            dtype: rows.dtype(),
            shape: rows.shape().get(1..).unwrap_or_default().to_vec(),
        })
    }

    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    fn read(&self, rows: &[usize]) -> Result<Tensor, DatasetError> {
        let each = self.bytes();
        let mut data = vec![0; each * rows.len()];
        for (&row, place) in rows.iter().zip(data.chunks_exact_mut(each.max(1))) {
            self.file.read_exact_at(place, (row * each) as u64).map_err(fault)?;
        }
        let mut shape = vec![rows.len()];
        shape.extend(&self.shape);
        Tensor::new(self.dtype, shape, data).map_err(|error| DatasetError::Reader(error.to_string()))
    }
}

fn fault(source: std::io::Error) -> DatasetError {
    DatasetError::Io {
        path: std::env::temp_dir(),
        source,
    }
}

/// The samples that `order` picks from a source, unpacked; row `n` is sample `n`.
pub(super) struct Unpacked {
    source: Arc<dyn Source>,
    order: Order,
    /// One a model input.
    inputs: Vec<Column>,
    targets: Option<Column>,
}

impl Unpacked {
    pub fn new(source: Arc<dyn Source>, order: Order) -> Result<Unpacked, DatasetError> {
        let step = (STEP / source.raw_bytes().max(1)).max(1);
        let mut columns: Option<(Vec<Column>, Option<Column>)> = None;
        for start in (0..order.len()).step_by(step) {
            let rows: Vec<usize> = (start..(start + step).min(order.len()))
                .map(|at| order.row(at))
                .collect();
            let raw = source.read(&rows)?;
            let (inputs, targets) = match &mut columns {
                Some(columns) => columns,
                None => columns.insert((
                    raw.inputs.iter().map(Column::like).collect::<Result<_, _>>()?,
                    raw.targets.as_ref().map(Column::like).transpose()?,
                )),
            };
            for (column, rows) in inputs.iter_mut().zip(&raw.inputs) {
                column.file.write_all(rows.data()).map_err(fault)?;
            }
            if let (Some(column), Some(rows)) = (targets, &raw.targets) {
                column.file.write_all(rows.data()).map_err(fault)?;
            }
        }
        let (inputs, targets) = columns.ok_or(DatasetError::Empty)?;
        Ok(Unpacked {
            source,
            order,
            inputs,
            targets,
        })
    }
}

impl Source for Unpacked {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError> {
        Ok(Raw {
            inputs: self
                .inputs
                .iter()
                .map(|column| column.read(rows))
                .collect::<Result<_, _>>()?,
            targets: self.targets.as_ref().map(|targets| targets.read(rows)).transpose()?,
        })
    }

    fn place(&self, row: usize) -> String {
        self.source.place(self.order.row(row))
    }

    fn targets(&self) -> Option<DType> {
        self.source.targets()
    }

    fn raw_bytes(&self) -> usize {
        self.source.raw_bytes()
    }

    fn target_numbers(&self) -> usize {
        self.source.target_numbers()
    }

    fn classes(&self) -> Option<usize> {
        self.source.classes()
    }

    fn files(&self, rows: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf> {
        self.source.files(&mut rows.map(|row| self.order.row(row)))
    }

    fn class_of(&self, row: usize) -> Option<usize> {
        self.source.class_of(self.order.row(row))
    }
}
