//! Rows of arrays on disk: open by the header alone, then read `start..end` of axis 0 with bounded memory.
//!
//! Owns the sources under an array (a region of a file, a compressed stream), byte order and Fortran order. Reading on
//! from where the last call ended costs one pass over a compressed stream; reading backwards begins the stream again.
//! Deliberately caches nothing and knows no format: `npy`, `npz`, `idx` and `safetensors` parse the headers.

use crate::tensor::{DType, Tensor};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Why an array cannot be opened or read. `place` names the file, and the entry within it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{place}: {error}")]
    Io { place: String, error: io::Error },
    #[error("{place}: {problem}")]
    Malformed { place: String, problem: String },
    /// What was asked for by name is not there.
    #[error("{place}: there is no {what} {name:?}; it holds {}", some(have))]
    NoSuchName {
        place: String,
        what: &'static str,
        name: String,
        have: Vec<String>,
    },
    #[error("{place}: rows {start}..{end} are not among its {rows}")]
    OutOfRange {
        place: String,
        start: usize,
        end: usize,
        rows: usize,
    },
}

/// The first of the names.
fn some(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names[..names.len().min(20)].join(", "),
    }
}

impl DataError {
    pub(super) fn io(place: &str, error: io::Error) -> DataError {
        let place = place.to_owned();
        DataError::Io { place, error }
    }

    pub(super) fn malformed(place: &str, problem: impl Into<String>) -> DataError {
        let (place, problem) = (place.to_owned(), problem.into());
        DataError::Malformed { place, problem }
    }
}

/// What a header says about an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// First byte of the elements, from the start of the file or of the archive's entry.
    pub data_offset: u64,
    /// Axis 0 varies fastest.
    pub fortran: bool,
    pub big_endian: bool,
}

impl Header {
    /// Bytes of all elements, unless the number overflows.
    pub fn bytes(&self) -> Option<u64> {
        let item = self.dtype.size() as u64;
        self.shape
            .iter()
            .try_fold(item, |product, &extent| product.checked_mul(extent as u64))
    }
}

/// An array on disk, open for reading.
pub struct Rows {
    place: String,
    header: Header,
    source: Source,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}{:?}", self.place, self.header.dtype, self.header.shape)
    }
}

impl Rows {
    pub(super) fn new(place: String, header: Header, source: Source) -> Result<Rows, DataError> {
        if header.shape.is_empty() {
            return Err(DataError::malformed(
                &place,
                "the array has no axis 0 to take samples from",
            ));
        }
        Ok(Rows { place, header, source })
    }

    pub fn dtype(&self) -> DType {
        self.header.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.header.shape[0]
    }

    /// Whether any row is read as fast as the next one: compressed arrays are not.
    pub fn is_seekable(&self) -> bool {
        self.source.coding == Coding::Plain
    }

    /// Rows `start..end` as a contiguous tensor.
    ///
    /// # Errors
    /// When the range is not in the array, or the file is cut short, damaged or unreadable.
    pub fn read_rows(&mut self, start: usize, end: usize) -> Result<Tensor, DataError> {
        let rows = self.rows();
        if start > end || end > rows {
            let place = self.place.clone();
            return Err(DataError::OutOfRange {
                place,
                start,
                end,
                rows,
            });
        }
        let item = self.header.dtype.size();
        // No product below overflows: the header's number of bytes has been compared with the file when opening, or
        // (behind gzip) checked to fit.
        let inner: usize = self.header.shape[1..].iter().product();
        let mut shape = self.header.shape.clone();
        shape[0] = end - start;
        let count = end - start;
        let length = count * inner * item;
        let mut data = match self.header.fortran && inner != 1 {
            false => {
                let mut data = Vec::new();
                let offset = self.header.data_offset + (start * inner * item) as u64;
                self.read(offset, length, start, &mut data)?;
                data
            }
            true => self.read_fortran(start, count, inner)?,
        };
        if self.header.big_endian && item > 1 {
            data.chunks_exact_mut(item).for_each(<[u8]>::reverse);
        }
        Tensor::new(self.header.dtype, shape, data)
            .map_err(|error| DataError::malformed(&self.place, error.to_string()))
    }

    /// Appends `length` bytes at `offset`, growing as they come rather than as announced.
    fn read(&mut self, offset: u64, length: usize, row: usize, data: &mut Vec<u8>) -> Result<(), DataError> {
        let found = self.source.read_at(offset, length, data);
        match found.map_err(|error| DataError::io(&format!("{}, reading from row {row}", self.place), error))? {
            found if found == length => Ok(()),
            found => {
                let problem = format!("cut short: {found} of {length} bytes are there from row {row} on");
                Err(DataError::malformed(&self.place, problem))
            }
        }
    }

