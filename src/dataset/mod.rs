//! Samples for a model: from files to batches of the numbers that a network takes.
//!
//! Owns the sources of the pipeline file (IDX, npz, npy, safetensors, CIFAR's binary files, images in folders, tar archives
//! and Parquet files, and what others hold), their conversion to float32, the choice of samples, and reading ahead.
//! Deliberately knows nothing of YAML, models, metrics and other processes; file formats are `formats/`' business.
//!
//! # Memory
//!
//! Opening reads headers (and lists folders) only, and memory does not grow with a dataset's size, but for the names of
//! images (about 60 bytes each) and the numbers of drawn samples (8 bytes each); compressed files are read as streams.
//! While batches are read ([`Dataset::batches`]), there are at most [`READ_AHEAD`] + 1 converted batches (one in the
//! consumer's hands, the others ahead of it) and one raw one: [`Dataset::memory_bound`] gives the bytes. Folders of images
//! add, for each decoding thread, one file and its pixels: 3 bytes a pixel (9 for progressive JPEG) of at most
//! [`image::PIXEL_LIMIT`] pixels, that is 0.6 MB for a usual photograph of ImageNet.
//!
//! # Threads
//!
//! One thread reads ahead. Images are decoded by the pool given to [`Dataset::open_in`], else by rayon's global one, so a
//! bound on that pool bounds decoding too. The same arguments give the same batches, whatever the threads.

mod arrays;
mod batch;
mod batches;
mod cifar;
mod convert;
mod error;
mod foreign;
mod frame;
pub mod image;
mod image_folder;
mod label;
mod order;
mod parquet;
mod shuffle;
#[cfg(test)]
mod tests;
mod web;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::tensor::{DType, Tensor};

use arrays::Arrays;
use batch::Places;
pub use batch::{Batch, Origins};
pub use batches::{Batches, READ_AHEAD};
pub use cifar::Cifar;
use cifar::CifarFiles;
use convert::Conversion;
pub use convert::{Input, Normalize};
pub use error::DatasetError;
use foreign::ForeignSource;
pub use foreign::{Column, Foreign};
use frame::Frame;
use image_folder::ImageFolder;
pub use label::Label;
use order::Order;
pub use order::Samples;
use parquet::ParquetImages;
use shuffle::Unpacked;
use web::WebDataset;

/// Where samples come from.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// Two files of MNIST's format, plain or `.gz`.
    Idx { images: PathBuf, labels: Option<PathBuf> },
    /// Arrays of an `.npz` archive: one a model input, in the model's order.
    Npz {
        path: PathBuf,
        inputs: Vec<String>,
        targets: Option<String>,
    },
    /// `.npy` files: one a model input, in the model's order.
    Npy {
        inputs: Vec<PathBuf>,
        targets: Option<PathBuf>,
    },
    /// Tensors of a safetensors file: one a model input, in the model's order.
    Safetensors {
        path: PathBuf,
        inputs: Vec<String>,
        targets: Option<String>,
    },
    /// One folder a class, sorted by name.
    ImageFolder { path: PathBuf, geometry: image::Geometry },
    /// Tar archives of images and labels: one, or those of a folder.
    WebDataset {
        path: PathBuf,
        /// The ending of images; `None` for the usual ones.
        image: Option<String>,
        label: Label,
        geometry: image::Geometry,
    },
    /// Tables of images and labels: one, or those of a folder.
    Parquet {
        path: PathBuf,
        image: String,
        label: Option<String>,
        geometry: image::Geometry,
    },
    /// Binary files of CIFAR's.
    Cifar { set: Cifar, files: Vec<PathBuf> },
    /// What somebody else holds.
    Foreign(Arc<dyn Foreign>),
}

/// All that decides which numbers come out.
#[derive(Clone, Debug)]
pub struct Config {
    pub source: SourceConfig,
    pub normalize: Option<Normalize>,
    /// `None` for all.
    pub samples: Option<Samples>,
    /// What `samples` draws with.
    pub seed: u64,
    /// What the model takes, in its order.
    pub inputs: Vec<Input>,
}

/// Rows as they stand in the files.
struct Raw {
    /// One tensor a model input.
    inputs: Vec<Tensor>,
    targets: Option<Tensor>,
}

