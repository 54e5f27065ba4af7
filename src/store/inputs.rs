//! Digests of input files, and the memory of them.
//!
//! A file is not read again while its device, inode, size, mtime and ctime stay. The memory is a convenience: when it
//! is damaged or cannot be written, files are read once more.

use super::sealed::{seal, unseal};
use super::{Key, Store, files};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    pub digest: Key,
    pub bytes: u64,
}

/// Why a file has no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is not a file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} changed while it was read: run again when it is complete", path.display())]
    Changed { path: PathBuf },
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl Identity {
    #[cfg(unix)]
    fn of(data: &Metadata) -> Identity {
        use std::os::unix::fs::MetadataExt;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Identity {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            mtime: nanoseconds(data.mtime(), data.mtime_nsec()),
            ctime: nanoseconds(data.ctime(), data.ctime_nsec()),
        }
    }

    #[cfg(not(unix))]
    fn of(data: &Metadata) -> Identity {
        let since = data
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mtime = since.map_or(0, |since| since.as_nanos() as i128);
        Identity {
            device: 0,
            inode: 0,
            size: data.len(),
            mtime,
            ctime: mtime,
        }
    }

    /// Whether a later write would surely show. Clocks of file systems are coarse: a file written a moment ago could
    /// be written again without a new mtime.
    fn settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let limit = now.saturating_sub(Duration::from_secs(2)).as_nanos() as i128;
        self.mtime < limit && self.ctime < limit
    }
}

/// Reads a file once and returns its digest, or an error when it changed meanwhile.
pub fn digest_file(path: &Path) -> Result<Digest, DigestError> {
    digest(path).map(|(digest, _)| digest)
}

fn digest(path: &Path) -> Result<(Digest, Identity), DigestError> {
    let io = |source| DigestError::Io {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let (digest, before) = digest_of(&file, path)?;
    let there = Identity::of(&std::fs::metadata(path).map_err(io)?);
    match before == there {
        true => Ok((digest, before)),
        false => Err(DigestError::Changed { path: path.into() }),
    }
}

/// Reads an open file from its start, wherever others read it.
fn digest_of(file: &File, path: &Path) -> Result<(Digest, Identity), DigestError> {
    let io = |source| DigestError::Io {
        path: path.into(),
        source,
    };
    let data = file.metadata().map_err(io)?;
    if !data.is_file() {
        return Err(DigestError::NotAFile { path: path.into() });
    }
    let before = Identity::of(&data);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read_at(&mut buffer, bytes) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
    let after = Identity::of(&file.metadata().map_err(io)?);
    if before != after || bytes != before.size {
        return Err(DigestError::Changed { path: path.into() });
    }
    let digest = Key::from(hasher.finalize());
    Ok((Digest { digest, bytes }, before))
}

/// The remembered digests.
#[derive(Debug, Default)]
pub(super) struct Memo {
    known: BTreeMap<Identity, Key>,
    changed: bool,
}

impl Memo {
    /// Reads the memory; none when it is damaged.
    pub(super) fn read(path: &Path) -> Option<Memo> {
        let known = match files::read(path) {
            Ok(Some(bytes)) => parse(&bytes)?,
            Ok(None) => BTreeMap::new(),
            Err(_) => return None,
        };
        Some(Memo { known, changed: false })
    }
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<Identity, Key>> {
    unseal(bytes)?
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let identity = Identity {
                device: words.next()?.parse().ok()?,
                inode: words.next()?.parse().ok()?,
                size: words.next()?.parse().ok()?,
                mtime: words.next()?.parse().ok()?,
                ctime: words.next()?.parse().ok()?,
            };
            Some((identity, Key::parse(words.next()?)?))
        })
        .collect()
}

