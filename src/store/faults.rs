//! Faults on demand: what disks, kernels and power cuts do to the file layer, so that tests see what is left of it.
//!
//! Owns the plan of faults, the counting of calls, and the crash. Deliberately knows nothing of what is written. A build
//! for use (release, without the feature `faults`) has none of it: every call is answered with [`Effect::None`].
//!
//! `SECATEUR_FAULTS` holds a list of `SITE:FAULT[@N|%N]`: at every call of a site, at its N-th, or at each N-th.
//! `write:full%7,sync:lost,rename:crash@12` has each seventh write find the disk full, lets no sync reach the disk, and
//! ends the process without a word at the twelfth rename; `after:crash=350` ends it after so many milliseconds;
//! `folder:hold=PATH@9` waits while there is such a file; `often` has done whenever possible what is else done every few
//! seconds.

use std::fs::File;
use std::io;
use std::path::Path;

/// A kind of call that may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// Making a folder or a temporary file.
    Make,
    Write,
    /// Syncing a file.
    Sync,
    Rename,
    /// Syncing a folder.
    Folder,
    Read,
    Lock,
}

/// What the caller has to do other than what it was about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, debug_assertions, feature = "faults")),
    expect(dead_code, reason = "only plans make them")
)]
pub(crate) enum Effect {
    None,
    /// Write half of the bytes, then find the disk full.
    Short,
    /// Leave half of the file under its new name and crash: a rename that was not atomic.
    Torn,
    /// Say that it is done; a crash takes it (bytes that were not synced, a name that was not).
    Lost,
}

#[cfg(not(any(test, debug_assertions, feature = "faults")))]
mod none {
    use super::*;

    pub(crate) fn at(_: Site) -> io::Result<Effect> {
        Ok(Effect::None)
    }

    pub(crate) fn lose_bytes(_: &File) {}

    pub(crate) fn lose_name(_: &Path) {}

    pub(crate) fn crash() -> ! {
        std::process::abort()
    }

    pub(crate) fn often() -> bool {
        false
    }
}

#[cfg(not(any(test, debug_assertions, feature = "faults")))]
pub(crate) use none::{at, crash, lose_bytes, lose_name, often};
#[cfg(any(test, debug_assertions, feature = "faults"))]
pub(crate) use planned::{at, crash, lose_bytes, lose_name, often};

/// Runs something on this thread under a plan of faults of its own.
#[cfg(test)]
pub(crate) use planned::during;

#[cfg(any(test, debug_assertions, feature = "faults"))]
mod planned {
    use super::*;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::Duration;

    #[derive(Clone, Debug)]
    enum Fault {
        Error(io::ErrorKind),
        Effect(Effect),
        Crash,
        Sleep(Duration),
        Hold(PathBuf),
    }

    #[derive(Clone, Copy, Debug)]
    enum When {
        Always,
        Nth(u64),
        Each(u64),
    }

    #[derive(Debug)]
    struct Rule {
        site: Site,
        fault: Fault,
        when: When,
        calls: AtomicU64,
    }

    /// What a power cut would take.
    enum Unsynced {
        Bytes(File),
        Name(PathBuf),
    }

    /// Enough to make a mess of, and few enough not to run out of descriptors.
    const UNSYNCED: usize = 200;

    static OFTEN: AtomicBool = AtomicBool::new(false);

    static UNSYNCED_NOW: Mutex<Vec<Unsynced>> = Mutex::new(Vec::new());

