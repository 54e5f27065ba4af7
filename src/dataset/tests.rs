//! Whole datasets: from files to batches.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::formats::safetensors;

mod shards;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dataset/testdata")
}

fn config(source: SourceConfig, shape: &[usize]) -> Config {
    Config {
        source,
        normalize: None,
        samples: None,
        seed: 0,
        inputs: vec![Input::only(shape)],
    }
}

fn folder(path: PathBuf, shape: &[usize]) -> Config {
    config(
        SourceConfig::ImageFolder {
            path,
            geometry: image::Geometry {
                resize: Some(24),
                crop: Some(20),
            },
        },
        shape,
    )
}

/// The error of opening, or else of reading everything.
fn error(config: &Config) -> String {
    match Dataset::open(config) {
        Err(error) => error.to_string(),
        Ok(dataset) => match dataset.batches(3).find_map(Result::err) {
            Some(error) => error.to_string(),
            None => "no error".to_owned(),
        },
    }
}

fn expected() -> Vec<(String, Tensor)> {
    let bytes = fs::read(testdata().join("expected.safetensors")).unwrap();
    safetensors::read(&bytes.into(), "expected").unwrap()
}

/// Arrays as a safetensors file in a fresh folder.
fn arrays(tensors: &[(&str, Tensor)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.safetensors");
    let tensors: Vec<(String, Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.to_string(), tensor.clone()))
        .collect();
    fs::write(&path, safetensors::write(&tensors)).unwrap();
    (folder, path)
}

fn xy(path: &Path) -> SourceConfig {
    SourceConfig::Safetensors {
        path: path.to_owned(),
        inputs: vec!["x".into()],
        targets: Some("y".into()),
    }
}

/// MNIST's format: two zero bytes, the type, the number of axes, big-endian extents.
fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn images_equal_torchvision_to_the_byte() {
    let expected = expected();
    let geometry = image::Geometry {
        resize: Some(24),
        crop: Some(20),
    };
    let mut compared = 0;
    for (name, wanted) in expected
        .iter()
        .filter(|(name, _)| name.contains('/') && !name.ends_with(":float"))
    {
        let decoded = image::decode(&fs::read(testdata().join("images").join(name)).unwrap()).unwrap();
        let found = geometry.apply(&decoded);
        let differ = found
            .iter()
            .zip(wanted.data())
            .filter(|(found, wanted)| found != wanted)
            .count();
        assert_eq!(
            (found.len(), differ),
            (wanted.numel(), 0),
            "{name}: {differ} bytes differ"
        );
        compared += 1;
    }
    assert_eq!(compared, 19);

    let small = image::decode(&fs::read(testdata().join("images/other/small.png")).unwrap()).unwrap();
    let padded = image::Geometry {
        resize: Some(6),
        crop: Some(11),
    }
    .apply(&small);
    let (_, wanted) = expected.iter().find(|(name, _)| name == "padded").unwrap();
    assert_eq!(padded, wanted.data()[..]);
}

#[test]
fn a_folder_gives_normalised_images_round_robin() {
    let mut config = folder(testdata().join("images"), &[3, 20, 20]);
    config.normalize = Some(Normalize {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    });
    let dataset = Dataset::open(&config).unwrap();
    assert_eq!(
        (dataset.len(), dataset.classes(), dataset.targets()),
        (19, Some(2), Some(DType::I64))
    );
    let names: Vec<String> = dataset
        .files()
        .iter()
        .map(|path| path.file_name().unwrap().display().to_string())
        .collect();
    // `other` goes on alone when `jpeg` is used up; a subfolder comes after the files beside it.
    assert_eq!(names[..4], ["420.jpg", "bits.bmp", "422_progressive.jpeg", "bmp.bmp"]);
    assert_eq!(names[18], "grey_alpha.png");
    assert_eq!(dataset.file_classes().unwrap()[..4], [0, 1, 0, 1]);

    let batches: Vec<Batch> = dataset.batches(4).map(Result::unwrap).collect();
    // From the middle on, and where nothing is left to read.
    let from = |first| {
        dataset
            .batches_from(4, first)
            .map(Result::unwrap)
            .map(|batch| batch.first)
    };
    assert_eq!(from(4).next(), batches.get(1).map(|batch| batch.first));
    assert_eq!(from(dataset.len()).next(), None);
    let firsts: Vec<usize> = batches.iter().map(|batch| batch.first).collect();
    assert_eq!(firsts, [0, 4, 8, 12, 16]);
    assert_eq!(batches[4].len(), 3);
    let targets: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.targets.clone().unwrap().to_i64())
        .collect();
    assert_eq!(
        targets,
        dataset
            .file_classes()
            .unwrap()
            .iter()
            .map(|&class| class as i64)
            .collect::<Vec<_>>()
    );

    let mut compared = 0;
    for (name, wanted) in expected().iter().filter(|(name, _)| name.ends_with(":float")) {
        let file = Path::new(name.strip_suffix(":float").unwrap())
            .file_name()
            .unwrap()
            .display()
            .to_string();
        let sample = names.iter().position(|found| *found == file).unwrap();
        let found = dataset.read(sample..sample + 1).unwrap();
        assert_eq!(found.inputs[0].data(), wanted.data(), "{name}");
        assert!(found.origin(0).ends_with(&file));
        compared += 1;
    }
    assert_eq!(compared, 2);
}

