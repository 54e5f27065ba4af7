//! From files of images to batches of pixels: what all sources of images share.
//!
//! Owns the fit of resized and cropped images with the model's input, and decoding a batch in parallel. Deliberately
//! knows nothing of where the files come from.

use std::sync::Arc;

use rayon::prelude::*;

use crate::tensor::{DType, Tensor};

use super::image::{self, Geometry};
use super::{DatasetError, Input};

/// How images become a model's input.
pub(super) struct Frame {
    geometry: Geometry,
    input: Input,
    /// Height and width that the model takes.
    size: (usize, usize),
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Frame {
    /// Checks what is known before any image is: `origin` names the source.
    pub fn new(
        origin: &str,
        geometry: Geometry,
        input: &Input,
        pool: Option<Arc<rayon::ThreadPool>>,
    ) -> Result<Frame, DatasetError> {
        let &[3, height, width] = &input.shape[..] else {
            return Err(DatasetError::Images {
                origin: origin.to_owned(),
                input: input.clone(),
            });
        };
        if let Some(crop) = geometry.crop.map(|crop| crop as usize)
            && (crop, crop) != (height, width)
        {
            return Err(DatasetError::Shape {
                origin: origin.to_owned(),
                found: vec![3, crop, crop],
                input: input.clone(),
            });
        }
        Ok(Frame {
            geometry,
            input: input.clone(),
            size: (height, width),
            pool,
        })
    }

    /// Bytes of one image as the model takes it, 8 bits a value.
    pub fn bytes(&self) -> usize {
        3 * self.size.0 * self.size.1
    }

    /// Decodes `count` images; `file` gives the content of each, and `origin` its place for messages.
    pub fn batch<B: AsRef<[u8]>>(
        &self,
        count: usize,
        file: impl Fn(usize) -> Result<B, DatasetError> + Sync,
        origin: impl Fn(usize) -> String + Sync,
    ) -> Result<Tensor, DatasetError> {
        let mut pixels = vec![0; count * self.bytes()];
        let mut decode = || {
            let places = pixels.par_chunks_mut(self.bytes().max(1)).enumerate();
            places
                .map(|(index, out)| self.decode(file(index)?.as_ref(), || origin(index), out))
                .collect::<Vec<_>>()
        };
        let results = match &self.pool {
            Some(pool) => pool.install(decode),
            None => decode(),
        };
        // The first broken image in sample order, whichever thread met it.
        results.into_iter().collect::<Result<(), _>>()?;
        let (height, width) = self.size;
        Tensor::new(DType::U8, [count, 3, height, width], pixels)
            .map_err(|error| DatasetError::Reader(error.to_string()))
    }

    /// Decodes one image into its place in the batch.
    fn decode(&self, bytes: &[u8], origin: impl Fn() -> String, out: &mut [u8]) -> Result<(), DatasetError> {
        let image = image::decode(bytes).map_err(|source| DatasetError::Image {
            origin: origin(),
            source,
        })?;
        let (height, width) = self.geometry.output_size(image.height, image.width);
        if (height, width) != self.size {
            return Err(DatasetError::Shape {
                origin: origin(),
                found: vec![3, height, width],
                input: self.input.clone(),
            });
        }
        out.copy_from_slice(&self.geometry.apply(&image));
        Ok(())
    }
}
