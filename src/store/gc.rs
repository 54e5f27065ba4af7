//! Taking away what nobody needs.
//!
//! Owns what goes first and what never goes. Works alone: runs are waited for, so nothing that a running run needs is
//! taken from under it. Deliberately knows records of runs only by the keys in them.

use super::artifact::Manifest;
use super::inventory::{Entry, Kind, Tally, name};
use super::{Key, Lock, Store, StoreError, files};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// What is to be left.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// What was used so lately stays, and what a run of that age used.
    pub keep: Option<Duration>,
    /// The least recently used go until so many bytes are left.
    pub size: Option<u64>,
}

/// What was taken away, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    pub gone: BTreeMap<Kind, Tally>,
    pub left: Tally,
    /// Artifacts and cells that stay because a pinned run used them.
    pub pinned: u64,
}

impl Store {
    /// Deletes what lies beyond the limits, and what crashes left. `alone` is the store's lock from [`Store::alone`];
    /// without it nothing is deleted, and the answer is what would be.
    ///
    /// # Errors
    /// When a folder cannot be read or something cannot be deleted.
    pub fn tidy(&self, limits: Limits, alone: Option<&Lock>) -> Result<Tidied, StoreError> {
        let now = SystemTime::now();
        let needs = self.needs()?;
        let mut going = Vec::new();
        let mut staying = Vec::new();
        let mut tidied = Tidied::default();
        for mut entry in self.entries()? {
            let need = entry.key.and_then(|key| needs.get(&key)).copied().unwrap_or_default();
            entry.used = entry.used.max(need.used.unwrap_or(entry.used));
            let old = limits
                .keep
                .is_some_and(|keep| now.duration_since(entry.used).is_ok_and(|age| age > keep));
            match entry.kind {
                Kind::Rubbish => going.push(entry),
                Kind::Artifact | Kind::Cell if need.pinned => {
                    tidied.pinned += 1;
                    tidied.left.add(entry.bytes);
                }
                Kind::Artifact | Kind::Cell | Kind::Partial | Kind::Damaged if old => going.push(entry),
                Kind::Artifact | Kind::Cell | Kind::Partial | Kind::Damaged => staying.push(entry),
                Kind::Run | Kind::Other => tidied.left.add(entry.bytes),
            }
        }
        // What is damaged is no use to anybody but a curious person; then the least recently used, files before the
        // cells that they can be made from again.
        staying.sort_by_key(|entry| (entry.kind != Kind::Damaged, entry.used, entry.kind, entry.path.clone()));
        let mut total = tidied.left.bytes + staying.iter().map(|entry| entry.bytes).sum::<u64>();
        for entry in staying {
            if limits.size.is_some_and(|size| total > size) {
                total -= entry.bytes;
                going.push(entry);
            } else {
                tidied.left.add(entry.bytes);
            }
        }
        for entry in going {
            if alone.is_some() {
                remove(&entry)?;
            }
            tidied.gone.entry(entry.kind).or_default().add(entry.bytes);
        }
        Ok(tidied)
    }

    /// What the runs on record used, directly or as the cells of an artifact.
    fn needs(&self) -> Result<BTreeMap<Key, Need>, StoreError> {
        let mut needs = BTreeMap::<Key, Need>::new();
        for run in self.recorded()? {
            let mut keys = run.keys.clone();
            keys.extend(run.keys.iter().flat_map(|&key| self.cells_of(key)));
            for key in keys {
                let need = needs.entry(key).or_default();
                need.pinned |= run.pinned;
                need.used = need.used.max(Some(run.time));
            }
        }
        Ok(needs)
    }

