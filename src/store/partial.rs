//! Sums of a pass over the data that is not over: what an interrupted run goes on from.
//!
//! One file a pass, written and read as cells are. It is replaced while the pass lasts and deleted when its values are
//! cells; a lost or damaged one costs time.

use super::{Document, Key, Store, StoreError, cells, files, is_shortage};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How often sums are worth a file: what a crash may cost.
const PACE: Duration = Duration::from_secs(5);

impl Store {
    pub(super) fn partial_path(&self, key: Key) -> PathBuf {
        self.root.join("partial").join(key.to_string())
    }

    /// How long to work before sums are written again.
    pub fn pace(&self) -> Duration {
        if super::faults::often() { Duration::ZERO } else { PACE }
    }

    /// The sums of a pass, if they are there and whole. Damaged ones are set aside.
    pub fn partial(&self, key: Key) -> Option<Value> {
        let path = self.partial_path(key);
        let fault = match files::read(&path) {
            Ok(bytes) => {
                let bytes = bytes?;
                match cells::decode(&bytes, key) {
                    Some(value) => return Some(value),
                    None => "its bytes are not what was written".into(),
                }
            }
            Err(error) if is_shortage(&error) => return None,
            Err(error) => error.to_string(),
        };
        self.set_aside(&path, fault);
        None
    }

    /// Replaces the sums of a pass.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_partial(&self, document: &Document, value: &Value) -> Result<(), StoreError> {
        self.write()?;
        let path = self.partial_path(document.key());
        let write = || {
            files::make_folder(&self.root.join("partial"))?;
            files::replace(&path, &cells::encode(document, value))
        };
        write().map_err(|error| self.unwritable(error))
    }

    /// Deletes the sums of a pass that is over.
    pub fn drop_partial(&self, key: Key) {
        let path = self.partial_path(key);
        if !self.read_only
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!("{} is left: {error}", path.display());
        }
    }
}
