//! The cached copy of libtorch: made beside its place, renamed into it, one set-up at a time on a machine.
//!
//! Owns the folder's layout. How a wheel arrives is `fetch`'s, what is in one is `wheel`'s.
//!
//! Beside `libtorch-<version>` lie `libtorch-<version>.lock` and, until it is done, `libtorch-<version>.partial`, whose
//! `wheels/` a later set-up goes on from.

use super::check::HEADER;
use super::fetch::{check_disk, emptied};
use super::platform::{CUDA_HELPERS, Platform};
use super::wheel::Wheel;
use super::{LIBTORCH_VERSION, fetch, python_constant, version_of};
use crate::say;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// True when the folder is a whole copy. Only a rename makes one, so a few files stand for all.
pub fn complete(folder: &Path, platform: &Platform) -> bool {
    let libraries = platform.libraries.iter().map(|name| format!("lib/{name}"));
    version_of(folder).as_deref() == Some(LIBTORCH_VERSION)
        && libraries
            .chain([HEADER.to_string()])
            .all(|file| folder.join(file).is_file())
}

/// Makes the copy, or waits for who is making it.
pub fn make(folder: &Path, platform: &Platform) -> Result<()> {
    let fetch_wheel = |room: &Path, lock: &File, requirement: &str, about_mb| {
        fetch::wheel(room, lock, platform, requirement, about_mb)
    };
    make_with(
        folder,
        platform,
        &Supplies {
            fetch_wheel: &fetch_wheel,
            loads: &loads,
        },
    )
}

/// What comes from outside, so that tests can do without a network.
struct Supplies<'a> {
    fetch_wheel: &'a dyn Fn(&Path, &File, &str, u64) -> Result<PathBuf>,
    loads: &'a dyn Fn(&Path) -> Result<()>,
}