    /// The cells that an artifact was made of.
    fn cells_of(&self, key: Key) -> BTreeSet<Key> {
        let manifest = files::read(&self.artifact_path(key).join("manifest.json"))
            .ok()
            .flatten();
        let manifest = manifest.and_then(|bytes| Manifest::parse(&bytes));
        manifest.map(|manifest| manifest.cells).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Need {
    pinned: bool,
    used: Option<SystemTime>,
}

fn remove(entry: &Entry) -> Result<(), StoreError> {
    files::remove(&entry.path)?;
    // The last of a folder takes the folder along; in any other it fails, as it should.
    if matches!(entry.kind, Kind::Artifact | Kind::Cell)
        && let Some(shard) = entry.path.parent().filter(|shard| name(shard).len() == 2)
    {
        let _ = std::fs::remove_dir(shard);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Document, NewArtifact, NewCell, Patience, Wait};
    use serde_json::json;
    use std::fs::File;
    use std::path::Path;

    type Checked = Result<(), Box<dyn std::error::Error>>;

    const DAY: Duration = Duration::from_secs(86_400);

    fn cell(name: &str) -> NewCell {
        NewCell {
            document: Document::new().with("cell", name),
            value: json!(name),
        }
    }

    /// Things of the same age are so to the nanosecond.
    static START: std::sync::LazyLock<SystemTime> = std::sync::LazyLock::new(SystemTime::now);

    fn age(path: &Path, days: u32) -> std::io::Result<()> {
        File::open(path)?.set_modified(*START - days * DAY)
    }

    /// A store with an artifact of two cells, all of the same age.
    fn aged(root: &Path, days: u32) -> Result<(Store, Key), Box<dyn std::error::Error>> {
        let store = Store::open(root)?;
        let cells = [cell("a"), cell("b")];
        store.put_cells(&cells)?;
        let new = NewArtifact {
            files: BTreeMap::from([("t.csv".to_owned(), b"table".to_vec())]),
            notes: json!({}),
            cells: cells.iter().map(|cell| cell.document.key()).collect(),
        };
        let key = store.put_artifact(&Document::new().with("kind", "t"), &new)?.key;
        for cell in &cells {
            age(&store.cell_path(cell.document.key()), days)?;
        }
        age(&store.artifact_path(key).join("manifest.json"), days)?;
        Ok((store, key))
    }

    fn record(store: &Store, id: &str, key: Key, days: u32) -> Checked {
        let folder = store.runs_folder();
        files::make_folder(&folder)?;
        let record = json!({"digest": "x", "record": {"stages": [
            {"id": "t", "status": "computed", "key": key},
            {"id": "u", "status": "failed", "key": Key::of(b"u")},
        ]}});
        std::fs::write(folder.join(format!("{id}.json")), record.to_string())?;
        age(&folder.join(format!("{id}.json")), days)?;
        Ok(())
    }

    fn tidy(store: &Store, keep: Option<u32>, size: Option<u64>) -> Result<Tidied, Box<dyn std::error::Error>> {
        let mut patience = Patience {
            wait: Wait::No,
            waiting: &mut |_| {},
            stopped: &|| false,
        };
        let alone = store.alone(&mut patience)?;
        let limits = Limits {
            keep: keep.map(|days| days * DAY),
            size,
        };
        Ok(store.tidy(limits, Some(&alone))?)
    }

    fn counts(tidied: &Tidied) -> Vec<(Kind, u64)> {
        tidied.gone.iter().map(|(kind, tally)| (*kind, tally.count)).collect()
    }

    #[test]
    fn what_nobody_used_for_long_goes() -> Checked {
        let folder = tempfile::tempdir()?;
        let (store, key) = aged(folder.path(), 10)?;
        assert_eq!(counts(&tidy(&store, Some(11), None)?), []);
        // A run of nine days ago used them, though it could not mark them.
        record(&store, "run", key, 9)?;
        assert_eq!(counts(&tidy(&store, Some(10), None)?), []);
        std::fs::write(folder.path().join("runs/run.pin"), "")?;
        let pinned = tidy(&store, Some(1), Some(0))?;
        assert_eq!((counts(&pinned), pinned.pinned), (vec![], 3));
        assert!(store.cell(cell("a").document.key())?.is_some() && store.artifact(key)?.is_some());
        std::fs::remove_file(folder.path().join("runs/run.pin"))?;
        // Looking at them was a use, but for the second cell.
        let gone = tidy(&store, Some(8), None)?;
        assert_eq!(counts(&gone), [(Kind::Cell, 1)]);
        assert!(store.cell(cell("b").document.key())?.is_none() && store.artifact(key)?.is_some());
        Ok(())
    }

    #[test]
    fn the_least_recently_used_go_first() -> Checked {
        let folder = tempfile::tempdir()?;
        let (store, key) = aged(folder.path(), 10)?;
        age(&store.cell_path(cell("a").document.key()), 3)?;
        // What crashes left goes in any case, and what is damaged before what is whole.
        std::fs::write(folder.path().join("cells/.tmp-x"), "rubbish")?;
        std::fs::create_dir_all(folder.path().join("damaged"))?;
        std::fs::write(folder.path().join("damaged/old"), vec![0; 5000])?;
        let all: u64 = store.size()?.values().map(|tally| tally.bytes).sum();
        let gone = tidy(&store, None, Some(all - 5007))?;
        assert_eq!(counts(&gone), [(Kind::Damaged, 1), (Kind::Rubbish, 1)]);
        assert_eq!(gone.left.bytes, all - 5007);
        let gone = tidy(&store, None, Some(gone.left.bytes - 1))?;
        assert_eq!(
            counts(&gone),
            [(Kind::Artifact, 1)],
            "it can be made again from its cells"
        );
        let gone = tidy(&store, None, Some(gone.left.bytes - 1))?;
        assert_eq!(counts(&gone), [(Kind::Cell, 1)]);
        assert!(store.cell(cell("a").document.key())?.is_some() && store.artifact(key)?.is_none());
        tidy(&store, None, Some(0))?;
        assert_eq!(
            super::super::inventory::list(&folder.path().join("cells"))?,
            Vec::<std::path::PathBuf>::new()
        );
        Ok(())
    }

    #[test]
    fn nothing_goes_that_a_pinned_run_may_need() -> Checked {
        let folder = tempfile::tempdir()?;
        let (store, _) = aged(folder.path(), 10)?;
        files::make_folder(&store.runs_folder())?;
        std::fs::write(store.runs_folder().join("run.json"), "rubbish")?;
        tidy(&store, Some(20), None)?;
        std::fs::write(store.runs_folder().join("run.pin"), "")?;
        assert!(tidy(&store, Some(1), None).is_err_and(|error| error.to_string().contains("run.json")));
        assert!(store.cell(cell("a").document.key())?.is_some());
        Ok(())
    }
}
