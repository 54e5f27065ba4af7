//! Laws of the store, held against a map: several writers, faults and damage in any order; and every byte flipped.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

type Checked = Result<(), Box<dyn std::error::Error>>;

fn document(name: u8) -> Document {
    Document::new()
        .with("name", name)
        .with("model", json!({"digest": "x", "input": [1, 2]}))
}

fn cell(name: u8) -> NewCell {
    NewCell {
        document: document(name).with("kind", "cell"),
        value: json!({"value": f64::from(name) / 3.0}),
    }
}

fn artifact(name: u8) -> (Document, NewArtifact) {
    let new = NewArtifact {
        files: BTreeMap::from([
            ("a.csv".to_owned(), format!("layer,{name}\n").repeat(3).into_bytes()),
            ("b.json".into(), vec![name; 20]),
        ]),
        notes: json!({"summary": [name]}),
        cells: BTreeSet::from([cell(name).document.key()]),
    };
    (document(name).with("kind", "artifact"), new)
}

/// What must be found under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Absent,
    Present,
    /// A write failed on its way: all or nothing.
    Either,
}

#[derive(Clone, Debug)]
enum Op {
    PutCell {
        writer: usize,
        name: u8,
        faults: &'static str,
    },
    PutArtifact {
        writer: usize,
        name: u8,
        faults: &'static str,
    },
    /// Damages the file at a place in the list of all files.
    Damage {
        at: usize,
        how: u8,
    },
    Reopen {
        writer: usize,
    },
    Verify {
        writer: usize,
    },
    /// Takes away what lies beyond a size.
    Tidy {
        writer: usize,
        size: u64,
    },
    /// Takes in a store that has every name below.
    Unite {
        writer: usize,
        below: u8,
    },
}

const WRITERS: usize = 3;
const NAMES: u8 = 6;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let faults = prop_oneof![
        6 => Just(""),
        1 => Just("write:full%2"),
        1 => Just("write:short@1"),
        1 => Just("rename:broken@1"),
        1 => Just("make:denied@2"),
        1 => Just("folder:broken%3"),
        1 => Just("sync:quota@3"),
    ];
    let one =
        (0..12_u8, 0..WRITERS, 0..NAMES, faults, any::<usize>()).prop_map(
            |(kind, writer, name, faults, at)| match kind {
                0..4 => Op::PutCell { writer, name, faults },
                4..7 => Op::PutArtifact { writer, name, faults },
                7 | 8 => Op::Damage { at, how: name },
                9 => Op::Reopen { writer },
                10 if name == 0 => Op::Unite {
                    writer,
                    below: (at % 4) as u8,
                },
                10 => Op::Verify { writer },
                _ => Op::Tidy {
                    writer,
                    size: (at % 4000) as u64,
                },
            },
        );
    prop::collection::vec(one, 1..40)
}

/// All files of cells and artifacts.
fn files_of(root: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for path in inventory::list(folder).unwrap_or_default() {
            if path.is_dir() {
                walk(&path, found)
            } else {
                found.push(path)
            }
        }
    }
    let mut found = Vec::new();
    walk(&root.join("cells"), &mut found);
    walk(&root.join("artifacts"), &mut found);
    found
}

fn damage(path: &Path, how: u8) -> std::io::Result<()> {
    let mut bytes = std::fs::read(path)?;
    let middle = bytes.len() / 2;
    match how {
        0 => return std::fs::remove_file(path),
        1 => bytes.truncate(middle),
        2 => bytes.push(b'\n'),
        3 => bytes.clear(),
        // A folder where a file was.
        4 => {
            std::fs::remove_file(path)?;
            return std::fs::create_dir(path);
        }
        _ => bytes[middle] ^= 1,
    }
    std::fs::write(path, bytes)
}

struct Model {
    root: PathBuf,
    writers: Vec<Store>,
    cells: BTreeMap<u8, Known>,
    artifacts: BTreeMap<u8, Known>,
}