#[test]
fn threads_and_batches_change_nothing() {
    let config = folder(testdata().join("images"), &[3, 20, 20]);
    let all = Dataset::open(&config).unwrap().read(0..19).unwrap();
    for threads in [1, 2, 4] {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let dataset = Dataset::open_in(&config, Some(pool.clone())).unwrap();
        // A consumer on a thread of the pool that decodes must not wait for itself.
        for batch in pool.install(|| dataset.batches(5).collect::<Vec<_>>()) {
            let batch = batch.unwrap();
            let part = all.slice(batch.first, batch.first + batch.len()).unwrap();
            assert_eq!((&batch.inputs, &batch.targets), (&part.inputs, &part.targets));
        }
        // One who leaves early stops the reader.
        assert!(pool.install(|| dataset.batches(1).next()).is_some());
    }
}

#[test]
fn idx_images_become_floats_with_a_channel() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = (folder.path().join("i.idx.gz"), folder.path().join("l.idx"));
    let pixels: Vec<u8> = (0..5 * 4).collect();
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zipped, &idx(&[5, 2, 2], &pixels)).unwrap();
    fs::write(&images, zipped.finish().unwrap()).unwrap();
    fs::write(&labels, idx(&[5], &[3, 1, 4, 1, 5])).unwrap();
    let source = SourceConfig::Idx {
        images: images.clone(),
        labels: Some(labels.clone()),
    };
    let dataset = Dataset::open(&config(source.clone(), &[1, 2, 2])).unwrap();
    assert_eq!(dataset.files(), [images, labels.clone()]);
    assert_eq!(dataset.place(2), format!("{}, sample 2", labels.display()));
    for _ in 0..2 {
        let batches: Vec<Batch> = dataset.batches(2).map(Result::unwrap).collect();
        assert_eq!(batches.len(), 3);
        assert_eq!(batches[1].inputs[0].shape(), [2, 1, 2, 2]);
        assert_eq!(batches[1].inputs[0].to_f32()[0], 8.0 / 255.0);
        assert_eq!(batches[2].targets.as_ref().unwrap().to_i64(), [5]);
    }
    // Backwards through a compressed file.
    assert_eq!(dataset.read(3..4).unwrap().inputs[0].to_f32()[0], 12.0 / 255.0);
    assert_eq!(dataset.read(0..1).unwrap().inputs[0].to_f32()[1], 1.0 / 255.0);

    let unlabelled = SourceConfig::Idx {
        images: dataset.files()[0].clone(),
        labels: None,
    };
    let unlabelled = Dataset::open(&config(unlabelled, &[1, 2, 2])).unwrap();
    assert_eq!(unlabelled.targets(), None);
    assert!(unlabelled.read(0..5).unwrap().targets.is_none());

    let wrong = error(&config(source.clone(), &[1, 3, 3]));
    assert!(
        wrong.ends_with("i.idx.gz: a sample has shape [2, 2], but the model's input is [1, 3, 3]"),
        "{wrong}"
    );
    fs::write(&labels, idx(&[4], &[3, 1, 4, 1])).unwrap();
    let wrong = error(&config(source, &[1, 2, 2]));
    assert!(
        wrong.contains("i.idx.gz holds 5 samples, but ") && wrong.contains("l.idx holds 4:"),
        "{wrong}"
    );
}

