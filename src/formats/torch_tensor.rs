//! Tensors in torch's pickles: `_rebuild_tensor_v2` and its kin over raw storages.
//!
//! Owns the names that such pickles may use, storage types, and the gathering of strided views into contiguous host
//! tensors, with a budget so that stride 0 and shared storages cannot make memory explode. Deliberately does not know
//! where storages come from: an archive and a legacy file hand them in.

use super::pickle::{Document, Id, Object};
use crate::tensor::{DType, Tensor};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Why a pickled tensor cannot be rebuilt.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TensorError {
    #[error("a tensor is expected, but {found} is there")]
    NotATensor { found: String },
    #[error("tensor of storage {key:?}: {problem}")]
    Malformed { key: String, problem: String },
    #[error(
        "storage type {name} is not read; convert the tensor to a dense dtype of booleans, integers, floats, complex64 or complex128"
    )]
    Storage { name: String },
    #[error("tensors copied out of their storages exceed {budget} bytes")]
    Budget { budget: u64 },
}

/// The names that pickles of tensors import; anything else is refused before it is reached.
pub fn allowed(module: &str, name: &str) -> bool {
    match module {
        "torch._utils" => matches!(name, "_rebuild_tensor_v2" | "_rebuild_tensor_v3" | "_rebuild_parameter"),
        "collections" => name == "OrderedDict",
        "torch.storage" => matches!(name, "UntypedStorage" | "TypedStorage"),
        "torch" => name.ends_with("Storage") || DType::from_name(name).is_some(),
        _ => false,
    }
}

/// The element type of `torch.FloatStorage` and its like.
pub fn storage_dtype(name: &str) -> Option<DType> {
    Some(match name.strip_suffix("Storage")? {
        "Bool" => DType::Bool,
        "Byte" => DType::U8,
        "Char" => DType::I8,
        "Short" => DType::I16,
        "Int" => DType::I32,
        "Long" => DType::I64,
        "UInt16" => DType::U16,
        "UInt32" => DType::U32,
        "UInt64" => DType::U64,
        "Half" => DType::F16,
        "BFloat16" => DType::BF16,
        "Float" => DType::F32,
        "Double" => DType::F64,
        "ComplexFloat" => DType::C64,
        "ComplexDouble" => DType::C128,
        _ => return None,
    })
}

/// The inverse of [`storage_dtype`], for writing.
pub fn storage_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "BoolStorage",
        DType::U8 => "ByteStorage",
        DType::I8 => "CharStorage",
        DType::I16 => "ShortStorage",
        DType::I32 => "IntStorage",
        DType::I64 => "LongStorage",
        DType::U16 => "UInt16Storage",
        DType::U32 => "UInt32Storage",
        DType::U64 => "UInt64Storage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::F32 => "FloatStorage",
        DType::F64 => "DoubleStorage",
        DType::C64 => "ComplexFloatStorage",
        DType::C128 => "ComplexDoubleStorage",
    }
}

/// A persistent id: `('storage', torch.FloatStorage, 'KEY', 'cpu', numel)`, in legacy files with a view at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageRef {
    pub key: String,
    /// Bytes of one element: 1 for an untyped storage.
    pub item: usize,
    /// `None` for an untyped storage.
    pub dtype: Option<DType>,
    pub numel: usize,
}

