//! Lines that know their own hash: how cells, manifests and memories tell a whole file from a damaged one.

use super::Key;

/// The text, and a line with its hash.
pub(super) fn seal(text: &str) -> String {
    format!("{text}\n{}\n", Key::of(text.as_bytes()))
}

/// The text of a sealed file; none when a byte is wrong or missing.
pub(super) fn unseal(bytes: &[u8]) -> Option<&str> {
    let (text, hash) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.rsplit_once('\n')?;
    (Key::parse(hash)? == Key::of(text.as_bytes())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        for text in ["", "{}", "two\nlines"] {
            let whole = seal(text).into_bytes();
            assert_eq!(unseal(&whole), Some(text));
            for index in 0..whole.len() {
                assert_eq!(unseal(&whole[..index]), None, "cut at {index}");
                for bit in 0..8 {
                    let mut bytes = whole.clone();
                    bytes[index] ^= 1 << bit;
                    assert_eq!(unseal(&bytes), None, "bit {bit} of byte {index}");
                }
            }
            assert_eq!(unseal(&[&whole[..], b"x"].concat()), None);
        }
    }
}
