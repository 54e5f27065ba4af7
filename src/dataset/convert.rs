//! From the numbers in a file to those that a model and a metric take.
//!
//! Owns the conversion of inputs (any type to float32 as `x.float()` does, uint8 divided by 255, then `normalize`, each
//! step rounded to float32 as in PyTorch; integers to the model's integers, never scaled) and of targets (integers to
//! int64, floats to float32). Deliberately knows nothing of where the numbers came from, so its errors name the place
//! that the caller gives.

use crate::tensor::{DType, Tensor};

use super::DatasetError;

/// What is subtracted from each channel and by what it is divided: one number, or one a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// One of a model's inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What errors call it; `None` for the only input of a model.
    pub name: Option<String>,
    /// One sample's shape as the model takes it, without batch axis.
    pub shape: Vec<usize>,
    /// The type that the model takes: float32, or int64 for token numbers and the like, int32, uint8 or bool.
    pub dtype: DType,
}

impl Input {
    /// The only input of a model, in float32.
    pub fn only(shape: &[usize]) -> Input {
        Input {
            name: None,
            shape: shape.to_vec(),
            dtype: DType::F32,
        }
    }

    /// The input in words.
    pub(super) fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("the model's input `{name}`"),
            None => "the model's input".to_owned(),
        }
    }
}

/// How raw samples become one of a model's inputs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Conversion {
    input: Input,
    /// A mean and a standard deviation for each channel; empty for none.
    channels: Vec<(f32, f32)>,
}

/// The conversions of all inputs. `normalize` applies to those in float32; one at least must be.
pub(super) fn conversions(inputs: &[Input], normalize: Option<&Normalize>) -> Result<Vec<Conversion>, DatasetError> {
    if normalize.is_some() && inputs.iter().all(|input| input.dtype != DType::F32) {
        return Err(DatasetError::NormalizedIntegers);
    }
    let conversion = |input: &Input| Conversion::new(input, normalize.filter(|_| input.dtype == DType::F32));
    inputs.iter().map(conversion).collect()
}

impl Conversion {
    fn new(input: &Input, normalize: Option<&Normalize>) -> Result<Conversion, DatasetError> {
        if !matches!(
            input.dtype,
            DType::F32 | DType::I64 | DType::I32 | DType::U8 | DType::Bool
        ) {
            return Err(DatasetError::Wanted(input.dtype));
        }
        let channels = normalize.map_or(Ok(Vec::new()), |normalize| channels(&input.shape, normalize))?;
        Ok(Conversion {
            input: input.clone(),
            channels,
        })
    }

    pub fn input(&self) -> &Input {
        &self.input
    }

    pub fn shape(&self) -> &[usize] {
        &self.input.shape
    }

    /// Bytes of one converted sample.
    pub fn sample_bytes(&self) -> usize {
        self.input.shape.iter().product::<usize>() * self.input.dtype.size()
    }

    /// Whether samples of this type and shape can become the model's; axes of size 1 may come and go.
    pub fn accepts(&self, dtype: DType, shape: &[usize], origin: &str) -> Result<(), DatasetError> {
        fn squeezed(shape: &[usize]) -> impl Iterator<Item = usize> {
            shape.iter().copied().filter(|&extent| extent != 1)
        }
        if !squeezed(shape).eq(squeezed(&self.input.shape)) {
            return Err(DatasetError::Shape {
                origin: origin.to_owned(),
                found: shape.to_vec(),
                input: self.input.clone(),
            });
        }
        let fits = match self.input.dtype {
            DType::I64 => !dtype.is_inexact() && dtype != DType::U64,
            // Whether the values fit is seen when they are read.
            DType::I32 => !dtype.is_inexact() && dtype != DType::U64,
            DType::U8 => matches!(dtype, DType::U8 | DType::Bool),
            DType::Bool => !dtype.is_inexact(),
            _ => !dtype.is_complex(),
        };
        if !fits {
            return Err(DatasetError::InputType {
                origin: origin.to_owned(),
                found: dtype,
                input: self.input.clone(),
            });
        }
        Ok(())
    }

    /// Converts a batch of raw samples, which [`Conversion::accepts`] has allowed. `origin` names the place of a row.
    pub fn apply(&self, raw: &Tensor, origin: impl Fn(usize) -> String) -> Result<Tensor, DatasetError> {
        let mut shape = vec![raw.shape().first().copied().unwrap_or(1)];
        shape.extend(&self.input.shape);
        let wanted = self.input.dtype;
        if wanted != DType::F32 {
            if raw.dtype() == wanted {
                return Ok(relabel(raw, shape));
            }
            if wanted == DType::I32
                && let Some(at) = raw.to_i64().iter().position(|&value| i32::try_from(value).is_err())
            {
                let each = self.input.shape.iter().product::<usize>().max(1);
                return Err(DatasetError::InputRange {
                    origin: origin(at / each),
                    input: self.input.clone(),
                });
            }
            return Ok(relabel(&raw.cast(wanted), shape));
        }
        if raw.dtype() == DType::F32 && self.channels.is_empty() {
            return Ok(relabel(raw, shape));
        }
        let mut bytes = Vec::with_capacity(raw.numel() * 4);
        let rows = shape[0];
        for row in (0..rows).filter_map(|index| raw.rows(index, index + 1)) {
            for value in self.sample(&row) {
                bytes.extend(value.to_le_bytes());
            }
        }
        Ok(Tensor::new(DType::F32, shape, bytes).unwrap_or_else(|_| raw.clone()))
    }

