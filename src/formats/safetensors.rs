//! Files of the safetensors format: a JSON header, then the bytes of every tensor.
//!
//! Owns the header, checked by hand so that a tensor or a range of its rows can be read without the rest of the file.
//! Deliberately ignores the metadata, and reads no types that [`DType`] lacks.

use super::rows::{Coding, DataError, Header, Rows, Source};
use crate::tensor::{DType, Tensor};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::path::Path;

const LONGEST_HEADER: u64 = 16 << 20;

/// The headers of all tensors, in the order of the JSON; offsets count from the start of the file.
pub type Headers = Vec<(String, Header)>;

/// Reads the headers of a file.
///
/// # Errors
/// When the file cannot be read or its header does not fit it.
pub fn headers(path: &Path) -> Result<Headers, DataError> {
    let place = path.display().to_string();
    let io = |error| DataError::io(&place, error);
    let length = std::fs::metadata(path).map_err(io)?.len();
    let mut source = Source::open(path, Coding::Plain, 0, length, None).map_err(io)?;
    let mut start = Vec::new();
    source.read_at(0, 8, &mut start).map_err(io)?;
    let text_length = header_length(&start, length).map_err(|problem| DataError::malformed(&place, problem))?;
    let mut text = Vec::new();
    source.read_at(8, text_length, &mut text).map_err(io)?;
    parse(&text, length).map_err(|problem| DataError::malformed(&place, problem))
}

/// Opens the tensor called `name` for reading by rows.
///
/// # Errors
/// As [`headers`], and when there is no such tensor.
pub fn open(path: &Path, name: &str) -> Result<Rows, DataError> {
    let place = path.display().to_string();
    let headers = headers(path)?;
    let Some((_, header)) = headers.iter().find(|(found, _)| found == name) else {
        return Err(DataError::NoSuchName {
            place,
            what: "tensor",
            name: name.to_owned(),
            have: headers.into_iter().map(|(name, _)| name).collect(),
        });
    };
    let place = format!("{place}, tensor {name:?}");
    let source = Source::open(path, Coding::Plain, 0, u64::MAX, None).map_err(|error| DataError::io(&place, error))?;
    Rows::new(place, header.clone(), source)
}

/// Reads all tensors of a file in memory; they share its bytes.
///
/// # Errors
/// When the header does not fit the file; `place` names it.
pub fn read(bytes: &Bytes, place: &str) -> Result<Vec<(String, Tensor)>, DataError> {
    let malformed = |problem: String| DataError::malformed(place, problem);
    let length = bytes.len() as u64;
    let text_length = header_length(&bytes[..bytes.len().min(8)], length).map_err(malformed)?;
    let headers = parse(&bytes[8..8 + text_length], length).map_err(malformed)?;
    let tensor = |(name, header): (String, Header)| {
        let start = header.data_offset as usize;
        // `parse` has checked that the bytes lie in the file.
        let data = bytes.slice(start..start + header.bytes().unwrap_or(0) as usize);
        let tensor = Tensor::new(header.dtype, header.shape, data).map_err(|error| malformed(error.to_string()))?;
        Ok((name, tensor))
    };
    headers.into_iter().map(tensor).collect()
}

/// Writes tensors; the same tensors give the same bytes. The header keeps their order; the data lies with the widest
/// elements first, so that all are aligned.
pub fn write(tensors: &[(String, Tensor)]) -> Vec<u8> {
    let (mut out, order) = head(tensors);
    for place in order {
        out.extend_from_slice(tensors[place].1.data());
    }
    out
}

/// What stands before the data, and the order in which the tensors' data follow it.
pub fn head(tensors: &[(String, Tensor)]) -> (Vec<u8>, Vec<usize>) {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(tensors[place].1.dtype().size()));
    let mut starts = vec![0; tensors.len()];
    let mut end = 0;
    for &place in &order {
        starts[place] = end;
        end += tensors[place].1.data().len();
    }
    let mut header = Map::new();
    for ((name, tensor), start) in tensors.iter().zip(starts) {
        let offsets = [start, start + tensor.data().len()];
        let entry = json!({"dtype": code(tensor.dtype()), "shape": tensor.shape(), "data_offsets": offsets});
        header.insert(name.clone(), entry);
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text);
    (out, order)
}

fn header_length(start: &[u8], file: u64) -> Result<usize, String> {
    let length = start.first_chunk::<8>().map(|&bytes| u64::from_le_bytes(bytes));
    let length = length.ok_or("not a safetensors file: it is shorter than 8 bytes")?;
    if length > LONGEST_HEADER || length > file - 8 {
        return Err(format!(
            "not a safetensors file, or cut short: the header claims {length} bytes"
        ));
    }
    Ok(length as usize)
}

