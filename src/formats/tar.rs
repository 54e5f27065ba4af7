//! Tar archives, plain or gzipped, as places of files in a sequence of bytes.
//!
//! Owns the headers: ustar, GNU's long names, pax's records. A member is found once and read by its place; a gzipped
//! archive is read on from where the last reading ended, and from its start again when that goes back. Nothing is ever
//! unpacked: links, devices and folders are passed over. Deliberately knows nothing of what the files hold.

use super::rows::{Coding, DataError, Source};
use std::io::Read;
use std::path::{Path, PathBuf};

const BLOCK: usize = 512;

/// The longest name, or set of pax records, that is read.
const LONGEST_RECORDS: u64 = 1 << 20;

/// A regular file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// First byte of its content, from the start of the (decompressed) archive.
    pub offset: u64,
    pub size: u64,
}

/// An archive, open for reading.
pub struct Tar {
    place: String,
    source: Source,
}

impl Tar {
    /// Opens a file, whose content tells whether it is gzipped.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Tar, DataError> {
        let place = path.display().to_string();
        let io = |error| DataError::io(&place, error);
        let length = std::fs::metadata(path).map_err(io)?.len();
        let mut magic = Vec::new();
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(2).read_to_end(&mut magic).map_err(io)?;
        let coding = match magic[..] {
            [0x1f, 0x8b] => Coding::Gzip,
            _ => Coding::Plain,
        };
        let source = Source::open(path, coding, 0, length, None).map_err(io)?;
        Ok(Tar { place, source })
    }

    /// The next regular file at or after `at`, which is 0 or what the last call gave, and where to go on.
    ///
    /// # Errors
    /// When the archive is damaged or cut short.
    pub fn next(&mut self, at: u64) -> Result<Option<(Member, u64)>, DataError> {
        let mut at = at;
        let mut long = Extension::default();
        loop {
            let header = self.take(at, BLOCK as u64)?;
            // Two zero blocks end an archive; some writers leave them out.
            if header.is_empty() && at > 0 || header.len() == BLOCK && header.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            if header.len() != BLOCK {
                return Err(self.malformed(at, "cut short within a header, or no tar archive"));
            }
            let (kind, name, stated) = self.header(at, &header)?;
            let content = at + BLOCK as u64;
            let size = match kind {
                b'x' | b'g' | b'L' | b'K' => stated,
                _ => long.size.unwrap_or(stated),
            };
            let padded = size.checked_next_multiple_of(BLOCK as u64);
            let Some(after) = padded.and_then(|padded| content.checked_add(padded)) else {
                return Err(self.malformed(at, "a member of more bytes than can be"));
            };
            at = after;
            match kind {
                b'x' | b'L' if size > LONGEST_RECORDS => {
                    return Err(self.malformed(content, "a name of more than a million bytes"));
                }
                b'x' => long.records(&self.whole(content, size)?),
                b'L' => long.name = Some(text(&self.whole(content, size)?)),
                b'g' | b'K' => {}
                b'0' | 0 | b'7' => {
                    // The last byte must be there: what follows might not be asked for.
                    if size > 0 && self.take(content + size - 1, 1)?.is_empty() {
                        return Err(self.malformed(content, "cut short within a member"));
                    }
                    let name = long.name.take().unwrap_or(name);
                    return Ok(Some((
                        Member {
                            name,
                            offset: content,
                            size,
                        },
                        after,
                    )));
                }
                _ => long = Extension::default(),
            }
        }
    }

    /// The content of a member.
    ///
    /// # Errors
    /// When it cannot be read whole.
    pub fn read(&mut self, member: &Member) -> Result<Vec<u8>, DataError> {
        self.whole(member.offset, member.size)
    }

    /// Kind, name and size of a header.
    fn header(&self, at: u64, header: &[u8]) -> Result<(u8, String, u64), DataError> {
        let sum: u64 = (header.iter().enumerate())
            .map(|(index, &byte)| {
                if (148..156).contains(&index) {
                    32
                } else {
                    u64::from(byte)
                }
            })
            .sum();
        if number(&header[148..156]) != Some(sum) {
            return Err(self.malformed(at, "a header whose checksum is wrong, or no tar archive"));
        }
        let Some(size) = number(&header[124..136]) else {
            return Err(self.malformed(at, "a header whose size is no number"));
        };
        let name = text(&header[..100]);
        let prefix = if header[257..].starts_with(b"ustar\0") {
            text(&header[345..500])
        } else {
            String::new()
        };
        let name = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        Ok((header[156], name, size))
    }

    fn take(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let found = self
            .source
            .read_at(offset, usize::try_from(length).unwrap_or(usize::MAX), &mut bytes);
        found.map_err(|error| DataError::io(&self.place, error))?;
        Ok(bytes)
    }

    fn whole(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, DataError> {
        let bytes = self.take(offset, length)?;
        if bytes.len() as u64 != length {
            return Err(self.malformed(offset, "cut short within a member"));
        }
        Ok(bytes)
    }

    fn malformed(&self, at: u64, problem: &str) -> DataError {
        DataError::malformed(&self.place, format!("{problem} (at byte {at})"))
    }
}

