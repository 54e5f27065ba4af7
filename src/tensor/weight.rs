//! Tensors of a model whose bytes may still lie in its file.
//!
//! Owns the difference between what a header tells (element type and shape, which is all that an analysis of structure
//! asks for) and the bytes, which are read when they are first asked for, once, and then kept. Deliberately knows no
//! file: readers say how the bytes are had.

use super::{DType, Tensor};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// How the bytes of a [`Weight`] are had.
pub trait Load: Send + Sync {
    /// Reads the tensor, of the element type and shape that were announced.
    ///
    /// # Errors
    /// When its bytes cannot be read, or are not those that the file says it holds.
    fn load(&self) -> Result<Tensor, WeightError>;

    /// What tells these bytes from others, by the file's own word: nothing is read for it.
    fn mark(&self) -> String;
}

/// Why a weight's bytes cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", file.as_ref().map_or_else(String::new, |file| format!("{}: ", file.display())))]
pub struct WeightError {
    /// Where they should be; none for what is in memory.
    pub file: Option<PathBuf>,
    /// Names the part of the file.
    pub message: String,
}

/// A tensor that is read when its bytes are asked for. Clones share them.
#[derive(Clone)]
pub struct Weight(Arc<Inner>);

struct Inner {
    dtype: DType,
    shape: Vec<usize>,
    content: Content,
}

enum Content {
    Held(Tensor),
    Filed {
        source: Box<dyn Load>,
        read: OnceLock<Result<Tensor, WeightError>>,
    },
}

impl Weight {
    /// A tensor that `source` reads when it must.
    pub fn unread(dtype: DType, shape: impl Into<Vec<usize>>, source: impl Load + 'static) -> Weight {
        Weight(Arc::new(Inner {
            dtype,
            shape: shape.into(),
            content: Content::Filed {
                source: Box::new(source),
                read: OnceLock::new(),
            },
        }))
    }

    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.0.shape.iter().product()
    }

    /// Bytes of all elements, read or not.
    pub fn bytes(&self) -> u64 {
        self.numel() as u64 * self.dtype().size() as u64
    }

    /// Whether the bytes are in memory.
    pub fn is_read(&self) -> bool {
        match &self.0.content {
            Content::Held(_) => true,
            Content::Filed { read, .. } => matches!(read.get(), Some(Ok(_))),
        }
    }

    /// The tensor; its bytes are read unless they were before.
    ///
    /// # Errors
    /// When they cannot be read; asked again, it says the same again.
    pub fn read(&self) -> Result<&Tensor, WeightError> {
        match &self.0.content {
            Content::Held(tensor) => Ok(tensor),
            Content::Filed { source, read } => read.get_or_init(|| source.load()).as_ref().map_err(Clone::clone),
        }
    }

    /// What tells this tensor from others, without reading it.
    pub fn mark(&self) -> String {
        let content = match &self.0.content {
            Content::Held(tensor) => format!("blake3 {}", blake3::hash(tensor.data()).to_hex()),
            Content::Filed { source, .. } => source.mark(),
        };
        format!("{self:?} {content}")
    }
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Weight {
        Weight(Arc::new(Inner {
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            content: Content::Held(tensor),
        }))
    }
}

/// Tensors that cannot be read are equal to themselves alone.
impl PartialEq for Weight {
    fn eq(&self, other: &Weight) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.dtype() == other.dtype()
                && self.shape() == other.shape()
                && matches!((self.read(), other.read()), (Ok(own), Ok(others)) if own == others)
    }
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.dtype(), self.shape())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counted(Arc<AtomicUsize>, Result<Tensor, WeightError>);

    impl Load for Counted {
        fn load(&self) -> Result<Tensor, WeightError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1.clone()
        }

        fn mark(&self) -> String {
            "marked".into()
        }
    }

    #[test]
    fn bytes_are_read_once_and_only_when_asked_for() {
        let (count, tensor) = (Arc::default(), Tensor::from_i64([2], &[1, 2]));
        let weight = Weight::unread(DType::I64, [2], Counted(Arc::clone(&count), Ok(tensor.clone())));
        assert_eq!((weight.numel(), weight.bytes(), weight.is_read()), (2, 16, false));
        assert_eq!(weight.mark(), "int64[2] marked");
        assert!(weight.clone() == weight && count.load(Ordering::Relaxed) == 0);
        assert!(weight.clone().read() == Ok(&tensor) && weight == Weight::from(tensor));
        assert!(weight.is_read() && count.load(Ordering::Relaxed) == 1);
    }

    #[test]
    fn what_cannot_be_read_says_so_each_time() {
        let fault = WeightError {
            file: Some("model.pt".into()),
            message: "damaged".into(),
        };
        assert_eq!(fault.to_string(), "model.pt: damaged");
        let count = Arc::default();
        let weight = Weight::unread(DType::I64, [2], Counted(Arc::clone(&count), Err(fault.clone())));
        assert_eq!(weight.read(), Err(fault.clone()));
        assert_eq!(weight.clone().read(), Err(fault));
        assert!(!weight.is_read() && count.load(Ordering::Relaxed) == 1);
    }
}
