//! Zip archives as torch and numpy write them: a bounded index, entries by name, and a writer.
//!
//! Owns the one use of the `zip` crate, which parses the directory here and writes archives; entries are cut and
//! inflated by this module, one at a time when they are asked for, so that of a large file no more is read than is
//! needed, a stored entry of an archive in memory shares its bytes, and reading needs no lock. The root folder that torch
//! puts around everything is taken off. Deliberately knows nothing of what the entries hold, keeps none of them, and
//! never writes to a file system.

use super::source::{Source, SourceError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{BufReader, Cursor, Read, Seek, Write};

/// What an archive may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub entries: usize,
    /// Bytes of all entries together, inflated.
    pub total: u64,
    /// Bytes of one deflated entry, inflated (a stored one is bounded by the file itself).
    pub inflated: u64,
    /// Inflated over deflated size, for entries of more than 1 MiB.
    pub ratio: u64,
}

impl Default for Limits {
    /// For model files: text and pickles deflate to a fifth, tensors are stored.
    fn default() -> Limits {
        Limits {
            entries: 100_000,
            total: 1 << 40,
            inflated: 128 << 20,
            ratio: 200,
        }
    }
}

/// Why an archive or an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    #[error("not a zip archive, or cut short: {0}")]
    Directory(String),
    #[error("zip archive: {what} is {found}, above the limit of {limit}")]
    Limit { what: String, found: u64, limit: u64 },
    #[error("zip archive: the name {name:?} leaves the archive")]
    Escapes { name: String },
    #[error("zip archive: two entries are named {name:?}")]
    Duplicate { name: String },
    #[error("zip archive: entry {name:?} lies outside the folder {root:?} of the first entry")]
    OutsideRoot { name: String, root: String },
    #[error("zip archive: entry {name:?} {problem}")]
    Entry { name: String, problem: String },
    #[error("zip archive: no entry {name:?}")]
    Missing { name: String },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("zip archive cannot be written: {0}")]
    Write(String),
}

/// How the bytes of an entry are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Stored,
    Deflated,
}

/// Where one entry lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The full name, root folder included.
    pub name: String,
    pub method: Method,
    /// First byte of the data in the file.
    pub start: u64,
    /// Bytes in the file.
    pub compressed: u64,
    /// Bytes after inflating.
    pub size: u64,
    pub crc: u32,
}

/// Reads the directory of an archive, in its order; folders are left out.
///
/// # Errors
/// When the directory is damaged or beyond the limits, or an entry is encrypted, in an unknown compression, outside
/// the file, on top of another, or has a name that leaves the archive.
pub fn index(reader: impl Read + Seek, limits: &Limits) -> Result<Vec<Entry>, ZipError> {
    let mut reader = reader;
    let length = (reader.seek(std::io::SeekFrom::End(0))).map_err(|error| ZipError::Directory(error.to_string()))?;
    // Archives of models start where the file starts. Left to guess, the crate takes the directory to end at the last
    // record, misses the zip64 records between (76 bytes), and fails where a header happens to lie there.
    let config = ::zip::read::Config {
        archive_offset: ::zip::read::ArchiveOffset::Known(0),
    };
    let archive = ::zip::ZipArchive::with_config(config, reader);
    let mut archive = archive.map_err(|error| ZipError::Directory(error.to_string()))?;
    limit("the number of entries", archive.len() as u64, limits.entries as u64)?;
    if archive.has_duplicate_names() {
        let name = "the same name, repeated in the directory".to_owned();
        return Err(ZipError::Duplicate { name });
    }
    let mut entries = Vec::new();
    let mut total = 0u64;
    for number in 0..archive.len() {
        let file = archive.by_index_raw(number).map_err(|error| ZipError::Entry {
            name: format!("#{number}"),
            problem: format!("cannot be read: {error}"),
        })?;
        let name = std::str::from_utf8(file.name_raw()).map_err(|_| ZipError::Entry {
            name: String::from_utf8_lossy(file.name_raw()).into_owned(),
            problem: "has a name that is not UTF-8".into(),
        })?;
        check_name(name)?;
        let refuse = |problem: String| ZipError::Entry {
            name: name.to_owned(),
            problem,
        };
        if file.encrypted() {
            return Err(refuse("is encrypted".into()));
        }
        let method = match file.compression() {
            ::zip::CompressionMethod::Stored => Method::Stored,
            ::zip::CompressionMethod::Deflated => Method::Deflated,
            other => {
                return Err(refuse(format!(
                    "is compressed by {other}; only stored and deflated are read"
                )));
            }
        };
        let (size, compressed) = (file.size(), file.compressed_size());
        let start = file.data_start().ok_or_else(|| refuse("has no data".into()))?;
        if start.checked_add(compressed).is_none_or(|end| end > length) {
            return Err(refuse(format!("ends outside the file of {length} bytes: cut short?")));
        }
        match method {
            Method::Stored if size != compressed => {
                return Err(refuse(format!("is stored, but has sizes {compressed} and {size}")));
            }
            Method::Deflated => {
                limit(&format!("the inflated size of {name:?}"), size, limits.inflated)?;
                if size > 1 << 20 {
                    limit(
                        &format!("the compression ratio of {name:?}"),
                        size / compressed.max(1),
                        limits.ratio,
                    )?;
                }
            }
            Method::Stored => {}
        }
        total = total.saturating_add(size);
        if name.ends_with('/') {
            continue;
        }
        entries.push(Entry {
            name: name.to_owned(),
            method,
            start,
            compressed,
            size,
            crc: file.crc32(),
        });
    }
    limit("the size of all entries", total, limits.total)?;
    refuse_overlap(&entries)?;
    Ok(entries)
}

