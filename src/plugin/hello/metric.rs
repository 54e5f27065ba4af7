//! What a metric plug-in says of itself.

use super::Fields;
use crate::plugin::error::Fault;
use crate::plugin::wire::number;
use serde_json::Value;

/// What may be asked for, and the name of each as a tensor.
pub const TENSORS: [&str; 5] = ["outputs", "targets", "indices", "inputs", "baseline"];

/// What a metric plug-in says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricHello {
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

impl MetricHello {
    pub(super) fn read(fields: &Fields<'_>) -> Result<MetricHello, Fault> {
        let not = |what: String| Err(Fault::Hello(what));
        let form = match fields.word("form") {
            Some("per_sample") => FormName::PerSample,
            Some("aggregate") => FormName::Aggregate,
            _ => return Err(fields.not("form", "\"per_sample\" or \"aggregate\"")),
        };
        let maximize = match fields.get("direction").map(Value::as_str) {
            None => None,
            Some(Some("maximize")) => Some(true),
            Some(Some("minimize")) => Some(false),
            Some(_) => return Err(fields.not("direction", "\"maximize\" or \"minimize\"")),
        };
        let tensors = match fields.get("tensors") {
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
        let bounds = match fields.get("bounds") {
            None => None,
            Some(Value::Array(pair)) => match pair.iter().map(number).collect::<Option<Vec<f64>>>().as_deref() {
                Some(&[low, high]) if low <= high => Some((low, high)),
                _ => return not("its bounds are not two numbers, the lower first".into()),
            },
            Some(_) => return not("its bounds are not two numbers, the lower first".into()),
        };
        let mergeable = match fields.get("mergeable") {
            None => false,
            Some(Value::Bool(mergeable)) => *mergeable,
            Some(_) => return not("mergeable is neither true nor false".into()),
        };
        Ok(MetricHello {
            name: fields.text("name"),
            form,
            maximize,
            tensors,
            bounds,
            mergeable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hello, read};
    use serde_json::json;

    #[test]
    fn a_short_hello_is_enough() {
        let Hello::Metric(hello) = read(json!({"protocol": 1, "kind": "metric", "form": "per_sample"})).unwrap() else {
            panic!("a metric")
        };
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
                "kind",
                json!("model"),
                "its hello is not understood: its kind is \"model\" instead of \"metric\" or \"dataset\"",
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