impl StorageRef {
    /// Reads the reference in a [`Object::Persistent`].
    ///
    /// # Errors
    /// When it is none, or of an unknown storage type.
    pub fn read(document: &Document, id: Id) -> Result<StorageRef, TensorError> {
        let not = |found: &str| TensorError::NotATensor {
            found: found.to_owned(),
        };
        let Object::Persistent(reference) = &document[id] else {
            return Err(not(document.kind(id)));
        };
        let parts = document.tuple(*reference).ok_or_else(|| not("a malformed storage"))?;
        let (&[kind, class, key, _, numel], view) = match parts.first_chunk::<5>() {
            Some(five) => (five, &parts[5..]),
            None => return Err(not("a malformed storage")),
        };
        let class = document.global(class).ok_or_else(|| not("a malformed storage"))?;
        let key = document.str(key).ok_or_else(|| not("a malformed storage"))?;
        let malformed = |problem: &str| TensorError::Malformed {
            key: key.to_owned(),
            problem: problem.to_owned(),
        };
        if document.str(kind) != Some("storage") {
            return Err(malformed("the reference is not to a storage"));
        }
        if view.iter().any(|&part| document[part] != Object::None) {
            return Err(malformed("views of storages, which PyTorch 0.x wrote, are not read"));
        }
        let dtype = storage_dtype(&class.name);
        if dtype.is_none() && class.name != "UntypedStorage" {
            let name = format!("{}.{}", class.module, class.name);
            return Err(TensorError::Storage { name });
        }
        let numel = document.int(numel).and_then(|numel| usize::try_from(numel).ok());
        let numel = numel.ok_or_else(|| malformed("the number of elements is not a count"))?;
        let item = dtype.map_or(1, DType::size);
        Ok(StorageRef {
            key: key.to_owned(),
            item,
            dtype,
            numel,
        })
    }

    /// Bytes of the storage, unless the number overflows.
    pub fn bytes(&self) -> Option<usize> {
        self.numel.checked_mul(self.item)
    }
}

/// A tensor as the pickle describes it; offset and strides count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strided {
    pub storage: StorageRef,
    pub dtype: DType,
    pub offset: usize,
    pub sizes: Vec<usize>,
    pub strides: Vec<usize>,
}

impl Strided {
    /// Reads a `_rebuild_tensor_v2`, `_rebuild_tensor_v3` or `_rebuild_parameter` call.
    ///
    /// # Errors
    /// When the object is none of these or its arguments are not what torch writes.
    pub fn read(document: &Document, id: Id) -> Result<Strided, TensorError> {
        let not = |id| TensorError::NotATensor {
            found: document.kind(id).to_owned(),
        };
        let (module, name, args) = document.call(id).ok_or_else(|| not(id))?;
        if (module, name) == ("torch._utils", "_rebuild_parameter") {
            let inner = *args.first().ok_or_else(|| not(id))?;
            // A parameter of a parameter is not written by torch; refusing it bounds the recursion.
            return match document.call(inner) {
                Some((_, "_rebuild_parameter", _)) => Err(not(inner)),
                _ => Strided::read(document, inner),
            };
        }
        let v3 = (module, name) == ("torch._utils", "_rebuild_tensor_v3");
        if !v3 && (module, name) != ("torch._utils", "_rebuild_tensor_v2") {
            let found = format!("a call of {module}.{name}");
            return Err(TensorError::NotATensor { found });
        }
        let Some(&[storage, offset, sizes, strides]) = args.first_chunk::<4>() else {
            return Err(not(id));
        };
        let storage = StorageRef::read(document, storage)?;
        let malformed = |problem: &str| TensorError::Malformed {
            key: storage.key.clone(),
            problem: problem.to_owned(),
        };
        let count = |id: Id| document.int(id).and_then(|value| usize::try_from(value).ok());
        let counts = |id: Id| {
            document
                .tuple(id)
                .and_then(|ids| ids.iter().map(|&id| count(id)).collect())
        };
        let offset = count(offset).ok_or_else(|| malformed("the offset is not a count"))?;
        let sizes: Vec<usize> = counts(sizes).ok_or_else(|| malformed("the sizes are not counts"))?;
        let strides: Vec<usize> = counts(strides).ok_or_else(|| malformed("the strides are not counts"))?;
        if sizes.len() != strides.len() || sizes.len() > 64 {
            return Err(malformed("sizes and strides do not go together"));
        }
        let dtype = match v3 {
            false => storage.dtype,
            true => args
                .get(6)
                .and_then(|&id| document.global(id))
                .and_then(|global| DType::from_name(&global.name)),
        };
        let dtype = dtype.ok_or_else(|| malformed("the dtype is not one that is read"))?;
        Ok(Strided {
            storage,
            dtype,
            offset,
            sizes,
            strides,
        })
    }
}

