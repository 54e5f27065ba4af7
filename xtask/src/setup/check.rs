//! Whether a libtorch that the user named is one, and the right one.
//!
//! Looks only; the messages say what to do.

use super::platform::Platform;
use super::{LIBTORCH_VERSION, version_of};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The headers' sign that a folder is made for C++.
pub const HEADER: &str = "include/torch/csrc/api/include/torch/torch.h";

/// The folder of `LIBTORCH`, made absolute: torch-sys' build script runs in another folder.
pub fn given(folder: &Path, platform: &Platform) -> Result<PathBuf> {
    let absolute = folder
        .canonicalize()
        .ok()
        .with_context(|| format!("LIBTORCH={} names no folder: correct it, or unset it", folder.display()))?;
    // LIBTORCH_LIB and LIBTORCH_INCLUDE may put the two halves elsewhere; then torch-sys must judge.
    let halved = ["LIBTORCH_LIB", "LIBTORCH_INCLUDE"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if !halved {
        for file in [format!("lib/{}", platform.main_library()), HEADER.to_string()] {
            if !absolute.join(&file).is_file() {
                bail!(
                    "LIBTORCH={} is no libtorch, it has no {file}: correct it, or unset it",
                    folder.display()
                );
            }
        }
    }
    let version = version_of(&absolute);
    if version.as_deref().is_some_and(is_wrong) {
        bail!(
            "LIBTORCH={} is libtorch {}, but torch-sys wants {LIBTORCH_VERSION}: name that version, or unset LIBTORCH",
            folder.display(),
            version.unwrap_or_default()
        );
    }
    Ok(absolute)
}

/// The folder of the installed Python package torch, for `LIBTORCH_USE_PYTORCH`.
pub fn installed_torch() -> Result<PathBuf> {
    // The same interpreter that torch-sys asks.
    let python = if std::env::var_os("VIRTUAL_ENV").is_some() {
        "python"
    } else {
        "python3"
    };
    let program = "import os, torch; print(torch.__version__); print(os.path.dirname(torch.__file__))";
    let output = Command::new(python).args(["-c", program]).output().with_context(|| {
        format!("LIBTORCH_USE_PYTORCH is set, but {python} does not start: install Python, or unset it")
    })?;
    if !output.status.success() {
        bail!(
            "LIBTORCH_USE_PYTORCH is set, but {python} cannot import torch: install torch {LIBTORCH_VERSION}, or unset it"
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let (Some(version), Some(folder)) = (lines.next(), lines.next()) else {
        bail!("LIBTORCH_USE_PYTORCH is set, but {python} does not say where torch lies");
    };
    if is_wrong(version.split('+').next().unwrap_or_default()) {
        bail!(
            "LIBTORCH_USE_PYTORCH is set, but {python} has torch {version} and torch-sys wants {LIBTORCH_VERSION}: \
             install that version, or unset it"
        );
    }
    Ok(PathBuf::from(folder))
}

fn is_wrong(version: &str) -> bool {
    version != LIBTORCH_VERSION && std::env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_none()
}

#[cfg(test)]
mod tests {
    use super::{HEADER, given};
    use crate::setup::platform::here;
    use std::fs;

    #[test]
    fn a_given_folder_must_be_the_right_libtorch() {
        let platform = here().expect("tests run on a supported platform");
        let room = tempfile::tempdir().expect("a folder");
        let refuse = |word: &str| {
            let error = given(room.path(), platform).expect_err("refused").to_string();
            assert!(error.contains(word) && error.contains("LIBTORCH="), "{error}");
        };
        refuse(platform.main_library());
        for file in [format!("lib/{}", platform.main_library()), HEADER.to_string()] {
            let path = room.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, "").expect("a file");
        }
        fs::write(room.path().join("build-version"), "2.4.1+cpu\n").expect("a version");
        refuse("2.4.1");
        fs::write(room.path().join("build-version"), "2.13.0+cpu\n").expect("a version");
        given(room.path(), platform).expect("the right one");
        assert!(given(&room.path().join("absent"), platform).is_err());
    }
}
