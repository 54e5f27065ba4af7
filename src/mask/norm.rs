//! Sums of filters in the order of additions that PyTorch uses on a CPU, so that norms agree with it to the last bit.
//!
//! Owns nothing but this arithmetic: `w.view(n, -1).sum(1)` of float32 takes rows of 8 lanes (AVX2's, also on machines
//! with AVX-512 or without AVX), four rows at a time, in a cascade of four levels. Near ties between filters, and so the
//! masks of `compat: nni`, depend on it. Deliberately scalar: the result is the same on every machine.

/// A float that is summed in its own precision.
pub trait Number: Copy + std::ops::Add<Output = Self> + Default {
    /// Numbers in a 256-bit register.
    const LANES: usize;
}

impl Number for f32 {
    const LANES: usize = 8;
}

impl Number for f64 {
    const LANES: usize = 4;
}

const LEVELS: usize = 4;

/// Rows added side by side, so that additions need not wait for one another.
const SIDE: usize = 4;

/// The sum of `values` as `torch.sum` over a contiguous axis of a matrix gives it.
pub fn sum<T: Number>(values: &[T]) -> T {
    if values.len() < T::LANES {
        return row_sum(values, 1)[0];
    }
    let whole = values.len() / T::LANES * T::LANES;
    let lanes = row_sum(&values[..whole], T::LANES);
    let rest = values[whole..].iter().fold(T::default(), |sum, &value| sum + value);
    lanes.into_iter().fold(rest, |sum, lane| sum + lane)
}

/// Sums rows of `lanes` numbers, lane by lane.
fn row_sum<T: Number>(values: &[T], lanes: usize) -> Vec<T> {
    let rows = values.len() / lanes;
    let whole = rows / SIDE * SIDE * lanes;
    let mut sums = cascade(&values[..whole], SIDE * lanes);
    for row in values[whole..].chunks_exact(lanes) {
        add(&mut sums[..lanes], row);
    }
    let (first, others) = sums.split_at_mut(lanes);
    for other in others.chunks_exact(lanes) {
        add(first, other);
    }
    sums.truncate(lanes);
    sums
}

/// Sums rows of `width` numbers, column by column: partial sums go up a level when they have taken enough rows.
fn cascade<T: Number>(values: &[T], width: usize) -> Vec<T> {
    let rows = values.len() / width;
    let power = (ceil_log2(rows) / LEVELS).max(4);
    let step = 1usize << power;
    let mut levels = vec![vec![T::default(); width]; LEVELS];
    let mut done = 0;
    let mut rest = values.chunks_exact(width);
    while done + step <= rows {
        for row in rest.by_ref().take(step) {
            add(&mut levels[0], row);
        }
        done += step;
        for level in 1..LEVELS {
            let (below, above) = levels.split_at_mut(level);
            add(&mut above[0], &below[level - 1]);
            below[level - 1].fill(T::default());
            if done & ((step - 1) << (level * power)) != 0 {
                break;
            }
        }
    }
    let mut sums = std::mem::take(&mut levels[0]);
    for row in rest {
        add(&mut sums, row);
    }
    for level in &levels[1..] {
        add(&mut sums, level);
    }
    sums
}

fn ceil_log2(value: usize) -> usize {
    match value {
        0 | 1 => 0,
        _ => (usize::BITS - (value - 1).leading_zeros()) as usize,
    }
}

fn add<T: Number>(sums: &mut [T], row: &[T]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum = *sum + value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that float32 cannot add without rounding, from a fixed generator.
    fn values(count: usize) -> Vec<f32> {
        let mut state = 12345u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| next()).collect()
    }

    /// The wanted bits are `torch.sum`'s (2.13.0) over a row of these values, by `tests/data/formats/sums.py`.
    #[test]
    fn sums_are_torch_s() {
        for (count, bits) in SUMS {
            assert_eq!(sum(&values(*count)).to_bits(), *bits, "{count} values");
        }
    }

    const SUMS: &[(usize, u32)] = &[
        (1, 0x3ca72380),
        (3, 0x3f1481d8),
        (7, 0x402eefe0),
        (8, 0x40520806),
        (9, 0x40782e87),
        (27, 0x41653486),
        (31, 0x417bbd02),
        (32, 0x417bd9f8),
        (63, 0x420634ba),
        (147, 0x429e44a6),
        (576, 0x4394c4ba),
        (1152, 0x44104e5e),
        (4608, 0x450fbe82),
        (9216, 0x458fbcc7),
        (25088, 0x46431648),
    ];
}