fn make_with(folder: &Path, platform: &Platform, supplies: &Supplies) -> Result<()> {
    let parent = folder.parent().context("the cached copy has no place")?;
    fs::create_dir_all(parent).with_context(|| {
        format!(
            "cannot make the cache folder {}: set XDG_CACHE_HOME to another",
            parent.display()
        )
    })?;
    let lock = lock(&beside(folder, "lock"))?;
    if complete(folder, platform) {
        return Ok(());
    }
    let room = beside(folder, "partial");
    let unpacked = emptied(&room.join("unpacked"))?;
    let torch = format!("torch=={LIBTORCH_VERSION}");
    check_disk(&room, needed_mb(platform, fetch::is_kept(&room, &torch)))?;
    say::line(&format!(
        "  making {} from PyPI's wheels, once for all checkouts",
        folder.display()
    ));

    let wheel = (supplies.fetch_wheel)(&room, &lock, &torch, platform.download_mb)?;
    let source = unpack(&wheel, &unpacked, |name| torch_place(platform, name))?;
    if let Some(cuda) = python_constant(&source, "cuda") {
        for (package, about_mb, library) in CUDA_HELPERS {
            let wheel = (supplies.fetch_wheel)(&room, &lock, &format!("{package}=={cuda}.*"), *about_mb)?;
            unpack(&wheel, &unpacked, |name| {
                let file = name.rsplit('/').next()?;
                (name.contains("/lib/") && file.starts_with(library)).then(|| Path::new("lib").join(file))
            })?;
        }
    }
    for (name, text) in platform.linker_scripts() {
        fs::write(unpacked.join("lib").join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    (supplies.loads)(&unpacked.join("lib").join(platform.main_library()))?;
    fs::write(unpacked.join("build-version"), LIBTORCH_VERSION).context("cannot write build-version")?;
    if !complete(&unpacked, platform) {
        bail!("the wheel of {torch} lacks files that a build needs: please report this with the platform's name");
    }
    publish(&unpacked, folder, &room)
}

/// The whole copy takes its place in one step, and what it was made from is removed.
fn publish(unpacked: &Path, folder: &Path, room: &Path) -> Result<()> {
    // Were the names on disk before the bytes, a power cut would leave a copy that only looks whole.
    rustix::fs::sync();
    if folder.exists() {
        let damaged = emptied(&room.join("damaged"))?;
        fs::rename(folder, damaged).with_context(|| format!("cannot move {} away", folder.display()))?;
    }
    fs::rename(unpacked, folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::remove_dir_all(room).with_context(|| format!("cannot remove {}", room.display()))
}

/// Unpacks what `place` wants of a wheel, and returns the text of torch's `version.py` if it is among that.
fn unpack(wheel: &Path, into: &Path, place: impl Fn(&str) -> Option<PathBuf>) -> Result<String> {
    say::line(&format!(
        "  unpacking {}",
        wheel.file_name().unwrap_or_default().display()
    ));
    let result = Wheel::open(wheel).and_then(|mut wheel| wheel.unpack(into, place));
    match result {
        Ok(places) if places.is_empty() => bail!("{} has none of the files it is fetched for", wheel.display()),
        Ok(_) => Ok(fs::read_to_string(into.join("version.py")).unwrap_or_default()),
        Err(error) if is_disk_full(&error) => {
            Err(error.context("the disk became full: make room, then run this again"))
        }
        Err(error) => {
            // A wheel that is not what it says would fail again and again.
            fs::remove_file(wheel).with_context(|| format!("cannot remove {}", wheel.display()))?;
            Err(error.context("libtorch could not be unpacked; the wheel was removed, run this again to fetch it anew"))
        }
    }
}

fn is_disk_full(error: &anyhow::Error) -> bool {
    let full = |cause: &io::Error| matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    error.chain().any(|cause| cause.downcast_ref().is_some_and(full))
}

/// Where a file of torch's wheel goes, if it is kept.
fn torch_place(platform: &Platform, name: &str) -> Option<PathBuf> {
    let inner = name.strip_prefix("torch/")?;
    let library = inner
        .strip_prefix("lib/")
        .is_some_and(|file| platform.libraries.contains(&file));
    (library || inner == "version.py" || inner.starts_with("include/")).then(|| PathBuf::from(inner))
}

/// At the worst moment pip's temporary file and its copy lie side by side, or the wheel and what is unpacked of it.
fn needed_mb(platform: &Platform, kept: bool) -> u64 {
    let spare = 50;
    let fetched = if kept { 0 } else { platform.download_mb };
    spare
        + fetched
        + if kept {
            platform.unpacked_mb
        } else {
            platform.unpacked_mb.max(platform.download_mb)
        }
}

fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Holds the lock until the file is dropped, or the process ends in whatever way.
fn lock(path: &Path) -> Result<File> {
    let context = || format!("cannot lock {}", path.display());
    let file = File::create(path).with_context(context)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => say::line("  another set-up is at work on this machine: waiting for it"),
        Err(TryLockError::Error(error)) => return Err(error).with_context(context),
    }
    file.lock().with_context(context)?;
    Ok(file)
}

/// Loads the library, so that a machine that is too old says so now and not in the first run.
fn loads(library: &Path) -> Result<()> {
    let output = Command::new("python3")
        .args(["-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])"])
        .arg(library)
        .output()
        .context("cannot start python3")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or("no reason given").to_string();
        bail!("libtorch does not load on this system: {last}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Supplies, beside, complete, lock, make_with};
    use crate::setup::platform::{Platform, here};
    use crate::setup::wheel::tests::write_wheel;
    use anyhow::{Result, bail};
    use std::cell::RefCell;
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};

    /// Writes tiny wheels as pip would leave them, and fails for the one that `broken` begins with.
    fn deliver(room: &Path, requirement: &str, broken: &str) -> Result<PathBuf> {
        let platform = here().expect("tests run on a supported platform");
        let (package, version) = requirement.split_once("==").expect("pinned");
        let wheels = room.join("wheels");
        fs::create_dir_all(&wheels)?;
        let path = wheels.join(format!(
            "{}-{}.whl",
            package.replace('-', "_"),
            version.replace('*', "1")
        ));
        let libraries: Vec<String> = platform
            .libraries
            .iter()
            .map(|name| format!("torch/lib/{name}"))
            .collect();
        let mut files: Vec<(&str, &[u8])> = libraries.iter().map(|name| (name.as_str(), &b"library"[..])).collect();
        files.push(("torch/include/torch/csrc/api/include/torch/torch.h", b"header"));
        files.push((
            "torch/version.py",
            b"__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n",
        ));
        files.push(("torch/lib/libtorch_cuda.so", b"large"));
        files.push(("nvidia/cu13/lib/libcudart.so.13", b"runtime"));
        files.push(("nvidia/cu13/lib/libcupti.so.13", b"cupti"));
        let named: Vec<_> = files
            .iter()
            .filter(|(name, _)| name.starts_with(&package[..5]))
            .copied()
            .collect();
        let mut stored = named.clone();
        if !broken.is_empty() && requirement.starts_with(broken) {
            stored[0].1 = b"changed";
            if broken.starts_with("nvidia-cuda-cupti") {
                bail!("no network");
            }
        }
        write_wheel(&path, &named, &stored);
        Ok(path)
    }

    fn attempt(folder: &Path, platform: &Platform, broken: &str, loads: bool) -> (Result<()>, Vec<String>) {
        let asked = RefCell::new(Vec::new());
        let fetch_wheel = |room: &Path, _: &File, requirement: &str, _| {
            asked.borrow_mut().push(requirement.to_string());
            deliver(room, requirement, broken)
        };
        let loads = |_: &Path| if loads { Ok(()) } else { bail!("too old") };
        let result = make_with(
            folder,
            platform,
            &Supplies {
                fetch_wheel: &fetch_wheel,
                loads: &loads,
            },
        );
        (result, asked.into_inner())
    }

    #[test]
    fn an_interrupted_set_up_leaves_nothing_that_looks_complete() {
        let platform = here().expect("tests run on a supported platform");
        let room = tempfile::tempdir().expect("a folder");
        let folder = room.path().join("secateur/libtorch-2.13.0");
        for (broken, loads) in [("torch", true), ("nvidia-cuda-cupti", true), ("", false)] {
            assert!(attempt(&folder, platform, broken, loads).0.is_err(), "{broken}");
            assert!(!folder.exists() && !complete(&folder, platform), "{broken}");
        }
        let (result, asked) = attempt(&folder, platform, "", true);
        result.expect("made");
        assert_eq!(
            asked,
            [
                "torch==2.13.0",
                "nvidia-cuda-runtime==13.0.*",
                "nvidia-cuda-cupti==13.0.*"
            ]
        );
        assert!(complete(&folder, platform));
        assert!(folder.join("lib/libcudart.so.13").is_file() && !folder.join("lib/libtorch_cuda.so").exists());
        assert!(!beside(&folder, "partial").exists());
        // What is there is not made again, and what is damaged is.
        assert!(attempt(&folder, platform, "", true).1.is_empty());
        fs::remove_file(folder.join("lib").join(platform.main_library())).expect("damage");
        assert!(!complete(&folder, platform));
        attempt(&folder, platform, "", true).0.expect("made again");
        assert!(complete(&folder, platform));
    }

    #[test]
    fn a_damaged_wheel_is_removed() {
        let platform = here().expect("tests run on a supported platform");
        let room = tempfile::tempdir().expect("a folder");
        let folder = room.path().join("libtorch-2.13.0");
        let error = attempt(&folder, platform, "torch", true).0.expect_err("damaged");
        assert!(format!("{error:#}").contains("damaged"), "{error:#}");
        let wheels = beside(&folder, "partial").join("wheels");
        assert_eq!(fs::read_dir(wheels).expect("wheels").count(), 0);
    }

    #[test]
    fn one_at_a_time() {
        let room = tempfile::tempdir().expect("a folder");
        let path = room.path().join("lock");
        let held = lock(&path).expect("first");
        let second = File::open(&path).expect("a handle");
        assert!(second.try_lock().is_err());
        drop(held);
        assert!(second.try_lock().is_ok());
    }
}
