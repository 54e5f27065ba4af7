//! The tables of the contract as bytes: CSV with `\n` line ends, JSON in one fixed form.

use crate::pipeline::Failure;
use serde::Serialize;

/// A number as the shortest decimals that read back to it, with `.0` or an exponent.
pub fn float(value: f64) -> String {
    format!("{value:?}")
}

/// CSV whose rows may have different lengths.
pub fn csv(rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>, Failure> {
    let mut builder = csv::WriterBuilder::new();
    builder.flexible(true).terminator(csv::Terminator::Any(b'\n'));
    let mut writer = builder.from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row).map_err(Failure::of)?;
    }
    writer.into_inner().map_err(|error| Failure::of(error.to_string()))
}

/// A row from its cells.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// JSON with a line end, fields in the order of the type.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec(value).map_err(Failure::of)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Sets of layers, one a row.
pub fn sets(title: &str, sets: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>, Failure> {
    let numbered = sets.into_iter().enumerate().map(|(index, members)| {
        let mut row = vec![format!("Set {}", index + 1)];
        row.extend(members);
        row
    });
    csv(std::iter::once(row(["Dependency Set", title])).chain(numbered))
}

/// A number for people: a space every three digits from five digits on.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let grouped = digits.char_indices().flat_map(|(at, digit)| {
        let gap = at > 0 && (digits.len() - at).is_multiple_of(3);
        gap.then_some(' ').into_iter().chain([digit])
    });
    grouped.collect()
}

/// `1 layer`, `2 layers`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_back() {
        for (value, text) in [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e-7, "1e-7"),
            (1e300, "1e300"),
            (0.00012, "0.00012"),
        ] {
            assert_eq!(float(value), text);
            assert_eq!(text.parse::<f64>(), Ok(value));
        }
    }

    #[test]
    fn long_numbers_are_grouped() {
        let cases = [
            (0, "0"),
            (1234, "1234"),
            (12345, "12 345"),
            (100_000, "100 000"),
            (3_418_720, "3 418 720"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn tables_have_unix_line_ends_and_quotes_where_needed() -> Result<(), Failure> {
        let bytes = sets("Layers", [vec!["a".to_owned(), "b,c".into()], vec!["d\"".into()]])?;
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "Dependency Set,Layers\nSet 1,a,\"b,c\"\nSet 2,\"d\"\"\"\n"
        );
        Ok(())
    }
}
