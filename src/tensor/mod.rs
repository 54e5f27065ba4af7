//! Host tensors: an element type, a shape and little-endian bytes in C order.
//!
//! Owns the one in-memory form in which weights, samples, targets and masks travel between the file formats, the
//! datasets, the metrics and the runtime. Deliberately does no arithmetic and knows nothing of libtorch.

mod weight;

pub use weight::{Load, Weight, WeightError};

use bytes::Bytes;

/// The element type of a [`Tensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    Bool,
    U8,
    I8,
    I16,
    I32,
    I64,
    U16,
    U32,
    U64,
    F16,
    BF16,
    F32,
    F64,
    /// Two float32, the real part first.
    C64,
    /// Two float64, the real part first.
    C128,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::I16 | DType::U16 | DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::U32 | DType::F32 => 4,
            DType::I64 | DType::U64 | DType::F64 | DType::C64 => 8,
            DType::C128 => 16,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    pub fn is_complex(self) -> bool {
        matches!(self, DType::C64 | DType::C128)
    }

    /// Real or complex numbers with fractions: what weights and activations are made of.
    pub fn is_inexact(self) -> bool {
        self.is_float() || self.is_complex()
    }

    /// The type of a complex number's two parts; any other type is its own.
    pub fn part(self) -> DType {
        match self {
            DType::C64 => DType::F32,
            DType::C128 => DType::F64,
            other => other,
        }
    }

    /// The complex numbers whose parts have this type; float64's for it alone.
    pub fn complex(self) -> DType {
        match self {
            DType::F64 | DType::C128 => DType::C128,
            _ => DType::C64,
        }
    }

    /// PyTorch's spelling, without `torch.`.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::U16 => "uint16",
            DType::U32 => "uint32",
            DType::U64 => "uint64",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::C64 => "complex64",
            DType::C128 => "complex128",
        }
    }

    /// The inverse of [`DType::name`].
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// PyTorch's number for it in TorchScript code; the wider unsigned integers have none there.
    pub fn code(self) -> Option<i64> {
        Some(match self {
            DType::U8 => 0,
            DType::I8 => 1,
            DType::I16 => 2,
            DType::I32 => 3,
            DType::I64 => 4,
            DType::F16 => 5,
            DType::F32 => 6,
            DType::F64 => 7,
            DType::C64 => 9,
            DType::C128 => 10,
            DType::Bool => 11,
            DType::BF16 => 15,
            DType::U16 | DType::U32 | DType::U64 => return None,
        })
    }

    /// The type that has a number in TorchScript code.
    pub fn from_code(code: i64) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.code() == Some(code))
    }

    pub const ALL: [DType; 15] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
        DType::C64,
        DType::C128,
    ];
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A contiguous, C-ordered, little-endian array that shares its bytes when cloned.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
}

/// The bytes do not fill the shape.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("shape {shape:?} of {dtype} needs {wanted} bytes, but there are {found}")]
pub struct SizeError {
    pub shape: Vec<usize>,
    pub dtype: DType,
    pub wanted: String,
    pub found: usize,
}

