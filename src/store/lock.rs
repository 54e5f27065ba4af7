//! Kernel locks: they die with their holder, so none is ever left behind.
//!
//! Locks only save work, keep two runs out of one output folder, and keep housekeeping away from runs; no result depends
//! on one. Where the file system cannot lock, the run goes on and says so.

use super::faults::{self, Site};
use super::{Key, Store, StoreError, files};
use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a lock that somebody holds is tried again. A blocking lock could not be stopped by a flag.
const AGAIN: Duration = Duration::from_millis(50);

/// How often a holder tells those who wait how far it is.
const TELL: Duration = Duration::from_millis(500);

/// What to do when another process holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Wait until it is free.
    Yes,
    /// Give up.
    No,
}

/// How to wait for a lock.
pub struct Patience<'a> {
    pub wait: Wait,
    /// Told now and then how long it has been waited; first, before waiting begins, that it is no time yet.
    pub waiting: &'a mut dyn FnMut(Duration),
    /// Asked now and then whether to give up.
    pub stopped: &'a dyn Fn() -> bool,
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
    told: Mutex<Option<Instant>>,
}

impl Lock {
    fn new(file: Option<File>, own: Option<PathBuf>) -> Lock {
        Lock {
            file,
            own,
            told: Mutex::default(),
        }
    }

    /// Locks a folder that is there.
    pub fn folder(path: &Path, patience: &mut Patience<'_>) -> Result<Lock, Busy> {
        let file = files::at(File::open(path), "cannot lock", path)?;
        let file = take(file, path, Way::Alone, patience)?;
        Ok(Lock::new(file, None))
    }

    /// Whether others really are kept out: not where the file system cannot lock.
    pub fn holds(&self) -> bool {
        self.file.is_some()
    }

