//! Host tensors to libtorch's and back.
//!
//! Owns the two copies. Deliberately converts no element type but the unsigned ones that libtorch's arithmetic lacks,
//! which become the next wider signed type.

use super::RuntimeError;
use crate::tensor::{DType, Tensor};
use tch::{Device, Kind};

/// Copies a host tensor to a device. uint16 becomes int32, uint32 and uint64 become int64.
///
/// # Errors
/// When libtorch cannot allocate it, or when an uint64 is beyond int64.
pub fn to_torch(tensor: &Tensor, device: Device) -> Result<tch::Tensor, RuntimeError> {
    let kind = match tensor.dtype() {
        DType::Bool => Kind::Bool,
        DType::U8 => Kind::Uint8,
        DType::I8 => Kind::Int8,
        DType::I16 => Kind::Int16,
        DType::I32 => Kind::Int,
        DType::I64 => Kind::Int64,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
        DType::C64 => Kind::ComplexFloat,
        DType::C128 => Kind::ComplexDouble,
        DType::U16 | DType::U32 | DType::U64 => return to_torch(&widened(tensor)?, device),
    };
    let shape: Vec<i64> = tensor.shape().iter().map(|&extent| extent as i64).collect();
    let made = tch::Tensor::f_from_data_size(tensor.data(), &shape, kind)?;
    if device == Device::Cpu {
        return Ok(made);
    }
    Ok(made.f_to_device(device)?)
}

/// Copies a model's output to the host, in C order.
///
/// # Errors
/// When its element type is none that metrics know (complex, quantised, 8-bit floats).
pub fn from_torch(tensor: &tch::Tensor) -> Result<Tensor, RuntimeError> {
    match tensor.f_kind()? {
        kind @ (Kind::ComplexFloat | Kind::ComplexDouble) => Err(RuntimeError::Kind {
            kind: format!("{kind:?}").to_lowercase(),
        }),
        _ => to_host(tensor),
    }
}

/// Copies any tensor of libtorch to the host, in C order.
///
/// # Errors
/// When its element type is none of [`DType`] (quantised, 8-bit floats).
pub(super) fn to_host(tensor: &tch::Tensor) -> Result<Tensor, RuntimeError> {
    let dtype = match tensor.f_kind()? {
        Kind::Bool => DType::Bool,
        Kind::Uint8 => DType::U8,
        Kind::Int8 => DType::I8,
        Kind::Int16 => DType::I16,
        Kind::Int => DType::I32,
        Kind::Int64 => DType::I64,
        Kind::Half => DType::F16,
        Kind::BFloat16 => DType::BF16,
        Kind::Float => DType::F32,
        Kind::Double => DType::F64,
        Kind::ComplexFloat => DType::C64,
        Kind::ComplexDouble => DType::C128,
        other => {
            return Err(RuntimeError::Kind {
                kind: format!("{other:?}").to_lowercase(),
            });
        }
    };
    // What is conjugate or negative by a mark only becomes so in memory.
    let tensor = tensor.f_resolve_conj()?.f_resolve_neg()?;
    let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
    let shape: Vec<usize> = tensor.size().into_iter().map(|extent| extent as usize).collect();
    let numel: usize = shape.iter().product();
    let mut data = vec![0; numel * dtype.size()];
    tensor.f_copy_data_u8(&mut data, numel)?;
    Tensor::new(dtype, shape, data).map_err(|error| RuntimeError::Run {
        message: error.to_string(),
    })
}

/// Whether no element is infinite or not a number; what is packed for a kernel is not looked into.
///
/// # Errors
/// When libtorch cannot sum it.
pub fn is_finite(tensor: &tch::Tensor) -> Result<bool, RuntimeError> {
    let kind = match tensor.f_kind()? {
        Kind::Double => Kind::Double,
        Kind::Float | Kind::Half | Kind::BFloat16 => Kind::Float,
        _ => return Ok(true),
    };
    if tensor.is_mkldnn() || tensor.numel() == 0 {
        return Ok(true);
    }
    // One element that is not finite makes the sum so: one reading, nothing allocated.
    Ok(tensor.f_sum(kind)?.f_double_value(&[])?.is_finite())
}

