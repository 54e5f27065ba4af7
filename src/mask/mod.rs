//! Masks: which weights of which layers are kept.
//!
//! Owns mask sets, their files (`file`), the saliencies by which filters are chosen (`saliency`) and the repair of masks
//! that contradict each other (`conflict`). A mask keeps: 1 = kept. Deliberately changes no weight, removes nothing and
//! knows nothing of graphs: which layers are tied is handed in.

pub mod conflict;
pub mod file;
mod norm;
pub mod saliency;
pub mod ties;

use crate::tensor::{DType, Tensor};

/// Which elements of one parameter are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    shape: Vec<usize>,
    /// In C order.
    keep: Vec<bool>,
}

/// Why a tensor is no mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    #[error("element {index} of the mask is {value}, but a mask holds 0 and 1 only")]
    Value { index: usize, value: String },
}

impl Mask {
    /// Keeps everything.
    pub fn full(shape: &[usize]) -> Mask {
        Mask {
            keep: vec![true; shape.iter().product()],
            shape: shape.to_vec(),
        }
    }

    /// Reads 0 and 1 of any element type.
    ///
    /// # Errors
    /// When an element is neither.
    pub fn from_tensor(tensor: &Tensor) -> Result<Mask, MaskError> {
        let read = |(index, value): (usize, f64)| match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            _ => Err(MaskError::Value {
                index,
                value: value.to_string(),
            }),
        };
        let keep = tensor
            .to_f64()
            .into_iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()?;
        Ok(Mask {
            shape: tensor.shape().to_vec(),
            keep,
        })
    }

    /// 0 and 1 as float32, to multiply with or to write.
    pub fn to_tensor(&self) -> Tensor {
        let values: Vec<f32> = self.keep.iter().map(|&keep| f32::from(u8::from(keep))).collect();
        Tensor::from_f32(self.shape.clone(), &values)
    }

    /// 0 and 1 as bool.
    pub fn to_bool_tensor(&self) -> Tensor {
        let bytes: Vec<u8> = self.keep.iter().map(|&keep| u8::from(keep)).collect();
        // One byte an element fills the shape.
        Tensor::new(DType::Bool, self.shape.clone(), bytes).unwrap_or_else(|_| unreachable!())
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// One flag an element, in C order.
    pub fn keep(&self) -> &[bool] {
        &self.keep
    }

    /// Number of elements that are masked.
    pub fn pruned(&self) -> usize {
        self.keep.iter().filter(|&&keep| !keep).count()
    }

    /// Sets the elements of slice `index` of `slices`.
    pub fn set(&mut self, slices: &Slices, index: usize, keep: bool) {
        for (start, length) in slices.runs(index) {
            self.keep[start..start + length].fill(keep);
        }
    }

    /// Masks one position of an axis; positions that do not exist are nothing.
    pub fn clear(&mut self, axis: usize, index: usize) {
        let Some(&extent) = self.shape.get(axis).filter(|&&extent| index < extent) else {
            return;
        };
        let inner: usize = self.shape[axis + 1..].iter().product();
        let outer: usize = self.shape[..axis].iter().product();
        for block in 0..outer {
            let start = (block * extent + index) * inner;
            self.keep[start..start + inner].fill(false);
        }
    }

    /// How many elements of slice `index` are kept, and how many there are.
    pub fn kept(&self, slices: &Slices, index: usize) -> (usize, usize) {
        slices.runs(index).fold((0, 0), |(kept, all), (start, length)| {
            let run = &self.keep[start..start + length];
            (kept + run.iter().filter(|&&keep| keep).count(), all + length)
        })
    }
}

/// How the filters of a weight lie: a transposed convolution keeps them on axis 1, in blocks of axis 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub transposed: bool,
    pub conv_groups: usize,
}

impl Layout {
    /// Linear layers and convolutions that are not transposed: one filter a row of axis 0.
    pub const ROWS: Layout = Layout {
        transposed: false,
        conv_groups: 1,
    };
}

/// The slices of a weight that belong to one channel each, as runs of elements in C order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    count: usize,
    /// Runs of one slice.
    runs: usize,
    /// Elements of a run.
    length: usize,
    /// From one run of a slice to its next.
    stride: usize,
    /// Slices in a block (all of them, unless transposed in groups), and elements of a block.
    block: (usize, usize),
}

impl Slices {
    /// One slice a filter, that is an output channel. `None` when the shape cannot have this layout.
    pub fn filters(shape: &[usize], layout: Layout) -> Option<Slices> {
        let (&first, rest) = shape.split_first()?;
        if !layout.transposed {
            return Some(Slices::rows(first, rest));
        }
        let (&second, kernel) = rest.split_first()?;
        let groups = layout.conv_groups;
        if groups == 0 || first % groups != 0 {
            return None;
        }
        let length = kernel.iter().product();
        let runs = first / groups;
        let stride = second * length;
        Some(Slices {
            count: second * groups,
            runs,
            length,
            stride,
            block: (second, runs * stride),
        })
    }

