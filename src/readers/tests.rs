//! Models in files: read as far as they are asked for, from the file that was opened.

use super::*;
use crate::formats::source::SourceError;
use crate::formats::zip::{self, Method};
use crate::graph::print;
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

type Checked = Result<(), Box<dyn std::error::Error>>;

fn archives() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript")
}

/// Bytes of the entries of parameters, in order.
fn weights(bytes: &[u8]) -> Vec<zip::Entry> {
    let mut entries = zip::index(Cursor::new(bytes), &Limits::default()).expect("a directory");
    entries.retain(|entry| entry.name.contains("/data/") && entry.size > 0);
    assert!(entries.iter().all(|entry| entry.method == Method::Stored));
    entries
}

#[test]
fn a_file_gives_the_graph_that_its_bytes_give() -> Checked {
    let mut read = 0;
    for entry in std::fs::read_dir(archives())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "pt") {
            continue;
        }
        let options = NoSizes;
        let of_file = read_model_from(&Source::open(&path)?, &options);
        let of_bytes = read_model(std::fs::read(&path)?.into());
        match (of_file, of_bytes) {
            (Ok(of_file), Ok(of_bytes)) => {
                for graph in [&of_file, &of_bytes] {
                    assert!(graph.params.iter().all(|param| !param.tensor.is_read()), "{path:?}");
                }
                assert!(of_file == of_bytes && print(&of_file) == print(&of_bytes), "{path:?}");
                read += 1;
            }
            (of_file, of_bytes) => {
                let [of_file, of_bytes] = [of_file, of_bytes].map(|found| found.map(drop).map_err(|e| e.to_string()));
                assert_eq!(of_file, of_bytes, "{path:?}");
            }
        }
    }
    assert!(read >= 8, "{read} archives were read");
    Ok(())
}

/// What becomes of a model whose file is touched between its structure and its weights.
#[test]
fn weights_are_those_of_the_file_that_was_opened() -> Checked {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.pt");
    let right = std::fs::read(archives().join("residual.pt"))?;
    let places = weights(&right);
    let mut other = right.clone();
    other[places[1].start as usize] ^= 1;
    let wanted = print(&read_model(right.clone().into())?);

    let opened = || -> Result<(Graph, Source), Box<dyn std::error::Error>> {
        std::fs::write(&path, &right)?;
        let source = Source::open(&path)?;
        Ok((read_model_from(&source, &NoSizes)?, source))
    };
    let fault = |graph: &Graph| {
        graph
            .read_weights()
            .err()
            .map(|fault| fault.to_string())
            .unwrap_or_default()
    };

    // Another file takes its place: the old one is read to its end.
    let (graph, _) = opened()?;
    std::fs::write(folder.path().join("other"), &other)?;
    std::fs::rename(folder.path().join("other"), &path)?;
    assert_eq!(print(&graph), wanted);
    // So is one that is deleted.
    let (graph, _) = opened()?;
    std::fs::remove_file(&path)?;
    assert_eq!(print(&graph), wanted);

    // It is written in place: two files' weights never mix.
    let (graph, source) = opened()?;
    let written = std::fs::File::options().write(true).open(&path)?;
    written.write_all_at(&other, 0)?;
    written.set_modified(SystemTime::now() + Duration::from_secs(5))?;
    let said = fault(&graph);
    assert!(
        said.contains("model.pt") && said.contains("changed while it was read"),
        "{said}"
    );
    assert!(matches!(source.unchanged(), Err(SourceError::Changed)));
    assert!(matches!(
        read_model_from(&source, &NoSizes),
        Err(ReadError::Source(SourceError::Changed))
    ));
    // Or cut short.
    let (graph, _) = opened()?;
    written.set_len(100)?;
    let said = fault(&graph);
    assert!(said.contains("changed while it was read"), "{said}");

    // One that was damaged before names the entry, whoever asks and however often; the others are whole.
    std::fs::write(&path, &other)?;
    let graph = read_model_from(&Source::open(&path)?, &NoSizes)?;
    for _ in 0..2 {
        let said = fault(&graph);
        let entry = &places[1].name[places[1].name.find("data/").unwrap_or(0)..];
        assert!(
            said.contains("model.pt") && said.contains(entry) && said.contains("is damaged"),
            "{said}"
        );
    }
    let whole = graph.params.iter().filter(|param| param.tensor.read().is_ok()).count();
    assert_eq!(whole, graph.params.len() - 1);
    Ok(())
}

/// The checksums stand for the content: another weight is told from them alone.
#[test]
fn marks_tell_weights_apart_unread() -> Checked {
    let right = std::fs::read(archives().join("residual.pt"))?;
    let archive = Archive::read(right.clone().into(), &Limits::default())?;
    let mut entries = Vec::new();
    for name in archive.names() {
        entries.push((name.to_owned(), archive.get(name)?.to_vec()));
    }
    let written =
        |entries: &[(String, Vec<u8>)]| read_model(zip::write(archive.root(), entries)?.into()).map_err(Box::from);
    let marks = |graph: &Graph| graph.params.iter().map(|param| param.tensor.mark()).collect::<Vec<_>>();
    let before: Result<Graph, Box<dyn std::error::Error>> = written(&entries);
    let before = before?;
    assert_eq!(marks(&before), marks(&read_model(right.into())?));
    let changed = entries
        .iter_mut()
        .find(|(name, _)| name == "data/1")
        .ok_or("no data/1")?;
    changed.1[0] ^= 1;
    let after = written(&entries)?;
    let differing = marks(&before)
        .iter()
        .zip(marks(&after))
        .filter(|(a, b)| *a != b)
        .count();
    assert_eq!(differing, 1);
    assert!(
        before
            .params
            .iter()
            .chain(&after.params)
            .all(|param| !param.tensor.is_read())
    );
    Ok(())
}