/// A float32 tensor in bfloat16; others as they are.
///
/// # Errors
/// When libtorch cannot allocate it.
pub fn to_bfloat16(tensor: &tch::Tensor) -> Result<tch::Tensor, RuntimeError> {
    match tensor.f_kind()? {
        Kind::Float => Ok(tensor.f_to_kind(Kind::BFloat16)?),
        _ => Ok(tensor.shallow_clone()),
    }
}

/// Rows of axis 0, in the order of `rows`; `None` when there are not `count` of them.
///
/// # Errors
/// When a row does not exist.
pub fn rows_of(tensor: &tch::Tensor, count: usize, rows: &[usize]) -> Result<Option<tch::Tensor>, RuntimeError> {
    if tensor.size().first() != Some(&(count as i64)) {
        return Ok(None);
    }
    let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    let index = tch::Tensor::f_from_slice(&rows)?.f_to_device(tensor.device())?;
    // What lies channels last is to stay so; a selection of rows is contiguous.
    if tensor.dim() == 4 && !tensor.is_contiguous() {
        let last = tensor.f_permute([0, 2, 3, 1])?;
        return Ok(Some(last.f_index_select(0, &index)?.f_permute([0, 3, 1, 2])?));
    }
    Ok(Some(tensor.f_index_select(0, &index)?))
}

/// Tensors of one shape, each as a row of axis 0 that broadcasts against values with `rank` axes.
///
/// # Errors
/// When the shapes differ.
pub fn stacked(tensors: &[tch::Tensor], rank: usize) -> Result<tch::Tensor, RuntimeError> {
    let stack = tch::Tensor::f_stack(tensors, 0)?;
    let mut shape = stack.size();
    while shape.len() < rank {
        shape.insert(1, 1);
    }
    Ok(stack.f_reshape(&shape)?)
}

fn widened(tensor: &Tensor) -> Result<Tensor, RuntimeError> {
    let (chunks, _) = tensor.data().as_chunks::<8>();
    let bytes: Vec<u8> = match tensor.dtype() {
        DType::U16 => tensor
            .to_i64()
            .into_iter()
            .flat_map(|value| (value as i32).to_le_bytes())
            .collect(),
        DType::U64 if chunks.iter().any(|&chunk| i64::from_le_bytes(chunk) < 0) => {
            return Err(RuntimeError::Kind {
                kind: "uint64 beyond int64".into(),
            });
        }
        DType::U64 => tensor.data().to_vec(),
        _ => tensor.to_i64().into_iter().flat_map(i64::to_le_bytes).collect(),
    };
    let dtype = match tensor.dtype() {
        DType::U16 => DType::I32,
        _ => DType::I64,
    };
    Tensor::new(dtype, tensor.shape(), bytes).map_err(|error| RuntimeError::Run {
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_goes_there_and_back() {
        for dtype in DType::ALL {
            let data: Vec<u8> = (0..6 * dtype.size()).map(|index| (index % 2) as u8).collect();
            let host = Tensor::new(dtype, [2, 3], data).unwrap();
            let there = to_torch(&host, Device::Cpu).unwrap();
            let back = to_host(&there).unwrap();
            assert_eq!(back.shape(), host.shape());
            assert_eq!(back.parts().to_f64(), host.parts().to_f64(), "{dtype}");
            // Metrics know no complex numbers.
            assert_eq!(from_torch(&there).is_ok(), !dtype.is_complex(), "{dtype}");
            assert!(back.dtype() == dtype || dtype.name().starts_with("uint"));
        }
    }

    #[test]
    fn empty_and_scalar_shapes_survive() {
        for shape in [vec![], vec![0], vec![2, 0]] {
            let numel: usize = shape.iter().product();
            let host = Tensor::from_f32(shape.clone(), &vec![1.5; numel]);
            assert_eq!(from_torch(&to_torch(&host, Device::Cpu).unwrap()).unwrap(), host);
        }
    }

    #[test]
    fn strided_tensors_are_made_contiguous() {
        let host = Tensor::from_i64([2, 2], &[1, 2, 3, 4]);
        let turned = to_torch(&host, Device::Cpu).unwrap().f_transpose(0, 1).unwrap();
        assert_eq!(from_torch(&turned).unwrap().to_i64(), [1, 3, 2, 4]);
    }
}
