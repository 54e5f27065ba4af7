//! Which samples a cell got right: one bit a sample, beside the cell's value, where the metric is such.
//!
//! Owns the packed form and how two of them are compared. Which cells belong to a run stands in its artifact, in a file
//! that is not put into the output folder.

use super::statistics::mcnemar;
use crate::store::{Artifact, Key, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The file of an artifact that names the table's cells in the store.
pub const CELLS_FILE: &str = ".cells.json";

/// The keys of a table's cells in the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellKeys {
    pub baseline: String,
    /// Layer, sparsity, key.
    pub cells: Vec<(String, f64, String)>,
}

impl CellKeys {
    /// The keys that an artifact names, where it does.
    pub fn of(artifact: &Artifact) -> Option<CellKeys> {
        serde_json::from_slice(&artifact.read(CELLS_FILE).ok()??).ok()
    }

    /// The key of a cell, or of the baseline.
    pub fn key(&self, cell: Option<(&str, f64)>) -> Option<Key> {
        let text = match cell {
            None => &self.baseline,
            Some((layer, sparsity)) => {
                let mut cells = self.cells.iter();
                &cells.find(|(name, at, _)| name == layer && *at == sparsity)?.2
            }
        };
        Key::parse(text)
    }
}

/// One bit a sample, the first in the lowest bit of the first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcomes {
    count: usize,
    bits: Vec<u8>,
}

impl Outcomes {
    /// Packs values of samples, each of which must be 0 or 1; else there are no outcomes.
    pub fn pack(values: impl IntoIterator<Item = f64>) -> Option<Outcomes> {
        let mut outcomes = Outcomes {
            count: 0,
            bits: Vec::new(),
        };
        for value in values {
            let bit = match value {
                1.0 => 1,
                0.0 => 0,
                _ => return None,
            };
            if outcomes.count.is_multiple_of(8) {
                outcomes.bits.push(0);
            }
            if let Some(last) = outcomes.bits.last_mut() {
                *last |= bit << (outcomes.count % 8);
            }
            outcomes.count += 1;
        }
        Some(outcomes)
    }

    /// The form beside a cell's value.
    pub fn to_value(&self) -> Value {
        json!({"count": self.count, "bits": encode(&self.bits)})
    }

    /// Reads that form.
    pub fn parse(value: &Value) -> Option<Outcomes> {
        let count = usize::try_from(value.get("count")?.as_u64()?).ok()?;
        let bits = decode(value.get("bits")?.as_str()?)?;
        (bits.len() == count.div_ceil(8)).then_some(Outcomes { count, bits })
    }

    /// The outcomes beside a cell in the store.
    pub fn of_cell(store: &Store, key: Key) -> Option<Outcomes> {
        Outcomes::parse(store.cell(key).ok()??.get("outcomes")?)
    }

    /// The probability that two cells differ as much as they do by chance, on the same samples.
    pub fn probability(&self, other: &Outcomes) -> Option<f64> {
        if self.count != other.count {
            return None;
        }
        let pairs = self.bits.iter().zip(&other.bits);
        let (lost, won) = pairs.fold((0, 0), |(lost, won), (before, after)| {
            let lost = lost + u64::from((before & !after).count_ones());
            (lost, won + u64::from((!before & after).count_ones()))
        });
        Some(mcnemar(lost, won))
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64, without the padding that the count makes needless.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, at| {
            word << 8 | u32::from(three.get(at).copied().unwrap_or(0))
        });
        for at in 0..=three.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * at)) as usize & 63]));
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.as_bytes().chunks(4) {
        let mut word = 0u32;
        for at in 0..4 {
            let digit = match four.get(at) {
                Some(digit) => DIGITS.iter().position(|known| known == digit)?,
                None => 0,
            };
            word = word << 6 | u32::try_from(digit).ok()?;
        }
        let whole = word.to_be_bytes();
        bytes.extend_from_slice(whole.get(1..four.len())?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn outcomes_come_back(values in prop::collection::vec(any::<bool>(), 0..70)) {
            let outcomes = Outcomes::pack(values.iter().map(|&value| f64::from(u8::from(value)))).unwrap();
            prop_assert_eq!(outcomes.count, values.len());
            prop_assert_eq!(Outcomes::parse(&outcomes.to_value()), Some(outcomes));
        }
    }

    #[test]
    fn pairs_are_counted() {
        let pack = |text: &str| Outcomes::pack(text.bytes().map(|byte| f64::from(byte - b'0'))).unwrap();
        let before = pack("1111111111110000");
        assert_eq!(before.probability(&before), Some(1.0));
        assert_eq!(before.probability(&pack("1111111000000000")), Some(0.0625));
        assert_eq!(before.probability(&pack("111")), None);
        assert_eq!(Outcomes::pack([0.5]), None);
        assert_eq!(Outcomes::parse(&json!({"count": 9, "bits": "AA"})), None);
        // As `base64.b64encode` has it.
        assert_eq!(encode(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw");
        assert_eq!(
            decode("YW55IGNhcm5hbCBwbGVhcw").as_deref(),
            Some(&b"any carnal pleas"[..])
        );
    }
}
