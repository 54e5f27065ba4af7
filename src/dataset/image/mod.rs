//! One image file to 8-bit RGB, as `PIL.Image.open(file).convert("RGB")` gives it.
//!
//! Owns which formats are read (by content, not by name: JPEG, PNG, WebP, BMP, PNM), the conversion of palettes, grey,
//! 16 bits and alpha to RGB, and the limit on an image's size. EXIF rotation, colour profiles and transparency are
//! ignored, as there. Deliberately knows nothing of folders, classes and tensors.

mod jpeg;
mod resize;

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

pub use resize::{Geometry, Rgb};

/// The most pixels an image may have (where Pillow begins to warn of decompression bombs): 268 MB as RGB.
pub const PIXEL_LIMIT: usize = 89_478_485;

/// Endings of the files that count as images, as in torchvision.
pub const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// Why an image could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageError {
    #[error("broken image: {0}")]
    Broken(String),
    #[error("not a JPEG, PNG, WebP, BMP or PNM file: convert it to one of them")]
    Unknown,
    #[error("the image has {width}x{height} pixels, more than {PIXEL_LIMIT}: scale it down")]
    TooLarge { width: usize, height: usize },
}

/// Decodes a whole file.
pub fn decode(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let format = image::guess_format(bytes).map_err(|_| ImageError::Unknown)?;
    if format == ImageFormat::Jpeg {
        return jpeg::decode(bytes);
    }
    if !format.reading_enabled() {
        return Err(ImageError::Unknown);
    }
    let broken = |error: image::ImageError| ImageError::Broken(error.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.no_limits();
    let decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    if width.saturating_mul(height) > PIXEL_LIMIT {
        return Err(ImageError::TooLarge { width, height });
    }
    // Depth and colour type of a PNG's header, which the decoder does not tell once a transparent colour is expanded.
    let grey16 = format == ImageFormat::Png && bytes.get(24..26) == Some(&[16, 0]);
    let pixels = rgb(DynamicImage::from_decoder(decoder).map_err(broken)?, grey16);
    Ok(Rgb { width, height, pixels })
}

/// Drops alpha, repeats grey, and brings 16 bits to 8 by Pillow's rules. `grey16`: the file holds 16-bit grey without an
/// alpha channel (though one colour may be transparent).
fn rgb(image: DynamicImage, grey16: bool) -> Vec<u8> {
    let high = |value: u16| (value >> 8) as u8;
    // Pillow reads 16-bit grey as integers and cuts them off at 255 instead of scaling.
    let cut = |value: u16| value.min(255) as u8;
    match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgba8(image) => image
            .pixels()
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect(),
        DynamicImage::ImageLuma8(image) => image.into_raw().into_iter().flat_map(|grey| [grey; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|pixel| [pixel[0]; 3]).collect(),
        DynamicImage::ImageLuma16(image) => image.into_raw().into_iter().flat_map(|grey| [cut(grey); 3]).collect(),
        DynamicImage::ImageLumaA16(image) if grey16 => image.pixels().flat_map(|pixel| [cut(pixel[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().flat_map(|pixel| [high(pixel[0]); 3]).collect(),
        DynamicImage::ImageRgb16(image) => image.into_raw().into_iter().map(high).collect(),
        DynamicImage::ImageRgba16(image) => image
            .pixels()
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]].map(high))
            .collect(),
        other => other.into_rgb8().into_raw(),
    }
}
