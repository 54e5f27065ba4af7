//! In which order libtorch is looked for, as pure functions of what surrounds xtask.
//!
//! Touches neither variables nor disk: the caller says what is there.

use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the choice depends on.
pub struct Surroundings<'a> {
    /// `LIBTORCH_USE_PYTORCH` is set, to whatever: torch-sys does not look at the value either.
    pub use_pytorch: bool,
    /// `LIBTORCH` as xtask finds it.
    pub libtorch: Option<&'a Path>,
    /// The checkout's own link, which `.cargo/config.toml` puts into `LIBTORCH` when the user has not set it.
    pub link: &'a Path,
    /// The cached copy is there and whole.
    pub cached: bool,
}

/// Which libtorch is used.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// That of the installed Python package torch.
    Pytorch,
    /// A folder that the user names.
    Given(PathBuf),
    /// The cached copy.
    Cached,
    /// The cached copy, which must be made first.
    Make,
}

/// Chooses, in the order that torch-sys looks in too.
pub fn choose(surroundings: &Surroundings) -> Choice {
    let given = surroundings
        .libtorch
        .filter(|path| !path.as_os_str().is_empty() && *path != surroundings.link);
    match given {
        _ if surroundings.use_pytorch => Choice::Pytorch,
        Some(folder) => Choice::Given(folder.to_path_buf()),
        None if surroundings.cached => Choice::Cached,
        None => Choice::Make,
    }
}

/// The user's cache folder; a relative `XDG_CACHE_HOME` is ignored, as its specification asks.
pub fn cache_root(xdg_cache_home: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let xdg = xdg_cache_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || {
        home.map(|home| PathBuf::from(home).join(".cache"))
            .filter(|path| path.is_absolute())
    };
    xdg.or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME names a folder to keep libtorch in: set one of them")
}

#[cfg(test)]
mod tests {
    use super::{Choice, Surroundings, cache_root, choose};
    use std::path::{Path, PathBuf};

    #[test]
    fn order() {
        let link = Path::new("/checkout/.libtorch");
        let given = || Choice::Given(PathBuf::from("/opt/libtorch"));
        let rows = [
            (true, Some("/opt/libtorch"), true, Choice::Pytorch),
            (true, None, false, Choice::Pytorch),
            (false, Some("/opt/libtorch"), true, given()),
            (false, Some("/opt/libtorch"), false, given()),
            // Cargo's own [env] is no wish of the user's, and an empty variable is none either.
            (false, Some("/checkout/.libtorch"), true, Choice::Cached),
            (false, Some("/checkout/.libtorch"), false, Choice::Make),
            (false, Some(""), true, Choice::Cached),
            (false, None, true, Choice::Cached),
            (false, None, false, Choice::Make),
        ];
        for (use_pytorch, libtorch, cached, expected) in rows {
            let libtorch = libtorch.map(Path::new);
            let choice = choose(&Surroundings {
                use_pytorch,
                libtorch,
                link,
                cached,
            });
            assert_eq!(choice, expected, "{use_pytorch} {libtorch:?} {cached}");
        }
    }

    #[test]
    fn cache_folder() {
        let rows = [
            (Some("/xdg"), Some("/home/a"), Some("/xdg")),
            (None, Some("/home/a"), Some("/home/a/.cache")),
            (Some(""), Some("/home/a"), Some("/home/a/.cache")),
            (Some("relative"), Some("/home/a"), Some("/home/a/.cache")),
            (None, None, None),
        ];
        for (xdg, home, expected) in rows {
            let root = cache_root(xdg.map(Into::into), home.map(Into::into)).ok();
            assert_eq!(root.as_deref(), expected.map(Path::new), "{xdg:?} {home:?}");
        }
    }
}
