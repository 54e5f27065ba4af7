//! Bytes at places: of an open file, read when they are asked for, or of memory.
//!
//! Owns the handle of a file that is read in parts over hours, and whether the file is still what it was when it was
//! opened. A file that another takes the place of stays readable; one that is written in place is noticed. Nothing is
//! mapped: touching a mapped file that was cut short kills the process. Deliberately knows no format and keeps nothing
//! that it read.

use bytes::Bytes;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Why bytes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the file changed while it was read: run again when it is complete")]
    Changed,
}

/// Where bytes lie; clones share the handle.
#[derive(Clone, Debug)]
pub enum Source {
    Memory(Bytes),
    File(Arc<OpenFile>),
}

/// A file, and what it was when it was opened.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    path: PathBuf,
    state: State,
}

/// What shows that a file was written.
#[derive(Debug, PartialEq, Eq)]
struct State {
    size: u64,
    modified: Option<SystemTime>,
}

impl State {
    fn of(data: &Metadata) -> State {
        State {
            size: data.len(),
            modified: data.modified().ok(),
        }
    }
}

impl OpenFile {
    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Source {
        Source::Memory(bytes)
    }
}

impl Source {
    /// Opens a file and reads nothing of it.
    pub fn open(path: &Path) -> io::Result<Source> {
        let file = File::open(path)?;
        let state = State::of(&file.metadata()?);
        let path = path.to_owned();
        Ok(Source::File(Arc::new(OpenFile { file, path, state })))
    }

    /// Bytes in all, as they were at the start.
    pub fn size(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File(open) => open.state.size,
        }
    }

    /// The file, unless the bytes are in memory.
    pub fn open_file(&self) -> Option<&OpenFile> {
        match self {
            Source::Memory(_) => None,
            Source::File(open) => Some(open),
        }
    }

    /// So many bytes from `start` on; those of memory are shared.
    ///
    /// # Errors
    /// When there are fewer, or the file cannot be read.
    pub fn read(&self, start: u64, length: u64) -> Result<Bytes, SourceError> {
        let end = start.checked_add(length).filter(|&end| end <= self.size());
        let Some(end) = end else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        };
        match self {
            // What fits into memory has places that fit.
            Source::Memory(bytes) => Ok(bytes.slice(start as usize..end as usize)),
            Source::File(open) => {
                let length = usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
                let mut bytes = vec![0; length];
                open.file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
        }
    }

    /// Reads on from a place that moves; what is asked for is read and no more.
    pub fn reader(&self) -> impl Read + Seek + '_ {
        Reader { source: self, at: 0 }
    }

    /// Holds that the file was not written since it was opened.
    ///
    /// # Errors
    /// When its size or its time of writing is another.
    pub fn unchanged(&self) -> Result<(), SourceError> {
        match self {
            Source::Memory(_) => Ok(()),
            Source::File(open) if State::of(&open.file.metadata()?) == open.state => Ok(()),
            Source::File(_) => Err(SourceError::Changed),
        }
    }
}

struct Reader<'a> {
    source: &'a Source,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.source {
            Source::Memory(bytes) => {
                let rest = usize::try_from(self.at)
                    .ok()
                    .and_then(|at| bytes.get(at..))
                    .unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                count
            }
            Source::File(open) => open.file.read_at(buffer, self.at)?,
        };
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.source.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_file_gives_what_memory_gives() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..200).collect();
        std::fs::write(&path, &content)?;
        let (file, memory) = (Source::open(&path)?, Source::from(Bytes::from(content.clone())));
        for (start, length) in [
            (0, 200),
            (7, 9),
            (200, 0),
            (0, 201),
            (201, 0),
            (u64::MAX, 2),
            (3, u64::MAX),
        ] {
            let [found, wanted] = [&file, &memory].map(|source| source.read(start, length).ok());
            assert_eq!(found, wanted, "{start} {length}");
            let wanted = content.get(start as usize..start.wrapping_add(length) as usize);
            let fits = start <= 200 && length <= 200 - start;
            assert_eq!(found.as_deref(), wanted.filter(|_| fits), "{start} {length}");
        }
        for source in [&file, &memory] {
            let mut reader = source.reader();
            let mut tail = Vec::new();
            reader.seek(SeekFrom::End(-3))?;
            reader.read_to_end(&mut tail)?;
            assert_eq!(tail, [197, 198, 199]);
            assert!(reader.seek(SeekFrom::Current(-201)).is_err());
            assert_eq!((reader.seek(SeekFrom::Start(500))?, reader.read(&mut tail)?), (500, 0));
        }
        Ok(())
    }

    #[test]
    fn a_file_that_is_replaced_stays_and_one_that_is_written_is_noticed() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        std::fs::write(&path, "first")?;
        std::fs::write(&other, "other")?;
        let source = Source::open(&path)?;
        std::fs::rename(&other, &path)?;
        assert_eq!(&source.read(0, 5)?[..], b"first");
        assert!(source.unchanged().is_ok());

        let source = Source::open(&path)?;
        let written = File::options().write(true).open(&path)?;
        written.write_all_at(b"again", 0)?;
        written.set_modified(SystemTime::now() + Duration::from_secs(5))?;
        assert!(matches!(source.unchanged(), Err(SourceError::Changed)));

        let source = Source::open(&path)?;
        written.set_len(3)?;
        assert!(source.read(0, 5).is_err() && matches!(source.unchanged(), Err(SourceError::Changed)));
        Ok(())
    }
}
