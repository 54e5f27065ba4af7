//! Resizing and cropping 8-bit RGB images to the byte as torchvision does on PIL images.
//!
//! Owns Pillow's bilinear resampler with antialias (weights rounded to 22 bits, the horizontal pass before the vertical
//! one, each rounded to 8 bits), torchvision's rule for the size of `Resize(int)` and its rule for `CenterCrop`, black
//! padding of too small images included. Only the pixels that the crop keeps are computed, which changes none of them.
//! Deliberately knows neither files nor floats.
//!
//! Pillow 13 runs the vertical pass first when the height shrinks much more than the width; resizing by the shorter side
//! keeps the proportions, so this does not happen here.

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
        let first = row_weights.first();
        let squeezed = horizontal(image, &column_weights, first, row_weights.last());
        vertical(&squeezed, first, &row_weights, (rows, height), (columns, width))
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

    fn first(&self) -> usize {
        self.spans.first().map_or(0, |(low, _)| *low)
    }

    fn last(&self) -> usize {
        self.spans
            .iter()
            .map(|(low, range)| low + range.len())
            .max()
            .unwrap_or(0)
    }
}

/// Rounds a weighted sum to a byte.
fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// Rows `first..last` of the image, each resampled to the wanted columns.
fn horizontal(image: &Rgb, weights: &Weights, first: usize, last: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity((last - first) * weights.spans.len() * 3);
    let stride = image.width * 3;
    for row in image.pixels[first * stride..last * stride].chunks_exact(stride.max(1)) {
        for (low, range) in &weights.spans {
            let values = &weights.values[range.clone()];
            let (pixels, _) = row[low * 3..(low + values.len()) * 3].as_chunks::<3>();
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

/// Resamples rows (the first of which is the source's row `first`) and lays them into a black planar image.
fn vertical(
    rows: &[u8],
    first: usize,
    weights: &Weights,
    (vertical, height): (Window, usize),
    (horizontal, width): (Window, usize),
) -> Vec<u8> {
    let stride = horizontal.len * 3;
    let mut out = vec![0; 3 * height * width];
    let mut sums = vec![HALF; stride];
    for (index, (low, range)) in weights.spans.iter().enumerate() {
        sums.fill(HALF);
        for (offset, weight) in weights.values[range.clone()].iter().enumerate() {
            let begin = (low - first + offset) * stride;
            for (sum, &colour) in sums.iter_mut().zip(&rows[begin..begin + stride]) {
                *sum += i32::from(colour) * weight;
            }
        }
        let begin = (vertical.padding + index) * width + horizontal.padding;
        let (pixels, _) = sums.as_chunks::<3>();
        for (column, pixel) in pixels.iter().enumerate() {
            for (plane, &sum) in pixel.iter().enumerate() {
                out[plane * height * width + begin + column] = byte(sum);
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
