//! Writing files so that a reader sees the old bytes or the new ones, and never a part.
//!
//! Owns temporary files, renames, syncing, and what may go wrong with each ([`faults`]). Deliberately knows nothing of
//! what the bytes mean.

use super::StoreError;
use super::faults::{self, Effect, Site};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The beginning of every temporary name; whatever a crash leaves under it is rubbish.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// How old the last mark of use has to be before it is renewed.
const RENEW: Duration = Duration::from_secs(3600);

/// What reading and writing may say, with its place.
pub(crate) fn at<T>(result: io::Result<T>, action: &'static str, path: &Path) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Io {
        action,
        path: path.into(),
        source,
    })
}

/// Makes a folder and its parents, and makes their names last.
pub(crate) fn make_folder(path: &Path) -> Result<(), StoreError> {
    fn make(path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = parent(path);
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(parent)?;
                return make(path);
            }
            // Another process may be as fast.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => return Err(error),
            _ => {}
        }
        sync_names(parent)
    }
    at(faults::at(Site::Make).and_then(|_| make(path)), "cannot make", path)
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().unwrap_or(path);
    if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    }
}

/// A temporary file with the mode that the user's umask gives (tempfile's own default would be 0600).
fn temporary(folder: &Path) -> Result<tempfile::NamedTempFile, StoreError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    open_to_umask(&mut builder, 0o666);
    let made = faults::at(Site::Make).and_then(|_| builder.tempfile_in(folder));
    at(made, "cannot write into", folder)
}

/// A temporary folder beside its later place.
pub(crate) fn temporary_folder(folder: &Path) -> Result<tempfile::TempDir, StoreError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    open_to_umask(&mut builder, 0o777);
    let made = faults::at(Site::Make).and_then(|_| builder.tempdir_in(folder));
    at(made, "cannot write into", folder)
}

#[cfg(unix)]
fn open_to_umask(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn open_to_umask(_: &mut tempfile::Builder<'_, '_>, _: u32) {}

fn fill(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    if faults::at(Site::Write)? == Effect::Short {
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(io::ErrorKind::StorageFull.into());
    }
    file.write_all(bytes)?;
    match faults::at(Site::Sync)? {
        Effect::Lost => faults::lose_bytes(file),
        _ => file.sync_all()?,
    }
    Ok(())
}

/// Renames a file or folder; where the new name is taken by a file, that one is replaced.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match faults::at(Site::Rename)? {
        Effect::Torn => {
            if let Ok(bytes) = fs::read(from) {
                fs::write(to, &bytes[..bytes.len() / 2])?;
            }
            faults::crash()
        }
        Effect::Lost => {
            fs::rename(from, to)?;
            faults::lose_name(to);
            Ok(())
        }
        _ => fs::rename(from, to),
    }
}

/// Replaces `path` by `bytes`, all or nothing; the folder is left for [`sync_folder`].
pub(crate) fn replace_unsynced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = temporary(parent(path))?;
    at(fill(file.as_file_mut(), bytes), "cannot write", path)?;
    let temporary = file.into_temp_path();
    at(rename(&temporary, path), "cannot write", path)?;
    // There is nothing left under the temporary name.
    let _ = temporary.keep();
    Ok(())
}

/// Replaces `path` by `bytes`, all or nothing, and makes that last.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace_unsynced(path, bytes)?;
    sync_folder(parent(path))
}

/// Writes a new file in a folder that nobody else sees yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let made = faults::at(Site::Make).and_then(|_| File::create_new(path));
    let mut file = at(made, "cannot write", path)?;
    at(fill(&mut file, bytes), "cannot write", path)
}

/// Makes renames within a folder last.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    at(sync_names(folder), "cannot sync", folder)
}

fn sync_names(folder: &Path) -> io::Result<()> {
    if faults::at(Site::Folder)? == Effect::Lost {
        return Ok(());
    }
    match File::open(folder).and_then(|file| file.sync_all()) {
        // Some network file systems cannot sync a folder; what matters there is decided by the server.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

/// The bytes of a file, or nothing when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match faults::at(Site::Read).and_then(|_| fs::read(path)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        other => at(other, "cannot read", path).map(Some),
    }
}

/// Renews a file's time, for whoever looks for what nobody needs. Where that fails (a file of somebody else's) the result only looks older than it is.
pub(crate) fn mark_used(path: &Path) {
    let now = SystemTime::now();
    let marked = File::open(path).and_then(|file| {
        let last = file.metadata()?.modified()?;
        match now.duration_since(last) {
            Ok(age) if age > RENEW => file.set_modified(now),
            _ => Ok(()),
        }
    });
    if let Err(error) = marked {
        tracing::debug!("{} is not marked as used: {error}", path.display());
    }
}

/// What tells a file or folder from another that takes its name later.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    path.exists().then_some((0, 0))
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
    match rename(path, &target) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target),
        other => at(other, "cannot set aside", path).map(|()| target),
    }
}

/// Deletes a file or a folder with all that is in it. A folder is renamed first, so that nobody ever sees half of one.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Err(error) => Err(error),
        Ok(data) if data.is_dir() => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let gone = path.with_file_name(format!("{TEMPORARY}gone-{}-{name}", std::process::id()));
            rename(path, &gone).and_then(|()| fs::remove_dir_all(gone))
        }
        Ok(_) => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => at(other, "cannot delete", path),
    }
}
