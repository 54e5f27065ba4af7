//! The same images from a folder, from archives and from tables give the same table, on the real binary; CIFAR's files
//! and `.npy` pairs are read; paths and columns that are not there are told before anything runs.

use super::run::{Checked, Place, stderr};
use std::fs;
use std::path::Path;

const PIPELINE: &str = "version: 1
name: NAME
model: {path: model.pt, input: [3, 10, 10]}
dataset:
  source: SOURCE
  normalize: {mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3]}
  batch_size: 4
metric: cross_entropy
steps:
  - sensitivity: {id: sens, sparsities: [0.25, 0.5]}
";

fn place() -> std::io::Result<Place> {
    let place = Place::new()?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    fs::copy(data.join("golden/grouped/model.pt"), place.path("model.pt"))?;
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        fs::create_dir_all(place.path("shards").join(&folder))?;
        for entry in fs::read_dir(data.join("shards").join(&folder))? {
            let name = format!("{folder}{}", entry?.file_name().to_string_lossy());
            if data.join("shards").join(&name).is_dir() {
                waiting.push(format!("{name}/"));
            } else {
                fs::copy(data.join("shards").join(&name), place.path("shards").join(&name))?;
            }
        }
    }
    Ok(place)
}

fn pipeline(name: &str, source: &str) -> String {
    PIPELINE.replace("NAME", name).replace("SOURCE", source)
}

#[test]
fn archives_and_tables_give_the_folder_s_table() -> Checked {
    let place = place()?;
    let sources = [
        ("folder", "{image_folder: {path: shards/folder, resize: 12, crop: 10}}"),
        ("web", "{webdataset: {path: shards/web, resize: 12, crop: 10}}"),
        (
            "json",
            "{webdataset: {path: shards/json/all.tar, label: {json: label}, resize: 12, crop: 10}}",
        ),
        (
            "table",
            "{parquet: {path: shards/table, label: label, resize: 12, crop: 10}}",
        ),
    ];
    for (name, source) in sources {
        let file = format!("{name}.yaml");
        place.write(&file, &pipeline(name, source))?;
        place.expect(0, &["run", &file])?;
    }
    let folder = place.results("out/folder")?;
    assert_eq!(folder.len(), 2);
    let csv = fs::read_to_string(place.path("out/folder/sens/sensitivity.csv"))?;
    assert!(csv.lines().count() > 3 && !csv.contains("NaN"), "{csv}");
    for (name, _) in &sources[1..] {
        assert_eq!(place.results(&format!("out/{name}"))?, folder, "{name}");
    }
    // What was read is listed by its place, and a second run reads nothing again.
    let inputs = place.record("out/web")?["inputs"].clone();
    assert_eq!(inputs[1]["path"], "shards/web");
    place.expect(0, &["run", "web.yaml"])?;
    assert_eq!(place.statuses("out/web")?, [("sens".to_owned(), "cached".to_owned())]);
    // Another content is another key.
    fs::copy(
        place.path("shards/web/val-000000.tar"),
        place.path("shards/web/val-000002.tar"),
    )?;
    place.expect(0, &["run", "web.yaml"])?;
    assert_eq!(place.statuses("out/web")?, [("sens".to_owned(), "computed".to_owned())]);
    Ok(())
}

#[test]
fn what_is_not_there_is_told_before_anything_runs() -> Checked {
    let place = place()?;
    for (source, code, wanted) in [
        ("{webdataset: {path: shards/wbe}}", 2, "there is no file or folder"),
        (
            "{webdataset: {path: shards/web, resize: 12, crop: 12}}",
            2,
            "a sample has shape [3, 12, 12], but the model's input is [3, 10, 10]",
        ),
        (
            "{parquet: {path: shards/table, image: picture, label: label}}",
            2,
            "there is no column \"picture\"; it holds image.bytes, image.path, label",
        ),
        (
            "{parquet: {path: shards/table, image: image, label: lable}}",
            2,
            "did you mean `label`?",
        ),
        (
            "{webdataset: {path: shards/web, label: clas, crop: 10}}",
            2,
            "dataset.source.webdataset.label: shards/web/val-000000.tar, sample",
        ),
        (
            "{webdataset: {path: shards/json/all.tar, label: {json: lable}, crop: 10}}",
            2,
            "did you mean `label`?",
        ),
        ("{image_folder: {path: v3}}", 2, "there is no folder v3"),
        (
            "{cifar10: {files: [shards/cifar10.bin]}}",
            2,
            "a sample has shape [3, 32, 32], but the model's input is [3, 10, 10]",
        ),
        ("{cifar100: {files: [shards]}}", 2, "is a folder, not a file"),
        (
            "{npy: {inputs: shards/cifar10.bin, targets: model.pt}}",
            1,
            "not a npy array",
        ),
    ] {
        place.write("wrong.yaml", &pipeline("wrong", source))?;
        let output = stderr(&place.expect(code, &["check", "wrong.yaml"])?);
        assert!(output.contains(wanted), "{wanted}:\n{output}");
    }
    Ok(())
}
