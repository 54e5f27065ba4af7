//! Cells: small results, one immutable file each.
//!
//! A cell's file is one line of JSON, `{"key": …, "value": …}`, and a line with its hash. It is believed only if the
//! hash is right and the document in it has the key under which it was found.

use super::files::{self, make_folder, replace_unsynced, sync_folder};
use super::{Document, Key, Store, StoreError};
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
    fn cell_path(&self, key: Key) -> PathBuf {
        self.root.join("cells").join(key.shard()).join(key.to_string())
    }

    /// The value of a cell, if it is there and whole. A damaged cell is set aside and misses.
    pub fn cell(&self, key: Key) -> Result<Option<Value>, StoreError> {
        let path = self.cell_path(key);
        let Some(bytes) = files::read(&path)? else {
            return Ok(None);
        };
        if let Some(value) = decode(&bytes, key) {
            return Ok(Some(value));
        }
        match files::set_aside(&path, &self.damaged()) {
            Ok(aside) => tracing::warn!("cell {key} is damaged: moved to {}, computed again", aside.display()),
            Err(error) => tracing::warn!("cell {key} is damaged and is computed again ({error})"),
        }
        Ok(None)
    }

    /// Writes cells together; each folder is synced once, after its last cell.
    pub fn put_cells(&self, cells: &[NewCell]) -> Result<(), StoreError> {
        let mut folders = BTreeSet::new();
        for cell in cells {
            let path = self.cell_path(cell.document.key());
            let folder = path.parent().map(PathBuf::from).unwrap_or_default();
            if folders.insert(folder.clone()) {
                make_folder(&folder)?;
            }
            replace_unsynced(&path, &encode(cell))?;
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }
}

fn encode(cell: &NewCell) -> Vec<u8> {
    let line = super::canonical(&json!({"key": cell.document.to_value(), "value": cell.value}));
    let hash = Key::of(line.as_bytes());
    format!("{line}\n{hash}\n").into_bytes()
}

fn decode(bytes: &[u8], key: Key) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (line, rest) = text.split_once('\n')?;
    if Key::parse(rest.strip_suffix('\n')?)? != Key::of(line.as_bytes()) {
        return None;
    }
    let mut cell: Value = serde_json::from_str(line).ok()?;
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
        assert!(!path.exists() && store.damaged().exists());
        // A right cell under a wrong name is a miss as well.
        std::fs::write(&path, std::fs::read(store.cell_path(cells[8].document.key()))?)?;
        assert_eq!(store.cell(key)?, None);
        Ok(())
    }
}
