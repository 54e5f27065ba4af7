//! Writing files so that a reader sees the old bytes or the new ones, and never a part.
//!
//! Owns temporary files, renames and the syncing of folders. Deliberately knows nothing of what the bytes mean.

use super::StoreError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The beginning of every temporary name; whatever a crash leaves under it is rubbish.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// What reading and writing may say, with its place.
pub(crate) fn at<T>(result: io::Result<T>, action: &'static str, path: &Path) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Io {
        action,
        path: path.into(),
        source,
    })
}

/// Makes a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), StoreError> {
    at(fs::create_dir_all(path), "cannot make", path)
}

/// A temporary file with the mode that the user's umask gives (tempfile's own default would be 0600).
fn temporary(folder: &Path) -> Result<tempfile::NamedTempFile, StoreError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    open_to_umask(&mut builder, 0o666);
    at(builder.tempfile_in(folder), "cannot write into", folder)
}

/// A temporary folder beside its later place.
pub(crate) fn temporary_folder(folder: &Path) -> Result<tempfile::TempDir, StoreError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    open_to_umask(&mut builder, 0o777);
    at(builder.tempdir_in(folder), "cannot write into", folder)
}

#[cfg(unix)]
fn open_to_umask(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn open_to_umask(_: &mut tempfile::Builder<'_, '_>, _: u32) {}

/// Replaces `path` by `bytes`, all or nothing; the folder is left for [`sync_folder`].
pub(crate) fn replace_unsynced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = temporary(folder)?;
    at(file.write_all(bytes), "cannot write", path)?;
    at(file.as_file().sync_all(), "cannot write", path)?;
    at(file.persist(path).map_err(|error| error.error), "cannot write", path)?;
    Ok(())
}

/// Replaces `path` by `bytes`, all or nothing, and makes that last.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace_unsynced(path, bytes)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Writes a new file in a folder that nobody else sees yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = at(File::create_new(path), "cannot write", path)?;
    at(file.write_all(bytes), "cannot write", path)?;
    at(file.sync_all(), "cannot write", path)
}

/// Makes renames within a folder last.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    // Some network file systems cannot sync a folder; what matters there is decided by the server.
    match synced {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => at(other, "cannot sync", folder),
    }
}

/// The bytes of a file, or nothing when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        other => at(other, "cannot read", path).map(Some),
    }
}

/// Moves something damaged out of the way, into `aside`, so that a person can look at it.
pub(crate) fn set_aside(path: &Path, aside: &Path) -> Result<PathBuf, StoreError> {
    make_folder(aside)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut number = 0_u32;
    let target = loop {
        let target = aside.join(format!("{name}.{number}"));
        if !target.exists() {
            break target;
        }
        number += 1;
    };
    match fs::rename(path, &target) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target),
        other => at(other, "cannot set aside", path).map(|()| target),
    }
}