/// Rebuilds the tensors of one file, keeping what has been rebuilt and a budget for copies.
pub struct Rebuilder<'a, E> {
    document: &'a Document,
    fetch: &'a mut dyn FnMut(&StorageRef) -> Result<Bytes, E>,
    storages: BTreeMap<String, Bytes>,
    tensors: BTreeMap<Id, Tensor>,
    budget: u64,
    left: u64,
}

impl<'a, E: From<TensorError>> Rebuilder<'a, E> {
    /// `fetch` finds the raw bytes of a storage and is asked once a key; `budget` bounds the bytes of all tensors that
    /// must be copied because they are not contiguous in their storage.
    pub fn new(
        document: &'a Document,
        fetch: &'a mut dyn FnMut(&StorageRef) -> Result<Bytes, E>,
        budget: u64,
    ) -> Rebuilder<'a, E> {
        Rebuilder {
            document,
            fetch,
            storages: BTreeMap::new(),
            tensors: BTreeMap::new(),
            budget,
            left: budget,
        }
    }

    /// The tensor at `id`; one that is met again shares its bytes.
    ///
    /// # Errors
    /// When `id` is no tensor, its storage cannot be fetched, or its view does not fit the storage.
    pub fn tensor(&mut self, id: Id) -> Result<Tensor, E> {
        if let Some(tensor) = self.tensors.get(&id) {
            return Ok(tensor.clone());
        }
        let strided = Strided::read(self.document, id)?;
        let key = &strided.storage.key;
        let storage = match self.storages.get(key) {
            Some(storage) => storage.clone(),
            None => {
                let storage = (self.fetch)(&strided.storage)?;
                self.storages.insert(key.clone(), storage.clone());
                storage
            }
        };
        let tensor = gather(&strided, &storage, &mut self.left).map_err(|error| match error {
            TensorError::Budget { .. } => TensorError::Budget { budget: self.budget },
            other => other,
        })?;
        self.tensors.insert(id, tensor.clone());
        Ok(tensor)
    }
}

/// Bytes that a view of a storage of `storage` bytes must be copied to: none where it is contiguous.
///
/// # Errors
/// When the view reaches outside the storage.
pub fn copied(view: &Strided, storage: u64) -> Result<u64, TensorError> {
    let outside = || TensorError::Malformed {
        key: view.storage.key.clone(),
        problem: format!(
            "shape {:?} at offset {} reaches outside its {storage} bytes",
            view.sizes, view.offset
        ),
    };
    let item = view.dtype.size();
    let numel = view
        .sizes
        .iter()
        .try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let numel = numel.ok_or_else(outside)?;
    if numel == 0 {
        return Ok(0);
    }
    // The last element reached, and so the bytes needed.
    let mut last = view.offset;
    for (&extent, &stride) in view.sizes.iter().zip(&view.strides) {
        last = (extent - 1)
            .checked_mul(stride)
            .and_then(|span| span.checked_add(last))
            .ok_or_else(outside)?;
    }
    let needed = last
        .checked_add(1)
        .and_then(|count| count.checked_mul(item))
        .ok_or_else(outside)?;
    if needed as u64 > storage {
        return Err(outside());
    }
    let bytes = numel.checked_mul(item).ok_or_else(outside)?;
    Ok(match is_contiguous(&view.sizes, &view.strides) {
        true => 0,
        false => bytes as u64,
    })
}

