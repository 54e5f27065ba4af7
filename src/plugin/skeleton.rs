//! `plugin new`: the files that a new plug-in starts from.
//!
//! They are the examples of this repository, word for word, so what is written is what the tests run.

use std::path::{Path, PathBuf};

const PYTHON: &str = include_str!("../../pipelines/plugins/accuracy.py");
const C: &str = include_str!("../../pipelines/plugins/accuracy.c");
const RUST: &str = include_str!("../../plugins/rust/accuracy.rs");
const DATASET_PYTHON: &str = include_str!("../../pipelines/plugins/images.py");
const DATASET_C: &str = include_str!("../../pipelines/plugins/idx.c");
const MANIFEST: &str = r#"[package]
name = "accuracy"
version = "0.1.0"
edition = "2024"
rust-version = "1.88"

[dependencies]
safetensors = "0.8"
serde_json = "1"

[workspace]
"#;

/// The languages that there are skeletons for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    Rust,
    C,
}

/// What a plug-in is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Metric,
    Dataset,
}

/// Why no skeleton was written.
#[derive(Debug, thiserror::Error)]
pub enum SkeletonError {
    #[error("there is no Rust skeleton of a dataset: take that of a metric, and docs/plugin-protocol.md")]
    Lacking,
    #[error("{} exists already; it was not touched", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// Writes a skeleton into a folder and gives the files, and the words of its `argv` beside its pipeline.
///
/// # Errors
/// When there is none, a file exists already, or cannot be written.
pub fn write(
    purpose: Purpose,
    language: Language,
    folder: &Path,
) -> Result<(Vec<PathBuf>, Vec<String>), SkeletonError> {
    let (files, argv): (Vec<(&str, &str)>, &[&str]) = match (purpose, language) {
        (Purpose::Dataset, Language::Python) => (
            vec![("images.py", DATASET_PYTHON)],
            &["python3", "images.py", "val.npz"],
        ),
        (Purpose::Dataset, Language::C) => (vec![("idx.c", DATASET_C)], &["./idx", "images.idx.gz", "labels.idx.gz"]),
        (Purpose::Dataset, Language::Rust) => return Err(SkeletonError::Lacking),
        (Purpose::Metric, Language::Python) => (vec![("accuracy.py", PYTHON)], &["python3", "accuracy.py"]),
        (Purpose::Metric, Language::C) => (vec![("accuracy.c", C)], &["./accuracy"]),
        (Purpose::Metric, Language::Rust) => (
            vec![("Cargo.toml", MANIFEST), ("src/main.rs", RUST)],
            &["target/release/accuracy"],
        ),
    };
    let files: Vec<(PathBuf, &str)> = files
        .into_iter()
        .map(|(name, text)| (folder.join(name), text))
        .collect();
    if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
        return Err(SkeletonError::Exists(path.clone()));
    }
    for (path, text) in &files {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(path, text))
            .map_err(|source| SkeletonError::Write {
                path: path.clone(),
                source,
            })?;
    }
    let files = files.into_iter().map(|(path, _)| path).collect();
    Ok((files, argv.iter().map(|word| (*word).to_owned()).collect()))
}
