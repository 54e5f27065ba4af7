//! Saliency: the norms by which filters and weights are chosen, and the masks that follow.
//!
//! Owns the rules of semantics for `l1`, `l2` and `level` in both ways to break ties. Norms are taken in the weight's own
//! precision and in PyTorch's order of additions (`norm`), so that NNI's choice is met even between near ties.
//! Deliberately measures nothing.

use super::norm::{Number, sum};
use super::{LayerMask, Layout, Mask, Slices};
use crate::tensor::{DType, Tensor};

/// What is masked, and by which score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Filters, by the sum of absolute weights.
    L1,
    /// Filters, by the root of the sum of squares.
    L2,
    /// Single weights, by absolute value; the bias is left alone.
    Level,
}

/// What happens to equal scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ties {
    /// The lower index goes first, so that exactly k go.
    Exact,
    /// All that equal the k-th smallest go.
    Nni,
}

/// Why no saliency can be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaliencyError {
    #[error("a weight of shape {shape:?} has no filters of a {}convolution in {} groups",
        if layout.transposed { "transposed " } else { "" }, layout.conv_groups)]
    Layout { shape: Vec<usize>, layout: Layout },
}

/// How many of `count` a sparsity takes: truncated, in float64 (90 · 0.7 is a little less than 63).
pub fn pruned_count(count: usize, sparsity: f64) -> usize {
    (count as f64 * sparsity) as usize
}

/// The norm of each filter, as float64 of the value in the weight's precision (float16 and bfloat16 in float32).
///
/// For [`Method::Level`] there are no filters; the L1 norms are returned.
///
/// # Errors
/// When the weight cannot have this layout.
pub fn filter_norms(weight: &Tensor, layout: Layout, method: Method) -> Result<Vec<f64>, SaliencyError> {
    let shape = weight.shape();
    let slices = Slices::filters(shape, layout);
    let slices = slices.ok_or_else(|| SaliencyError::Layout {
        shape: shape.to_vec(),
        layout,
    })?;
    let weight = &magnitudes(weight);
    Ok(match weight.dtype() {
        DType::F64 => {
            let squared = |value: f64| value * value;
            let sums = slice_sums(&weight.to_f64(), &slices, method, f64::abs, squared);
            sums.into_iter()
                .map(|sum| if method == Method::L2 { sum.sqrt() } else { sum })
                .collect()
        }
        _ => {
            let squared = |value: f32| value * value;
            let sums = slice_sums(&weight.to_f32(), &slices, method, f32::abs, squared);
            let norm = |sum: f32| f64::from(if method == Method::L2 { sum.sqrt() } else { sum });
            sums.into_iter().map(norm).collect()
        }
    })
}

/// Complex numbers by how large they are; all others as they are.
fn magnitudes(weight: &Tensor) -> Tensor {
    if !weight.dtype().is_complex() {
        return weight.clone();
    }
    let parts = weight.parts().to_f64();
    let (pairs, _) = parts.as_chunks::<2>();
    let sizes: Vec<f64> = pairs.iter().map(|[real, imaginary]| real.hypot(*imaginary)).collect();
    Tensor::from_f64(weight.shape(), &sizes).cast(weight.dtype().part())
}

fn slice_sums<T: Number>(
    values: &[T],
    slices: &Slices,
    method: Method,
    absolute: fn(T) -> T,
    squared: fn(T) -> T,
) -> Vec<T> {
    let term = if method == Method::L2 { squared } else { absolute };
    let mut filter = Vec::new();
    let mut of_slice = |index| {
        filter.clear();
        for (start, length) in slices.runs(index) {
            filter.extend(values[start..start + length].iter().map(|&value| term(value)));
        }
        sum(&filter)
    };
    (0..slices.count()).map(&mut of_slice).collect()
}