/// A kind of source. Rows are numbered as the source orders them; a [`Dataset`] picks from them.
trait Source: Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Reads these rows, which are in range.
    fn read(&self, rows: &[usize]) -> Result<Raw, DatasetError>;

    /// The place of a row's target, for messages.
    fn place(&self, row: usize) -> String;

    /// The type of converted targets: int64, float32 or none.
    fn targets(&self) -> Option<DType>;

    /// Bytes of one raw sample and its target.
    fn raw_bytes(&self) -> usize;

    /// How many numbers one target has.
    fn target_numbers(&self) -> usize;

    /// Number of classes, where it is known without reading.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// The files that these rows are read from.
    fn files(&self, rows: &mut dyn Iterator<Item = usize>) -> Vec<PathBuf>;

    /// Whether any row is read as fast as the next one.
    fn is_seekable(&self) -> bool {
        true
    }

    /// The class that a row's folder gives it.
    fn class_of(&self, _row: usize) -> Option<usize> {
        None
    }
}

/// An opened dataset; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Dataset(Arc<Opened>);

struct Opened {
    source: Arc<dyn Source>,
    order: Order,
    conversions: Vec<Conversion>,
}

impl Places for Opened {
    fn target(&self, sample: usize) -> String {
        if sample < self.order.len() {
            self.source.place(self.order.row(sample))
        } else {
            format!("sample {sample}")
        }
    }
}

impl Dataset {
    /// Opens a dataset: reads headers and lists folders, reads no sample. Images are decoded in rayon's global pool.
    ///
    /// # Errors
    /// When a file is missing or not what it should be, or the samples do not fit the model's input.
    pub fn open(config: &Config) -> Result<Dataset, DatasetError> {
        Dataset::open_in(config, None)
    }

    /// As [`Dataset::open`], decoding images in the given pool.
    pub fn open_in(config: &Config, pool: Option<Arc<rayon::ThreadPool>>) -> Result<Dataset, DatasetError> {
        let conversions = convert::conversions(&config.inputs, config.normalize.as_ref())?;
        let only = || match &conversions[..] {
            [only] => Ok(only),
            several => Err(DatasetError::Inputs {
                found: 1,
                wanted: several.len(),
            }),
        };
        let source: Arc<dyn Source> = match &config.source {
            SourceConfig::Idx { images, labels } => {
                only()?;
                Arc::new(Arrays::idx(images, labels.as_deref(), &conversions)?)
            }
            SourceConfig::Npz { path, inputs, targets } => {
                Arc::new(Arrays::npz(path, inputs, targets.as_deref(), &conversions)?)
            }
            SourceConfig::Npy { inputs, targets } => Arc::new(Arrays::npy(inputs, targets.as_deref(), &conversions)?),
            SourceConfig::Safetensors { path, inputs, targets } => {
                Arc::new(Arrays::safetensors(path, inputs, targets.as_deref(), &conversions)?)
            }
            SourceConfig::ImageFolder { path, geometry } => {
                Arc::new(ImageFolder::open(path, frame(path, *geometry, only()?, pool)?)?)
            }
            SourceConfig::WebDataset {
                path,
                image,
                label,
                geometry,
            } => {
                let frame = frame(path, *geometry, only()?, pool)?;
                // What lies beyond the first samples is not even looked at.
                let first = config.samples.filter(|samples| !samples.shuffle);
                let limit = first.map(|samples| samples.count);
                Arc::new(WebDataset::open(path, image.as_deref(), label, limit, frame)?)
            }
            SourceConfig::Parquet {
                path,
                image,
                label,
                geometry,
            } => {
                let frame = frame(path, *geometry, only()?, pool)?;
                Arc::new(ParquetImages::open(path, image, label.as_deref(), frame)?)
            }
            SourceConfig::Cifar { set, files } => Arc::new(CifarFiles::open(*set, files, only()?)?),
            SourceConfig::Foreign(from) => Arc::new(ForeignSource::open(from, config.samples, &conversions)?),
        };
        let order = Order::new(source.len(), config.samples, config.seed)?;
        Ok(Dataset(Arc::new(Opened {
            source,
            order,
            conversions,
        })))
    }

    /// The same samples in the random order that `seed` draws, and that order: which of this dataset's samples each is.
    /// A compressed array is unpacked into a temporary file.
    ///
    /// # Errors
    /// When samples have to be unpacked and cannot be read or written.
    pub fn shuffled(&self, seed: u64) -> Result<(Dataset, Vec<usize>), DatasetError> {
        let Opened {
            source,
            order,
            conversions,
        } = &*self.0;
        let random = order::random(order.len(), seed);
        let (source, rows) = if source.is_seekable() {
            let rows = random.iter().map(|&sample| order.row(sample)).collect();
            (Arc::clone(source), rows)
        } else {
            let unpacked = Unpacked::new(Arc::clone(source), order.clone())?;
            (Arc::new(unpacked) as Arc<dyn Source>, random.clone())
        };
        let opened = Opened {
            source,
            order: Order::Listed(rows),
            conversions: conversions.clone(),
        };
        Ok((Dataset(Arc::new(opened)), random))
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.0.order.len()
    }