    /// One slice an input channel: axis 1, or axis 0 of a transposed convolution. In groups, axis 1 counts the channels
    /// of one group. `None` when there is no such axis.
    pub fn inputs(shape: &[usize], layout: Layout) -> Option<Slices> {
        let (&first, rest) = shape.split_first()?;
        if layout.transposed {
            return Some(Slices::rows(first, rest));
        }
        let (&second, kernel) = rest.split_first()?;
        let length = kernel.iter().product();
        let stride = second * length;
        Some(Slices {
            count: second,
            runs: first,
            length,
            stride,
            block: (second, first * stride),
        })
    }

    /// One slice an element of a vector, as for a bias.
    pub fn elements(count: usize) -> Slices {
        Slices::rows(count, &[])
    }

    fn rows(count: usize, rest: &[usize]) -> Slices {
        let length = rest.iter().product();
        Slices {
            count,
            runs: 1,
            length,
            stride: 0,
            block: (count, 0),
        }
    }

    /// The number of slices.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Start and length of the runs of slice `index`.
    pub fn runs(&self, index: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Slices {
            runs,
            length,
            stride,
            block,
            ..
        } = *self;
        let start = index / block.0.max(1) * block.1 + index % block.0.max(1) * length;
        (0..runs).map(move |run| (start + run * stride, length))
    }
}

/// The masks of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerMask {
    pub weight: Mask,
    pub bias: Option<Mask>,
}

/// The masks of a model's layers, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskSet {
    layers: Vec<(String, LayerMask)>,
}

impl MaskSet {
    pub fn new() -> MaskSet {
        MaskSet::default()
    }

    /// Adds a layer at the end, or replaces its masks where it stands.
    pub fn insert(&mut self, layer: &str, mask: LayerMask) {
        match self.get_mut(layer) {
            Some(place) => *place = mask,
            None => self.layers.push((layer.to_owned(), mask)),
        }
    }

    pub fn get(&self, layer: &str) -> Option<&LayerMask> {
        self.layers.iter().find(|(name, _)| name == layer).map(|(_, mask)| mask)
    }

    pub fn get_mut(&mut self, layer: &str) -> Option<&mut LayerMask> {
        self.layers
            .iter_mut()
            .find(|(name, _)| name == layer)
            .map(|(_, mask)| mask)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &LayerMask)> {
        self.layers.iter().map(|(name, mask)| (name.as_str(), mask))
    }

    pub fn len(&self) -> usize {
        self.layers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_weights() {
        let runs = |slices: Slices| -> Vec<Vec<(usize, usize)>> {
            (0..slices.count()).map(|index| slices.runs(index).collect()).collect()
        };
        let grouped = Layout {
            transposed: true,
            conv_groups: 2,
        };
        let transposed = Layout {
            transposed: true,
            conv_groups: 1,
        };
        let filters = |shape: &[usize], layout| runs(Slices::filters(shape, layout).unwrap());
        let inputs = |shape: &[usize], layout| runs(Slices::inputs(shape, layout).unwrap());
        assert_eq!(filters(&[2, 2, 3], Layout::ROWS), [[(0, 6)], [(6, 6)]]);
        assert_eq!(inputs(&[2, 2, 3], Layout::ROWS), [[(0, 3), (6, 3)], [(3, 3), (9, 3)]]);
        assert_eq!(filters(&[2, 2, 3], transposed), [[(0, 3), (6, 3)], [(3, 3), (9, 3)]]);
        assert_eq!(inputs(&[2, 2, 3], transposed), [[(0, 6)], [(6, 6)]]);
        // Two groups of one input channel and two filters each.
        assert_eq!(filters(&[2, 2, 3], grouped), [[(0, 3)], [(3, 3)], [(6, 3)], [(9, 3)]]);
        assert_eq!(runs(Slices::elements(2)), [[(0, 1)], [(1, 1)]]);
        assert_eq!(Slices::filters(&[3, 2, 3], grouped), None);
        assert_eq!(Slices::filters(&[], Layout::ROWS), None);
    }

    #[test]
    fn masks_hold_0_and_1() {
        let mask = Mask::from_tensor(&Tensor::from_f32([3], &[1.0, 0.0, 1.0])).unwrap();
        assert_eq!((mask.keep(), mask.pruned()), (&[true, false, true][..], 1));
        assert_eq!(Mask::from_tensor(&mask.to_tensor()), Ok(mask.clone()));
        assert_eq!(Mask::from_tensor(&mask.to_bool_tensor()), Ok(mask));
        let error = Mask::from_tensor(&Tensor::from_f32([2], &[1.0, 0.5])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "element 1 of the mask is 0.5, but a mask holds 0 and 1 only"
        );
    }
}