fn print(known: &BTreeMap<Identity, Key>) -> String {
    let lines: Vec<String> = known
        .iter()
        .map(|(identity, key)| {
            let Identity {
                device,
                inode,
                size,
                mtime,
                ctime,
            } = identity;
            format!("{device} {inode} {size} {mtime} {ctime} {key}")
        })
        .collect();
    seal(&lines.join("\n"))
}

impl Store {
    /// The digest of an input file, from memory when the file is as it was.
    pub fn digest(&self, path: &Path) -> Result<Digest, DigestError> {
        let data = std::fs::metadata(path).map_err(|source| DigestError::Io {
            path: path.into(),
            source,
        })?;
        self.known_or(&data, || digest(path))
    }

    /// The digest of a file that was opened at `path`, whatever lies there now.
    pub fn digest_open(&self, file: &File, path: &Path) -> Result<Digest, DigestError> {
        let data = file.metadata().map_err(|source| DigestError::Io {
            path: path.into(),
            source,
        })?;
        self.known_or(&data, || digest_of(file, path))
    }

    fn known_or(
        &self,
        data: &Metadata,
        digest: impl FnOnce() -> Result<(Digest, Identity), DigestError>,
    ) -> Result<Digest, DigestError> {
        let identity = Identity::of(data);
        if data.is_file()
            && let Some(&digest) = self.memo().known.get(&identity)
        {
            return Ok(Digest {
                digest,
                bytes: identity.size,
            });
        }
        let (digest, identity) = digest()?;
        if identity.settled() {
            let mut memo = self.memo();
            memo.known.insert(identity, digest.digest);
            memo.changed = true;
        }
        Ok(digest)
    }

    /// Writes the remembered digests, joined with what other processes wrote meanwhile. Failing costs only time.
    pub fn remember_digests(&self) {
        let path = self.root().join("inputs.txt");
        let mut memo = self.memo();
        if self.read_only || !memo.changed {
            return;
        }
        let mut known = Memo::read(&path).unwrap_or_default().known;
        known.append(&mut memo.known);
        memo.known = known;
        match files::replace(&path, print(&memo.known).as_bytes()) {
            Ok(()) => memo.changed = false,
            Err(error) => tracing::debug!("digests of inputs are not remembered: {error}"),
        }
    }

    fn memo(&self) -> std::sync::MutexGuard<'_, Memo> {
        self.inputs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A memory, for tests of what becomes of a damaged one.
#[cfg(test)]
pub(super) fn example() -> String {
    let identity = Identity {
        device: 1,
        inode: 2,
        size: 3,
        mtime: 4,
        ctime: -5,
    };
    print(&BTreeMap::from([(identity, Key::of(b"x"))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, seconds: u64) -> std::io::Result<()> {
        File::options()
            .write(true)
            .open(path)?
            .set_modified(SystemTime::now() - Duration::from_secs(seconds))
    }

    #[test]
    fn the_memory_survives_and_may_be_damaged() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let text = example();
        assert_eq!(parse(text.as_bytes()).map(|known| print(&known)), Some(text));
        std::fs::write(store.root().join("inputs.txt"), "rubbish")?;
        let store = Store::open(folder.path())?;
        let input = folder.path().join("input");
        std::fs::write(&input, "content")?;
        let digest = store.digest(&input)?;
        assert_eq!((digest.digest, digest.bytes), (Key::of(b"content"), 7));
        Ok(())
    }

    #[test]
    fn fresh_files_are_not_remembered_and_changes_show() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let input = folder.path().join("input");
        std::fs::write(&input, "one")?;
        age(&input, 100)?;
        assert_eq!(store.digest(&input)?.digest, Key::of(b"one"));
        // The ctime is of now, so nothing was remembered, and equal size and mtime deceive nobody.
        std::fs::write(&input, "two")?;
        age(&input, 100)?;
        assert_eq!(store.digest(&input)?.digest, Key::of(b"two"));
        assert!(matches!(store.digest(folder.path()), Err(DigestError::NotAFile { .. })));
        Ok(())
    }
}
