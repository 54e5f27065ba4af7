//! Which samples were right, one bit each, and whether two models differ on them by more than chance.
//!
//! Owns the packed form, its text, and the paired test. Deliberately knows nothing of metrics, cells and stores: whoever
//! averages over samples fills it, whoever compares runs reads it.

mod paired;

pub use paired::{holm, mcnemar};

use base64ct::{Base64Unpadded, Encoding};
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use std::io::Read;

/// One bit a sample, the first in the lowest bit of the first byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    count: usize,
    bits: Vec<u8>,
}

impl Outcomes {
    /// How many samples are in it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes the next sample's value, if it is 0 or 1; any other leaves the count as it is.
    pub fn push(&mut self, value: f64) {
        let bit = match value {
            1.0 => 1,
            0.0 => 0,
            _ => return,
        };
        if self.count.is_multiple_of(8) {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= bit << (self.count % 8);
        }
        self.count += 1;
    }

    /// The count, and the bits deflated, in base64 without padding.
    pub fn to_text(&self) -> String {
        let mut packed = Vec::new();
        // Memory cannot refuse to be read.
        let _ = DeflateEncoder::new(&*self.bits, Compression::best()).read_to_end(&mut packed);
        format!("{} {}", self.count, Base64Unpadded::encode_string(&packed))
    }

    /// Reads what [`Outcomes::to_text`] wrote; none for anything else.
    pub fn parse(text: &str) -> Option<Outcomes> {
        let (count, packed) = text.split_once(' ')?;
        let count: usize = count.parse().ok()?;
        let length = count.div_ceil(8);
        let mut bits = Vec::new();
        // One byte more than there should be tells that there are too many.
        let most = u64::try_from(length).ok()?.checked_add(1)?;
        let packed = Base64Unpadded::decode_vec(packed).ok()?;
        DeflateDecoder::new(&*packed).take(most).read_to_end(&mut bits).ok()?;
        (bits.len() == length).then_some(Outcomes { count, bits })
    }

    /// On how many samples only this one was right, and on how many only the other; none unless both are of equally many.
    pub fn against(&self, other: &Outcomes) -> Option<(u64, u64)> {
        let pairs = self.bits.iter().zip(&other.bits);
        let split = pairs.fold((0, 0), |(own, others), (a, b)| {
            let own = own + u64::from((a & !b).count_ones());
            (own, others + u64::from((!a & b).count_ones()))
        });
        (self.count == other.count).then_some(split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(values: impl IntoIterator<Item = f64>) -> Outcomes {
        let mut outcomes = Outcomes::default();
        values.into_iter().for_each(|value| outcomes.push(value));
        outcomes
    }

    proptest! {
        #[test]
        fn outcomes_come_back(values in prop::collection::vec(any::<bool>(), 0..3000)) {
            let outcomes = pack(values.iter().map(|&value| f64::from(u8::from(value))));
            prop_assert_eq!(outcomes.count(), values.len());
            prop_assert_eq!(Outcomes::parse(&outcomes.to_text()), Some(outcomes));
        }

        #[test]
        fn no_text_is_too_odd(text in "([0-9]{1,20} )?[A-Za-z0-9+/=é]{0,40}") {
            Outcomes::parse(&text);
        }
    }

    #[test]
    fn pairs_are_counted() {
        let pack = |text: &str| pack(text.bytes().map(|byte| f64::from(byte - b'0')));
        let before = pack("1111111111110000");
        assert_eq!(before.against(&before), Some((0, 0)));
        assert_eq!(before.against(&pack("1111111000000001")), Some((5, 1)));
        assert_eq!(before.against(&pack("111")), None);
        assert_eq!(super::tests::pack([1.0, 0.5, 1.0]).count(), 2);
        assert_eq!(super::tests::pack([f64::NAN]).count(), 0);
    }

    #[test]
    fn texts_hold_what_they_say() {
        let whole = pack([1.0; 20]).to_text();
        for (from, to) in [
            ("20 ", "28 "),
            ("20 ", "9 "),
            ("20 ", ""),
            ("20 ", "18446744073709551615 "),
        ] {
            assert_eq!(Outcomes::parse(&whole.replacen(from, to, 1)), None, "{to}");
        }
    }

    #[test]
    fn what_is_seldom_wrong_takes_little_room() {
        // One sample in ten wrong, in no order: 10 000 of them in less than the 1 250 bytes that their bits have.
        let mut state = 1u64;
        let values = (0..10_000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            f64::from(u8::from(!(state >> 33).is_multiple_of(10)))
        });
        assert!(pack(values).to_text().len() < 1250);
    }
}