fn limit(what: &str, found: u64, limit: u64) -> Result<(), ZipError> {
    if found <= limit {
        return Ok(());
    }
    let what = what.to_owned();
    Err(ZipError::Limit { what, found, limit })
}

fn check_name(name: &str) -> Result<(), ZipError> {
    let drive = name.as_bytes().get(1) == Some(&b':');
    let escapes = name.starts_with('/') || drive || name.contains(['\\', '\0']);
    if name.is_empty() || escapes || name.split('/').any(|part| part == "..") {
        return Err(ZipError::Escapes { name: name.to_owned() });
    }
    Ok(())
}

/// Entries that share bytes are how a small archive claims a large content.
fn refuse_overlap(entries: &[Entry]) -> Result<(), ZipError> {
    let mut spans: Vec<&Entry> = entries.iter().filter(|entry| entry.compressed > 0).collect();
    spans.sort_by_key(|entry| entry.start);
    for pair in spans.windows(2) {
        if pair[0].start + pair[0].compressed > pair[1].start {
            return Err(ZipError::Entry {
                name: pair[1].name.clone(),
                problem: format!("overlaps entry {:?}", pair[0].name),
            });
        }
    }
    Ok(())
}

/// Bytes that are read at once of the directory: headers are short, and lie as far apart as the entries are large.
const HEADER: usize = 512;

/// An archive without its root folder: its directory, and where its entries are to be read.
#[derive(Clone, Debug)]
pub struct Archive {
    source: Source,
    root: String,
    entries: Vec<Entry>,
    /// Name without root to index into `entries`.
    places: BTreeMap<String, usize>,
}

