//! Samples that somebody else holds, another process for instance.
//!
//! Owns what such a source has to say and to answer, and which of its tensors goes into which of the model's inputs.
//! Deliberately knows nothing of processes: `plugin` is one of those who answer.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use crate::tensor::{DType, Tensor};

use super::convert::Conversion;
use super::{DatasetError, Raw, Samples, Source};

/// The name of the tensor of targets; all others go into models.
const TARGETS: &str = "targets";

/// One tensor of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub dtype: DType,
    /// Without batch axis.
    pub shape: Vec<usize>,
}

impl Column {
    /// Whether it holds what the model is to give, instead of what it is given.
    pub fn is_targets(&self) -> bool {
        self.name == TARGETS
    }

    /// The shape of a batch.
    pub fn batch(&self, samples: usize) -> Vec<usize> {
        std::iter::once(samples).chain(self.shape.iter().copied()).collect()
    }

    /// Numbers of one sample; none where that overflows.
    fn numbers(&self) -> Option<usize> {
        self.shape
            .iter()
            .try_fold(1usize, |product, &extent| product.checked_mul(extent))
    }

    /// Bytes of one sample; none where they overflow.
    pub fn bytes(&self) -> Option<usize> {
        self.numbers()?.checked_mul(self.dtype.size())
    }
}

/// Who holds samples.
pub trait Foreign: Debug + Send + Sync {
    /// What messages call it.
    fn title(&self) -> String;

    /// The tensors of a sample.
    fn columns(&self) -> &[Column];

    /// How many samples there are, where that is known.
    fn samples(&self) -> Option<usize>;

    /// Whether any sample is had as fast as the next one.
    fn is_seekable(&self) -> bool;

    /// These samples: for each column one tensor, of its type and shape behind the batch axis.
    ///
    /// # Errors
    /// [`DatasetError::Foreign`], or [`DatasetError::Stopped`].
    fn read(&self, rows: &[usize]) -> Result<Vec<Tensor>, DatasetError>;
}

/// What a [`Foreign`] holds, as far as the model takes it.
pub(super) struct ForeignSource {
    from: Arc<dyn Foreign>,
    len: usize,
    /// The column of each of the model's inputs.
    inputs: Vec<usize>,
    targets: Option<usize>,
}

impl ForeignSource {
    pub fn open(
        from: &Arc<dyn Foreign>,
        samples: Option<Samples>,
        conversions: &[Conversion],
    ) -> Result<ForeignSource, DatasetError> {
        let origin = from.title();
        let len = match (from.samples(), samples) {
            (Some(len), _) => len,
            (None, Some(Samples { count, shuffle: false })) => count,
            (None, Some(_)) => return Err(DatasetError::Undrawn { origin }),
            (None, None) => return Err(DatasetError::Endless { origin }),
        };
        let columns = from.columns();
        let inputs = columns_of_inputs(columns, conversions, &origin)?;
        for (&at, conversion) in inputs.iter().zip(conversions) {
            let column = &columns[at];
            let place = format!("{origin}, tensor {:?}", column.name);
            conversion.accepts(column.dtype, &column.shape, &place)?;
        }
        Ok(ForeignSource {
            len,
            inputs,
            targets: columns.iter().position(Column::is_targets),
            from: Arc::clone(from),
        })
    }
}

/// The column of each input: that of its name; a model's only input takes the only one.
fn columns_of_inputs(columns: &[Column], conversions: &[Conversion], origin: &str) -> Result<Vec<usize>, DatasetError> {
    let given: Vec<usize> = (0..columns.len()).filter(|&at| !columns[at].is_targets()).collect();
    let of_input = |conversion: &Conversion| {
        let input = conversion.input();
        let named = given.iter().find(|&&at| Some(&columns[at].name) == input.name.as_ref());
        match (named, &given[..], conversions) {
            (Some(&at), ..) => Ok(at),
            (None, &[only], [_]) => Ok(only),
            _ => Err(DatasetError::NoTensor {
                origin: origin.to_owned(),
                input: input.clone(),
                found: given
                    .iter()
                    .map(|&at| columns[at].name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    };
    conversions.iter().map(of_input).collect()
}

impl Source for ForeignSource {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError> {
        let tensors = self.from.read(rows)?;
        Ok(Raw {
            inputs: self.inputs.iter().map(|&at| tensors[at].clone()).collect(),
            targets: self.targets.map(|at| tensors[at].clone()),
        })
    }

    fn place(&self, row: usize) -> String {
        format!("{}, sample {row}", self.from.title())
    }

    fn targets(&self) -> Option<DType> {
        let dtype = self.from.columns()[self.targets?].dtype;
        Some(if dtype.is_float() { DType::F32 } else { DType::I64 })
    }

    fn raw_bytes(&self) -> usize {
        // What the model does not take is read as well.
        self.from.columns().iter().filter_map(Column::bytes).sum()
    }

    fn target_numbers(&self) -> usize {
        let column = self.targets.map(|at| &self.from.columns()[at]);
        column.and_then(Column::numbers).unwrap_or(0)
    }

    fn files(&self, _: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf> {
        Vec::new()
    }

    fn is_seekable(&self) -> bool {
        self.from.is_seekable()
    }
}
