//! Cells: small results, one immutable file each.
//!
//! A cell's file is one line of JSON, `{"key": …, "value": …}`, and a line with its hash. It is believed only if the
//! hash is right and the document in it has the key under which it was found.

use super::files::{self, make_folder, replace_unsynced, sync_folder};
use super::sealed::{seal, unseal};
use super::{Document, Key, Store, StoreError, is_shortage};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A cell to be written.
#[derive(Clone, Debug)]
pub struct NewCell {
    pub document: Document,
    pub value: Value,
}

impl Store {
    pub(super) fn cell_path(&self, key: Key) -> PathBuf {
        self.root.join("cells").join(key.shard()).join(key.to_string())
    }

    /// The value of a cell, if it is there and whole. A damaged cell is set aside and misses.
    ///
    /// # Errors
    /// When this process has too little memory or too few descriptors to look.
    pub fn cell(&self, key: Key) -> Result<Option<Value>, StoreError> {
        for store in self.all() {
            if let Some(value) = store.own_cell(key)? {
                if !store.read_only {
                    files::mark_used(&store.cell_path(key));
                }
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    pub(super) fn own_cell(&self, key: Key) -> Result<Option<Value>, StoreError> {
        let path = self.cell_path(key);
        loop {
            let seen = files::identity(&path);
            let fault = match files::read(&path) {
                Ok(None) => return Ok(None),
                Ok(Some(bytes)) => match decode(&bytes, key) {
                    Some(value) => return Ok(Some(value)),
                    None => "its bytes are not what was written".into(),
                },
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => error.to_string(),
            };
            if files::identity(&path) == seen {
                self.set_aside(&path, fault);
                return Ok(None);
            }
            // Another process has put a whole one there, or taken the damaged one away.
        }
    }

    /// Writes cells together; each folder is synced once, after its last cell.
    ///
    /// # Errors
    /// When one cannot be written; those before it are there.
    pub fn put_cells(&self, cells: &[NewCell]) -> Result<(), StoreError> {
        let encoded = cells
            .iter()
            .map(|cell| (cell.document.key(), encode(&cell.document, &cell.value)));
        self.write_cells(encoded)
    }

    /// Writes cells as they stand in files.
    pub(super) fn write_cells(&self, cells: impl Iterator<Item = (Key, Vec<u8>)>) -> Result<(), StoreError> {
        self.write()?;
        let mut folders = BTreeSet::new();
        let mut write = |key, bytes: &[u8]| {
            let path = self.cell_path(key);
            let folder = path.parent().map(PathBuf::from).unwrap_or_default();
            if !folders.contains(&folder) {
                make_folder(&folder)?;
                folders.insert(folder);
            }
            replace_unsynced(&path, bytes)
        };
        for (key, bytes) in cells {
            write(key, &bytes).map_err(|error| self.unwritable(error))?;
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }
}

pub(super) fn encode(document: &Document, value: &Value) -> Vec<u8> {
    seal(&super::canonical(&json!({"key": document.to_value(), "value": value}))).into_bytes()
}

pub(super) fn decode(bytes: &[u8], key: Key) -> Option<Value> {
    let mut cell: Value = serde_json::from_str(unseal(bytes)?).ok()?;
    let document = Document::from_value(cell.get_mut("key")?.take())?;
    (document.key() == key).then(|| cell.get_mut("value").map(Value::take))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(layer: &str, value: f64) -> NewCell {
        NewCell {
            document: Document::new().with("mask", layer).with("kind", "test"),
            value: json!({"value": value}),
        }
    }

    #[test]
    fn cells_come_back_and_damage_is_a_miss() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let cells: Vec<NewCell> = (0..40).map(|n| cell(&format!("conv{n}"), f64::from(n) / 3.0)).collect();
        store.put_cells(&cells)?;
        for cell in &cells {
            assert_eq!(store.cell(cell.document.key())?.as_ref(), Some(&cell.value));
        }
        let key = cells[7].document.key();
        let path = store.cell_path(key);
        let whole = std::fs::read(&path)?;
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0x20;
            assert_eq!(decode(&bytes, key), None, "byte {index}");
            assert_eq!(decode(&whole[..index], key), None, "cut at {index}");
        }
        std::fs::write(&path, &whole[..whole.len() / 2])?;
        assert_eq!(store.cell(key)?, None);
        assert!(!path.exists());
        let incidents = store.incidents();
        assert!(incidents.len() == 1 && incidents[0].aside.as_ref().is_some_and(|aside| aside.exists()));
        // A right cell under a wrong name is a miss as well.
        std::fs::write(&path, std::fs::read(store.cell_path(cells[8].document.key()))?)?;
        assert_eq!(store.cell(key)?, None);
        Ok(())
    }
}