/// Cuts a view out of its storage: shared when contiguous, copied within `budget` bytes otherwise.
///
/// # Errors
/// When the view reaches outside the storage, or the copy exceeds the budget.
pub fn gather(view: &Strided, storage: &Bytes, budget: &mut u64) -> Result<Tensor, TensorError> {
    // Nothing is allocated before this has been checked.
    let copied = copied(view, storage.len() as u64)?;
    let wrong = |error: crate::tensor::SizeError| TensorError::Malformed {
        key: view.storage.key.clone(),
        problem: error.to_string(),
    };
    let item = view.dtype.size();
    let bytes = view.sizes.iter().product::<usize>() * item;
    if bytes == 0 {
        return Tensor::new(view.dtype, view.sizes.clone(), Bytes::new()).map_err(wrong);
    }
    if copied == 0 {
        let start = view.offset * item;
        return Tensor::new(view.dtype, view.sizes.clone(), storage.slice(start..start + bytes)).map_err(wrong);
    }
    if copied > *budget {
        return Err(TensorError::Budget { budget: *budget });
    }
    *budget -= copied;
    let mut copy = Vec::with_capacity(bytes);
    let mut index = vec![0; view.sizes.len()];
    let mut place = view.offset;
    loop {
        copy.extend_from_slice(&storage[place * item..(place + 1) * item]);
        let mut axis = view.sizes.len();
        loop {
            if axis == 0 {
                return Tensor::new(view.dtype, view.sizes.clone(), copy).map_err(wrong);
            }
            axis -= 1;
            index[axis] += 1;
            place += view.strides[axis];
            if index[axis] < view.sizes[axis] {
                break;
            }
            place -= view.strides[axis] * view.sizes[axis];
            index[axis] = 0;
        }
    }
}

fn is_contiguous(sizes: &[usize], strides: &[usize]) -> bool {
    let mut wanted = 1;
    for (&extent, &stride) in sizes.iter().zip(strides).rev() {
        if extent != 1 && stride != wanted {
            return false;
        }
        wanted *= extent;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(offset: usize, sizes: &[usize], strides: &[usize]) -> Strided {
        let storage = StorageRef {
            key: "0".into(),
            item: 8,
            dtype: Some(DType::I64),
            numel: 6,
        };
        Strided {
            storage,
            dtype: DType::I64,
            offset,
            sizes: sizes.into(),
            strides: strides.into(),
        }
    }

    #[test]
    fn views() {
        let storage = Tensor::from_i64([6], &[0, 1, 2, 3, 4, 5]).data().clone();
        let cases: &[(Strided, &[i64])] = &[
            (view(0, &[2, 3], &[3, 1]), &[0, 1, 2, 3, 4, 5]),
            (view(0, &[3, 2], &[1, 3]), &[0, 3, 1, 4, 2, 5]),
            (view(1, &[2], &[2]), &[1, 3]),
            (view(5, &[], &[]), &[5]),
            (view(2, &[1, 2], &[100, 1]), &[2, 3]),
            (view(4, &[3], &[0]), &[4, 4, 4]),
            (view(9, &[0, 3], &[3, 1]), &[]),
        ];
        for (view, wanted) in cases {
            let tensor = gather(view, &storage, &mut 1000).unwrap();
            assert_eq!((tensor.shape(), &tensor.to_i64()[..]), (&view.sizes[..], *wanted));
        }
    }

    #[test]
    fn views_outside() {
        let storage = Bytes::from(vec![0; 48]);
        let cases = [
            (view(0, &[7], &[1]), "outside"),
            (view(6, &[1], &[1]), "outside"),
            (view(0, &[2, 2], &[5, 1]), "outside"),
            (view(usize::MAX, &[1], &[1]), "outside"),
            (view(0, &[2], &[usize::MAX]), "outside"),
            (view(0, &[usize::MAX, usize::MAX], &[0, 0]), "outside"),
            (view(0, &[1 << 40], &[0]), "exceed"),
        ];
        for (view, wanted) in cases {
            let error = gather(&view, &storage, &mut 1000).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