#[test]
fn samples_are_the_first_or_drawn() {
    let x = Tensor::from_f32([10, 1], &(0..10).map(|row| row as f32).collect::<Vec<_>>());
    let y = Tensor::from_i64([10], &(0..10).collect::<Vec<_>>());
    let (_folder, path) = arrays(&[("x", x), ("y", y)]);
    let rows = |samples| {
        let mut config = config(xy(&path), &[1]);
        config.samples = samples;
        let dataset = Dataset::open(&config).unwrap();
        let inputs: Vec<f32> = dataset
            .batches(3)
            .flat_map(|batch| batch.unwrap().inputs[0].to_f32())
            .collect();
        let targets: Vec<i64> = dataset
            .batches(4)
            .flat_map(|batch| batch.unwrap().targets.unwrap().to_i64())
            .collect();
        assert_eq!(inputs.iter().map(|&value| value as i64).collect::<Vec<_>>(), targets);
        targets
    };
    assert_eq!(rows(None), (0..10).collect::<Vec<_>>());
    assert_eq!(
        rows(Some(Samples {
            count: 4,
            shuffle: false
        })),
        [0, 1, 2, 3]
    );
    let order = Order::new(
        10,
        Some(Samples {
            count: 4,
            shuffle: true,
        }),
        0,
    )
    .unwrap();
    let drawn: Vec<i64> = (0..4).map(|sample| order.row(sample) as i64).collect();
    assert_eq!(
        rows(Some(Samples {
            count: 4,
            shuffle: true
        })),
        drawn
    );
}

/// The same samples, wherever they lie: in a compressed file, in a plain one, and behind a draw.
#[test]
fn a_random_order_holds_every_sample_once() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let images = idx(&[30, 1], &(0..30).collect::<Vec<u8>>());
    let labels = idx(&[30], &(100..130).collect::<Vec<u8>>());
    let (plain, packed, of) = (
        folder.path().join("i.idx"),
        folder.path().join("i.idx.gz"),
        folder.path().join("l.idx"),
    );
    fs::write(&plain, &images).unwrap();
    fs::write(&of, labels).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&images).unwrap();
    fs::write(&packed, encoder.finish().unwrap()).unwrap();
    for samples in [
        None,
        Some(Samples {
            count: 20,
            shuffle: true,
        }),
    ] {
        let read = |path: &Path, seed| {
            let source = SourceConfig::Idx {
                images: path.to_owned(),
                labels: Some(of.clone()),
            };
            let whole = Dataset::open(&Config {
                samples,
                ..config(source, &[1])
            });
            let whole = whole.unwrap();
            let (random, order) = whole.shuffled(seed).unwrap();
            let batch = random.read(0..random.len()).unwrap();
            let in_order = whole.read(0..whole.len()).unwrap();
            assert_eq!(batch.inputs[0], in_order.inputs[0].select(0, &order));
            assert_eq!(batch.targets.unwrap(), in_order.targets.unwrap().select(0, &order));
            assert_eq!(random.place(3), whole.place(order[3]));
            let mut all = order.clone();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..whole.len()));
            order
        };
        assert_eq!(read(&plain, 1), read(&packed, 1));
        assert_ne!(read(&plain, 1), read(&plain, 2));
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let x = Tensor::from_f32([4, 2], &[0.0; 8]);
    let y = |rows: usize| Tensor::from_i64([rows], &vec![0; rows]);
    let check = |tensors: &[(&str, Tensor)], change: &dyn Fn(&mut Config), message: &str| {
        let (_folder, path) = arrays(tensors);
        let mut config = config(xy(&path), &[2]);
        change(&mut config);
        let found = error(&config);
        assert!(found.contains(message), "{found}");
    };
    let good = [("x", x.clone()), ("y", y(4))];
    check(&good, &|_| (), "no error");
    check(
        &good,
        &|config| config.inputs[0].shape = vec![3],
        "tensor \"x\": a sample has shape [2], but the model's input is [3]",
    );
    check(
        &good,
        &|config| config.inputs[0].dtype = DType::I64,
        "the model's input is int64, which float32 values",
    );
    check(
        &good,
        &|config| config.inputs[0].dtype = DType::F16,
        "the dataset cannot make float16 inputs",
    );
    check(
        &good,
        &|config| {
            config.samples = Some(Samples {
                count: 5,
                shuffle: true,
            })
        },
        "`samples` asks for 5 samples, but the dataset holds 4",
    );
    check(
        &[("x", x.clone()), ("y", y(3))],
        &|_| (),
        "tensor \"x\" holds 4 samples, but ",
    );
    check(&[("x", x.clone())], &|_| (), "there is no tensor \"y\"");
    check(
        &[("x", Tensor::from_f32([0, 2], &[])), ("y", y(0))],
        &|_| (),
        "the dataset holds no sample",
    );
    let huge = Tensor::new(DType::U64, [4], [0, 0, u64::MAX, 0].map(u64::to_le_bytes).concat()).unwrap();
    check(
        &[("x", x), ("y", huge)],
        &|_| (),
        "tensor \"y\", sample 2: the target 18446744073709551615 does not fit int64",
    );
}

