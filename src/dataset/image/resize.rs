//! Resizing and cropping 8-bit RGB images to the byte as torchvision does on PIL images.
//!
//! Owns Pillow's bilinear resampler with antialias (weights rounded to 22 bits, a horizontal and a vertical pass, each
//! rounded to 8 bits), torchvision's rule for the size of `Resize(int)` and its rule for `CenterCrop`, black
//! padding of too small images included. Only the pixels that the crop keeps are computed, which changes none of them.
//! Deliberately knows neither files nor floats.
//!
//! The reference is Pillow 13: there the vertical pass comes first when the height loses more than twice as many pixels as
//! the width does (images more than about twice as high as wide). Before, the horizontal pass always came first, which
//! gives other roundings, by 1 of 255.

use std::ops::Range;

/// An 8-bit RGB image: three bytes a pixel, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// What is done to each image: the length of its shorter side, then the side of the square cut from its centre.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    pub resize: Option<u32>,
    pub crop: Option<u32>,
}

impl Geometry {
    /// Height and width of what comes out of an image of this height and width.
    pub fn output_size(&self, height: usize, width: usize) -> (usize, usize) {
        match self.crop {
            Some(crop) => (crop as usize, crop as usize),
            None => self.resized(height, width),
        }
    }

    /// torchvision's size rule: the shorter side as asked, the longer one truncated.
    fn resized(&self, height: usize, width: usize) -> (usize, usize) {
        let Some(size) = self.resize.map(|size| size as usize) else {
            return (height, width);
        };
        let (short, long) = (height.min(width), height.max(width));
        let long = ((size as f64 * long as f64) / short as f64) as usize;
        if width <= height { (long, size) } else { (size, long) }
    }

    /// Resizes and crops; the result is planar: all red bytes, then green, then blue.
    pub fn apply(&self, image: &Rgb) -> Vec<u8> {
        let (full_height, full_width) = self.resized(image.height, image.width);
        let (height, width) = self.output_size(image.height, image.width);
        let rows = Window::centre(full_height, height);
        let columns = Window::centre(full_width, width);
        let row_weights = Weights::new(image.height, full_height, rows.start, rows.len);
        let column_weights = Weights::new(image.width, full_width, columns.start, columns.len);
        let (top, bottom) = row_weights.range();
        let (left, right) = column_weights.range();
        let lost = |before: usize, after: usize| before as i64 - after as i64;
        let (lost_rows, lost_columns) = (lost(image.height, full_height), lost(image.width, full_width));
        let pixels = if lost_rows > 0 && lost_rows > 2 * lost_columns {
            let source = (image.pixels.as_slice(), image.width * 3);
            let squeezed = vertical(source, left * 3..right * 3, 0, &row_weights);
            horizontal((&squeezed, (right - left) * 3), 0..rows.len, left, &column_weights)
        } else {
            let source = (image.pixels.as_slice(), image.width * 3);
            let squeezed = horizontal(source, top..bottom, 0, &column_weights);
            vertical((&squeezed, columns.len * 3), 0..columns.len * 3, top, &row_weights)
        };
        planar(&pixels, (&rows, height), (&columns, width))
    }
}

/// The part of a resized side that the crop keeps, and how much black comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    start: usize,
    len: usize,
    padding: usize,
}

impl Window {
    /// torchvision pads the smaller half before, and rounds halves to even where it crops (Python's `round`).
    fn centre(side: usize, crop: usize) -> Window {
        if crop > side {
            return Window {
                start: 0,
                len: side,
                padding: (crop - side) / 2,
            };
        }
        let (half, odd) = ((side - crop) / 2, (side - crop) % 2);
        Window {
            start: half + (half % 2) * odd,
            len: crop,
            padding: 0,
        }
    }
}

/// Bits after the point of a weight.
const PRECISION: u32 = 32 - 8 - 2;

/// For each wanted position of a resized side, which source positions it averages and by what weights.
struct Weights {
    /// First source position and the range of `values`.
    spans: Vec<(usize, std::ops::Range<usize>)>,
    values: Vec<i32>,
}

impl Weights {
    /// The weights of positions `start..start + len` of a side of `from` that becomes `to` long.
    fn new(from: usize, to: usize, start: usize, len: usize) -> Weights {
        let mut weights = Weights {
            spans: Vec::with_capacity(len),
            values: Vec::new(),
        };
        if from == to {
            // Pillow skips the pass; a single whole weight gives back each byte.
            weights.values.push(1 << PRECISION);
            weights
                .spans
                .extend((start..start + len).map(|position| (position, 0..1)));
            return weights;
        }
        let scale = from as f64 / to as f64;
        let support = scale.max(1.0);
        let inverse = 1.0 / support;
        for position in start..start + len {
            let centre = (position as f64 + 0.5) * scale;
            let low = (centre - support + 0.5).max(0.0) as usize;
            let high = ((centre + support + 0.5) as usize).min(from);
            let triangle = |source: usize| {
                let distance = ((source as f64 - centre + 0.5) * inverse).abs();
                if distance < 1.0 { 1.0 - distance } else { 0.0 }
            };
            let total: f64 = (low..high).map(triangle).sum();
            let begin = weights.values.len();
            weights.values.extend((low..high).map(|source| {
                let weight = triangle(source);
                let weight = if total == 0.0 { weight } else { weight / total };
                (0.5 + weight * f64::from(1 << PRECISION)) as i32
            }));
            weights.spans.push((low, begin..weights.values.len()));
        }
        weights
    }