/// Which of the scores go, in order of index, when `k` smallest are asked for. NaN counts as the largest.
pub fn pruned(scores: &[f64], k: usize, ties: Ties) -> Vec<bool> {
    let k = k.min(scores.len());
    if k == 0 {
        return vec![false; scores.len()];
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let by_score = |&a: &usize, &b: &usize| {
        let (x, y) = (scores[a], scores[b]);
        let order = x
            .is_nan()
            .cmp(&y.is_nan())
            .then(x.partial_cmp(&y).unwrap_or(std::cmp::Ordering::Equal));
        order.then(a.cmp(&b))
    };
    let (_, &mut last, _) = order.select_nth_unstable_by(k - 1, by_score);
    match ties {
        Ties::Exact => {
            let mut gone = vec![false; scores.len()];
            order[..k].iter().for_each(|&index| gone[index] = true);
            gone
        }
        // Written as NNI's `norm > threshold` keeps: a NaN on either side keeps nothing.
        Ties::Nni => scores
            .iter()
            .map(|&score| score.is_nan() || scores[last].is_nan() || score <= scores[last])
            .collect(),
    }
}

/// The masks of one layer at one sparsity. Layers with fewer than two filters (or weights), or from which less than one
/// would go, keep everything.
///
/// # Errors
/// When the weight cannot have this layout.
pub fn layer_mask(
    weight: &Tensor,
    bias: Option<&Tensor>,
    layout: Layout,
    method: Method,
    sparsity: f64,
    ties: Ties,
) -> Result<LayerMask, SaliencyError> {
    let mut masks = LayerMask {
        weight: Mask::full(weight.shape()),
        bias: bias.map(|bias| Mask::full(bias.shape())),
    };
    if method == Method::Level {
        let scores: Vec<f64> = magnitudes(weight).to_f64().into_iter().map(f64::abs).collect();
        let k = pruned_count(scores.len(), sparsity);
        if scores.len() >= 2 && k >= 1 {
            let gone = pruned(&scores, k, ties);
            masks.weight.keep = gone.into_iter().map(|gone| !gone).collect();
        }
        return Ok(masks);
    }
    let norms = filter_norms(weight, layout, method)?;
    let k = pruned_count(norms.len(), sparsity);
    if norms.len() < 2 || k < 1 {
        return Ok(masks);
    }
    mask_filters(&mut masks, layout, &pruned(&norms, k, ties));
    Ok(masks)
}

/// Masks the filters that `gone` marks, and their elements of the bias.
fn mask_filters(masks: &mut LayerMask, layout: Layout, gone: &[bool]) {
    let Some(filters) = Slices::filters(&masks.weight.shape, layout) else {
        return;
    };
    for index in (0..gone.len()).filter(|&index| gone[index]) {
        masks.weight.set(&filters, index, false);
        if let Some(bias) = masks.bias.as_mut().filter(|bias| bias.keep.len() == gone.len()) {
            bias.keep[index] = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(gone: &[bool]) -> Vec<usize> {
        (0..gone.len()).filter(|&index| gone[index]).collect()
    }

    #[test]
    fn counts_truncate() {
        let cases = [
            (90, 0.7, 62),
            (10, 0.3, 3),
            (100, 0.29, 28),
            (3, 0.3, 0),
            (64, 0.5, 32),
            (1, 0.9, 0),
        ];
        for (count, sparsity, wanted) in cases {
            assert_eq!(pruned_count(count, sparsity), wanted, "{count} · {sparsity}");
        }
    }

    #[test]
    fn ties_between_filters() {
        let check = |scores: &[f64], k, exact: &[usize], nni: &[usize]| {
            assert_eq!(indices(&pruned(scores, k, Ties::Exact)), exact, "{scores:?} exact");
            assert_eq!(indices(&pruned(scores, k, Ties::Nni)), nni, "{scores:?} nni");
        };
        check(&[3.0, 1.0, 2.0], 1, &[1], &[1]);
        check(&[3.0, 1.0, 2.0], 2, &[1, 2], &[1, 2]);
        check(&[1.0, 2.0, 1.0, 1.0], 2, &[0, 2], &[0, 2, 3]);
        check(&[1.0, 1.0, 1.0], 1, &[0], &[0, 1, 2]);
        check(&[0.0, -0.0, 1.0], 1, &[0], &[0, 1]);
        check(&[2.0, 1.0], 0, &[], &[]);
        check(&[f64::NAN, 1.0, 2.0], 1, &[1], &[0, 1]);
        check(&[f64::NAN, 1.0, 2.0], 3, &[0, 1, 2], &[0, 1, 2]);
        check(&[f64::INFINITY, 1.0], 1, &[1], &[1]);
    }

    #[test]
    fn norms_of_filters() {
        let weight = Tensor::from_f32([2, 2, 1], &[1.0, -2.0, 3.0, 4.0]);
        let grouped = Layout {
            transposed: true,
            conv_groups: 2,
        };
        let transposed = Layout {
            transposed: true,
            conv_groups: 1,
        };
        assert_eq!(filter_norms(&weight, Layout::ROWS, Method::L1), Ok(vec![3.0, 7.0]));
        assert_eq!(
            filter_norms(&weight, Layout::ROWS, Method::L2),
            Ok(vec![f64::from(5f32.sqrt()), 5.0])
        );
        assert_eq!(filter_norms(&weight, transposed, Method::L1), Ok(vec![4.0, 6.0]));
        assert_eq!(filter_norms(&weight, grouped, Method::L1), Ok(vec![1.0, 2.0, 3.0, 4.0]));
        let three = Layout {
            transposed: true,
            conv_groups: 3,
        };
        assert!(filter_norms(&weight, three, Method::L1).is_err());
        let double = Tensor::from_f64([1, 2], &[0.1, 0.2]);
        assert_eq!(filter_norms(&double, Layout::ROWS, Method::L1), Ok(vec![0.1 + 0.2]));
        let pairs = Tensor::from_f32([8], &[3.0, -4.0, 0.0, 0.0, 0.0, 1.0, 5.0, 12.0]);
        let complex = Tensor::new(DType::C64, [2, 2], pairs.data().clone()).unwrap();
        assert_eq!(filter_norms(&complex, Layout::ROWS, Method::L1), Ok(vec![5.0, 14.0]));
    }

    #[test]
    fn masks_of_layers() {
        let weight = Tensor::from_f32([4, 1, 2], &[1.0, 1.0, 0.5, 0.0, 2.0, 2.0, 0.25, 0.25]);
        let bias = Tensor::from_f32([4], &[0.0; 4]);
        let flags = |mask: &Mask| mask.keep().iter().map(|&keep| u8::from(keep)).collect::<Vec<_>>();
        let check = |method, sparsity, ties, weights: &[u8], biases: &[u8]| {
            let mask = layer_mask(&weight, Some(&bias), Layout::ROWS, method, sparsity, ties).unwrap();
            assert_eq!(
                (&flags(&mask.weight)[..], &flags(mask.bias.as_ref().unwrap())[..]),
                (weights, biases)
            );
        };
        check(Method::L1, 0.25, Ties::Exact, &[1, 1, 0, 0, 1, 1, 1, 1], &[1, 0, 1, 1]);
        check(Method::L1, 0.25, Ties::Nni, &[1, 1, 0, 0, 1, 1, 0, 0], &[1, 0, 1, 0]);
        check(Method::L2, 0.25, Ties::Nni, &[1, 1, 1, 1, 1, 1, 0, 0], &[1, 1, 1, 0]);
        check(Method::L1, 0.2, Ties::Nni, &[1; 8], &[1; 4]);
        check(Method::Level, 0.25, Ties::Exact, &[1, 1, 1, 0, 1, 1, 0, 1], &[1; 4]);
        check(Method::Level, 0.25, Ties::Nni, &[1, 1, 1, 0, 1, 1, 0, 0], &[1; 4]);
        let one = Tensor::from_f32([1, 8], &[1.0; 8]);
        let mask = layer_mask(&one, None, Layout::ROWS, Method::L1, 0.9, Ties::Nni).unwrap();
        assert_eq!((mask.weight.pruned(), mask.bias), (0, None));
    }
}
