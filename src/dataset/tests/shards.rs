//! Archives, tables and CIFAR's files: the same samples as from a folder, and what is said when they are broken. The
//! files were written by webdataset, datasets and numpy (`tests/oracles/shards.py`).

use std::fs;
use std::path::{Path, PathBuf};

use super::{config, error};
use crate::dataset::image::Geometry;
use crate::dataset::{Batch, Cifar, Config, Dataset, Label, Samples, SourceConfig};
use crate::tensor::Tensor;

const GEOMETRY: Geometry = Geometry {
    resize: Some(12),
    crop: Some(10),
};

fn shards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/shards")
}

fn web(path: PathBuf, label: Label) -> Config {
    let source = SourceConfig::WebDataset {
        path,
        image: None,
        label,
        geometry: GEOMETRY,
    };
    config(source, &[3, 10, 10])
}

fn cls() -> Label {
    Label::Text("cls".into())
}

fn table(path: PathBuf) -> Config {
    let source = SourceConfig::Parquet {
        path,
        image: "image".into(),
        label: Some("label".into()),
        geometry: GEOMETRY,
    };
    config(source, &[3, 10, 10])
}

fn all(config: &Config, batch: usize) -> (Vec<f32>, Vec<i64>) {
    let dataset = Dataset::open(config).unwrap();
    let batches: Vec<Batch> = dataset.batches(batch).map(Result::unwrap).collect();
    let inputs = batches.iter().flat_map(|batch| batch.inputs[0].to_f32()).collect();
    let labels = batches
        .iter()
        .flat_map(|batch| batch.targets.as_ref().map(Tensor::to_i64).unwrap());
    (inputs, labels.collect())
}

#[test]
fn archives_and_tables_hold_what_the_folder_holds() {
    let source = SourceConfig::ImageFolder {
        path: shards().join("folder"),
        geometry: GEOMETRY,
    };
    let folder = config(source, &[3, 10, 10]);
    let sources = [
        web(shards().join("web"), cls()),
        web(shards().join("json/all.tar"), Label::Json("label".into())),
        table(shards().join("table")),
    ];
    for (samples, batch) in [
        (None, 4),
        (None, 1),
        (
            Some(Samples {
                count: 7,
                shuffle: false,
            }),
            3,
        ),
        (
            Some(Samples {
                count: 6,
                shuffle: true,
            }),
            4,
        ),
    ] {
        let expected = all(
            &Config {
                samples,
                ..folder.clone()
            },
            batch,
        );
        assert_eq!(expected.1.len(), samples.map_or(10, |samples| samples.count));
        for source in &sources {
            let found = all(
                &Config {
                    samples,
                    ..source.clone()
                },
                batch,
            );
            assert_eq!(found, expected, "{:?}", source.source);
        }
    }
}

#[test]
fn only_what_is_asked_for_is_looked_at() {
    let first = |count| Some(Samples { count, shuffle: false });
    let mut config = web(shards().join("web"), cls());
    config.samples = first(3);
    let dataset = Dataset::open(&config).unwrap();
    assert_eq!(dataset.len(), 3);
    assert_eq!(dataset.files(), [shards().join("web/val-000000.tar")]);
    let place = dataset.place(1);
    assert!(place.ends_with("val-000000.tar, elm/0000.png"), "{place}");
    let mut config = table(shards().join("table"));
    config.samples = first(8);
    let dataset = Dataset::open(&config).unwrap();
    assert_eq!(dataset.files().len(), 2);
    let place = dataset.place(7);
    assert!(place.ends_with("val-00001-of-00002.parquet, row 0"), "{place}");
    // Backwards, and again.
    let rows = |range| dataset.read(range).unwrap().inputs[0].to_f32();
    let (late, early) = (rows(6..8), rows(0..2));
    assert_eq!((rows(6..8), rows(0..2)), (late, early));
    config.samples = first(11);
    assert!(error(&config).contains("asks for 11 samples, but the dataset holds 10"));
}

#[test]
fn records_of_cifar_are_labels_and_planes() {
    let expected: serde_json::Value = serde_json::from_slice(&fs::read(shards().join("cifar.json")).unwrap()).unwrap();
    let of = |set, files: &[&str]| {
        let files = files.iter().map(|name| shards().join(name)).collect();
        config(SourceConfig::Cifar { set, files }, &[3, 32, 32])
    };
    for (set, name, labels) in [
        (Cifar::Ten, "cifar10.bin", [3, 0, 9]),
        (Cifar::HundredFine, "cifar100.bin", [99, 1, 30]),
        (Cifar::HundredCoarse, "cifar100.bin", [19, 0, 4]),
    ] {
        let (pixels, classes) = all(&of(set, &[name, name]), 4);
        assert_eq!(classes, [labels, labels].concat());
        let bytes: Vec<u64> = pixels.iter().map(|pixel| (pixel * 255.0).round() as u64).collect();
        let sums: Vec<u64> = bytes.chunks(1024).map(|plane| plane.iter().sum()).collect();
        let wanted: Vec<u64> = serde_json::from_value::<Vec<Vec<u64>>>(expected["sums"].clone())
            .unwrap()
            .concat();
        assert_eq!(sums, [wanted.clone(), wanted].concat());
        let last: Vec<u64> = serde_json::from_value(expected["last"].clone()).unwrap();
        assert_eq!(bytes[2 * 3072 + 1024 + 5 * 32..][..4], last);
    }
    assert!(
        error(&of(Cifar::HundredFine, &["cifar10.bin"])).contains("9219 bytes are no whole number of records of 3074")
    );
    let mixed = error(&of(Cifar::Ten, &["cifar10.bin", "cifar100.bin"]));
    assert!(mixed.contains("9222 bytes are no whole number"), "{mixed}");
    let shape = error(&config(
        SourceConfig::Cifar {
            set: Cifar::Ten,
            files: vec![shards().join("cifar10.bin")],
        },
        &[3, 224, 224],
    ));
    assert!(shape.contains("a sample has shape [3, 32, 32]"), "{shape}");
}

