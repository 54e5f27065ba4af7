//! Which rows of a source become samples, and in which order.
//!
//! Owns the rule of `samples` and the generator behind `shuffle`, spelled out so that anyone can draw the same samples.
//! Deliberately reads nothing.
//!
//! Drawing `count` of `len` rows with `seed`: take the list 0, 1, …, len − 1; for i = 0, 1, …, count − 1 swap its entries
//! i and i + below(len − i); keep the first `count` entries, sorted, so that a file is still read front to back. `below(n)`
//! takes the next SplitMix64 output x (the state starts as `seed`) and gives the upper 64 bits of the 128-bit product x·n.
//!
//! A random order of `len` samples is the same swapping to the end of the list, unsorted, with a state that starts as
//! `seed` xor [`ANOTHER`]: an order that came from the numbers that drew the samples would depend on them.

use super::DatasetError;

/// What tells the numbers of random orders from those that draw samples: `estimate` in ASCII.
const ANOTHER: u64 = 0x6573_7469_6d61_7465;

/// How many samples are used, and whether they are drawn or the first ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    pub count: usize,
    pub shuffle: bool,
}

/// The rows that become samples. A plain prefix costs no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    First(usize),
    Listed(Vec<usize>),
}

impl Order {
    pub fn new(len: usize, samples: Option<Samples>, seed: u64) -> Result<Order, DatasetError> {
        let Some(Samples { count, shuffle }) = samples else {
            return if len == 0 {
                Err(DatasetError::Empty)
            } else {
                Ok(Order::First(len))
            };
        };
        match count {
            0 => Err(DatasetError::NoSamples),
            _ if len == 0 => Err(DatasetError::Empty),
            _ if count > len => Err(DatasetError::TooFew {
                wanted: count,
                found: len,
            }),
            _ if !shuffle || count == len => Ok(Order::First(count)),
            _ => Ok(Order::Listed(draw(len, count, seed))),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Order::First(count) => *count,
            Order::Listed(rows) => rows.len(),
        }
    }

    pub fn row(&self, sample: usize) -> usize {
        match self {
            Order::First(_) => sample,
            Order::Listed(rows) => rows[sample],
        }
    }
}

/// A random order of `len` samples.
pub(super) fn random(len: usize, seed: u64) -> Vec<usize> {
    swapped(len, len, seed ^ ANOTHER)
}

/// Draws `count` of `len` rows without replacement; ascending.
fn draw(len: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut rows = swapped(len, count, seed);
    rows.sort_unstable();
    rows
}

/// The first `count` entries of the list when they have been swapped.
fn swapped(len: usize, count: usize, mut state: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..len).collect();
    for index in 0..count {
        let below = (u128::from(split_mix(&mut state)) * (len - index) as u128) >> 64;
        rows.swap(index, index + below as usize);
    }
    rows.truncate(count);
    rows
}

/// The next output of SplitMix64 (Steele, Lea and Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_is_the_published_one() {
        let mut state = 1_234_567;
        let outputs: Vec<u64> = (0..3).map(|_| split_mix(&mut state)).collect();
        assert_eq!(
            outputs,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn drawing_depends_on_the_seed_alone() {
        // Made by a Python transcription of the module's text.
        assert_eq!(draw(10, 4, 0), [2, 4, 8, 9]);
        assert_eq!(draw(10, 4, 1), [5, 6, 7, 9]);
        let mut all = draw(1000, 999, 7);
        all.dedup();
        assert_eq!(all.len(), 999);
        assert!(all.iter().all(|&row| row < 1000));
        let mut order = random(1000, 7);
        assert_ne!(order, random(1000, 8));
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }

    #[test]
    fn counts_are_checked() {
        let some = |count, shuffle| Some(Samples { count, shuffle });
        assert_eq!(Order::new(5, None, 0).unwrap(), Order::First(5));
        assert_eq!(Order::new(5, some(3, false), 0).unwrap(), Order::First(3));
        assert_eq!(Order::new(5, some(5, true), 0).unwrap(), Order::First(5));
        assert_eq!(Order::new(5, some(3, true), 0).unwrap().len(), 3);
        assert!(matches!(Order::new(0, None, 0), Err(DatasetError::Empty)));
        assert!(matches!(Order::new(5, some(0, false), 0), Err(DatasetError::NoSamples)));
        assert!(matches!(
            Order::new(5, some(6, true), 0),
            Err(DatasetError::TooFew { wanted: 6, found: 5 })
        ));
    }
}