    /// Never: an empty dataset does not open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the model takes, in its order.
    pub fn inputs(&self) -> Vec<Input> {
        let conversions = self.0.conversions.iter();
        conversions.map(|conversion| conversion.input().clone()).collect()
    }

    /// The type of targets: int64, float32, or `None` without targets.
    pub fn targets(&self) -> Option<DType> {
        self.0.source.targets()
    }

    /// Number of classes, where it is known without reading samples (folders of images).
    pub fn classes(&self) -> Option<usize> {
        self.0.source.classes()
    }

    /// The files whose contents decide the samples, for digests; images in sample order.
    ///
    /// For folders of images a sample's class comes from its folder's name, not from any file's content: whatever
    /// identifies the dataset by content needs [`Dataset::file_classes`] beside it.
    pub fn files(&self) -> Vec<PathBuf> {
        let order = &self.0.order;
        self.0
            .source
            .files(&mut (0..order.len()).map(|sample| order.row(sample)))
    }

    /// For folders of images: the class of each of [`Dataset::files`].
    pub fn file_classes(&self) -> Option<Vec<usize>> {
        let order = &self.0.order;
        (0..order.len())
            .map(|sample| self.0.source.class_of(order.row(sample)))
            .collect()
    }

    /// The file and place of a sample's target, for messages.
    pub fn place(&self, sample: usize) -> String {
        self.0.target(sample)
    }

    /// Reads a range of samples.
    pub fn read(&self, samples: Range<usize>) -> Result<Batch, DatasetError> {
        let Opened {
            source,
            order,
            conversions,
        } = &*self.0;
        let Range { start, end } = samples;
        if start > end || end > order.len() {
            return Err(DatasetError::Range {
                start,
                end,
                len: order.len(),
            });
        }
        let rows: Vec<usize> = (start..end).map(|sample| order.row(sample)).collect();
        let raw = source.read(&rows)?;
        let targets = match &raw.targets {
            Some(targets) => Some(convert::targets(targets, |index| source.place(rows[index]))?),
            None => None,
        };
        let inputs = conversions
            .iter()
            .zip(&raw.inputs)
            .map(|(conversion, raw)| conversion.apply(raw, |index| source.place(rows[index])));
        Ok(Batch {
            inputs: inputs.collect::<Result<_, _>>()?,
            targets,
            first: start,
            origins: Origins::new(self.0.clone()),
        })
    }

    /// All samples in order, `batch_size` at a time (at least 1; the last batch may be short), read ahead by a thread.
    /// After an error nothing follows.
    pub fn batches(&self, batch_size: usize) -> Batches {
        self.batches_from(batch_size, 0)
    }

    /// The same without the samples before `first`.
    pub fn batches_from(&self, batch_size: usize, first: usize) -> Batches {
        Batches::start(self.clone(), batch_size.max(1), first)
    }

    /// The most bytes that [`Dataset::batches`] holds at once, the batch in the consumer's hands included. Decoders of
    /// images and of compressed files come on top: see the module's documentation.
    pub fn memory_bound(&self, batch_size: usize) -> usize {
        let Opened {
            source, conversions, ..
        } = &*self.0;
        let converted = conversions
            .iter()
            .map(Conversion::sample_bytes)
            .sum::<usize>()
            .saturating_add(source.target_numbers().saturating_mul(8));
        // A growing buffer may be twice as large as what it holds.
        let sample = converted
            .saturating_mul(READ_AHEAD + 1)
            .saturating_add(source.raw_bytes().saturating_mul(2));
        batch_size.min(self.len()).saturating_mul(sample)
    }
}

/// How the images below `path` become the model's only input.
fn frame(
    path: &std::path::Path,
    geometry: image::Geometry,
    input: &Conversion,
    pool: Option<Arc<rayon::ThreadPool>>,
) -> Result<Frame, DatasetError> {
    let origin = path.display().to_string();
    let frame = Frame::new(&origin, geometry, input.input(), pool)?;
    input.accepts(DType::U8, input.shape(), &origin)?;
    Ok(frame)
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shapes: Vec<&[usize]> = self.0.conversions.iter().map(Conversion::shape).collect();
        write!(f, "Dataset({} samples of {shapes:?})", self.len())
    }
}