impl Tensor {
    /// Wraps bytes that already lie in C order.
    ///
    /// # Errors
    /// When the number of bytes is not that of the shape (an overflowing shape included).
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>, data: impl Into<Bytes>) -> Result<Tensor, SizeError> {
        let (shape, data) = (shape.into(), data.into());
        let wanted = shape
            .iter()
            .try_fold(dtype.size(), |product, &extent| product.checked_mul(extent));
        if wanted == Some(data.len()) {
            return Ok(Tensor { dtype, shape, data });
        }
        Err(SizeError {
            wanted: wanted.map_or("too many".into(), |bytes| bytes.to_string()),
            found: data.len(),
            shape,
            dtype,
        })
    }

    /// A float32 tensor.
    ///
    /// # Panics
    /// When `values` do not fill `shape`; for values that the caller has just made.
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new(DType::F32, shape, bytes).expect("the caller's values fill the caller's shape")
    }

    /// A float64 tensor; panics like [`Tensor::from_f32`].
    pub fn from_f64(shape: impl Into<Vec<usize>>, values: &[f64]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new(DType::F64, shape, bytes).expect("the caller's values fill the caller's shape")
    }

    /// An int64 tensor; panics like [`Tensor::from_f32`].
    pub fn from_i64(shape: impl Into<Vec<usize>>, values: &[i64]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new(DType::I64, shape, bytes).expect("the caller's values fill the caller's shape")
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// The same elements under another shape of the same number of elements.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Result<Tensor, SizeError> {
        Tensor::new(self.dtype, shape, self.data.clone())
    }

    /// Rows `start..end` of axis 0, sharing the bytes. `None` when out of range or of rank 0.
    pub fn rows(&self, start: usize, end: usize) -> Option<Tensor> {
        let (&rows, inner) = self.shape.split_first()?;
        if start > end || end > rows {
            return None;
        }
        let row = inner.iter().product::<usize>() * self.dtype.size();
        let mut shape = self.shape.clone();
        shape[0] = end - start;
        Some(Tensor {
            dtype: self.dtype,
            shape,
            data: self.data.slice(start * row..end * row),
        })
    }

    /// The given positions of one axis, in the given order; positions that do not exist are left out.
    pub fn select(&self, axis: usize, positions: &[usize]) -> Tensor {
        let (outer, extent, inner) = self.around(axis);
        let positions: Vec<usize> = positions.iter().copied().filter(|&at| at < extent).collect();
        let mut data = Vec::with_capacity(outer * positions.len() * inner);
        for block in 0..outer {
            for &at in &positions {
                let start = (block * extent + at) * inner;
                data.extend_from_slice(&self.data[start..start + inner]);
            }
        }
        let mut shape = self.shape.clone();
        shape[axis] = positions.len();
        Tensor {
            dtype: self.dtype,
            shape,
            data: data.into(),
        }
    }

    /// The same tensor with the given positions of one axis zeroed.
    pub fn zeroed(&self, axis: usize, positions: &[usize]) -> Tensor {
        let (outer, extent, inner) = self.around(axis);
        let mut data = self.data.to_vec();
        for block in 0..outer {
            for &at in positions.iter().filter(|&&at| at < extent) {
                let start = (block * extent + at) * inner;
                data[start..start + inner].fill(0);
            }
        }
        Tensor {
            dtype: self.dtype,
            shape: self.shape.clone(),
            data: data.into(),
        }
    }

    /// The same tensor with every element zeroed that `keep` does not keep; elements beyond `keep` stay.
    pub fn masked(&self, keep: &[bool]) -> Tensor {
        let size = self.dtype.size();
        let mut data = self.data.to_vec();
        for (element, &keep) in data.chunks_exact_mut(size).zip(keep) {
            if !keep {
                element.fill(0);
            }
        }
        Tensor {
            dtype: self.dtype,
            shape: self.shape.clone(),
            data: data.into(),
        }
    }

    /// Blocks before an axis, its extent, and bytes of one position within a block.
    fn around(&self, axis: usize) -> (usize, usize, usize) {
        let outer = self.shape[..axis].iter().product();
        let inner = self.shape[axis + 1..].iter().product::<usize>() * self.dtype.size();
        (outer, self.shape[axis], inner)
    }

    /// Complex numbers as their parts, along an axis of two more; any other tensor as it is.
    pub fn parts(&self) -> Tensor {
        if !self.dtype.is_complex() {
            return self.clone();
        }
        Tensor {
            dtype: self.dtype.part(),
            shape: self.shape.iter().copied().chain([2]).collect(),
            data: self.data.clone(),
        }
    }

    /// The same numbers as another element type (floats truncated towards zero, out-of-range integers wrapped, imaginary
    /// parts dropped or zero).
    pub fn cast(&self, dtype: DType) -> Tensor {
        if dtype == self.dtype {
            return self.clone();
        }
        if dtype.is_complex() {
            let parts = match self.dtype.is_complex() {
                true => self.parts().cast(dtype.part()).data,
                false => {
                    let (size, real) = (dtype.part().size(), self.cast(dtype.part()).data);
                    let zero = vec![0; size];
                    real.chunks_exact(size)
                        .flat_map(|part| [part, &zero])
                        .flatten()
                        .copied()
                        .collect()
                }
            };
            return Tensor {
                dtype,
                shape: self.shape.clone(),
                data: parts,
            };
        }
        let values = self.to_f64();
        let bytes: Vec<u8> = match dtype {
            DType::Bool => values.iter().map(|&value| u8::from(value != 0.0)).collect(),
            DType::U8 | DType::I8 => values.iter().map(|&value| value as i64 as u8).collect(),
            DType::I16 | DType::U16 => values
                .iter()
                .flat_map(|&value| (value as i64 as u16).to_le_bytes())
                .collect(),
            DType::I32 | DType::U32 => values
                .iter()
                .flat_map(|&value| (value as i64 as u32).to_le_bytes())
                .collect(),
            DType::I64 => self.to_i64().iter().flat_map(|value| value.to_le_bytes()).collect(),
            DType::U64 => values.iter().flat_map(|&value| (value as u64).to_le_bytes()).collect(),
            DType::F16 => values
                .iter()
                .flat_map(|&value| half::f16::from_f64(value).to_le_bytes())
                .collect(),
            DType::BF16 => values
                .iter()
                .flat_map(|&value| half::bf16::from_f64(value).to_le_bytes())
                .collect(),
            DType::F32 => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
            DType::F64 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            DType::C64 | DType::C128 => unreachable!("complex numbers are made above"),
        };
        Tensor {
            dtype,
            shape: self.shape.clone(),
            data: bytes.into(),
        }
    }

    /// Every element as float64 (integers beyond 2^53 are rounded, of complex numbers the real part is taken).
    pub fn to_f64(&self) -> Vec<f64> {
        fn each<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            let (chunks, _) = data.as_chunks::<N>();
            chunks.iter().map(|&chunk| convert(chunk)).collect()
        }
        let data = &self.data[..];
        match self.dtype {
            DType::Bool | DType::U8 => each(data, |[byte]| f64::from(byte)),
            DType::I8 => each(data, |bytes| f64::from(i8::from_le_bytes(bytes))),
            DType::I16 => each(data, |bytes| f64::from(i16::from_le_bytes(bytes))),
            DType::I32 => each(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
            DType::I64 => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
            DType::U16 => each(data, |bytes| f64::from(u16::from_le_bytes(bytes))),
            DType::U32 => each(data, |bytes| f64::from(u32::from_le_bytes(bytes))),
            DType::U64 => each(data, |bytes| u64::from_le_bytes(bytes) as f64),
            DType::F16 => each(data, |bytes| half::f16::from_le_bytes(bytes).to_f64()),
            DType::BF16 => each(data, |bytes| half::bf16::from_le_bytes(bytes).to_f64()),
            DType::F32 => each(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
            DType::F64 => each(data, f64::from_le_bytes),
            DType::C64 => each(data, |[a, b, c, d, ..]: [u8; 8]| {
                f64::from(f32::from_le_bytes([a, b, c, d]))
            }),
            DType::C128 => each(data, |[a, b, c, d, e, f, g, h, ..]: [u8; 16]| {
                f64::from_le_bytes([a, b, c, d, e, f, g, h])
            }),
        }
    }

    /// Whether no element is infinite or not a number.
    pub fn is_finite(&self) -> bool {
        fn all<const N: usize>(data: &[u8], finite: impl Fn([u8; N]) -> bool) -> bool {
            data.as_chunks::<N>().0.iter().all(|&chunk| finite(chunk))
        }
        let data = &self.data[..];
        match self.dtype {
            DType::F16 => all(data, |bytes| half::f16::from_le_bytes(bytes).is_finite()),
            DType::BF16 => all(data, |bytes| half::bf16::from_le_bytes(bytes).is_finite()),
            DType::F32 | DType::C64 => all(data, |bytes| f32::from_le_bytes(bytes).is_finite()),
            DType::F64 | DType::C128 => all(data, |bytes| f64::from_le_bytes(bytes).is_finite()),
            _ => true,
        }
    }

    /// Every element as int64; floats are truncated towards zero.
    pub fn to_i64(&self) -> Vec<i64> {
        match self.dtype {
            DType::I64 => {
                let (chunks, _) = self.data.as_chunks::<8>();
                chunks.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect()
            }
            _ => self.to_f64().into_iter().map(|value| value as i64).collect(),
        }
    }

    /// Every element as float32; float32 data is copied bit by bit.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => {
                let (chunks, _) = self.data.as_chunks::<4>();
                chunks.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect()
            }
            _ => self.to_f64().into_iter().map(|value| value as f32).collect(),
        }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_must_be_filled() {
        assert!(Tensor::new(DType::F32, [2, 2], vec![0; 16]).is_ok());
        assert!(Tensor::new(DType::F32, [2, 2], vec![0; 15]).is_err());
        assert!(Tensor::new(DType::F32, [usize::MAX, 2], vec![]).is_err());
    }

    #[test]
    fn rows_share_bytes() {
        let tensor = Tensor::from_i64([3, 2], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(tensor.rows(1, 3).map(|rows| rows.to_i64()), Some(vec![3, 4, 5, 6]));
        assert!(tensor.rows(2, 4).is_none());
    }

    #[test]
    fn complex_numbers_are_pairs() {
        let real = Tensor::from_f32([2], &[1.5, -2.0]);
        let complex = real.cast(DType::C128);
        assert_eq!(complex.parts(), Tensor::from_f64([2, 2], &[1.5, 0.0, -2.0, 0.0]));
        let turned = Tensor::new(
            DType::C64,
            [2],
            Tensor::from_f32([4], &[1.0, 2.0, 3.0, f32::NAN]).data().clone(),
        );
        let turned = turned.unwrap();
        assert_eq!((turned.to_f64(), turned.is_finite()), (vec![1.0, 3.0], false));
        assert_eq!(turned.cast(DType::F32).to_f32(), [1.0, 3.0]);
        assert_eq!(turned.cast(DType::C128).parts().to_f32()[..3], [1.0, 2.0, 3.0]);
        assert_eq!(complex.cast(DType::C64).cast(DType::F32), real);
    }

    #[test]
    fn names_read_back() {
        assert!(
            DType::ALL
                .into_iter()
                .all(|dtype| DType::from_name(dtype.name()) == Some(dtype))
        );
    }

    #[test]
    fn numbers_of_types_read_back() {
        let coded = DType::ALL.into_iter().filter_map(|dtype| Some((dtype, dtype.code()?)));
        assert!(coded.clone().all(|(dtype, code)| DType::from_code(code) == Some(dtype)));
        assert_eq!(coded.count(), 12);
        assert_eq!(DType::from_code(6), Some(DType::F32));
        assert_eq!(DType::from_code(12), None, "quantised types are not read");
    }
}
