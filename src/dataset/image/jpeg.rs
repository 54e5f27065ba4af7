//! JPEG files to RGB, to the byte as Pillow reads them.
//!
//! Owns the calls into libjpeg (mozjpeg's fork of libjpeg-turbo, plain C, so that a C compiler is all that a build
//! needs) and Pillow's rule for CMYK. Deliberately decodes no other format and resizes nothing.

use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Decompress};

use super::{ImageError, PIXEL_LIMIT, Rgb};

/// Decodes one JPEG file.
pub(super) fn decode(bytes: &[u8]) -> Result<Rgb, ImageError> {
    // libjpeg's way out of an error is to unwind through its own frames; the library is compiled for that.
    catch_unwind(AssertUnwindSafe(|| decode_unwinding(bytes))).unwrap_or_else(|payload| {
        let message = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("the decoder failed");
        Err(ImageError::Broken(
            message.trim_start_matches("libjpeg fatal error: ").to_owned(),
        ))
    })
}

fn decode_unwinding(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let broken = |error: io::Error| ImageError::Broken(error.to_string());
    let header = Decompress::new_reader(Strict(bytes)).map_err(broken)?;
    let (width, height) = header.size();
    if width.saturating_mul(height) > PIXEL_LIMIT {
        return Err(ImageError::TooLarge { width, height });
    }
    let components = header.components().len();
    let space = match components {
        1 => ColorSpace::JCS_GRAYSCALE,
        3 => ColorSpace::JCS_RGB,
        4 => ColorSpace::JCS_CMYK,
        _ => return Err(ImageError::Broken(format!("{components} colour components"))),
    };
    let mut started = header.to_colorspace(space).map_err(broken)?;
    let read: Vec<u8> = started.read_scanlines().map_err(broken)?;
    let pixels = match components {
        1 => read.iter().flat_map(|&grey| [grey; 3]).collect(),
        3 => read,
        _ => read.as_chunks::<4>().0.iter().flat_map(|&ink| rgb(ink)).collect(),
    };
    Ok(Rgb { width, height, pixels })
}

/// Pillow's conversion: inks are stored inverted (Adobe's way, always assumed), and black scales the others.
fn rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = u32::from(black);
    [cyan, magenta, yellow].map(|stored| {
        let ink = u32::from(255 - stored) * light + 128;
        light.saturating_sub(((ink >> 8) + ink) >> 8) as u8
    })
}

/// A file's bytes, whose end is an error: libjpeg would make up the rest of a truncated image in grey.
struct Strict<'a>(&'a [u8]);

impl Read for Strict<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Strict<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.0.is_empty() {
            return Err(io::Error::other("the file is truncated"));
        }
        Ok(self.0)
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}
