//! Which cells a run computes: all, a part of them, or none.
//!
//! Parts are of the pipeline alone, never of what is known already, so that any number of machines agree without a word.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A run's share of the cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    #[default]
    Whole,
    /// Each `of`-th cell, beginning with number `index` (from 1).
    Part { index: u64, of: u64 },
    /// Only tables of cells that are known.
    Known,
}

impl Share {
    /// Whether the cell at a place of the table is this run's; `None` stands for the unmasked model, which every part
    /// needs.
    pub fn takes(self, place: Option<usize>) -> bool {
        match (self, place) {
            (Share::Whole, _) | (Share::Part { .. }, None) => true,
            (Share::Part { index, of }, Some(place)) => place as u64 % of == index - 1,
            (Share::Known, _) => false,
        }
    }

    /// The output folder of this share: parts have one each, so that they can work side by side.
    pub fn folder(self, whole: &Path) -> PathBuf {
        match self {
            Share::Part { index, of } => {
                let name = whole.file_name().unwrap_or_default().to_string_lossy();
                whole.with_file_name(format!("{name}.shard-{index}-of-{of}"))
            }
            _ => whole.into(),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    /// `2/8` is the second of eight parts, `1/1` the only one: the whole.
    fn from_str(text: &str) -> Result<Share, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((1, 1)) => Ok(Share::Whole),
            Some((index, of)) if (1..=of).contains(&index) => Ok(Share::Part { index, of }),
            _ => Err("write the second of eight parts as 2/8".into()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Whole => f.write_str("1/1"),
            Share::Part { index, of } => write!(f, "{index}/{of}"),
            Share::Known => f.write_str("what is known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_make_the_whole() {
        for of in 1..9_u64 {
            let parts: Vec<Share> = (1..=of).map(|index| Share::Part { index, of }).collect();
            for place in 0..100 {
                let takers = parts.iter().filter(|part| part.takes(Some(place))).count();
                assert_eq!(takers, 1, "place {place} of {of} parts");
            }
            assert!(parts.iter().all(|part| part.takes(None)));
        }
        assert!(Share::Whole.takes(Some(3)) && !Share::Known.takes(None));
    }

    #[test]
    fn parts_are_written_as_fractions() {
        assert_eq!(Share::Whole.to_string().parse(), Ok(Share::Whole));
        assert_eq!("2/8".parse(), Ok(Share::Part { index: 2, of: 8 }));
        for bad in ["", "2", "0/8", "9/8", "1/0", "a/b", "1/8/9", "-1/8"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
        let part = Share::Part { index: 2, of: 8 };
        assert_eq!(
            part.folder(Path::new("out/net.v1")),
            Path::new("out/net.v1.shard-2-of-8")
        );
    }
}