#[test]
fn folders_are_checked() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().join("val");
    let check = |message: &str| {
        let found = error(&folder(root.clone(), &[3, 20, 20]));
        assert!(found.contains(message), "{found}");
    };
    check("val: No such file");
    fs::create_dir_all(root.join("b")).unwrap();
    fs::write(root.join("loose.png"), "ignored").unwrap();
    check("val/b: holds no image (jpg, ");
    let jpeg = fs::read(testdata().join("images/jpeg/420.jpg")).unwrap();
    fs::write(root.join("b/a.jpg"), &jpeg).unwrap();
    fs::write(root.join("b/notes.txt"), "ignored").unwrap();
    check("no error");
    for (bytes, message) in [
        (&jpeg[..jpeg.len() / 2], "val/b/z.jpg: broken image: "),
        (&jpeg[..30], "val/b/z.jpg: broken image: "),
        (
            &b"II*\0 a TIFF"[..],
            "val/b/z.jpg: not a JPEG, PNG, WebP, BMP or PNM file",
        ),
        (&b""[..], "val/b/z.jpg: not a JPEG, PNG, WebP, BMP or PNM file"),
    ] {
        fs::write(root.join("b/z.jpg"), bytes).unwrap();
        check(message);
    }
    fs::remove_file(root.join("b/z.jpg")).unwrap();
    let uncropped = |shape: &[usize]| {
        error(&config(
            SourceConfig::ImageFolder {
                path: root.clone(),
                geometry: image::Geometry::default(),
            },
            shape,
        ))
    };
    assert_eq!(uncropped(&[3, 37, 45]), "no error");
    let found = uncropped(&[3, 37, 44]);
    assert!(
        found.ends_with("a.jpg: a sample has shape [3, 37, 45], but the model's input is [3, 37, 44]"),
        "{found}"
    );
    let found = error(&folder(root.clone(), &[1, 20, 20]));
    assert!(
        found.ends_with("images have shape [3, height, width], but the model's input is [1, 20, 20]"),
        "{found}"
    );
    let found = error(&folder(root.clone(), &[3, 21, 20]));
    assert!(
        found.ends_with("val: a sample has shape [3, 20, 20], but the model's input is [3, 21, 20]"),
        "{found}"
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.join("b"), root.join("b/loop")).unwrap();
        let looped = Dataset::open(&folder(root.clone(), &[3, 20, 20])).err().unwrap();
        assert!(looped.to_string().contains("folders deep"), "{looped}");
    }
}

#[test]
fn a_truncated_png_or_bomb_is_an_error() {
    let png = fs::read(testdata().join("images/other/rgba.png")).unwrap();
    assert!(matches!(
        image::decode(&png[..png.len() / 2]),
        Err(image::ImageError::Broken(_))
    ));
    // Width and height of the header; its checksum no longer fits, or the size is refused.
    let mut huge = png;
    huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    assert!(image::decode(&huge).is_err());
    let mut huge = fs::read(testdata().join("images/jpeg/444.JPG")).unwrap();
    let frame = huge.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    huge[frame + 5..frame + 9].copy_from_slice(&[0xf0; 4]);
    let error = image::decode(&huge).unwrap_err();
    assert_eq!(
        error,
        image::ImageError::TooLarge {
            width: 61680,
            height: 61680
        }
    );
}

#[test]
fn damaged_images_are_errors_or_images() {
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let files = Dataset::open(&folder(testdata().join("images"), &[3, 20, 20]))
        .unwrap()
        .files();
    for path in files {
        let whole = fs::read(path).unwrap();
        for _ in 0..20 {
            let mut bytes = whole.clone();
            let place = random(bytes.len());
            bytes[place] = random(256) as u8;
            bytes.truncate(bytes.len() - random(2) * random(whole.len()));
            if let Ok(image) = image::decode(&bytes) {
                assert_eq!(image.pixels.len(), image.width * image.height * 3);
            }
        }
    }
}

