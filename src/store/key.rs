//! Key documents and keys: what a result is the result of, and the hash of that.
//!
//! Owns the canonical text of a document and the comparison that explains a miss. Deliberately knows nothing of files.

use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// The BLAKE3 hash of a key document, or of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Key {
        Key(*blake3::hash(bytes).as_bytes())
    }

    /// Reads the 64 lower-case hexadecimal digits that [`Key`] prints.
    pub fn parse(text: &str) -> Option<Key> {
        let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
        let hash = blake3::Hash::from_hex(text).ok()?;
        lower.then(|| Key(*hash.as_bytes()))
    }

    /// The first two digits, which name the folder, so that no folder grows large.
    pub(super) fn shard(self) -> String {
        format!("{:02x}", self.0[0])
    }
}

impl From<blake3::Hash> for Key {
    fn from(hash: blake3::Hash) -> Key {
        Key(*hash.as_bytes())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Exactly what a result was computed from: one JSON object, compared and hashed in its canonical text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document(serde_json::Map<String, Value>);

/// One field in which two documents differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Dotted path of the field.
    pub path: String,
    /// What stood there, if anything.
    pub before: Option<Value>,
    /// What stands there now, if anything.
    pub after: Option<Value>,
}

impl Document {
    pub fn new() -> Document {
        Document::default()
    }

    /// The same document with one more field; a later value replaces an earlier one.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Document {
        self.0.insert(name.into(), value.into());
        self
    }

    /// A document from JSON; `None` unless it is an object.
    pub fn from_value(value: Value) -> Option<Document> {
        match value {
            Value::Object(fields) => Some(Document(fields)),
            _ => None,
        }
    }

    /// The document as JSON.
    pub fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The canonical text: no spaces, keys sorted at every depth, floats as the shortest text that reads back.
    pub fn text(&self) -> String {
        let mut text = String::new();
        write_object(&self.0, &mut text);
        text
    }

    /// The hash of the canonical text.
    pub fn key(&self) -> Key {
        Key::of(self.text().as_bytes())
    }

    /// The fields in which `self` differs from an earlier document, sorted by path.
    pub fn changes_since(&self, earlier: &Document) -> Vec<Change> {
        let mut changes = Vec::new();
        compare("", Some(&earlier.to_value()), Some(&self.to_value()), &mut changes);
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }
}

impl From<Document> for Value {
    fn from(document: Document) -> Value {
        Value::Object(document.0)
    }
}

/// Any JSON value in the same canonical text.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, &mut text);
    text
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => write_object(fields, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        // `-0.0` equals `0.0` as a parameter, so both have one text. serde_json prints the shortest digits.
        Value::Number(number) if number.as_f64() == Some(0.0) && number.is_f64() => text.push_str("0.0"),
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

fn write_object(fields: &serde_json::Map<String, Value>, text: &mut String) {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_bytes());
    text.push('{');
    for (index, (name, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let _ = write!(text, "{}:", Value::String(name.clone()));
        write_value(value, text);
    }
    text.push('}');
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) {
        let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
        for name in names {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            compare(&path, old.get(name), new.get(name), changes);
        }
    } else if before.map(canonical) != after.map(canonical) {
        changes.push(Change {
            path: path.into(),
            before: before.cloned(),
            after: after.cloned(),
        });
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Change { path, before, after } = self;
        match (before, after) {
            (Some(Value::Array(old)), Some(Value::Array(new))) => {
                write!(f, "{path}:")?;
                let less = old.iter().filter(|item| !new.contains(item)).map(|item| ('-', item));
                let more = new.iter().filter(|item| !old.contains(item)).map(|item| ('+', item));
                let mut items = less.chain(more).peekable();
                if items.peek().is_none() {
                    return f.write_str(" another order");
                }
                items.try_for_each(|(sign, item)| write!(f, " {sign}{}", short(item)))
            }
            (Some(old), Some(new)) => write!(f, "{path}: {} → {}", short(old), short(new)),
            (None, Some(new)) => write!(f, "{path}: +{}", short(new)),
            (Some(old), None) => write!(f, "{path}: -{}", short(old)),
            (None, None) => f.write_str(path),
        }
    }
}

/// A value short enough for one line: digests are cut to what tells them apart.
fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => canonical(other),
    };
    if Key::parse(&text).is_some() {
        return text[..12].into();
    }
    if text.chars().count() <= 60 {
        return text;
    }
    text.chars().take(59).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(value: Value) -> Document {
        Document::from_value(value).unwrap_or_default()
    }

    #[test]
    fn canonical_text_sorts_and_keeps_floats() {
        let text = document(json!({"b": [1.0, 0.1, 1e-7, -0.0], "a": {"z": null, "y": "ü\n"}})).text();
        assert_eq!(text, r#"{"a":{"y":"ü\n","z":null},"b":[1.0,0.1,1e-7,0.0]}"#);
    }

    #[test]
    fn order_of_writing_does_not_matter() {
        let one = Document::new().with("a", 1).with("b", 2);
        let other = Document::new().with("b", 2).with("a", 1);
        assert_eq!(one.key(), other.key());
        assert_eq!(Key::parse(&one.key().to_string()), Some(one.key()));
        assert_eq!(Key::parse(&one.key().to_string().to_uppercase()), None);
    }

    #[test]
    fn changes_name_the_field() {
        let before = document(json!({"sparsities": [0.5], "seed": 0, "inputs": {"model": "a"}, "gone": true}));
        let after = document(json!({"sparsities": [0.5, 0.95], "seed": 1, "inputs": {"model": "a"}}));
        let lines: Vec<String> = after.changes_since(&before).iter().map(Change::to_string).collect();
        assert_eq!(lines, ["gone: -true", "seed: 0 → 1", "sparsities: +0.95"]);
    }
}