impl Archive {
    /// Reads the directory of an archive in memory.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn read(bytes: Bytes, limits: &Limits) -> Result<Archive, ZipError> {
        Archive::open(bytes.into(), limits)
    }

    /// Reads the directory of an archive and none of its entries.
    ///
    /// # Errors
    /// As [`index`], and when an entry lies outside the root folder or two have the same name.
    pub fn open(source: Source, limits: &Limits) -> Result<Archive, ZipError> {
        let entries = index(BufReader::with_capacity(HEADER, source.reader()), limits)?;
        let root = match entries.first().and_then(|entry| entry.name.split_once('/')) {
            Some((root, _)) => root.to_owned(),
            None => String::new(),
        };
        let mut places = BTreeMap::new();
        for (place, entry) in entries.iter().enumerate() {
            let inner = match root.is_empty() {
                true => Some(entry.name.as_str()),
                false => entry.name.strip_prefix(&root).and_then(|rest| rest.strip_prefix('/')),
            };
            let Some(inner) = inner.filter(|inner| !inner.is_empty()) else {
                let name = entry.name.clone();
                return Err(ZipError::OutsideRoot { name, root });
            };
            if places.insert(inner.to_owned(), place).is_some() {
                let name = entry.name.clone();
                return Err(ZipError::Duplicate { name });
            }
        }
        Ok(Archive {
            source,
            root,
            entries,
            places,
        })
    }

    /// Where the archive lies.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The folder around all entries; empty when there is none.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Names without the root folder, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Inflated size of an entry.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.places.get(name).map(|&place| self.entries[place].size)
    }

    /// An entry, to be read later.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn find(&self, name: &str) -> Result<Content, ZipError> {
        match self.places.get(name) {
            Some(&place) => Ok(Content {
                source: self.source.clone(),
                entry: Entry {
                    name: name.to_owned(),
                    ..self.entries[place].clone()
                },
            }),
            None => Err(ZipError::Missing { name: name.to_owned() }),
        }
    }

    /// The content of an entry, its CRC verified; a stored one shares the bytes of an archive in memory.
    ///
    /// # Errors
    /// When there is no such entry, or as [`Content::read`].
    pub fn get(&self, name: &str) -> Result<Bytes, ZipError> {
        self.find(name)?.read()
    }
}

/// An entry that is not read yet, as the directory describes it.
#[derive(Clone, Debug)]
pub struct Content {
    source: Source,
    /// Under its name without root.
    entry: Entry,
}

impl Content {
    /// Bytes after inflating.
    pub fn size(&self) -> u64 {
        self.entry.size
    }

    /// The CRC that the content must have.
    pub fn crc(&self) -> u32 {
        self.entry.crc
    }

    /// What the archive is read from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The content, its CRC verified: it is what it was when the directory was read, or an error.
    ///
    /// # Errors
    /// When it does not fit its size and CRC, or the file cannot be read or changed since it was opened.
    pub fn read(&self) -> Result<Bytes, ZipError> {
        self.unpack().map_err(|damage| match self.source.unchanged() {
            Ok(()) => damage,
            Err(change) => change.into(),
        })
    }

    fn unpack(&self) -> Result<Bytes, ZipError> {
        let entry = &self.entry;
        let refuse = |problem: String| ZipError::Entry {
            name: entry.name.clone(),
            problem,
        };
        let raw = self
            .source
            .read(entry.start, entry.compressed)
            .map_err(|error| refuse(error.to_string()))?;
        let content = match entry.method {
            Method::Stored => raw,
            Method::Deflated => {
                let mut inflated = Vec::new();
                flate2::read::DeflateDecoder::new(&raw[..])
                    .take(entry.size.saturating_add(1))
                    .read_to_end(&mut inflated)
                    .map_err(|error| refuse(format!("does not inflate: {error}")))?;
                if inflated.len() as u64 != entry.size {
                    return Err(refuse(format!(
                        "does not inflate to the {} bytes that it claims",
                        entry.size
                    )));
                }
                Bytes::from(inflated)
            }
        };
        let mut crc = flate2::Crc::new();
        crc.update(&content);
        if crc.sum() != entry.crc {
            return Err(refuse(format!(
                "is damaged: CRC {:08x}, not {:08x}",
                crc.sum(),
                entry.crc
            )));
        }
        Ok(content)
    }
}