    fn plan() -> &'static [Rule] {
        static PLAN: OnceLock<Vec<Rule>> = OnceLock::new();
        PLAN.get_or_init(|| {
            let text = std::env::var("SECATEUR_FAULTS").unwrap_or_default();
            parse(&text).unwrap_or_else(|| {
                tracing::error!("SECATEUR_FAULTS is not understood: {text}");
                std::process::exit(2);
            })
        })
    }

    fn parse(text: &str) -> Option<Vec<Rule>> {
        let mut rules = Vec::new();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            if word == "often" {
                OFTEN.store(true, Ordering::Relaxed);
                continue;
            }
            let (site, rest) = word.split_once(':')?;
            if site == "after" {
                let pause = Duration::from_millis(rest.strip_prefix("crash=")?.parse().ok()?);
                std::thread::spawn(move || {
                    std::thread::sleep(pause);
                    crash()
                });
                continue;
            }
            rules.push(rule(site, rest)?);
        }
        Some(rules)
    }

    fn rule(site: &str, rest: &str) -> Option<Rule> {
        let site = match site {
            "make" => Site::Make,
            "write" => Site::Write,
            "sync" => Site::Sync,
            "rename" => Site::Rename,
            "folder" => Site::Folder,
            "read" => Site::Read,
            "lock" => Site::Lock,
            _ => return None,
        };
        let (name, when) = if let Some((name, number)) = rest.rsplit_once('@') {
            (name, When::Nth(number.parse().ok()?))
        } else if let Some((name, number)) = rest.split_once('%') {
            (name, When::Each(number.parse().ok().filter(|&number| number > 0)?))
        } else {
            (rest, When::Always)
        };
        let fault = match name {
            "full" => Fault::Error(io::ErrorKind::StorageFull),
            "quota" => Fault::Error(io::ErrorKind::QuotaExceeded),
            "denied" => Fault::Error(io::ErrorKind::PermissionDenied),
            "readonly" => Fault::Error(io::ErrorKind::ReadOnlyFilesystem),
            "broken" => Fault::Error(io::ErrorKind::Other),
            "unsupported" => Fault::Error(io::ErrorKind::Unsupported),
            "short" => Fault::Effect(Effect::Short),
            "torn" => Fault::Effect(Effect::Torn),
            "lost" => Fault::Effect(Effect::Lost),
            "crash" => Fault::Crash,
            _ => match name.split_once('=')? {
                ("sleep", pause) => Fault::Sleep(Duration::from_millis(pause.parse().ok()?)),
                ("hold", path) => Fault::Hold(path.into()),
                _ => return None,
            },
        };
        Some(Rule {
            site,
            fault,
            when,
            calls: AtomicU64::new(0),
        })
    }

    #[cfg(test)]
    thread_local! {
        static OWN: std::cell::RefCell<Option<std::rc::Rc<Vec<Rule>>>> = const { std::cell::RefCell::new(None) };
    }

    /// Runs something on this thread under a plan of its own.
    #[cfg(test)]
    pub(crate) fn during<T>(text: &str, work: impl FnOnce() -> T) -> T {
        let rules = parse(text).unwrap_or_else(|| panic!("{text} is no plan of faults"));
        OWN.set(Some(std::rc::Rc::new(rules)));
        let result = work();
        OWN.set(None);
        result
    }

    /// Asks what goes wrong at this call.
    ///
    /// # Errors
    /// The planned error.
    pub(crate) fn at(site: Site) -> io::Result<Effect> {
        #[cfg(test)]
        if let Some(rules) = OWN.with_borrow(Clone::clone) {
            return strike(&rules, site);
        }
        strike(plan(), site)
    }

    fn strike(rules: &[Rule], site: Site) -> io::Result<Effect> {
        let mut effect = Effect::None;
        for rule in rules.iter().filter(|rule| rule.site == site) {
            let call = rule.calls.fetch_add(1, Ordering::Relaxed) + 1;
            let strikes = match rule.when {
                When::Always => true,
                When::Nth(number) => call == number,
                When::Each(number) => call.is_multiple_of(number),
            };
            match &rule.fault {
                _ if !strikes => {}
                Fault::Error(kind) => return Err(io::Error::from(*kind)),
                Fault::Effect(one) => effect = *one,
                Fault::Crash => crash(),
                Fault::Sleep(pause) => std::thread::sleep(*pause),
                Fault::Hold(path) => {
                    while path.exists() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            }
        }
        Ok(effect)
    }

    /// Whether what is done now and then is to be done whenever it can be.
    pub(crate) fn often() -> bool {
        plan();
        OFTEN.load(Ordering::Relaxed)
    }

    /// A file whose bytes a crash takes.
    pub(crate) fn lose_bytes(file: &File) {
        if let Ok(file) = file.try_clone() {
            lose(Unsynced::Bytes(file));
        }
    }

    /// A name that a crash takes.
    pub(crate) fn lose_name(path: &Path) {
        lose(Unsynced::Name(path.into()));
    }

    fn lose(one: Unsynced) {
        let mut unsynced = UNSYNCED_NOW.lock().unwrap_or_else(PoisonError::into_inner);
        if unsynced.len() < UNSYNCED {
            unsynced.push(one);
        }
    }

    /// Ends the process as a power cut would: nothing is flushed or cleaned up, and what was not synced is gone in part.
    pub(crate) fn crash() -> ! {
        let mut unsynced = UNSYNCED_NOW.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, one) in unsynced.drain(..).enumerate() {
            let _ = match one {
                // Nothing, half, or all but what it ends with.
                Unsynced::Bytes(file) => file.metadata().and_then(|data| {
                    let keep = [0, data.len() / 2, data.len().saturating_sub(1)];
                    file.set_len(keep[at % keep.len()])
                }),
                Unsynced::Name(path) if path.is_dir() => std::fs::remove_dir_all(path),
                Unsynced::Name(path) => std::fs::remove_file(path),
            };
        }
        std::process::abort()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn plans_strike_when_they_say() {
            let errors = |text: &str| during(text, || (0..6).map(|_| at(Site::Write).is_err()).collect::<Vec<_>>());
            assert_eq!(errors("write:full"), [true; 6]);
            assert_eq!(errors("write:quota@2"), [false, true, false, false, false, false]);
            assert_eq!(errors("write:denied%3"), [false, false, true, false, false, true]);
            assert_eq!(errors("read:broken,sync:lost"), [false; 6]);
            during("sync:lost@2", || {
                assert_eq!(at(Site::Sync).ok(), Some(Effect::None));
                assert_eq!(at(Site::Sync).ok(), Some(Effect::Lost));
            });
            for bad in [
                "write",
                "write:",
                "hammer:full",
                "write:full@x",
                "write:full%0",
                "after:full",
            ] {
                assert!(parse(bad).is_none(), "{bad}");
            }
        }
    }
}