    /// One sample in float32.
    fn sample(&self, raw: &Tensor) -> Vec<f32> {
        let mut values = floats(raw);
        if raw.dtype() == DType::U8 {
            values.iter_mut().for_each(|value| *value /= 255.0);
        }
        let plane = values.len().checked_div(self.channels.len()).unwrap_or(0).max(1);
        for (values, (mean, std)) in values.chunks_exact_mut(plane).zip(&self.channels) {
            values.iter_mut().for_each(|value| *value = (*value - mean) / std);
        }
        values
    }
}

/// The same bytes under another shape.
fn relabel(raw: &Tensor, shape: Vec<usize>) -> Tensor {
    raw.reshaped(shape).unwrap_or_else(|_| raw.clone())
}

/// One (mean, std) for each channel, rounded to float32.
fn channels(shape: &[usize], normalize: &Normalize) -> Result<Vec<(f32, f32)>, DatasetError> {
    let count = shape.first().copied().unwrap_or(1).max(1);
    let (means, stds) = (normalize.mean.len(), normalize.std.len());
    if ![1, count].contains(&means) || ![1, count].contains(&stds) {
        return Err(DatasetError::Channels {
            means,
            stds,
            channels: count,
        });
    }
    if let Some(&zero) = normalize.std.iter().find(|&&std| std as f32 == 0.0) {
        return Err(DatasetError::Deviation(zero));
    }
    let (mean, std) = (normalize.mean.iter().cycle(), normalize.std.iter().cycle());
    // Single numbers need no entry a channel.
    let count = means.max(stds);
    Ok(mean
        .zip(std)
        .take(count)
        .map(|(&mean, &std)| (mean as f32, std as f32))
        .collect())
}

/// Every element as float32, rounded once (never through another type).
fn floats(raw: &Tensor) -> Vec<f32> {
    let data = &raw.data()[..];
    match raw.dtype() {
        DType::I64 => each(data, |bytes| i64::from_le_bytes(bytes) as f32),
        DType::U64 => each(data, |bytes| u64::from_le_bytes(bytes) as f32),
        DType::U8 | DType::Bool => data.iter().map(|&byte| f32::from(byte)).collect(),
        // All others are exact in float64, or are float64.
        _ => raw.to_f32(),
    }
}

fn each<const N: usize, T>(data: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|&bytes| convert(bytes)).collect()
}

