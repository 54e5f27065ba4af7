//! WebDataset: images and labels as files in tar archives.
//!
//! Owns the grouping of members into samples (neighbours of one name up to the first dot of its last part), which member
//! is the image and which the label. Opening passes over the headers of the archives and reads the labels; no more of
//! them than `samples` asks for where those are the first ones. Keeps names and places, never pixels: about 100 bytes a
//! sample. Deliberately knows nothing of tar's headers and of pixels.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::formats::DataError;
use crate::formats::tar::{Member, Tar, shards};
use crate::tensor::{DType, Tensor};

use super::frame::Frame;
use super::image::EXTENSIONS;
use super::{DatasetError, Label, Raw, Source};

/// Endings of the archives in a folder.
const ENDINGS: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// The largest file that may be a label.
const LARGEST_LABEL: u64 = 1 << 20;

/// The ending of labels where nothing is said.
const USUAL_LABEL: &str = "cls";

/// The samples of some archives.
pub(super) struct WebDataset {
    frame: Frame,
    shards: Vec<PathBuf>,
    samples: Vec<Sample>,
    labelled: bool,
    /// The archive that was read last, and its number.
    open: Mutex<Option<(usize, Tar)>>,
}

struct Sample {
    shard: usize,
    image: Member,
    label: i64,
}

/// A sample whose members are still coming.
struct Pending {
    key: String,
    image: Option<Member>,
    label: Option<Member>,
    /// Of all its files.
    endings: Vec<String>,
}

impl WebDataset {
    /// `path` is an archive, or a folder of them; `image` the ending of images, else the usual ones.
    pub fn open(
        path: &Path,
        image: Option<&str>,
        label: &Label,
        limit: Option<usize>,
        frame: Frame,
    ) -> Result<WebDataset, DatasetError> {
        let mut found = WebDataset {
            frame,
            shards: shards(path, &ENDINGS)?,
            samples: Vec::new(),
            labelled: true,
            open: Mutex::new(None),
        };
        for shard in 0..found.shards.len() {
            if limit.is_some_and(|limit| found.samples.len() >= limit) {
                break;
            }
            found.index(shard, image, label, limit)?;
        }
        found.open = Mutex::new(None);
        Ok(found)
    }

    /// Notes the samples of one archive.
    fn index(
        &mut self,
        shard: usize,
        image: Option<&str>,
        label: &Label,
        limit: Option<usize>,
    ) -> Result<(), DatasetError> {
        let path = self.shards[shard].clone();
        let mut tar = Tar::open(&path)?;
        let mut pending: Option<Pending> = None;
        let mut at = 0;
        loop {
            let next = tar.next(at)?;
            let named = next.as_ref().and_then(|(member, _)| split(&member.name));
            let named = named.map(|(key, ending)| (key.to_owned(), ending.to_ascii_lowercase()));
            // Files without an ending stand beside samples, and part none.
            let beside = next.is_some() && named.is_none();
            let same = beside || matches!((&pending, &named), (Some(open), Some((key, _))) if open.key == *key);
            if !same && let Some(done) = pending.take() {
                self.finish(shard, &mut tar, done, label)?;
                if limit.is_some_and(|limit| self.samples.len() >= limit) {
                    return Ok(());
                }
            }
            let Some((member, after)) = next else {
                return Ok(());
            };
            at = after;
            let Some((key, ending)) = named else { continue };
            let first = self.samples.is_empty();
            let sample = pending.get_or_insert(Pending {
                key,
                image: None,
                label: None,
                endings: Vec::new(),
            });
            if first {
                sample.endings.push(ending.clone());
            }
            let is_image = match image {
                Some(wanted) => ending == wanted,
                None => EXTENSIONS.contains(&ending.as_str()),
            };
            let place = if is_image {
                &mut sample.image
            } else if ending == label.ending() {
                &mut sample.label
            } else {
                continue;
            };
            if let Some(earlier) = place.replace(member) {
                let problem = format!("the sample {:?} has two files like {:?}", sample.key, earlier.name);
                return Err(malformed(&path, problem));
            }
        }
    }