fn parse(text: &[u8], file: u64) -> Result<Headers, String> {
    let header: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| format!("the safetensors header is not JSON: {error}"))?;
    let begin = 8 + text.len() as u64;
    let mut headers = Vec::new();
    let mut spans = Vec::new();
    for (name, entry) in header {
        if name == "__metadata__" {
            continue;
        }
        let refuse = |problem: String| format!("tensor {name:?}: {problem}");
        let code = entry.get("dtype").and_then(Value::as_str).unwrap_or_default();
        let dtype = decode(code).ok_or_else(|| refuse(format!("elements of type {code:?} are not read")))?;
        let counts =
            |key: &str| -> Option<Vec<u64>> { entry.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
        let shape = counts("shape").ok_or_else(|| refuse("its shape is not a list of extents".into()))?;
        let offsets = counts("data_offsets").unwrap_or_default();
        let &[start, end] = &offsets[..] else {
            return Err(refuse("its data_offsets are not two numbers".into()));
        };
        let shape: Option<Vec<usize>> = shape.iter().map(|&extent| usize::try_from(extent).ok()).collect();
        let shape = shape.ok_or_else(|| refuse("its shape overflows".into()))?;
        let data_offset = begin.saturating_add(start);
        let header = Header {
            dtype,
            shape,
            data_offset,
            fortran: false,
            big_endian: false,
        };
        if start > end || end > file - begin || header.bytes() != Some(end - start) {
            let (shape, available) = (&header.shape, file - begin);
            let problem = format!("shape {shape:?} of {dtype} does not fit bytes {start}..{end} of {available}");
            return Err(refuse(problem));
        }
        spans.push((start, end));
        headers.push((name, header));
    }
    spans.sort_unstable();
    if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("two tensors share bytes".into());
    }
    Ok(headers)
}

/// The format's word for a type; it has none for complex128, which is read by nobody else.
pub fn code(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "BOOL",
        DType::U8 => "U8",
        DType::I8 => "I8",
        DType::I16 => "I16",
        DType::I32 => "I32",
        DType::I64 => "I64",
        DType::U16 => "U16",
        DType::U32 => "U32",
        DType::U64 => "U64",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::C64 => "C64",
        DType::C128 => "C128",
    }
}

/// The type that the format calls so.
pub fn decode(text: &str) -> Option<DType> {
    DType::ALL.into_iter().find(|&dtype| code(dtype) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<(String, Tensor)> {
        vec![
            ("b.weight".into(), Tensor::from_f32([2, 2], &[1.0, 2.0, 3.0, 4.0])),
            ("a.weight".into(), Tensor::from_i64([3], &[5, 6, 7])),
            ("a.mask".into(), Tensor::new(DType::Bool, [1], vec![1]).unwrap()),
            ("empty".into(), Tensor::from_f32([0, 4], &[])),
        ]
    }

    #[test]
    fn written_files_read_back() {
        let bytes = Bytes::from(write(&sample()));
        assert_eq!(read(&bytes, "f").unwrap(), sample());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let mut rows = open(file.path(), "b.weight").unwrap();
        assert_eq!(rows.read_rows(1, 2).unwrap().to_f64(), [3.0, 4.0]);
        assert!(
            open(file.path(), "c")
                .unwrap_err()
                .to_string()
                .contains("it holds b.weight, a.weight")
        );
        // Another implementation agrees on the file.
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("a.weight").unwrap().shape(), [3]);
        assert_eq!(theirs.tensor("a.weight").unwrap().data(), &sample()[1].1.data()[..]);
    }

    #[test]
    fn refusals() {
        let check = |header: &str, wanted: &str| {
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
            let error = read(&bytes.into(), "f").expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}: {wanted}");
        };
        check("{", "not JSON");
        check("[]", "not JSON");
        check(
            r#"{"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}"#,
            "F8_E4M3",
        );
        check(
            r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}"#,
            "does not fit",
        );
        check(
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}"#,
            "does not fit",
        );
        check(
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}"#,
            "does not fit",
        );
        check(
            r#"{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#,
            "list of extents",
        );
        check(
            r#"{"a": {"dtype": "F32", "shape": [4611686018427387904, 8], "data_offsets": [0, 4]}}"#,
            "does not fit",
        );
        check(
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}"#,
            "two numbers",
        );
        let shared = r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                         "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}"#;
        check(shared, "share bytes");
        let deep = "[".repeat(100_000);
        check(&format!("{{\"a\": {deep}"), "not JSON");
        for (bytes, wanted) in [
            (&b""[..], "shorter than 8"),
            (&[0xff; 16], "claims"),
            (&[9, 0, 0, 0, 0, 0, 0, 0], "claims"),
        ] {
            let error = read(&Bytes::copy_from_slice(bytes), "f").expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}: {wanted}");
        }
    }
}
