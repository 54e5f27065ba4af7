//! What a metric plug-in says of itself.

use super::error::Fault;
use super::wire::{Answer, VERSION, number};
use serde_json::Value;

/// What may be asked for, and the name of each as a tensor.
pub const TENSORS: [&str; 5] = ["outputs", "targets", "indices", "inputs", "baseline"];

/// What a metric plug-in says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    pub name: Option<String>,
    pub form: FormName,
    /// Whether more is better, where it says so.
    pub maximize: Option<bool>,
    /// The tensors that it wants, of [`TENSORS`].
    pub tensors: Vec<String>,
    /// The least and the largest value of a sample.
    pub bounds: Option<(f64, f64)>,
    /// Whether a cell's state can be had and merged.
    pub mergeable: bool,
}

/// How it comes to its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormName {
    PerSample,
    Aggregate,
}

impl Hello {
    /// # Errors
    /// When it speaks another version, or a field is not what it should be.
    pub(super) fn read(answer: &Answer) -> Result<Hello, Fault> {
        let field = |name: &str| answer.fields.get(name).filter(|value| !value.is_null());
        let not = |what: String| Err(Fault::Hello(what));
        match field("protocol") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            found => {
                return Err(Fault::Protocol {
                    found: found.map_or_else(|| "none".into(), Value::to_string),
                    ours: VERSION,
                });
            }
        }
        match field("kind").and_then(Value::as_str) {
            Some("metric") => {}
            found => return not(format!("its kind is {} instead of \"metric\"", shown(found))),
        }
        let form = match field("form").and_then(Value::as_str) {
            Some("per_sample") => FormName::PerSample,
            Some("aggregate") => FormName::Aggregate,
            found => {
                let found = shown(found);
                return not(format!(
                    "its form is {found} instead of \"per_sample\" or \"aggregate\""
                ));
            }
        };
        let maximize = match field("direction").map(Value::as_str) {
            None => None,
            Some(Some("maximize")) => Some(true),
            Some(Some("minimize")) => Some(false),
            Some(found) => {
                let found = shown(found);
                return not(format!(
                    "its direction is {found} instead of \"maximize\" or \"minimize\""
                ));
            }
        };
        let tensors = match field("tensors") {
            None => vec!["outputs".to_owned(), "targets".to_owned()],
            Some(list) => {
                let words = list
                    .as_array()
                    .map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
                let Some(Some(words)) = words else {
                    return not("its tensors are no list of names".into());
                };
                if let Some(word) = words.iter().find(|word| !TENSORS.contains(word)) {
                    return not(format!("it wants {word:?}, but there are only {}", TENSORS.join(", ")));
                }
                words.into_iter().map(str::to_owned).collect()
            }
        };
        let bounds = match field("bounds") {
            None => None,
            Some(Value::Array(pair)) => match pair.iter().map(number).collect::<Option<Vec<f64>>>().as_deref() {
                Some(&[low, high]) if low <= high => Some((low, high)),
                _ => return not("its bounds are not two numbers, the lower first".into()),
            },
            Some(_) => return not("its bounds are not two numbers, the lower first".into()),
        };
        let mergeable = match field("mergeable") {
            None => false,
            Some(Value::Bool(mergeable)) => *mergeable,
            Some(_) => return not("mergeable is neither true nor false".into()),
        };
        Ok(Hello {
            name: field("name").and_then(Value::as_str).map(str::to_owned),
            form,
            maximize,
            tensors,
            bounds,
            mergeable,
        })
    }
}

fn shown(word: Option<&str>) -> String {
    word.map_or_else(|| "no word".into(), |word| format!("{word:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(fields: Value) -> Result<Hello, String> {
        let Value::Object(fields) = fields else {
            panic!("fields")
        };
        let answer = Answer {
            id: 1,
            error: None,
            fields,
            tensors: Vec::new(),
        };
        Hello::read(&answer).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_short_hello_is_enough() {
        let hello = read(json!({"protocol": 1, "kind": "metric", "form": "per_sample"})).unwrap();
        assert_eq!(hello.tensors, ["outputs", "targets"]);
        assert_eq!((hello.maximize, hello.bounds, hello.mergeable), (None, None, false));
    }

    #[test]
    fn what_it_says_must_be_so() {
        for (field, value, expected) in [
            (
                "protocol",
                json!(2),
                "it speaks version 2 of the protocol, but this is version 1",
            ),
            (
                "protocol",
                json!(null),
                "it speaks version none of the protocol, but this is version 1",
            ),
            (
                "form",
                json!("mean"),
                "its hello is not understood: its form is \"mean\" instead of \"per_sample\" or \"aggregate\"",
            ),
            (
                "tensors",
                json!(["logits"]),
                "its hello is not understood: it wants \"logits\", but there are only outputs, targets, indices, \
                 inputs, baseline",
            ),
            (
                "bounds",
                json!([1, 0]),
                "its hello is not understood: its bounds are not two numbers, the lower first",
            ),
            (
                "mergeable",
                json!(1),
                "its hello is not understood: mergeable is neither true nor false",
            ),
        ] {
            let mut hello = json!({"protocol": 1, "kind": "metric", "form": "aggregate"});
            hello[field] = value;
            assert_eq!(read(hello).unwrap_err(), expected);
        }
    }
}
