//! Which run a word means: an id, its beginning, `last`, `last_success`, `last~1`.

use super::{RunRecord, Status};
use crate::spec::nearest;
use crate::store::{Store, StoreError};

/// Why no run is meant.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the store holds no record of a run{}", of_pipeline(name))]
    Empty { name: Option<String> },
    #[error("no run{} was successful yet", of_pipeline(name))]
    NoSuccess { name: Option<String> },
    #[error("there are only {count} runs{}, so there is no `{word}`", of_pipeline(name))]
    TooFew {
        word: String,
        count: usize,
        name: Option<String>,
    },
    #[error("no run is called `{word}`{}: `secateur runs` lists them", suggestion(near))]
    Unknown { word: String, near: Option<String> },
    #[error("`{word}` begins the ids of {count} runs ({first}, {second}, …): give more of it")]
    Ambiguous {
        word: String,
        count: usize,
        first: String,
        second: String,
    },
    #[error("the record of run {id} is of a form that this version does not read")]
    Form { id: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn of_pipeline(name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!(" of {name}"))
}

fn suggestion(near: &Option<String>) -> String {
    near.as_ref()
        .map_or_else(String::new, |near| format!(", did you mean `{near}`?"))
}

/// Reads the record of an id.
fn read(store: &Store, id: &str) -> Result<Option<RunRecord>, HistoryError> {
    let Some(value) = store.record(id)? else {
        return Ok(None);
    };
    let form = |_| HistoryError::Form { id: id.to_owned() };
    let mut record: RunRecord = serde_json::from_value(value).map_err(form)?;
    if record.status == Status::Running && !store.is_running(id) {
        record.status = Status::Killed;
    }
    record.pinned = store.is_pinned(id);
    Ok(Some(record))
}

/// All runs whose records can be read, oldest first; only those of one pipeline where a name is given.
pub fn runs(store: &Store, name: Option<&str>) -> Result<Vec<RunRecord>, HistoryError> {
    let mut found = Vec::new();
    for id in store.record_ids()? {
        match read(store, &id) {
            Ok(Some(record)) if name.is_none_or(|name| record.name == name) => found.push(record),
            Ok(_) => {}
            Err(HistoryError::Form { id }) => tracing::warn!("the record of run {id} is of another version"),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The newest run before `before` (of all, without one) that the test accepts.
fn newest(
    store: &Store,
    before: Option<&str>,
    accept: &dyn Fn(&RunRecord) -> bool,
) -> Result<Option<RunRecord>, HistoryError> {
    for id in store.record_ids()?.iter().rev() {
        if before.is_some_and(|before| id.as_str() >= before) {
            continue;
        }
        if let Ok(Some(record)) = read(store, id)
            && accept(&record)
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The newest successful run of a pipeline, before another run where one is given.
pub fn successful_before(store: &Store, name: &str, before: Option<&str>) -> Result<Option<RunRecord>, HistoryError> {
    newest(store, before, &|record| record.name == name && record.succeeded())
}

/// The newest run of a pipeline before another one that finished a step.
pub fn with_results_before(store: &Store, name: &str, before: &str) -> Result<Option<RunRecord>, HistoryError> {
    let finished = |record: &RunRecord| record.stages.iter().any(super::StageEntry::is_done);
    newest(store, Some(before), &|record| record.name == name && finished(record))
}

/// The run that a word means, among those of one pipeline where a name is given.
pub fn find(store: &Store, word: &str, name: Option<&str>) -> Result<RunRecord, HistoryError> {
    let owned = || name.map(str::to_owned);
    let ours = |record: &RunRecord| name.is_none_or(|name| record.name == name);
    match word {
        "last" => return newest(store, None, &ours)?.ok_or(HistoryError::Empty { name: owned() }),
        "last_success" => {
            let found = newest(store, None, &|record| ours(record) && record.succeeded())?;
            return found.ok_or(HistoryError::NoSuccess { name: owned() });
        }
        _ => {}
    }
    if let Some(back) = word.strip_prefix("last~").and_then(|back| back.parse::<usize>().ok()) {
        // Those before the last one are its own pipeline's.
        let last = find(store, "last", name)?;
        let all = runs(store, Some(&last.name))?;
        let at = all.len().checked_sub(back.saturating_add(1));
        let count = all.len();
        return at.and_then(|at| all.into_iter().nth(at)).ok_or(HistoryError::TooFew {
            word: word.to_owned(),
            count,
            name: Some(last.name),
        });
    }
    let ids = store.record_ids()?;
    let matching: Vec<&String> = ids.iter().filter(|id| id.starts_with(word)).collect();
    let exact = matching.iter().find(|id| id.as_str() == word);
    let id = match (exact, matching.as_slice()) {
        (Some(id), _) | (None, [id]) => id,
        (None, []) => {
            let near = nearest(word, ids.iter().map(String::as_str).chain(["last", "last_success"]));
            return Err(HistoryError::Unknown {
                word: word.to_owned(),
                near: near.map(str::to_owned),
            });
        }
        (None, [first, second, ..]) => {
            return Err(HistoryError::Ambiguous {
                word: word.to_owned(),
                count: matching.len(),
                first: (*first).clone(),
                second: (*second).clone(),
            });
        }
    };
    read(store, id)?.ok_or_else(|| HistoryError::Unknown {
        word: word.to_owned(),
        near: None,
    })
}
