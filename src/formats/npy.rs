//! Arrays of numpy's `.npy` format, versions 1 to 3.
//!
//! Owns the header: element types, order, shape. Deliberately reads no object arrays, which are pickles, and no
//! strings, dates, complex numbers or records.

use super::rows::{Coding, DataError, Header, Rows, Source};
use crate::tensor::DType;
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";

/// numpy's own limit is 10,000.
const LONGEST_HEADER: usize = 1 << 16;

/// Opens a `.npy` file by its header.
///
/// # Errors
/// When the file cannot be read, is no array of numbers, or is shorter than its header says.
pub fn open(path: &Path) -> Result<Rows, DataError> {
    let place = path.display().to_string();
    let length = std::fs::metadata(path)
        .map_err(|error| DataError::io(&place, error))?
        .len();
    let source = Source::open(path, Coding::Plain, 0, length, None).map_err(|error| DataError::io(&place, error))?;
    from_source(place, source, length)
}

/// Reads the header at the start of a source of `length` bytes.
pub(super) fn from_source(place: String, mut source: Source, length: u64) -> Result<Rows, DataError> {
    let mut start = Vec::new();
    source
        .read_at(0, 12, &mut start)
        .map_err(|error| DataError::io(&place, error))?;
    let (offset, header_length) = prefix(&start).map_err(|problem| DataError::malformed(&place, problem))?;
    let mut text = start.split_off(offset.min(start.len()));
    let more = header_length.saturating_sub(text.len());
    source
        .read_at(12, more, &mut text)
        .map_err(|error| DataError::io(&place, error))?;
    text.truncate(header_length);
    if text.len() != header_length {
        return Err(DataError::malformed(&place, "cut short within the npy header"));
    }
    let data_offset = (offset + header_length) as u64;
    let header = dictionary(&text, data_offset).map_err(|problem| DataError::malformed(&place, problem))?;
    let needed = header.bytes().and_then(|bytes| bytes.checked_add(data_offset));
    if needed != Some(length) {
        let needed = needed.map_or("too many".to_owned(), |needed| needed.to_string());
        let problem = format!(
            "shape {:?} of {} needs {needed} bytes, not {length}",
            header.shape, header.dtype
        );
        return Err(DataError::malformed(&place, problem));
    }
    Rows::new(place, header, source)
}

