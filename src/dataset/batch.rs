//! A batch of samples and the places they came from.
//!
//! Owns the form in which samples reach models and metrics, and the words for a sample's place in error messages.
//! Deliberately does not read or convert.

use std::fmt;
use std::sync::Arc;

use crate::tensor::Tensor;

/// Consecutive samples of a dataset.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The model's inputs; each is `[n, …]`, converted and normalised.
    pub inputs: Vec<Tensor>,
    /// int64 or float32, `[n]` or `[n, …]`; absent where the source has none.
    pub targets: Option<Tensor>,
    /// Index of the first sample.
    pub first: usize,
    /// Where the samples came from.
    pub origins: Origins,
}

impl Batch {
    /// A batch of samples whose origin is unknown.
    pub fn new(inputs: Vec<Tensor>, targets: Option<Tensor>, first: usize) -> Batch {
        Batch {
            inputs,
            targets,
            first,
            origins: Origins::default(),
        }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.inputs
            .first()
            .and_then(|input| input.shape().first().copied())
            .unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Samples `start..end` of the batch, sharing its bytes; `None` when out of range.
    pub fn slice(&self, start: usize, end: usize) -> Option<Batch> {
        Some(Batch {
            inputs: self
                .inputs
                .iter()
                .map(|input| input.rows(start, end))
                .collect::<Option<_>>()?,
            targets: match &self.targets {
                Some(targets) => Some(targets.rows(start, end)?),
                None => None,
            },
            first: self.first + start,
            origins: self.origins.clone(),
        })
    }

    /// Names the place of the batch's sample `index`, for messages.
    pub fn origin(&self, index: usize) -> String {
        self.origins.target(self.first + index)
    }
}

/// Says in words where samples come from.
pub(super) trait Places: Send + Sync {
    /// The file and place of a sample's target (of the sample itself where they are one).
    fn target(&self, sample: usize) -> String;
}

/// Tells each sample's file and place; cheap to clone.
#[derive(Clone, Default)]
pub struct Origins(Option<Arc<dyn Places>>);

impl Origins {
    pub(super) fn new(places: Arc<dyn Places>) -> Origins {
        Origins(Some(places))
    }

    /// The place of a sample's target, for instance `labels.idx: sample 17`.
    pub fn target(&self, sample: usize) -> String {
        match &self.0 {
            Some(places) => places.target(sample),
            None => format!("sample {sample}"),
        }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Origins(known)"
        } else {
            "Origins(unknown)"
        })
    }
}
