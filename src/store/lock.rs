//! Kernel locks: they die with their holder, so none is ever left behind.
//!
//! Locks only save work and keep two runs out of one output folder; no result depends on one. Where the file system
//! cannot lock, the run goes on and says so.

use super::{Key, Store, StoreError, files};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to do when another process holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Wait until it is free.
    Yes,
    /// Give up.
    No,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Busy {
    #[error("another run holds {}", path.display())]
    Held { path: PathBuf },
    #[error("stopped while waiting for another run")]
    Stopped,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A held lock; dropping it frees it.
#[derive(Debug)]
pub struct Lock {
    file: Option<File>,
    /// The lock's own file, to be taken away again.
    own: Option<PathBuf>,
}

impl Lock {
    /// Locks a folder that is there.
    ///
    /// `waiting` is called once, before waiting begins; `stopped` is asked now and then while it lasts.
    pub fn folder(
        path: &Path,
        wait: Wait,
        waiting: &mut dyn FnMut(),
        stopped: &dyn Fn() -> bool,
    ) -> Result<Lock, Busy> {
        let file = files::at(File::open(path), "cannot lock", path)?;
        let file = take(file, path, wait, waiting, stopped)?;
        Ok(Lock { file, own: None })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes first, while the lock is held: who waits for this file sees that its name is gone and starts
        // again with a new one.
        if let Some(path) = self.own.take() {
            let _ = std::fs::remove_file(path);
        }
        if let Some(file) = self.file.take() {
            let _ = file.unlock();
        }
    }
}

impl Store {
    /// Takes the right to compute what is stored under a key.
    pub fn lease(
        &self,
        key: Key,
        wait: Wait,
        waiting: &mut dyn FnMut(),
        stopped: &dyn Fn() -> bool,
    ) -> Result<Lock, Busy> {
        let folder = self.root().join("leases");
        files::make_folder(&folder)?;
        let path = folder.join(key.to_string());
        let mut told = false;
        loop {
            let mut options = File::options();
            let opened = options.create(true).truncate(false).write(true).open(&path);
            let file = files::at(opened, "cannot lock", &path)?;
            let mut once = || {
                if !std::mem::replace(&mut told, true) {
                    waiting();
                }
            };
            let Some(file) = take(file, &path, wait, &mut once, stopped)? else {
                return Ok(Lock { file: None, own: None });
            };
            if same(&file, &path) {
                return Ok(Lock {
                    file: Some(file),
                    own: Some(path),
                });
            }
        }
    }
}

/// Whether the locked file still bears its name.
#[cfg(unix)]
fn same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Locks an open file; `None` where the file system knows no locks.
fn take(
    file: File,
    path: &Path,
    wait: Wait,
    waiting: &mut dyn FnMut(),
    stopped: &dyn Fn() -> bool,
) -> Result<Option<File>, Busy> {
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if wait == Wait::No => return Err(Busy::Held { path: path.into() }),
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    waiting();
                }
                if stopped() {
                    return Err(Busy::Stopped);
                }
                // A blocking lock could not be stopped by a flag.
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::Error(error)) => {
                tracing::warn!("cannot lock {} ({error}): work may be done twice", path.display());
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_and_others_see_it() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let key = Key::of(b"x");
        let never = || false;
        let held = store.lease(key, Wait::Yes, &mut || {}, &never)?;
        assert!(matches!(
            store.lease(key, Wait::No, &mut || {}, &never),
            Err(Busy::Held { .. })
        ));
        let mut waited = 0;
        let stopped = store.lease(key, Wait::Yes, &mut || waited += 1, &|| true);
        assert!(matches!(stopped, Err(Busy::Stopped)));
        assert_eq!(waited, 1);
        drop(held);
        store.lease(key, Wait::No, &mut || {}, &never)?;
        assert_eq!(std::fs::read_dir(folder.path().join("leases"))?.count(), 0);

        let held = Lock::folder(folder.path(), Wait::No, &mut || {}, &never)?;
        let second = Lock::folder(folder.path(), Wait::No, &mut || {}, &never);
        assert!(matches!(second, Err(Busy::Held { .. })));
        drop(held);
        Lock::folder(folder.path(), Wait::No, &mut || {}, &never)?;
        Ok(())
    }

    #[test]
    fn waiters_take_turns() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let held = store.lease(Key::of(b"x"), Wait::Yes, &mut || {}, &|| false);
                        assert!(held.is_ok());
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        Ok(())
    }
}
