//! Records of runs: one small file a run, `runs/<id>.json`.
//!
//! Owns ids, the files and the lock that says whether a run is still at work. A file is one JSON object with the digest
//! of the record in it, written as a whole; one that is not what was written is set aside and told of. Deliberately
//! knows nothing of what a record says.

use super::{Busy, Key, Lock, Patience, Store, StoreError, Wait, canonical, files};
use serde_json::Value;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

/// The letters of an id's end, in the order of their bytes.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A run that is being recorded; while it lives, others see the run at work.
#[derive(Debug)]
pub struct Recording {
    pub id: String,
    _alive: Lock,
}

impl Store {
    fn record_path(&self, id: &str) -> PathBuf {
        self.root().join("runs").join(format!("{id}.json"))
    }

    /// Takes an id for a run that starts now. Ids of one store sort in the order in which they were taken, even where
    /// the clock went back in between.
    pub fn start_record(&self, now: jiff::Timestamp) -> Result<Recording, Busy> {
        loop {
            let newest = self.record_ids()?.pop();
            let id = next_id(now, newest.as_deref());
            let mut at_once = Patience {
                wait: Wait::No,
                waiting: &mut |_| {},
                stopped: &|| false,
            };
            let alive = match self.lease(alive_key(&id), &mut at_once) {
                Err(Busy::Held { .. }) => continue,
                other => other?,
            };
            if !self.record_path(&id).exists() {
                return Ok(Recording { id, _alive: alive });
            }
        }
    }

    /// Writes a record, in place of an earlier one of the same run.
    pub fn put_record(&self, id: &str, record: &Value) -> Result<(), StoreError> {
        let path = self.record_path(id);
        files::make_folder(&self.root().join("runs"))?;
        files::replace(&path, encode(record).as_bytes())
    }

    /// The record of a run, if there is one and it is whole.
    pub fn record(&self, id: &str) -> Result<Option<Value>, StoreError> {
        let path = self.record_path(id);
        let Some(bytes) = files::read(&path)? else {
            return Ok(None);
        };
        if let Some(record) = decode(&bytes) {
            return Ok(Some(record));
        }
        self.set_aside(&path, "its bytes are not what was written".into());
        Ok(None)
    }

    /// The ids of all records, oldest first.
    pub fn record_ids(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.root().join("runs");
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => files::at(other, "cannot read", &folder)?,
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let ids = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned));
        let mut ids: Vec<String> = ids.filter(|id| !id.starts_with('.')).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Whether the process that wrote the record of a run is still at work.
    pub fn is_running(&self, id: &str) -> bool {
        let path = self.root().join("leases").join(alive_key(id).to_string());
        File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    }
}

/// What a run holds while it is at work.
fn alive_key(id: &str) -> Key {
    Key::of(format!("run {id}").as_bytes())
}

/// The second in which a run starts, two letters for its millisecond, and two that are drawn.
fn next_id(now: jiff::Timestamp, newest: Option<&str>) -> String {
    let millisecond = now.subsec_millisecond().unsigned_abs() as usize;
    let drawn = std::collections::hash_map::RandomState::new().build_hasher().finish() as usize;
    let end = [millisecond >> 5, millisecond, drawn >> 5, drawn].map(|at| char::from(LETTERS[at % 32]));
    let end: String = end.iter().collect();
    let id = format!("{}-{end}", now.strftime("%Y%m%d-%H%M%S"));
    match newest {
        // The clock went back: the next id after the newest one.
        Some(newest) if newest >= id.as_str() => after(newest),
        _ => id,
    }
}

/// The id that follows another.
fn after(id: &str) -> String {
    let mut bytes = id.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        let Some(place) = LETTERS.iter().position(|letter| letter == byte) else {
            break;
        };
        if let Some(next) = LETTERS.get(place + 1) {
            *byte = *next;
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        *byte = LETTERS[0];
    }
    format!("{id}0")
}

fn encode(record: &Value) -> String {
    let text = canonical(record);
    let digest = Key::of(text.as_bytes());
    format!("{{\"digest\":\"{digest}\",\"record\":{text}}}\n")
}

fn decode(bytes: &[u8]) -> Option<Value> {
    let mut whole: Value = serde_json::from_slice(bytes).ok()?;
    let record = whole.get_mut("record")?.take();
    // Written again it must be the same to the byte: that holds every byte, the digest included.
    (encode(&record).as_bytes() == bytes).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Checked = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn records_come_back_and_damage_is_told() -> Checked {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        assert!(store.record_ids()?.is_empty());
        let record = json!({"name": "n", "numbers": [0.1, 1e-7, 3], "text": "ü\n"});
        let run = store.start_record(jiff::Timestamp::now())?;
        store.put_record(&run.id, &json!({}))?;
        store.put_record(&run.id, &record)?;
        assert_eq!(store.record(&run.id)?.as_ref(), Some(&record));
        assert_eq!(store.record_ids()?, std::slice::from_ref(&run.id));
        assert!(store.is_running(&run.id));
        let id = run.id.clone();
        drop(run);
        assert!(!store.is_running(&id));
        let path = store.record_path(&id);
        let whole = std::fs::read(&path)?;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(decode(&bytes), None, "byte {at}");
            assert_eq!(decode(&whole[..at]), None, "cut at {at}");
        }
        std::fs::write(&path, &whole[1..])?;
        assert_eq!(store.record(&id)?, None);
        assert!(!path.exists() && folder.path().join("damaged").exists());
        Ok(())
    }

    #[test]
    fn ids_sort_even_when_the_clock_goes_back() -> Checked {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let mut now = jiff::Timestamp::from_second(1_800_000_000)?;
        let mut earlier = String::new();
        for step in [0, 1, 500, -86_400_000, 0, 0, 90_000_000] {
            now += jiff::SignedDuration::from_millis(step);
            let run = store.start_record(now)?;
            assert!(run.id > earlier, "{earlier} {}", run.id);
            assert!(run.id.len() == 20 || step <= 0, "{}", run.id);
            store.put_record(&run.id, &json!({}))?;
            earlier.clone_from(&run.id);
        }
        assert_eq!(after("20270115-080000-00zz"), "20270115-080000-0100");
        assert_eq!(after("20270115-080000-zzzz"), "20270115-080000-zzzz0");
        Ok(())
    }
}