    /// Tells those who wait for a lease how far its holder is, now and then. Nothing depends on it.
    pub fn tell(&self, what: &str, done: u64, total: u64) {
        let (Some(mut file), Some(_), Ok(mut told)) = (self.file.as_ref(), &self.own, self.told.lock()) else {
            return;
        };
        if told.is_none_or(|last| last.elapsed() >= TELL) {
            *told = Some(Instant::now());
            let text = format!("{what} {done} {total}\n");
            let _ = file.rewind().and_then(|()| file.write_all(text.as_bytes()));
            let _ = file.set_len(text.len() as u64);
        }
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
    pub fn lease(&self, key: Key, patience: &mut Patience<'_>) -> Result<Lock, Busy> {
        self.write().map_err(Busy::Store)?;
        let folder = self.root().join("leases");
        files::make_folder(&folder).map_err(|error| self.unwritable(error))?;
        let path = folder.join(key.to_string());
        loop {
            let file = files::at(open(&path), "cannot lock", &path).map_err(|error| self.unwritable(error))?;
            let Some(file) = take(file, &path, Way::Alone, patience)? else {
                return Ok(Lock::new(None, None));
            };
            if same(&file, &path) {
                return Ok(Lock::new(Some(file), Some(path)));
            }
        }
    }

    /// What is being computed under leases of this store, and how far it is: `sens: 12 of 40`.
    pub fn at_work(&self) -> Option<String> {
        let entries = std::fs::read_dir(self.root().join("leases")).ok()?;
        let mut found: Vec<String> = entries
            .flatten()
            .filter_map(|entry| {
                let text = std::fs::read_to_string(entry.path()).ok()?;
                let [what, done, total] = text.split_whitespace().collect::<Vec<_>>()[..] else {
                    return None;
                };
                Some(format!("{what}: {done} of {total}"))
            })
            .collect();
        found.sort();
        (!found.is_empty()).then(|| found.join(", "))
    }

    /// Tells housekeeping to stay away while the lock is held. A store that cannot be written has no housekeeping.
    pub fn enter(&self, patience: &mut Patience<'_>) -> Result<Lock, Busy> {
        let path = self.root().join("LOCK");
        let file = match open(&path).or_else(|_| File::open(&path)) {
            Ok(file) => take(file, &path, Way::Together, patience)?,
            Err(_) => None,
        };
        Ok(Lock::new(file, None))
    }

    /// Keeps runs out, and waits until none is at work.
    pub fn alone(&self, patience: &mut Patience<'_>) -> Result<Lock, Busy> {
        self.write().map_err(Busy::Store)?;
        let path = self.root().join("LOCK");
        let file = files::at(open(&path), "cannot lock", &path).map_err(|error| self.unwritable(error))?;
        let file = take(file, &path, Way::Alone, patience)?;
        Ok(Lock::new(file, None))
    }
}

/// Opens a lock's file; one of another user's needs only be readable.
fn open(path: &Path) -> std::io::Result<File> {
    let made = File::options().create(true).truncate(false).write(true).open(path);
    made.or_else(|error| File::open(path).map_err(|_| error))
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

#[derive(Clone, Copy)]
enum Way {
    Alone,
    Together,
}

/// Locks an open file; `None` where the file system knows no locks.
fn take(file: File, path: &Path, way: Way, patience: &mut Patience<'_>) -> Result<Option<File>, Busy> {
    let start = Instant::now();
    let mut waited = Duration::ZERO;
    loop {
        let tried = faults::at(Site::Lock)
            .map_err(TryLockError::Error)
            .and_then(|_| match way {
                Way::Alone => file.try_lock(),
                Way::Together => file.try_lock_shared(),
            });
        match tried {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if patience.wait == Wait::No => return Err(Busy::Held { path: path.into() }),
            Err(TryLockError::WouldBlock) => {
                (patience.waiting)(waited);
                if (patience.stopped)() {
                    return Err(Busy::Stopped);
                }
                std::thread::sleep(AGAIN);
                waited = start.elapsed();
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

    type Checked = Result<(), Box<dyn std::error::Error>>;

    /// Takes a lock with some patience.
    fn with<T>(wait: Wait, stopped: bool, work: impl FnOnce(&mut Patience<'_>) -> T) -> (T, u32) {
        let mut waited = 0;
        let mut waiting = |_| waited += 1;
        let result = work(&mut Patience {
            wait,
            waiting: &mut waiting,
            stopped: &|| stopped,
        });
        (result, waited)
    }

    #[test]
    fn one_holds_and_others_see_it() -> Checked {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let key = Key::of(b"x");
        let lease = |wait, stopped| with(wait, stopped, |patience| store.lease(key, patience));
        let held = lease(Wait::Yes, false).0?;
        assert!(held.holds());
        assert!(matches!(lease(Wait::No, false), (Err(Busy::Held { .. }), 0)));
        assert!(matches!(lease(Wait::Yes, true), (Err(Busy::Stopped), 1)));
        assert_eq!(store.at_work(), None);
        held.tell("sens", 3, 40);
        held.tell("sens", 4, 40);
        assert_eq!(store.at_work().as_deref(), Some("sens: 3 of 40"));
        drop(held);
        lease(Wait::No, false).0?;
        assert_eq!(std::fs::read_dir(folder.path().join("leases"))?.count(), 0);

        let locked = || with(Wait::No, false, |patience| Lock::folder(folder.path(), patience)).0;
        let held = locked()?;
        assert!(matches!(locked(), Err(Busy::Held { .. })));
        drop(held);
        locked()?;
        Ok(())
    }

    #[test]
    fn runs_share_and_housekeeping_does_not() -> Checked {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let enter = || with(Wait::No, false, |patience| store.enter(patience)).0;
        let alone = || with(Wait::No, false, |patience| store.alone(patience)).0;
        let runs = (enter()?, enter()?);
        assert!(matches!(alone(), Err(Busy::Held { .. })));
        drop(runs);
        let housekeeping = alone()?;
        assert!(matches!(enter(), Err(Busy::Held { .. })));
        drop(housekeeping);
        enter()?;
        Ok(())
    }

    #[test]
    fn without_locks_the_work_goes_on() -> Checked {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        faults::during("lock:unsupported", || {
            let lease = || with(Wait::No, false, |patience| store.lease(Key::of(b"x"), patience)).0;
            let both = (lease(), lease());
            assert!(both.0.is_ok_and(|lock| !lock.holds()) && both.1.is_ok_and(|lock| !lock.holds()));
        });
        Ok(())
    }

    #[test]
    fn waiters_take_turns() -> Checked {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let (held, _) = with(Wait::Yes, false, |patience| store.lease(Key::of(b"x"), patience));
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