    /// Axis 0 varies fastest: each inner element is a run of rows, put in its place in C order.
    fn read_fortran(&mut self, start: usize, count: usize, inner: usize) -> Result<Vec<u8>, DataError> {
        let item = self.header.dtype.size();
        let rows = self.rows();
        let extents: Vec<usize> = self.header.shape[1..].to_vec();
        let mut out = vec![0; count * inner * item];
        let mut run = Vec::new();
        let mut index = vec![0; extents.len()];
        for column in 0..inner {
            run.clear();
            let offset = self.header.data_offset + ((column * rows + start) * item) as u64;
            self.read(offset, count * item, start, &mut run)?;
            let place = extents
                .iter()
                .zip(&index)
                .fold(0, |place, (&extent, &at)| place * extent + at);
            for (row, element) in run.chunks_exact(item).enumerate() {
                let to = (row * inner + place) * item;
                out[to..to + item].copy_from_slice(element);
            }
            for (at, &extent) in index.iter_mut().zip(&extents) {
                *at += 1;
                if *at < extent {
                    break;
                }
                *at = 0;
            }
        }
        Ok(out)
    }
}

/// How compressed bytes of a file become the bytes of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As they are.
    Plain,
    /// Raw deflate, as in zip archives.
    Deflate,
    Gzip,
}

/// A region of a file as a readable sequence of bytes.
pub(super) struct Source {
    path: PathBuf,
    coding: Coding,
    start: u64,
    length: u64,
    reader: Box<dyn Read + Send>,
    /// How far `reader` has been read.
    at: u64,
    /// For an entry of an archive: its size and CRC, checked when it has been read from end to end.
    wanted: Option<(u64, u32)>,
    crc: flate2::Crc,
    plain: Option<File>,
}

impl Source {
    /// `length` bytes from `start` on.
    pub(super) fn open(
        path: &Path,
        coding: Coding,
        start: u64,
        length: u64,
        wanted: Option<(u64, u32)>,
    ) -> io::Result<Source> {
        let reader = Box::new(io::empty());
        let mut source = Source {
            path: path.to_owned(),
            coding,
            start,
            length,
            reader,
            at: 0,
            wanted,
            crc: flate2::Crc::new(),
            plain: None,
        };
        source.rewind()?;
        Ok(source)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.at = 0;
        self.crc = flate2::Crc::new();
        let mut file = File::open(&self.path)?;
        if self.coding == Coding::Plain {
            self.plain = Some(file);
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.start))?;
        let region = BufReader::with_capacity(64 << 10, file.take(self.length));
        self.reader = match self.coding {
            Coding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(region)),
            _ => Box::new(flate2::bufread::DeflateDecoder::new(region)),
        };
        Ok(())
    }

    /// Appends up to `length` bytes at `offset`; fewer only where the sequence ends.
    pub(super) fn read_at(&mut self, offset: u64, length: usize, data: &mut Vec<u8>) -> io::Result<usize> {
        if let Some(file) = &mut self.plain {
            file.seek(SeekFrom::Start(self.start.saturating_add(offset)))?;
            let left = self.length.saturating_sub(offset);
            let before = data.len();
            let found = file.take(left.min(length as u64)).read_to_end(data)?;
            if offset == self.at {
                self.at += found as u64;
                self.crc.update(&data[before..]);
                self.verify()?;
            }
            return Ok(found);
        }
        if offset < self.at {
            self.rewind()?;
        }
        let mut sink = [0; 16 << 10];
        while self.at < offset {
            let step = (offset - self.at).min(sink.len() as u64) as usize;
            match self.reader.read(&mut sink[..step])? {
                0 => return Ok(0),
                found => {
                    self.crc.update(&sink[..found]);
                    self.at += found as u64;
                }
            }
        }
        let before = data.len();
        let found = (&mut self.reader).take(length as u64).read_to_end(data)?;
        self.crc.update(&data[before..]);
        self.at += found as u64;
        self.verify()?;
        Ok(found)
    }

    fn verify(&self) -> io::Result<()> {
        match self.wanted {
            Some((size, crc)) if self.at == size && self.crc.sum() != crc => {
                let problem = format!("damaged: CRC {:08x}, not {crc:08x}", self.crc.sum());
                Err(io::Error::new(io::ErrorKind::InvalidData, problem))
            }
            _ => Ok(()),
        }
    }
}
