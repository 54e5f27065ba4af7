//! Numbers of bytes as people write and read them.

const UNITS: [(&str, u64); 9] = [
    ("kb", 1000),
    ("mb", 1000 * 1000),
    ("gb", 1000 * 1000 * 1000),
    ("tb", 1000 * 1000 * 1000 * 1000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("b", 1),
];

/// Reads `1500`, `500MB`, `1.5 GiB`; capitals do not matter.
pub fn parse(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let unit = UNITS.iter().find(|(unit, _)| lower.ends_with(unit));
    let (number, factor) = match unit {
        Some((unit, factor)) => (lower[..lower.len() - unit.len()].trim_end(), *factor),
        None => (lower.as_str(), 1),
    };
    let number: f64 = number.parse().map_err(|_| "write a size as 500MB or 2GiB".to_owned())?;
    if number.is_finite() && number >= 0.0 {
        Ok((number * factor as f64) as u64)
    } else {
        Err("a size is not negative".into())
    }
}

/// A size for a person: `999 B`, `1.5 MB`.
pub fn text(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        let sizes = [
            ("0", 0),
            ("1500", 1500),
            ("12b", 12),
            ("500MB", 500_000_000),
            ("1.5 GiB", 3 << 29),
            ("2kib", 2048),
        ];
        for (text, size) in sizes {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for bad in ["", "MB", "-1", "1 XB", "nan", "inf"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let texts = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_549_999, "1.5 MB"),
            (999_999_999, "1.0 GB"),
        ];
        for (bytes, expected) in texts {
            assert_eq!(text(bytes), expected);
        }
    }
}