/// A tar archive of these files, as Python's tarfile writes them.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = b'0';
        let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum::<u64>() + 8 * 32;
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(header);
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn samples_of_archives_must_be_whole() {
    let image = fs::read(shards().join("folder/ash/0.png")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let check = |files: &[(&str, &[u8])], wanted: &str| {
        fs::write(&path, tar(files)).unwrap();
        let found = error(&web(path.clone(), cls()));
        assert!(found.contains(wanted), "{found}");
    };
    let good: &[(&str, &[u8])] = &[("a.png", &image), ("a.cls", b"1")];
    check(good, "no error");
    // Metadata and files without an ending are passed over; so is what a sample holds beside.
    check(
        &[
            ("README", b"x"),
            ("__meta__/a.json", b"{}"),
            ("a.png", &image),
            ("a.txt", b"x"),
            ("a.cls", b"1"),
        ],
        "no error",
    );
    check(&[("a.cls", b"1")], "a.tar: the sample \"a\" has no image");
    check(&[("a.png", &image), ("a.cls", b"x")], "a.cls: \"x\" is no whole number");
    check(
        &[good, &[("b.png", &image)]].concat(),
        "the sample \"b\" has no .cls, as others have",
    );
    check(
        &[("a.png", &image), ("a.jpg", &image), ("a.cls", b"1")],
        "the sample \"a\" has two files like \"a.png\"",
    );
    check(&[("a.png", b"no image"), ("a.cls", b"1")], "a.tar, a.png: not a JPEG");
    check(&[], "the dataset holds no sample");
    // Without labels there are no targets.
    fs::write(&path, tar(&[("a.png", &image), ("b.png", &image)])).unwrap();
    let dataset = Dataset::open(&web(path.clone(), cls())).unwrap();
    assert_eq!((dataset.len(), dataset.targets()), (2, None));
    let empty = tempfile::tempdir().unwrap();
    let found = error(&web(empty.path().to_owned(), cls()));
    assert!(
        found.contains("holds no file that ends in .tar or .tar.gz or .tgz"),
        "{found}"
    );
}

#[test]
fn columns_must_be_there_and_of_the_right_type() {
    let file = shards().join("table/val-00000-of-00002.parquet");
    let with = |image: &str, label: Option<&str>| {
        let source = SourceConfig::Parquet {
            path: file.clone(),
            image: image.into(),
            label: label.map(str::to_owned),
            geometry: GEOMETRY,
        };
        error(&config(source, &[3, 10, 10]))
    };
    assert_eq!(with("image", None), "no error");
    for (image, label, wanted) in [
        (
            "img",
            None,
            "there is no column \"img\"; it holds image.bytes, image.path, label",
        ),
        ("label", None, "column \"label\" holds no bytes, so no images"),
        ("image.path", None, "image.path"),
        (
            "image",
            Some("image.path"),
            "column \"image.path\" holds no numbers, so no labels",
        ),
    ] {
        let found = with(image, label);
        assert!(found.contains(wanted) || found.contains("row 0: not a JPEG"), "{found}");
    }
}

/// A label by another name than the usual has to be there.
#[test]
fn labels_are_what_they_are_called() {
    for (archive, label, wanted) in [
        (
            "web",
            Label::Text("nope".into()),
            "there is no label \"nope\"; it holds cls, png",
        ),
        (
            "json/all.tar",
            Label::Json("nope".into()),
            "there is no field \"nope\"; it holds ",
        ),
        ("json/all.tar", cls(), "no error"),
    ] {
        let found = error(&web(shards().join(archive), label));
        assert!(found.contains(wanted), "{found}");
    }
}

/// Whatever byte of a file is damaged, and wherever it is cut, reading ends, with an error or without.
#[test]
fn damaged_files_are_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    for (name, of) in [
        ("web/val-000000.tar", 0),
        ("web/val-000001.tar.gz", 0),
        ("table/val-00001-of-00002.parquet", 1),
    ] {
        let bytes = fs::read(shards().join(name)).unwrap();
        let path = folder.path().join(name.rsplit('/').next().unwrap());
        let mut errors = 0;
        let config = if of == 0 {
            web(path.clone(), cls())
        } else {
            table(path.clone())
        };
        let step = (bytes.len() / 150).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            fs::write(&path, &damaged).unwrap();
            errors += usize::from(error(&config) != "no error");
            fs::write(&path, &bytes[..at]).unwrap();
            errors += usize::from(error(&config) != "no error");
        }
        assert!(errors > 50, "{name}: {errors}");
    }
}