    /// The source positions that carry weight.
    fn range(&self) -> (usize, usize) {
        let first = self.spans.first().map_or(0, |(low, _)| *low);
        let last = self.spans.iter().map(|(low, range)| low + range.len()).max();
        (first, last.unwrap_or(first))
    }
}

/// Rounds a weighted sum to a byte.
fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// Resamples the given rows to the wanted columns. `first` is the source column of each row's first pixel.
fn horizontal((pixels, stride): (&[u8], usize), rows: Range<usize>, first: usize, weights: &Weights) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * weights.spans.len() * 3);
    for row in pixels[rows.start * stride..rows.end * stride].chunks_exact(stride.max(1)) {
        for (low, range) in &weights.spans {
            let values = &weights.values[range.clone()];
            let begin = (low - first) * 3;
            let (pixels, _) = row[begin..begin + values.len() * 3].as_chunks::<3>();
            let mut sums = [HALF; 3];
            for (pixel, weight) in pixels.iter().zip(values) {
                for (sum, &colour) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(colour) * weight;
                }
            }
            out.extend(sums.map(byte));
        }
    }
    out
}

/// Resamples the given bytes of each row to the wanted rows. `first` is the source row of the first row.
fn vertical((pixels, stride): (&[u8], usize), bytes: Range<usize>, first: usize, weights: &Weights) -> Vec<u8> {
    let mut out = Vec::with_capacity(weights.spans.len() * bytes.len());
    let mut sums = vec![HALF; bytes.len()];
    for (low, range) in &weights.spans {
        sums.fill(HALF);
        for (row, weight) in (low - first..).zip(&weights.values[range.clone()]) {
            let row = &pixels[row * stride..][bytes.clone()];
            for (sum, &colour) in sums.iter_mut().zip(row) {
                *sum += i32::from(colour) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| byte(sum)));
    }
    out
}

/// Lays pixels into a black planar image.
fn planar(pixels: &[u8], (rows, height): (&Window, usize), (columns, width): (&Window, usize)) -> Vec<u8> {
    let mut out = vec![0; 3 * height * width];
    let (pixels, _) = pixels.as_chunks::<3>();
    for (row, pixels) in pixels.chunks_exact(columns.len.max(1)).enumerate() {
        let begin = (rows.padding + row) * width + columns.padding;
        for (plane, out) in out.chunks_exact_mut((height * width).max(1)).enumerate() {
            for (place, pixel) in out[begin..].iter_mut().zip(pixels) {
                *place = pixel[plane];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_torchvision() {
        for (resize, (height, width), expected) in [
            (256, (375, 500), (256, 341)),
            (256, (500, 375), (341, 256)),
            (3, (7, 7), (3, 3)),
            (224, (1, 3), (224, 672)),
            (10, (10, 13), (10, 13)),
        ] {
            let geometry = Geometry {
                resize: Some(resize),
                crop: None,
            };
            assert_eq!(
                geometry.output_size(height, width),
                expected,
                "{resize} of {height}x{width}"
            );
        }
    }

    #[test]
    fn windows_follow_torchvision() {
        for (side, crop, start, len, padding) in [
            (10, 4, 3, 4, 0),
            (9, 4, 2, 4, 0),  // 2.5 rounds to 2
            (11, 4, 4, 4, 0), // 3.5 rounds to 4
            (4, 4, 0, 4, 0),
            (4, 7, 0, 4, 1),
            (4, 8, 0, 4, 2),
        ] {
            assert_eq!(
                Window::centre(side, crop),
                Window { start, len, padding },
                "{crop} of {side}"
            );
        }
    }

    #[test]
    fn the_same_size_keeps_every_byte() {
        let image = Rgb {
            width: 3,
            height: 2,
            pixels: (0..18).map(|value| value * 14).collect(),
        };
        let planar = Geometry {
            resize: Some(2),
            crop: None,
        }
        .apply(&image);
        let expected: Vec<u8> = (0..3)
            .flat_map(|plane| (0..6).map(move |pixel| (pixel * 3 + plane) * 14))
            .collect();
        assert_eq!(planar, expected);
    }

    #[test]
    fn a_crop_is_cut_from_the_whole() {
        let image = Rgb {
            width: 31,
            height: 23,
            pixels: (0..31 * 23 * 3u32)
                .map(|value| (value.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
        };
        let whole = Geometry {
            resize: Some(12),
            crop: None,
        }
        .apply(&image);
        let part = Geometry {
            resize: Some(12),
            crop: Some(7),
        }
        .apply(&image);
        let (full_width, top, left) = (16, 2, 4);
        for plane in 0..3 {
            for row in 0..7 {
                for column in 0..7 {
                    let index = (plane * 12 + row + top) * full_width + column + left;
                    assert_eq!(part[(plane * 7 + row) * 7 + column], whole[index]);
                }
            }
        }
    }
}
