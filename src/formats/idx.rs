//! Arrays of the idx format (MNIST and its kin), plain or gzipped.
//!
//! Owns the header. Whether a file is gzipped is read from its content, not from its name. Deliberately holds no whole
//! file: a gzipped one is read as a stream.

use super::rows::{Coding, DataError, Header, Rows, Source};
use crate::tensor::DType;
use std::io::Read;
use std::path::Path;

/// Opens an idx file by its header.
///
/// # Errors
/// When the file cannot be read, is no idx file, or (plain) is not as long as its header says.
pub fn open(path: &Path) -> Result<Rows, DataError> {
    let place = path.display().to_string();
    let io = |error| DataError::io(&place, error);
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    file.take(2).read_to_end(&mut start).map_err(io)?;
    let coding = match start[..] {
        [0x1f, 0x8b] => Coding::Gzip,
        _ => Coding::Plain,
    };
    let mut source = Source::open(path, coding, 0, length, None).map_err(io)?;
    let mut magic = Vec::new();
    source.read_at(0, 4, &mut magic).map_err(io)?;
    let &[0, 0, kind, axes] = &magic[..] else {
        return Err(DataError::malformed(
            &place,
            "not an idx file: it does not begin with two zero bytes",
        ));
    };
    let dtype = match kind {
        0x08 => DType::U8,
        0x09 => DType::I8,
        0x0b => DType::I16,
        0x0c => DType::I32,
        0x0d => DType::F32,
        0x0e => DType::F64,
        _ => {
            return Err(DataError::malformed(
                &place,
                format!("element type 0x{kind:02x} is none of the idx format"),
            ));
        }
    };
    let mut extents = Vec::new();
    source.read_at(4, 4 * usize::from(axes), &mut extents).map_err(io)?;
    let (extents, _) = extents.as_chunks::<4>();
    if extents.len() != usize::from(axes) {
        return Err(DataError::malformed(
            &place,
            format!("cut short within the extents of {axes} axes"),
        ));
    }
    let header = Header {
        dtype,
        shape: extents
            .iter()
            .map(|&extent| u32::from_be_bytes(extent) as usize)
            .collect(),
        data_offset: 4 + 4 * u64::from(axes),
        fortran: false,
        big_endian: true,
    };
    // Behind gzip the length shows only when the data is read; the product must still fit.
    let needed = header
        .bytes()
        .and_then(|bytes| bytes.checked_add(header.data_offset))
        .filter(|&all| all < 1 << 62);
    let shape = &header.shape;
    match needed {
        None => return Err(DataError::malformed(&place, format!("shape {shape:?} overflows"))),
        Some(needed) if coding == Coding::Plain && needed != length => {
            let problem = format!("shape {shape:?} of {dtype} needs {needed} bytes, not {length}");
            return Err(DataError::malformed(&place, problem));
        }
        Some(_) => {}
    }
    Rows::new(place, header, source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn saved(bytes: &[u8], gzip: bool) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut out = bytes.to_vec();
        if gzip {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            out = encoder.finish().unwrap();
        }
        std::fs::write(file.path(), out).unwrap();
        file
    }

    #[test]
    fn plain_and_gzipped() {
        let bytes = [0, 0, 0x0b, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 1, 0, 2, 0, 3, 0xff, 0xff];
        for gzip in [false, true] {
            let file = saved(&bytes, gzip);
            let mut rows = open(file.path()).unwrap();
            assert_eq!((rows.dtype(), rows.shape()), (DType::I16, &[2, 2][..]));
            assert_eq!(rows.read_rows(1, 2).unwrap().to_i64(), [3, -1]);
            assert_eq!(rows.read_rows(0, 2).unwrap().to_i64(), [1, 2, 3, -1]);
        }
    }

    #[test]
    fn refusals() {
        let check = |bytes: &[u8], gzip: bool, wanted: &str| {
            let file = saved(bytes, gzip);
            let error = open(file.path()).and_then(|mut rows| {
                let end = rows.rows();
                rows.read_rows(0, end)
            });
            let error = error.expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}: {wanted}");
        };
        let huge = [0, 0, 8, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0];
        check(b"", false, "not an idx");
        check(b"", true, "not an idx");
        check(b"PK\x03\x04", false, "not an idx");
        check(&[0, 0, 7, 1, 0, 0, 0, 1, 5], false, "0x07");
        check(&[0, 0, 8, 2, 0, 0, 0, 1], false, "cut short");
        check(&[0, 0, 8, 0, 1], false, "no axis 0");
        check(&[0, 0, 8, 1, 0, 0, 0, 3, 1, 2], false, "needs 11 bytes, not 10");
        check(&[0, 0, 8, 1, 0, 0, 0, 3, 1, 2], true, "2 of 3 bytes");
        check(&huge, false, "needs 1099511627532 bytes");
        check(&huge, true, "0 of 1099511627520 bytes");
        check(&[&[0, 0, 14, 4], &[0xff; 16][..]].concat(), true, "overflows");
        let mut cut = std::fs::read(saved(&[&[0, 0, 8, 1, 0, 0, 1, 0][..], &[7; 256]].concat(), true).path()).unwrap();
        cut.truncate(cut.len() - 10);
        check(&cut, false, "row 0");
    }
}
