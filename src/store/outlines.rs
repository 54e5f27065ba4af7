//! Outlines: what a result was made of, remembered for explanations alone.
//!
//! Owns `outlines/<key>`, one small file each in the form of a cell. Deliberately no result: nothing is computed from an
//! outline, housekeeping leaves it, and without it a plan says less.

use super::{Document, Key, Store, StoreError, cells, files};
use serde_json::Value;
use std::path::PathBuf;

impl Store {
    fn outline_path(&self, key: Key) -> PathBuf {
        self.root.join("outlines").join(key.to_string())
    }

    /// What is remembered under a document, if it is there and whole.
    pub fn outline(&self, document: &Document) -> Option<Value> {
        let key = document.key();
        let mut stores = self.all();
        let found = stores.find_map(|store| files::read(&store.outline_path(key)).ok()?);
        cells::decode(&found?, key)
    }

    /// Remembers something under a document.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_outline(&self, document: &Document, value: &Value) -> Result<(), StoreError> {
        self.write()?;
        files::make_folder(&self.root.join("outlines"))?;
        files::replace(&self.outline_path(document.key()), &cells::encode(document, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn outlines_come_back_whole_or_not_at_all() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let document = Document::new().with("outline", "of a test");
        assert_eq!(store.outline(&document), None);
        store.put_outline(&document, &json!({"params": 3}))?;
        assert_eq!(store.outline(&document), Some(json!({"params": 3})));
        std::fs::write(store.outline_path(document.key()), "rubbish")?;
        assert_eq!(store.outline(&document), None);
        Ok(())
    }
}
