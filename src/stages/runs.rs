//! Many numbers, of which neighbours are often equal, as JSON: what a classifier got right, sample by sample.
//!
//! `[1.0, 1.0, 1.0, 0.0]` is written `[[1.0, 3], 0.0]`. Deliberately knows nothing of samples.

use serde_json::{Value, json};

/// The numbers, runs of equal ones together.
pub fn write(values: &[f64]) -> Value {
    let runs = values.chunk_by(|a, b| a.to_bits() == b.to_bits());
    let written = runs.map(|run| match run {
        [one] => number(*one),
        run => json!([number(run[0]), run.len()]),
    });
    Value::Array(written.collect())
}

/// Infinities have no JSON number.
fn number(value: f64) -> Value {
    if value.is_finite() {
        json!(value)
    } else {
        json!(value.to_string())
    }
}

/// What [`write`] wrote; none for anything else.
pub fn read(written: &Value) -> Option<Vec<f64>> {
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    let mut values = Vec::new();
    for run in written.as_array()? {
        match run.as_array().map(Vec::as_slice) {
            None => values.push(number(run)?),
            Some([value, count]) => {
                let count = usize::try_from(count.as_u64()?).ok()?;
                values.resize(values.len().checked_add(count)?, number(value)?);
            }
            Some(_) => return None,
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let values = [1.0, 1.0, 0.0, -0.0, 0.1, f64::INFINITY, f64::INFINITY, 0.1 + 0.2];
        let written = write(&values);
        assert_eq!(
            written.to_string(),
            r#"[[1.0,2],0.0,-0.0,0.1,["inf",2],0.30000000000000004]"#
        );
        let read = read(&written).unwrap();
        assert!(read.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits()) && read.len() == values.len());
        assert_eq!(write(&[]), json!([]));
        for broken in [
            json!(1),
            json!([[1]]),
            json!([["x", 2]]),
            json!([[1.0, -2]]),
            json!([null]),
        ] {
            assert_eq!(super::read(&broken), None, "{broken}");
        }
    }
}