/// What headers before a member's own say of it.
#[derive(Default)]
struct Extension {
    name: Option<String>,
    size: Option<u64>,
}

impl Extension {
    /// Takes in pax records: `LENGTH KEY=VALUE\n`.
    fn records(&mut self, mut records: &[u8]) {
        while let Some(space) = records.iter().position(|&byte| byte == b' ') {
            let length = std::str::from_utf8(&records[..space])
                .ok()
                .and_then(|text| text.parse::<usize>().ok());
            let Some(record) = length.and_then(|length| records.get(space + 1..length)) else {
                return;
            };
            records = &records[space + 1 + record.len()..];
            let record = text(record);
            match record.trim_end_matches('\n').split_once('=') {
                Some(("path", value)) => self.name = Some(value.to_owned()),
                Some(("size", value)) => self.size = value.parse().ok(),
                _ => {}
            }
        }
    }
}

/// A field's text, up to its first zero byte.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// A field's number: octal digits, or big-endian bytes behind a set top bit.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((&first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |value, &byte| {
            value.checked_mul(256)?.checked_add(u64::from(byte))
        });
    }
    let digits = text(field);
    let digits = digits.trim_matches(' ');
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

/// The archives that a path means: itself, or those in a folder, in the byte order of their names.
///
/// # Errors
/// When the folder cannot be read.
pub fn shards(path: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let place = path.display().to_string();
    let io = |error| DataError::io(&place, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        if endings.iter().any(|ending| bytes.ends_with(ending.as_bytes())) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        return Err(DataError::malformed(
            &place,
            format!("holds no file that ends in {}", endings.join(" or ")),
        ));
    }
    found.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One member's blocks.
    fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = kind;
        header[257..263].copy_from_slice(b"ustar\0");
        let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum::<u64>() + 8 * 32;
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header.extend(content);
        header.resize(header.len().next_multiple_of(BLOCK), 0);
        header
    }

    fn listed(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut tar = Tar::open(file.path())?;
        let (mut at, mut found) = (0, Vec::new());
        while let Some((member, after)) = tar.next(at)? {
            found.push((member.name.clone(), tar.read(&member)?));
            at = after;
        }
        Ok(found)
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        listed(bytes).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn long_names_and_other_kinds() {
        let end = vec![0; 2 * BLOCK];
        let pax = b"23 path=a/very/long/one\n";
        assert_eq!(pax.len(), 24);
        let pax = b"24 path=a/very/long/one\n";
        let bytes = [
            member("folder/", b'5', b""),
            member("x", b'x', pax),
            member("short", b'0', b"one"),
            member("././@LongLink", b'L', b"gnu/long\0"),
            member("short", b'0', &[7; 600]),
            member("link", b'2', b""),
            member("plain", 0, b""),
            end,
        ]
        .concat();
        assert_eq!(names(&bytes), ["a/very/long/one", "gnu/long", "plain"]);
        assert_eq!(listed(&bytes).unwrap()[1].1, [7; 600]);
        // Without its end, and gzipped.
        let bare = &bytes[..bytes.len() - 2 * BLOCK];
        assert_eq!(names(bare).len(), 3);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &bytes).unwrap();
        assert_eq!(names(&gzip.finish().unwrap()).len(), 3);
    }

    #[test]
    fn damage_is_told() {
        let bytes = [member("a", b'0', &[1; 700]), vec![0; 2 * BLOCK]].concat();
        for (bytes, wanted) in [
            (bytes[..100].to_vec(), "cut short within a header"),
            (bytes[..900].to_vec(), "cut short within a member"),
            (Vec::new(), "no tar archive"),
            (vec![b'x'; 2000], "checksum is wrong"),
        ] {
            let error = listed(&bytes).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        // Whatever byte is wrong, reading ends.
        for at in 0..BLOCK {
            let mut broken = bytes.clone();
            broken[at] ^= 0x41;
            let _ = listed(&broken);
        }
    }
}
