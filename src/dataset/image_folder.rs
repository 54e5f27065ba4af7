//! A folder of images, one folder a class.
//!
//! Owns the listing (classes sorted by name, images by the byte order of their names, subfolders and links followed as in
//! torchvision), the order of samples (round-robin over the classes, so that any first N of them are balanced).
//! Keeps names, never pixels: memory grows with the number of files by about 60 bytes
//! each. Deliberately does no arithmetic on pixels (that is `image/` and `convert`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::tensor::{DType, Tensor};

use super::frame::Frame;
use super::image;
use super::{DatasetError, Raw, Source};

/// How deep folders may lie in a class's folder.
const DEPTH_LIMIT: usize = 32;

/// The images of a folder, in sample order.
pub(super) struct ImageFolder {
    classes: Vec<Class>,
    /// Class and index within it.
    order: Vec<(u32, u32)>,
    frame: Frame,
}

/// A class's folder, and the images in it by relative path.
struct Class {
    folder: PathBuf,
    images: Vec<PathBuf>,
}

impl ImageFolder {
    /// Lists the images; decodes none.
    pub fn open(path: &Path, frame: Frame) -> Result<ImageFolder, DatasetError> {
        let folder = |message: &str| DatasetError::Folder {
            path: path.to_owned(),
            message: message.to_owned(),
        };
        let mut classes = Vec::new();
        for (name, entry) in entries(path)? {
            if entry.is_dir() {
                classes.push(Class {
                    images: images(&entry)?,
                    folder: path.join(name),
                });
            }
        }
        if classes.is_empty() {
            return Err(folder(
                "holds no folder: make one folder a class, with its images in it",
            ));
        }
        if let Some(empty) = classes.iter().find(|class| class.images.is_empty()) {
            return Err(DatasetError::Folder {
                path: empty.folder.clone(),
                message: format!(
                    "holds no image ({}): remove the folder, or fill it",
                    image::EXTENSIONS.join(", ")
                ),
            });
        }
        let too_many = |_| folder("holds more than 2^32 files");
        let longest = u32::try_from(classes.iter().map(|class| class.images.len()).max().unwrap_or(0));
        let count = u32::try_from(classes.len()).map_err(too_many)?;
        let mut order = Vec::with_capacity(classes.iter().map(|class| class.images.len()).sum());
        for index in 0..longest.map_err(too_many)? {
            let present = |class: &u32| (index as usize) < classes[*class as usize].images.len();
            order.extend((0..count).filter(present).map(|class| (class, index)));
        }
        Ok(ImageFolder { classes, order, frame })
    }

    fn path(&self, row: usize) -> PathBuf {
        let (class, index) = self.order[row];
        let class = &self.classes[class as usize];
        class.folder.join(&class.images[index as usize])
    }
}

impl Source for ImageFolder {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError> {
        let file = |index: usize| {
            let path = self.path(rows[index]);
            fs::read(&path).map_err(|source| DatasetError::Io { path, source })
        };
        let pixels = self.frame.batch(rows.len(), file, |index| self.place(rows[index]))?;
        let classes: Vec<i64> = rows.iter().map(|&row| i64::from(self.order[row].0)).collect();
        Ok(Raw {
            inputs: vec![pixels],
            targets: Some(Tensor::from_i64([rows.len()], &classes)),
        })
    }

    fn place(&self, row: usize) -> String {
        self.path(row).display().to_string()
    }

    fn targets(&self) -> Option<DType> {
        Some(DType::I64)
    }

    fn raw_bytes(&self) -> usize {
        self.frame.bytes()
    }

    fn target_numbers(&self) -> usize {
        1
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes.len())
    }

    fn files(&self, rows: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf> {
        rows.map(|row| self.path(row)).collect()
    }

    fn class_of(&self, row: usize) -> Option<usize> {
        Some(self.order[row].0 as usize)
    }
}

/// Names and paths in a folder, in the byte order of the names.
fn entries(folder: &Path) -> Result<Vec<(std::ffi::OsString, PathBuf)>, DatasetError> {
    let error = |source| DatasetError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        entries.push((entry.file_name(), entry.path()));
    }
    entries.sort_by(|(a, _), (b, _)| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    Ok(entries)
}

/// The images below a class's folder, relative to it: those of a folder before those of its subfolders.
fn images(class: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let folder = class.join(&relative);
        if relative.components().count() > DEPTH_LIMIT {
            let message =
                format!("lies more than {DEPTH_LIMIT} folders deep: does a link lead back to its own folder?");
            return Err(DatasetError::Folder { path: folder, message });
        }
        let mut folders = Vec::new();
        for (name, path) in entries(&folder)? {
            if path.is_dir() {
                folders.push(relative.join(name));
            } else if is_image(&path) {
                found.push(relative.join(name));
            }
        }
        waiting.extend(folders.into_iter().rev());
    }
    Ok(found)
}

fn is_image(path: &Path) -> bool {
    let ending = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    image::EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}
