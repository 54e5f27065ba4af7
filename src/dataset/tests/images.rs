//! Folders of images: the pixels that torchvision makes of them, their order, and files that are damaged or no images.

use super::*;

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