/// Converts targets: integers and booleans to int64, floats to float32. `origin` names the place of a row.
pub(super) fn targets(raw: &Tensor, origin: impl Fn(usize) -> String) -> Result<Tensor, DatasetError> {
    if raw.dtype().is_float() {
        return Ok(if raw.dtype() == DType::F32 {
            raw.clone()
        } else {
            Tensor::from_f32(raw.shape(), &raw.to_f32())
        });
    }
    if raw.dtype() == DType::U64 {
        let values: Vec<u64> = each(raw.data(), u64::from_le_bytes);
        if let Some(index) = values.iter().position(|&value| i64::try_from(value).is_err()) {
            let rows = raw.shape().first().copied().unwrap_or(1).max(1);
            let row = index / (values.len() / rows).max(1);
            return Err(DatasetError::TargetRange {
                origin: origin(row),
                value: values[index],
            });
        }
        let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
        return Ok(Tensor::from_i64(raw.shape(), &values));
    }
    Ok(if raw.dtype() == DType::I64 {
        raw.clone()
    } else {
        Tensor::from_i64(raw.shape(), &raw.to_i64())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion(shape: &[usize], dtype: DType, normalize: Option<&Normalize>) -> Result<Conversion, DatasetError> {
        let input = Input {
            dtype,
            ..Input::only(shape)
        };
        conversions(&[input], normalize).map(|mut found| found.remove(0))
    }

    fn applied(conversion: &Conversion, raw: &Tensor) -> Tensor {
        conversion.apply(raw, |row| format!("row {row}")).unwrap()
    }

    fn tensor(dtype: DType, bytes: &[u8]) -> Tensor {
        Tensor::new(dtype, [bytes.len() / dtype.size()], bytes.to_vec()).unwrap()
    }

    #[test]
    fn every_type_becomes_float32_once() {
        for (raw, expected) in [
            (tensor(DType::U8, &[0, 51, 255]), vec![0.0, 0.2, 1.0]),
            (tensor(DType::I8, &[0x80, 127]), vec![-128.0, 127.0]),
            (tensor(DType::I16, &(-300i16).to_le_bytes()), vec![-300.0]),
            (tensor(DType::I32, &16_777_217i32.to_le_bytes()), vec![16_777_216.0]),
            // Through float64 this would round twice, to 2^60.
            (
                tensor(DType::I64, &((1i64 << 60) + (1 << 36) + 1).to_le_bytes()),
                vec![((1u64 << 60) + (1 << 37)) as f32],
            ),
            (tensor(DType::F16, &half::f16::from_f32(1.5).to_le_bytes()), vec![1.5]),
            (tensor(DType::F64, &0.1f64.to_le_bytes()), vec![0.1]),
            (tensor(DType::Bool, &[0, 1]), vec![0.0, 1.0]),
        ] {
            let images = conversion(&[], DType::F32, None).unwrap();
            assert_eq!(applied(&images, &raw).to_f32(), expected, "{raw:?}");
        }
    }

    #[test]
    fn channels_are_normalized() {
        let raw = Tensor::new(DType::U8, [2, 2, 1, 2], vec![0, 51, 102, 255, 0, 51, 102, 255]).unwrap();
        let normalize = Normalize {
            mean: vec![0.5, 0.1],
            std: vec![0.25],
        };
        let images = conversion(&[2, 1, 2], DType::F32, Some(&normalize)).unwrap();
        let sample: Vec<f32> = [(0.0f32, 0.5f32), (0.2, 0.5), (0.4, 0.1), (1.0, 0.1)]
            .map(|(value, mean)| (value - mean) / 0.25)
            .to_vec();
        assert_eq!(applied(&images, &raw).to_f32(), [sample.clone(), sample].concat());
    }

    #[test]
    fn axes_of_one_come_and_go() {
        let images = conversion(&[1, 28, 28], DType::F32, None).unwrap();
        for (shape, fits) in [
            (vec![28, 28], true),
            (vec![28, 28, 1], true),
            (vec![1, 28, 28], true),
            (vec![784], false),
            (vec![28, 27], false),
        ] {
            assert_eq!(images.accepts(DType::U8, &shape, "x").is_ok(), fits, "{shape:?}");
        }
        let tokens = conversion(&[16], DType::I64, None).unwrap();
        assert!(tokens.accepts(DType::I16, &[16], "x").is_ok());
        assert!(tokens.accepts(DType::F32, &[16], "x").is_err());
        assert_eq!(
            applied(&tokens, &Tensor::new(DType::U8, [1, 16], vec![200; 16]).unwrap()).to_i64(),
            [200; 16]
        );
    }

    #[test]
    fn integers_are_taken_as_they_are() {
        let raw = Tensor::from_i64([2, 2], &[0, 2, 3, 255]);
        for (dtype, expected) in [
            (DType::I64, [0, 2, 3, 255]),
            (DType::I32, [0, 2, 3, 255]),
            (DType::Bool, [0, 1, 1, 1]),
        ] {
            let images = conversion(&[2], dtype, None).unwrap();
            assert!(images.accepts(DType::I64, &[2], "x").is_ok());
            let found = applied(&images, &raw);
            assert_eq!((found.dtype(), found.to_i64()), (dtype, expected.to_vec()));
        }
        let bytes = conversion(&[2], DType::U8, None).unwrap();
        assert!(bytes.accepts(DType::I64, &[2], "x").is_err());
        assert_eq!(
            applied(&bytes, &Tensor::new(DType::U8, [1, 2], vec![7, 255]).unwrap()).to_i64(),
            [7, 255]
        );
        let small = conversion(&[2], DType::I32, None).unwrap();
        let error = small
            .apply(&Tensor::from_i64([2, 2], &[0, 1, 2, 1 << 40]), |row| {
                format!("row {row}")
            })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 1: a value does not fit the model's input, which is int32"
        );
    }

    #[test]
    fn bad_normalisations_are_refused() {
        for (mean, std, dtype) in [
            (vec![0.5, 0.5], vec![1.0], DType::F32),
            (vec![], vec![1.0], DType::F32),
            (vec![0.5], vec![0.0], DType::F32),
            (vec![0.5], vec![1.0], DType::I64),
        ] {
            assert!(conversion(&[3, 4, 4], dtype, Some(&Normalize { mean, std })).is_err());
        }
    }

    #[test]
    fn targets_keep_integers_apart_from_floats() {
        let bytes = |value: u64| value.to_le_bytes();
        let origin = |row: usize| format!("row {row}");
        assert_eq!(targets(&tensor(DType::U8, &[7]), origin).unwrap().dtype(), DType::I64);
        assert_eq!(
            targets(&tensor(DType::F64, &0.5f64.to_le_bytes()), origin)
                .unwrap()
                .dtype(),
            DType::F32
        );
        assert_eq!(targets(&tensor(DType::U64, &bytes(7)), origin).unwrap().to_i64(), [7]);
        let error = targets(&tensor(DType::U64, &[bytes(7), bytes(u64::MAX)].concat()), origin).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 1: the target 18446744073709551615 does not fit int64"
        );
    }
}