/// Where the dictionary begins, and its length.
fn prefix(start: &[u8]) -> Result<(usize, usize), String> {
    if !start.starts_with(MAGIC) || start.len() < 12 {
        return Err("not a npy array: it does not begin with \\x93NUMPY".into());
    }
    let (offset, length) = match start[6] {
        1 => (10, usize::from(u16::from_le_bytes([start[8], start[9]]))),
        2 | 3 => (
            12,
            u32::from_le_bytes([start[8], start[9], start[10], start[11]]) as usize,
        ),
        other => return Err(format!("npy version {other}, but only 1 to 3 are read")),
    };
    match length <= LONGEST_HEADER {
        true => Ok((offset, length)),
        false => Err(format!(
            "the npy header claims {length} bytes, above the limit of {LONGEST_HEADER}"
        )),
    }
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn dictionary(text: &[u8], data_offset: u64) -> Result<Header, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the npy header is not text")?;
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let mut rest = inner.ok_or("the npy header is not a dictionary")?.trim();
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or("the npy header has a key that is not a string")?;
        let after = after
            .trim_start()
            .strip_prefix(':')
            .ok_or("the npy header lacks a colon")?
            .trim_start();
        rest = match key {
            "descr" => {
                let (value, after) = quoted(after).ok_or("records are not read: descr is not one element type")?;
                descr = Some(value);
                after
            }
            "fortran_order" => {
                let (value, after) = match after.strip_prefix("True") {
                    Some(after) => (true, after),
                    None => (
                        false,
                        after
                            .strip_prefix("False")
                            .ok_or("fortran_order is neither True nor False")?,
                    ),
                };
                fortran = Some(value);
                after
            }
            "shape" => {
                let open = after.strip_prefix('(').ok_or("shape is not a tuple")?;
                let (values, after) = open.split_once(')').ok_or("shape is not a tuple")?;
                shape = Some(extents(values)?);
                after
            }
            other => return Err(format!("the npy header has an unknown key {other:?}")),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    let (dtype, big_endian) = element(descr.ok_or("the npy header lacks descr")?)?;
    Ok(Header {
        dtype,
        shape: shape.ok_or("the npy header lacks shape")?,
        data_offset,
        fortran: fortran.ok_or("the npy header lacks fortran_order")?,
        big_endian,
    })
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn extents(values: &str) -> Result<Vec<usize>, String> {
    let mut shape = Vec::new();
    for value in values.split(',').map(str::trim).filter(|value| !value.is_empty()) {
        // Python 2 wrote longs as `3L`.
        let digits = value.strip_suffix('L').unwrap_or(value);
        shape.push(
            digits
                .parse()
                .map_err(|_| format!("shape has {value:?} for an extent"))?,
        );
    }
    match shape.len() <= 32 {
        true => Ok(shape),
        false => Err(format!("the array has {} axes", shape.len())),
    }
}

/// Element type and whether it is big-endian.
fn element(descr: &str) -> Result<(DType, bool), String> {
    let (order, kind) = match descr.as_bytes().first() {
        Some(b'<' | b'>' | b'=' | b'|') => descr.split_at(1),
        _ => ("=", descr),
    };
    let dtype = match kind {
        "b1" | "?" => DType::Bool,
        "u1" => DType::U8,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "O" => return Err("object arrays hold pickles and are not read; save numbers".into()),
        _ => {
            return Err(format!(
                "elements of type {descr:?} are not read; use bool, integers or floats"
            ));
        }
    };
    Ok((dtype, order == ">"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The bytes of a version 1 file.
    pub fn encode(dictionary: &str, data: &[u8]) -> Vec<u8> {
        let length = (dictionary.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, dictionary.as_bytes(), data].concat()
    }

    fn opened(bytes: &[u8]) -> Result<Rows, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        open(file.path())
    }

    #[test]
    fn orders() {
        let check = |dictionary: &str, data: &[u8], wanted: &[i64]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), encode(dictionary, data)).unwrap();
            let mut rows = open(file.path()).unwrap();
            let end = rows.rows();
            assert_eq!(rows.read_rows(0, end).unwrap().to_i64(), wanted);
            let (inner, last) = (wanted.len() / end, rows.read_rows(end - 1, end).unwrap());
            assert_eq!(last.to_i64(), wanted[wanted.len() - inner..]);
        };
        let data = [1, 2, 3, 4, 5, 6];
        check(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }",
            &data,
            &[1, 2, 3, 4, 5, 6],
        );
        check(
            "{'descr': '|u1', 'fortran_order': True, 'shape': (3, 2), }",
            &data,
            &[1, 4, 2, 5, 3, 6],
        );
        check(
            "{'descr': '|u1', 'fortran_order': True, 'shape': (1, 2, 3), }",
            &data,
            &[1, 3, 5, 2, 4, 6],
        );
        check(
            "{'descr': '>i2', 'fortran_order': False, 'shape': (3,), }",
            &data,
            &[258, 772, 1286],
        );
        check(
            "{\"shape\":(3L,),\"descr\":\"<i2\",\"fortran_order\":False}",
            &data,
            &[513, 1027, 1541],
        );
        check(
            "{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }",
            &[0, 1],
            &[0, 1],
        );
        let half = [0x00, 0x3c, 0x00, 0xc0];
        check(
            "{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }",
            &half,
            &[1, -2],
        );
    }

    #[test]
    fn refusals() {
        let check = |bytes: &[u8], wanted: &str| {
            let error = opened(bytes).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}: {wanted}");
        };
        let with = |dictionary: &str| encode(dictionary, &[0; 6]);
        check(b"", "does not begin");
        check(b"\x93NUMPY\x01", "does not begin");
        check(b"\x93NUMPY\x09\0\0\0\0\0", "version 9");
        check(b"\x93NUMPY\x02\0\xff\xff\xff\xff", "claims 4294967295 bytes");
        check(b"\x93NUMPY\x01\0\x70\0{'descr'", "cut short within");
        check(
            &with("{'descr': '|O', 'fortran_order': False, 'shape': (6,)}"),
            "pickles",
        );
        check(
            &with("{'descr': '<U3', 'fortran_order': False, 'shape': (6,)}"),
            "'<U3'".replace('\'', "\"").as_str(),
        );
        check(
            &with("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,)}"),
            "records",
        );
        check(
            &with("{'descr': '|u1', 'fortran_order': False, 'shape': (7,)}"),
            "needs",
        );
        check(
            &with("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}"),
            "for an extent",
        );
        check(
            &with("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 8)}"),
            "too many",
        );
        check(&with("{'descr': '|u1', 'fortran_order': False, 'shape': ()}"), "needs");
        check(&with("{'fortran_order': False, 'shape': (6,)}"), "lacks descr");
        check(&with("[]"), "not a dictionary");
        check(
            &with("{'descr': '|u1', 'fortran_order': False, 'shape': (6,"),
            "not a dictionary",
        );
    }
}
