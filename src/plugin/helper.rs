//! What plug-ins find beside them: the Python helper, and a place for temporary files.
//!
//! Owns the private folder of a pool of plug-ins; it vanishes with the pool.

use super::error::Fault;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The module `secateur_plugin`.
pub const PYTHON: &str = include_str!("../../plugins/python/secateur_plugin.py");

/// Makes a private folder with the helpers in it.
pub(super) fn place() -> Result<TempDir, Fault> {
    let fault = |error: std::io::Error| Fault::Helper(error.to_string());
    let folder = tempfile::Builder::new()
        .prefix("secateur-plugin-")
        .tempdir()
        .map_err(fault)?;
    std::fs::write(folder.path().join("secateur_plugin.py"), PYTHON).map_err(fault)?;
    std::fs::create_dir(temporary(folder.path())).map_err(fault)?;
    Ok(folder)
}

/// Where plug-ins may write.
pub(super) fn temporary(folder: &Path) -> PathBuf {
    folder.join("tmp")
}
