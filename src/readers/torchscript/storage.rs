//! Tensors of an archive that are read when their elements are asked for.
//!
//! Owns one entry of the archive a storage, read once for all tensors that lie in it (a tied or a sliced one shares
//! them). Deliberately decides nothing: that a tensor fits its storage was checked by what the directory says.

use crate::formats::torch_tensor::{Strided, gather};
use crate::formats::zip::Content;
use crate::tensor::{Load, Tensor, Weight, WeightError};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// An entry that holds the elements of tensors.
pub struct Storage {
    content: Content,
    read: OnceLock<Result<Bytes, WeightError>>,
}

impl Storage {
    pub fn new(content: Content) -> Storage {
        Storage {
            content,
            read: OnceLock::new(),
        }
    }

    /// Bytes of all elements.
    pub fn size(&self) -> u64 {
        self.content.size()
    }

    fn read(&self) -> Result<Bytes, WeightError> {
        let read = || self.content.read().map_err(|fault| self.fault(&fault));
        self.read.get_or_init(read).clone()
    }

    fn fault(&self, fault: &dyn std::fmt::Display) -> WeightError {
        WeightError {
            file: self.content.source().open_file().map(|open| open.path().to_owned()),
            message: fault.to_string(),
        }
    }
}

/// A tensor within a storage.
struct View {
    storage: Arc<Storage>,
    view: Strided,
}

/// The tensor that `view` cuts out of a storage; it fits.
pub fn weight(storage: Arc<Storage>, view: Strided) -> Weight {
    Weight::unread(view.dtype, view.sizes.clone(), View { storage, view })
}

impl Load for View {
    fn load(&self) -> Result<Tensor, WeightError> {
        let bytes = self.storage.read()?;
        // The copies of all tensors were counted when the file was opened.
        let mut budget = u64::MAX;
        gather(&self.view, &bytes, &mut budget).map_err(|fault| self.storage.fault(&fault))
    }

    fn mark(&self) -> String {
        let (content, view) = (&self.storage.content, &self.view);
        let (crc, size) = (content.crc(), content.size());
        format!("crc {crc:08x} of {size} at {} by {:?}", view.offset, view.strides)
    }
}