#[test]
fn several_inputs_make_one_sample() {
    let ids = Tensor::from_i64([3, 2], &[1, 2, 3, 4, 5, 6]);
    let mask = Tensor::new(DType::Bool, [3, 2], vec![1, 1, 1, 0, 0, 1]).unwrap();
    let pixels = Tensor::new(DType::U8, [3, 1], vec![0, 51, 255]).unwrap();
    let y = Tensor::from_i64([3], &[2, 1, 0]);
    let input = |name: &str, shape: &[usize], dtype| Input {
        name: Some(name.to_owned()),
        shape: shape.to_vec(),
        dtype,
    };
    let tensors = [("ids", ids), ("mask", mask), ("pixels", pixels), ("y", y)];
    let (_folder, path) = arrays(&tensors);
    let of = |names: &[&str], inputs: &[Input]| Config {
        inputs: inputs.to_vec(),
        ..config(
            SourceConfig::Safetensors {
                path: path.clone(),
                inputs: names.iter().map(ToString::to_string).collect(),
                targets: Some("y".into()),
            },
            &[],
        )
    };
    let inputs = [
        input("pixels", &[1], DType::F32),
        input("ids", &[2], DType::I64),
        input("mask", &[2], DType::I64),
    ];
    let mut all = of(&["pixels", "ids", "mask"], &inputs);
    // Integers are neither scaled nor normalised.
    all.normalize = Some(Normalize {
        mean: vec![0.5],
        std: vec![2.0],
    });
    let dataset = Dataset::open(&all).unwrap();
    let batches: Vec<Batch> = dataset.batches(2).map(Result::unwrap).collect();
    assert_eq!(batches[1].inputs[1].to_i64(), [5, 6]);
    assert_eq!(batches[0].inputs[2].to_i64(), [1, 1, 1, 0]);
    assert_eq!(batches[0].inputs[0].to_f32(), [-0.25, (0.2 - 0.5) / 2.0]);
    assert_eq!(dataset.inputs(), inputs);
    assert_eq!(batches[1].slice(0, 1).unwrap().inputs.len(), 3);

    let check = |names: &[&str], inputs: &[Input], message: &str| {
        let found = error(&of(names, inputs));
        assert!(found.contains(message), "{found}");
    };
    check(
        &["ids"],
        &inputs[1..],
        "the model has 2 inputs, but the source gives each sample 1",
    );
    check(
        &["ids", "mask"],
        &[inputs[1].clone(), input("mask", &[3], DType::I64)],
        "tensor \"mask\": a sample has shape [2], but the model's input `mask` is [3]",
    );
    check(
        &["ids"],
        &[input("ids", &[2], DType::U8)],
        "the model's input `ids` is uint8, which int64 values cannot become without loss",
    );
}

#[test]
fn npy_files_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, shape: &str, data: &[u8]| {
        let dictionary = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
        let length = (dictionary.len() as u16).to_le_bytes();
        let path = folder.path().join(name);
        let bytes = [b"\x93NUMPY\x01\x00", &length[..], dictionary.as_bytes(), data].concat();
        fs::write(&path, bytes).unwrap();
        path
    };
    let x = write("x.npy", "(3, 2)", &[1, 2, 3, 4, 5, 6]);
    let y = write("y.npy", "(3,)", &[7, 8, 9]);
    let of = |targets: &Path| {
        config(
            SourceConfig::Npy {
                inputs: vec![x.clone()],
                targets: Some(targets.to_owned()),
            },
            &[2],
        )
    };
    let dataset = Dataset::open(&of(&y)).unwrap();
    let batch = dataset.read(1..3).unwrap();
    assert_eq!(
        batch.inputs[0].to_f32(),
        [3.0, 4.0, 5.0, 6.0].map(|value| value / 255.0)
    );
    assert_eq!(batch.targets.unwrap().to_i64(), [8, 9]);
    assert_eq!(dataset.files(), [x.clone(), y.clone()]);
    let short = write("short.npy", "(2,)", &[7, 8]);
    let found = error(&of(&short));
    assert!(
        found.contains("x.npy holds 3 samples, but ") && found.contains("short.npy holds 2"),
        "{found}"
    );
}
