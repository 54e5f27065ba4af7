//! Labels that are files of their own: a number as text, or a field of a JSON object.
//!
//! Owns how such a file is read. Deliberately knows nothing of where it lies.

/// Which file of a sample holds its class, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// A file of this ending that holds a number as text.
    Text(String),
    /// A field of the sample's `.json`.
    Json(String),
}

impl Label {
    /// The ending of the label's file.
    pub(super) fn ending(&self) -> &str {
        match self {
            Label::Text(ending) => ending,
            Label::Json(_) => "json",
        }
    }

    /// The label's name among files and fields.
    pub(super) fn name(&self) -> &str {
        match self {
            Label::Text(name) | Label::Json(name) => name,
        }
    }

    /// The fields of a file that lacks the label's; none where it has that, or holds none.
    pub(super) fn fields_instead(&self, bytes: &[u8]) -> Option<Vec<String>> {
        let Label::Json(field) = self else { return None };
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
        (!object.contains_key(field)).then(|| object.keys().cloned().collect())
    }

    /// The class that a file tells, or what is wrong with it.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<i64, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not text")?;
        match self {
            Label::Text(_) => {
                let text = text.trim();
                let start: String = text.chars().take(20).collect();
                text.parse().map_err(|_| format!("{start:?} is no whole number"))
            }
            Label::Json(field) => {
                let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
                let found = value.get(field).ok_or_else(|| format!("has no field {field:?}"))?;
                found
                    .as_i64()
                    .ok_or_else(|| format!("its field {field:?} is no whole number"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_whole_numbers() {
        let (text, json) = (Label::Text("cls".into()), Label::Json("label".into()));
        assert_eq!(text.read(b"12\n"), Ok(12));
        assert_eq!(json.read(b"{\"a\": 1, \"label\": 3}"), Ok(3));
        for (label, bytes, wanted) in [
            (&text, &b"cat"[..], "\"cat\" is no whole number"),
            (&text, &b"\xff"[..], "not text"),
            (&json, &b"{}"[..], "has no field \"label\""),
            (
                &json,
                &b"{\"label\": 1.5}"[..],
                "its field \"label\" is no whole number",
            ),
            (&json, &b"{"[..], "EOF while parsing"),
        ] {
            let error = label.read(bytes).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
