//! Arrays in numpy's `.npz` archives, stored or deflated.
//!
//! Owns the mapping of names to members. A stored member is read by position, a deflated one as a stream, so no member
//! is ever held as a whole. Deliberately reads no pickled members.

use super::npy;
use super::rows::{Coding, DataError, Rows, Source};
use super::zip::{self, Entry, Method};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The names of the arrays in a file, in its order.
///
/// # Errors
/// When the file is no zip archive or cannot be read.
pub fn names(path: &Path) -> Result<Vec<String>, DataError> {
    let entries = entries(path)?;
    Ok(entries
        .into_iter()
        .map(|entry| array_name(&entry.name).to_owned())
        .collect())
}

/// Opens the array called `name` by its header.
///
/// # Errors
/// When the archive cannot be read, has no such array, or the array is none of numbers.
pub fn open(path: &Path, name: &str) -> Result<Rows, DataError> {
    let place = path.display().to_string();
    let entries = entries(path)?;
    let Some(entry) = entries.iter().find(|entry| array_name(&entry.name) == name) else {
        let have = entries.iter().map(|entry| array_name(&entry.name).to_owned());
        return Err(DataError::NoSuchName {
            place,
            what: "array",
            name: name.to_owned(),
            have: have.collect(),
        });
    };
    let place = format!("{place}, array {name:?}");
    let coding = match entry.method {
        Method::Stored => Coding::Plain,
        Method::Deflated => Coding::Deflate,
    };
    let wanted = Some((entry.size, entry.crc));
    let source = Source::open(path, coding, entry.start, entry.compressed, wanted);
    let source = source.map_err(|error| DataError::io(&place, error))?;
    npy::from_source(place, source, entry.size)
}

fn array_name(entry: &str) -> &str {
    entry.strip_suffix(".npy").unwrap_or(entry)
}

fn entries(path: &Path) -> Result<Vec<Entry>, DataError> {
    let place = path.display().to_string();
    // Members are streamed, so neither their size nor their ratio matters.
    let limits = zip::Limits {
        inflated: u64::MAX,
        ratio: u64::MAX,
        ..zip::Limits::default()
    };
    let file = File::open(path).map_err(|error| DataError::io(&place, error))?;
    zip::index(BufReader::new(file), &limits).map_err(|error| DataError::malformed(&place, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::npy::tests::encode;
    use std::io::{Cursor, Write};

    fn archive(method: ::zip::CompressionMethod) -> Vec<u8> {
        let data: Vec<u8> = (0..200u8).collect();
        let array = encode("{'descr': '|u1', 'fortran_order': False, 'shape': (100, 2), }", &data);
        let fortran = encode("{'descr': '|u1', 'fortran_order': True, 'shape': (100, 2), }", &data);
        let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = ::zip::write::SimpleFileOptions::default().compression_method(method);
        for (name, array) in [("x.npy", array), ("f.npy", fortran)] {
            writer.start_file(name, options).unwrap();
            writer.write_all(&array).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn members_in_any_order() {
        for method in [::zip::CompressionMethod::Stored, ::zip::CompressionMethod::Deflated] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), archive(method)).unwrap();
            assert_eq!(names(file.path()).unwrap(), ["x", "f"]);
            let mut rows = open(file.path(), "x").unwrap();
            for (start, end) in [(0, 10), (10, 60), (60, 100), (5, 6), (0, 100), (99, 100)] {
                let wanted: Vec<i64> = (2 * start as i64..2 * end as i64).collect();
                assert_eq!(rows.read_rows(start, end).unwrap().to_i64(), wanted);
            }
            let mut rows = open(file.path(), "f").unwrap();
            assert_eq!(rows.read_rows(10, 12).unwrap().to_i64(), [10, 110, 11, 111]);
            assert!(matches!(rows.read_rows(0, 101), Err(DataError::OutOfRange { .. })));
            assert!(
                open(file.path(), "y")
                    .unwrap_err()
                    .to_string()
                    .contains("it holds x, f")
            );
        }
    }

    #[test]
    fn damage_shows_at_the_end() {
        let stored = archive(::zip::CompressionMethod::Stored);
        let place = stored.windows(3).position(|window| window == [50, 51, 52]).unwrap();
        let mut damaged = stored.clone();
        damaged[place] ^= 1;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), damaged).unwrap();
        let mut rows = open(file.path(), "x").unwrap();
        assert!(rows.read_rows(0, 50).is_ok());
        assert!(rows.read_rows(50, 100).unwrap_err().to_string().contains("damaged"));
    }
}