/// Writes an archive as torch does: everything under one root folder, stored, data at multiples of 64 bytes. The same
/// entries give the same bytes, whenever written.
///
/// # Errors
/// When a name is repeated or too long.
pub fn write<D: AsRef<[u8]>>(root: &str, entries: &[(String, D)]) -> Result<Vec<u8>, ZipError> {
    let options = ::zip::write::SimpleFileOptions::default()
        .compression_method(::zip::CompressionMethod::Stored)
        .last_modified_time(::zip::DateTime::DEFAULT)
        .system(::zip::System::Unix)
        .unix_permissions(0o644)
        .with_alignment(64);
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in entries {
        let data = data.as_ref();
        let name = match root.is_empty() {
            true => name.clone(),
            false => format!("{root}/{name}"),
        };
        let options = options.large_file(data.len() as u64 >= u64::from(u32::MAX));
        writer
            .start_file(name, options)
            .map_err(|error| ZipError::Write(error.to_string()))?;
        writer
            .write_all(data)
            .map_err(|error| ZipError::Write(error.to_string()))?;
    }
    let finished = writer.finish().map_err(|error| ZipError::Write(error.to_string()))?;
    Ok(finished.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let entries = [
            ("data.pkl".to_owned(), b"pickle".to_vec()),
            ("data/0".to_owned(), vec![7u8; 100]),
            ("version".to_owned(), b"3\n".to_vec()),
        ];
        write("archive", &entries).unwrap()
    }

    #[test]
    fn written_archives_read_back() {
        let archive = Archive::read(sample().into(), &Limits::default()).unwrap();
        assert_eq!(archive.root(), "archive");
        assert_eq!(archive.names().collect::<Vec<_>>(), ["data.pkl", "data/0", "version"]);
        assert_eq!(&archive.get("data/0").unwrap()[..], [7u8; 100]);
        assert!(archive.entries.iter().all(|entry| entry.start % 64 == 0));
        assert!(matches!(archive.get("data/1"), Err(ZipError::Missing { .. })));
        assert_eq!(sample(), sample());
    }

    fn deflated(name: &str, data: &[u8]) -> Vec<u8> {
        let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .start_file(name, ::zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(data).unwrap();
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn deflated_entries_inflate() {
        let text = "def forward(self):\n".repeat(100);
        let archive = Archive::read(deflated("m/code/a.py", text.as_bytes()).into(), &Limits::default()).unwrap();
        assert_eq!(&archive.get("code/a.py").unwrap()[..], text.as_bytes());
    }

    #[test]
    fn damage_is_named() {
        let limits = Limits::default();
        let check = |bytes: Vec<u8>, limits: &Limits, wanted: &str| {
            let found = Archive::read(bytes.into(), limits).map(|archive| archive.get("data/0").map(drop));
            let message = match found {
                Ok(Ok(())) => "read".to_owned(),
                Ok(Err(error)) | Err(error) => error.to_string(),
            };
            assert!(message.contains(wanted), "{message}: {wanted}");
        };
        check(sample()[..300].to_vec(), &limits, "cut short");
        check(b"not a zip".to_vec(), &limits, "not a zip archive");
        check(vec![], &limits, "not a zip archive");
        let mut flipped = sample();
        flipped[128] ^= 1;
        check(flipped, &limits, "damaged");
        for name in ["../data/0", "/data/0", "a/../../b", "C:/x", "a\\b"] {
            check(deflated(name, b"x"), &limits, "leaves the archive");
        }
        check(deflated("a/data/0", &vec![0; 2 << 20]), &limits, "compression ratio");
        let few = Limits {
            entries: 2,
            ..limits.clone()
        };
        check(sample(), &few, "number of entries");
        let small = Limits {
            total: 20,
            ..limits.clone()
        };
        check(sample(), &small, "size of all entries");
        let outside = [("x/a".to_owned(), b"1"), ("y/b".to_owned(), b"2")];
        check(write("", &outside).unwrap(), &limits, "outside the folder");
        // The same length and the same name as another entry, in both headers.
        let longer = [("data/10".to_owned(), b"1"), ("data/11".to_owned(), b"2")];
        let mut same = write("archive", &longer).unwrap();
        let places: Vec<usize> = (0..same.len())
            .filter(|&at| same[at..].starts_with(b"data/11"))
            .collect();
        for at in places {
            same[at..at + 7].copy_from_slice(b"data/10");
        }
        check(same, &limits, "two entries");
    }
}