    /// Notes one sample whose members are all known.
    fn finish(&mut self, shard: usize, tar: &mut Tar, done: Pending, label: &Label) -> Result<(), DatasetError> {
        let path = &self.shards[shard];
        // Whether there are labels is the first sample's to say; what was asked for by another name than the usual has to be
        // there.
        let first = self.samples.is_empty();
        let missing = |what, have| {
            let place = format!("{}, sample {:?}", path.display(), done.key);
            let name = label.name().to_owned();
            DatasetError::Data(DataError::NoSuchName {
                place,
                what,
                name,
                have,
            })
        };
        if first {
            self.labelled = done.label.is_some();
            if !self.labelled && label.ending() != USUAL_LABEL {
                return Err(missing("label", done.endings));
            }
        }
        let Some(image) = done.image else {
            return Err(malformed(path, format!("the sample {:?} has no image", done.key)));
        };
        let class = match done.label {
            Some(member) if member.size <= LARGEST_LABEL => {
                let content = tar.read(&member)?;
                if first && let Some(fields) = label.fields_instead(&content) {
                    return Err(missing("field", fields));
                }
                let class = label.read(&content);
                class.map_err(|problem| malformed(path, format!("{}: {problem}", member.name)))?
            }
            Some(member) => return Err(malformed(path, format!("{}: too large for a label", member.name))),
            None if self.labelled => {
                let problem = format!("the sample {:?} has no .{}, as others have", done.key, label.ending());
                return Err(malformed(path, problem));
            }
            None => 0,
        };
        self.samples.push(Sample {
            shard,
            image,
            label: class,
        });
        Ok(())
    }

    /// The content of a sample's image. Archives are read one at a time, in order.
    fn content(&self, row: usize) -> Result<Vec<u8>, DatasetError> {
        let sample = &self.samples[row];
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let tar = match &mut *open {
            Some((shard, tar)) if *shard == sample.shard => tar,
            other => &mut other.insert((sample.shard, Tar::open(&self.shards[sample.shard])?)).1,
        };
        Ok(tar.read(&sample.image)?)
    }
}

fn malformed(path: &Path, problem: String) -> DatasetError {
    DatasetError::Data(DataError::Malformed {
        place: path.display().to_string(),
        problem,
    })
}

/// A member's name at the first dot of its last part; none for names without one, hidden files and metadata.
fn split(name: &str) -> Option<(&str, &str)> {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let meta = name
        .split('/')
        .any(|part| part.starts_with("__") && part.len() > 4 && part.ends_with("__"));
    let dot = name[last..].find('.').filter(|&dot| dot > 0)?;
    (!meta).then(|| (&name[..last + dot], &name[last + dot + 1..]))
}

impl Source for WebDataset {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError> {
        let files = rows
            .iter()
            .map(|&row| self.content(row))
            .collect::<Result<Vec<_>, _>>()?;
        let pixels = self
            .frame
            .batch(rows.len(), |index| Ok(&files[index]), |index| self.place(rows[index]))?;
        let labels: Vec<i64> = rows.iter().map(|&row| self.samples[row].label).collect();
        Ok(Raw {
            inputs: vec![pixels],
            targets: self.labelled.then(|| Tensor::from_i64([rows.len()], &labels)),
        })
    }

    /// A compressed archive is read from its beginning.
    fn is_seekable(&self) -> bool {
        let plain = |shard: &PathBuf| shard.extension().is_some_and(|ending| ending == "tar");
        self.shards.iter().all(plain)
    }

    fn place(&self, row: usize) -> String {
        let sample = &self.samples[row];
        format!("{}, {}", self.shards[sample.shard].display(), sample.image.name)
    }

    fn targets(&self) -> Option<DType> {
        self.labelled.then_some(DType::I64)
    }

    fn raw_bytes(&self) -> usize {
        self.frame.bytes()
    }

    fn target_numbers(&self) -> usize {
        1
    }

    fn files(&self, rows: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf> {
        let mut shards: Vec<usize> = rows.map(|row| self.samples[row].shard).collect();
        shards.sort_unstable();
        shards.dedup();
        shards.into_iter().map(|shard| self.shards[shard].clone()).collect()
    }
}