impl Model {
    fn new(root: &Path) -> Model {
        Model {
            root: root.into(),
            writers: (0..WRITERS).map(|_| Store::open(root).expect("a store")).collect(),
            cells: (0..NAMES).map(|name| (name, Known::Absent)).collect(),
            artifacts: (0..NAMES).map(|name| (name, Known::Absent)).collect(),
        }
    }

    fn apply(&mut self, op: &Op) {
        let put = |known: &mut Known, done: bool| {
            *known = match (done, *known) {
                (true, _) | (false, Known::Present) => Known::Present,
                (false, _) => Known::Either,
            }
        };
        match *op {
            Op::PutCell { writer, name, faults } => {
                let done = faults::during(faults, || self.writers[writer].put_cells(&[cell(name)]).is_ok());
                put(self.cells.get_mut(&name).expect("a name"), done);
                assert!(done || !faults.is_empty());
            }
            Op::PutArtifact { writer, name, faults } => {
                let (document, new) = artifact(name);
                let done = faults::during(faults, || self.writers[writer].put_artifact(&document, &new).is_ok());
                put(self.artifacts.get_mut(&name).expect("a name"), done);
                assert!(done || !faults.is_empty());
            }
            Op::Damage { at, how } => {
                let files = files_of(&self.root);
                if files.is_empty() {
                    return;
                }
                let path = &files[at % files.len()];
                damage(path, how).expect("damage");
                for name in 0..NAMES {
                    if path.starts_with(self.writers[0].cell_path(cell(name).document.key())) {
                        self.cells.insert(name, Known::Absent);
                    }
                    if path.starts_with(self.writers[0].artifact_path(artifact(name).0.key())) {
                        self.artifacts.insert(name, Known::Absent);
                    }
                }
            }
            Op::Reopen { writer } => self.writers[writer] = Store::open(&self.root).expect("a store"),
            Op::Verify { writer } => {
                self.writers[writer].verify().expect("a list");
                assert_eq!(self.writers[writer].verify().expect("a list").damaged, 0);
            }
            Op::Tidy { writer, size } => self.tidy(writer, size),
            Op::Unite { writer, below } => {
                let other = tempfile::tempdir().expect("a folder");
                let other = Store::open(other.path()).expect("a store");
                for name in 0..below {
                    other.put_cells(&[cell(name)]).expect("a cell");
                    self.cells.insert(name, Known::Present);
                }
                self.writers[writer].unite(&other).expect("a union");
            }
        }
    }

    fn tidy(&mut self, writer: usize, size: u64) {
        let store = &self.writers[writer];
        let mut patience = Patience {
            wait: Wait::No,
            waiting: &mut |_| {},
            stopped: &|| false,
        };
        let alone = store.alone(&mut patience).expect("nobody is at work");
        let limits = Limits {
            keep: None,
            size: Some(size),
        };
        let told = store.tidy(limits, None).expect("a list");
        let done = store.tidy(limits, Some(&alone)).expect("tidied");
        assert_eq!(told, done, "a dry run tells the truth");
        // What is left is asked of the file system: the law is that it is right, not which it is.
        for name in 0..NAMES {
            if !store.cell_path(cell(name).document.key()).exists() {
                self.cells.insert(name, Known::Absent);
            }
            if !store.artifact_path(artifact(name).0.key()).exists() {
                self.artifacts.insert(name, Known::Absent);
            }
        }
    }

