//! libtorch set-up: finds libtorch or makes it, and leaves the link `.libtorch` in the checkout.
//!
//! Owns which libtorch is used and what a cargo must be told about it. Builds nothing.

mod cache;
mod check;
mod fetch;
mod link;
mod platform;
mod search;
pub mod tools;
mod wheel;

use crate::checkout::Checkout;
use crate::say;
use anyhow::Result;
use search::{Choice, Surroundings};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The libtorch that torch-sys [`TORCH_SYS_VERSION`] wants. Tests hold both against Cargo.lock and torch-sys itself.
pub const LIBTORCH_VERSION: &str = "2.13.0";
/// The torch-sys that [`LIBTORCH_VERSION`] belongs to.
#[cfg(test)]
const TORCH_SYS_VERSION: &str = "0.26.0";

/// What a cargo must be told so that torch-sys takes the libtorch that was chosen.
pub struct Libtorch {
    variable: Option<PathBuf>,
}

impl Libtorch {
    /// Sets a cargo's variables.
    pub fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(folder) = &self.variable {
            command.env("LIBTORCH", folder);
        }
        command
    }
}

/// `cargo xtask setup`.
pub fn call(checkout: &Checkout, _: &[OsString]) -> Result<ExitCode> {
    set_up(checkout)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that everything a build needs is there.
pub fn set_up(checkout: &Checkout) -> Result<Libtorch> {
    say::phase("set-up", || {
        let platform = platform::here()?;
        tools::cxx()?;
        let (choice, cache) = choose(checkout, platform)?;
        let (folder, variable) = match choice {
            Choice::Pytorch => (check::installed_torch()?, None),
            Choice::Given(folder) => {
                let folder = check::given(&folder, platform)?;
                (folder.clone(), Some(folder))
            }
            Choice::Cached => (cache, Some(checkout.link())),
            Choice::Make => {
                cache::make(&cache, platform)?;
                (cache, Some(checkout.link()))
            }
        };
        say::line(&format!("  libtorch is {}", folder.display()));
        if link::point(&checkout.link(), &folder)? {
            forget_built(checkout)?;
        }
        Ok(Libtorch { variable })
    })
}

fn choose(checkout: &Checkout, platform: &platform::Platform) -> Result<(Choice, PathBuf)> {
    let variable = |name| std::env::var_os(name);
    let root = search::cache_root(variable("XDG_CACHE_HOME"), variable("HOME"))?;
    let cache = root.join("secateur").join(format!("libtorch-{LIBTORCH_VERSION}"));
    let libtorch = variable("LIBTORCH").map(PathBuf::from);
    let choice = search::choose(&Surroundings {
        use_pytorch: variable("LIBTORCH_USE_PYTORCH").is_some(),
        libtorch: libtorch.as_deref(),
        link: &checkout.link(),
        cached: cache::complete(&cache, platform),
    });
    Ok((choice, cache))
}

/// Has torch-sys built again: to cargo a link that points elsewhere is the same link.
fn forget_built(checkout: &Checkout) -> Result<()> {
    say::line("  the link .libtorch pointed elsewhere: torch-sys will be built again");
    for profile in ["dev", "release"] {
        let mut clean = checkout.cargo();
        clean.args(["clean", "--quiet", "--package", "torch-sys", "--profile", profile]);
        crate::checkout::must(&mut clean, "cargo clean")?;
    }
    Ok(())
}

/// The folder's version, where it says one: libtorch's own file, then PyTorch's.
fn version_of(folder: &Path) -> Option<String> {
    let plain = std::fs::read_to_string(folder.join("build-version")).ok();
    let text = plain.or_else(|| {
        let python = std::fs::read_to_string(folder.join("version.py")).ok()?;
        python_constant(&python, "__version__")
    })?;
    Some(text.trim().split('+').next().unwrap_or_default().to_string())
}

/// The text that a line `name = 'text'` or `name: type = 'text'` gives.
fn python_constant(source: &str, name: &str) -> Option<String> {
    source.lines().find_map(|line| {
        let (left, right) = line.split_once('=')?;
        let left = left.split(':').next()?.trim();
        let text = right.trim().strip_prefix('\'')?.strip_suffix('\'')?;
        (left == name).then(|| text.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::{LIBTORCH_VERSION, TORCH_SYS_VERSION, python_constant};
    use std::path::{Path, PathBuf};

    fn lock() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
        std::fs::read_to_string(path).expect("the workspace has a lock file")
    }

    #[test]
    fn constants_match_the_lock_file() {
        let entry = format!("name = \"torch-sys\"\nversion = \"{TORCH_SYS_VERSION}\"\n");
        assert!(
            lock().contains(&entry),
            "torch-sys moved: set both constants and platform::PLATFORMS anew"
        );
    }

    #[test]
    fn constants_match_torch_sys() {
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
            .expect("a home");
        // A vendored torch-sys lies elsewhere; the test above still holds then.
        let Ok(indexes) = std::fs::read_dir(home.join("registry/src")) else {
            return;
        };
        for index in indexes.flatten() {
            let script = index.path().join(format!("torch-sys-{TORCH_SYS_VERSION}/build.rs"));
            if let Ok(source) = std::fs::read_to_string(script) {
                assert!(source.contains(&format!("TORCH_VERSION: &str = \"{LIBTORCH_VERSION}\"")));
            }
        }
    }

    #[test]
    fn python_constants_are_read() {
        let source =
            "__version__ = '2.13.0+cu130'\ndebug = False\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n";
        assert_eq!(python_constant(source, "__version__").as_deref(), Some("2.13.0+cu130"));
        assert_eq!(python_constant(source, "cuda").as_deref(), Some("13.0"));
        assert_eq!(python_constant(source, "hip"), None);
    }
}