    /// Every reader finds what the model says, or exactly the right bytes.
    fn check(&self, reader: &Store) {
        for (&name, &known) in &self.cells {
            let cell = cell(name);
            let found = reader.cell(cell.document.key()).expect("enough memory");
            assert!(found.is_none() || found == Some(cell.value), "cell {name}");
            assert!(
                known == Known::Either || found.is_some() == (known == Known::Present),
                "cell {name}: {known:?}"
            );
        }
        for (&name, &known) in &self.artifacts {
            let (document, new) = artifact(name);
            let found = reader.artifact(document.key()).expect("enough memory");
            let right = |artifact: &Artifact| {
                artifact.cells == new.cells
                    && artifact.notes == new.notes
                    && artifact.files.keys().eq(new.files.keys())
                    && new
                        .files
                        .iter()
                        .all(|(name, bytes)| artifact.read(name).ok().flatten().as_ref() == Some(bytes))
            };
            assert!(found.as_ref().is_none_or(right), "artifact {name}");
            assert!(
                known == Known::Either || found.is_some() == (known == Known::Present),
                "artifact {name}: {known:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn several_writers_against_a_map(ops in ops()) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut model = Model::new(folder.path());
        for (at, op) in ops.iter().enumerate() {
            model.apply(op);
            model.check(&model.writers[at % WRITERS]);
        }
        model.check(&Store::peek(folder.path()));
    }
}

/// Makes a small store and gives all its files.
fn small(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Box<dyn std::error::Error>> {
    let store = Store::open(root)?;
    store.put_cells(&[cell(1), cell(2)])?;
    let (document, new) = artifact(1);
    store.put_artifact(&document, &new)?;
    store.put_partial(&document, &json!({"samples": 3}))?;
    std::fs::write(root.join("inputs.txt"), inputs::example())?;
    let mut files = BTreeMap::new();
    for path in files_of(root)
        .into_iter()
        .chain([root.join("inputs.txt"), root.join("FORMAT")])
    {
        files.insert(path.clone(), std::fs::read(&path)?);
    }
    let partial = store.partial_path(document.key());
    files.insert(partial.clone(), std::fs::read(partial)?);
    Ok(files)
}

/// Whether damage of one file is seen: by opening, or as exactly one incident when all is read; and nothing else is lost.
fn seen(root: &Path, path: &Path, what: &str) -> Checked {
    let store = match Store::open(root) {
        Ok(store) => store,
        Err(StoreError::Foreign { .. } | StoreError::Newer { .. }) => {
            assert!(path.ends_with("FORMAT"), "{what}");
            return Ok(());
        }
        Err(other) => return Err(other.into()),
    };
    if path.ends_with("FORMAT") {
        // A beginning of the right text is made whole.
        assert_eq!(std::fs::read_to_string(path)?, "secateur store 1\n", "{what}");
        return Ok(());
    }
    store.verify()?;
    let incidents = store.incidents();
    assert_eq!(incidents.len(), 1, "{what}");
    assert!(
        path.starts_with(&incidents[0].path) && incidents[0].aside.is_some(),
        "{what}"
    );
    let (document, new) = artifact(1);
    for name in [1, 2] {
        let found = store.cell(cell(name).document.key())?;
        let damaged = path == store.cell_path(cell(name).document.key());
        assert_eq!(found, (!damaged).then(|| cell(name).value), "{what}");
    }
    let found = store.artifact(document.key())?;
    assert_eq!(
        found.is_none(),
        path.starts_with(store.artifact_path(document.key())),
        "{what}"
    );
    for (name, bytes) in found.iter().flat_map(|_| &new.files) {
        assert_eq!(
            found
                .as_ref()
                .map(|found| found.read(name))
                .transpose()?
                .flatten()
                .as_ref(),
            Some(bytes),
            "{what}"
        );
    }
    Ok(())
}

#[test]
fn every_flipped_byte_and_every_truncation_is_seen() -> Checked {
    let folder = tempfile::tempdir()?;
    let files = small(folder.path())?;
    let restore = || -> std::io::Result<()> {
        let _ = std::fs::remove_dir_all(folder.path().join("damaged"));
        for (path, bytes) in &files {
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            if std::fs::read(path).ok().as_ref() != Some(bytes) {
                std::fs::write(path, bytes)?;
            }
        }
        Ok(())
    };
    faults::during("sync:lost,folder:lost", || -> Checked {
        for (path, bytes) in &files {
            let name = path.display();
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                std::fs::write(path, &flipped)?;
                seen(folder.path(), path, &format!("{name}: byte {at}"))?;
                restore()?;
            }
            for length in (0..bytes.len()).step_by(64) {
                std::fs::write(path, &bytes[..length])?;
                seen(folder.path(), path, &format!("{name}: cut to {length}"))?;
                restore()?;
            }
        }
        Ok(())
    })
}
