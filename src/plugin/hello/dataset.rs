//! What a dataset plug-in says of itself: which tensors a sample has, how many samples there are, and whether any of them
//! can be had at any time.

use super::Fields;
use crate::dataset::Column;
use crate::formats::safetensors;
use crate::plugin::error::Fault;
use serde_json::Value;
use std::sync::Arc;

/// The largest sample, in bytes.
const LARGEST: usize = 1 << 30;

/// What a dataset plug-in says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetHello {
    pub name: Option<String>,
    pub access: Access,
    /// How many samples there are; a stream need not know.
    pub samples: Option<usize>,
    /// The tensors of one sample.
    pub tensors: Arc<[Column]>,
    /// Its own word for the content of its data.
    pub fingerprint: Option<String>,
}

/// Which samples can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Any, at any time.
    Random,
    /// Each only behind those before it.
    Stream,
}

impl DatasetHello {
    pub(super) fn read(fields: &Fields<'_>) -> Result<DatasetHello, Fault> {
        let not = |what: String| Err(Fault::Hello(what));
        let access = match fields.word("form") {
            Some("random") => Access::Random,
            Some("stream") => Access::Stream,
            _ => return Err(fields.not("form", "\"random\" or \"stream\"")),
        };
        let samples = match (fields.get("samples"), access) {
            (None, Access::Stream) => None,
            (None, Access::Random) => return not("it has random access, and does not say how many `samples`".into()),
            (Some(found), _) => match found.as_u64().and_then(|count| usize::try_from(count).ok()) {
                Some(0) | None => return not(format!("its samples are {found}, no number of at least 1")),
                count => count,
            },
        };
        let list = fields.get("tensors").and_then(Value::as_array);
        let tensors: Vec<Column> = list.into_iter().flatten().map(column).collect::<Result<_, _>>()?;
        if let Some((_, again)) = (1..tensors.len())
            .map(|at| (&tensors[..at], &tensors[at]))
            .find(|(before, one)| before.iter().any(|other| other.name == one.name))
        {
            return not(format!("it has two tensors {:?}", again.name));
        }
        if tensors.iter().all(Column::is_targets) {
            return not("its tensors are no list of what goes into a model, each with name, dtype and shape".into());
        }
        let bytes = tensors
            .iter()
            .try_fold(0usize, |sum, one| sum.checked_add(one.bytes()?));
        if bytes.is_none_or(|bytes| bytes > LARGEST) {
            return not(format!("one sample has more than {LARGEST} bytes"));
        }
        Ok(DatasetHello {
            name: fields.text("name"),
            access,
            samples,
            tensors: tensors.into(),
            fingerprint: fields.get("fingerprint").map(|text| match text {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }),
        })
    }
}

fn column(entry: &Value) -> Result<Column, Fault> {
    let word = |key: &str| entry.get(key).and_then(Value::as_str);
    let shape = entry.get("shape").and_then(Value::as_array);
    let shape = shape.map(|shape| {
        let extents = shape.iter().map(|extent| usize::try_from(extent.as_u64()?).ok());
        extents.collect::<Option<Vec<usize>>>()
    });
    let dtype = word("dtype").and_then(safetensors::decode);
    match (word("name"), dtype, shape) {
        (Some(name), Some(dtype), Some(Some(shape))) => Ok(Column {
            name: name.into(),
            dtype,
            shape,
        }),
        _ => {
            let shown: String = entry.to_string().chars().take(80).collect();
            Err(Fault::Hello(format!(
                "its tensor {shown} is not written as {{\"name\":\"x\",\"dtype\":\"F32\",\"shape\":[3,32,32]}}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hello, read};
    use super::*;
    use serde_json::json;

    fn hello() -> Value {
        json!({
            "protocol": 1, "kind": "dataset", "form": "random", "samples": 10,
            "tensors": [{"name": "x", "dtype": "U8", "shape": [3, 4]}, {"name": "targets", "dtype": "I64", "shape": []}],
        })
    }

    #[test]
    fn tensors_keep_their_order() {
        let Hello::Dataset(found) = read(hello()).unwrap() else {
            panic!("a dataset")
        };
        let names: Vec<&str> = found.tensors.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["x", "targets"]);
        assert_eq!((found.samples, found.access), (Some(10), Access::Random));
        assert_eq!(found.fingerprint, None);
    }

    #[test]
    fn what_it_says_must_be_so() {
        let x = json!({"name": "x", "dtype": "U8", "shape": [3]});
        for (field, value, expected) in [
            (
                "form",
                json!(null),
                "its form is no word instead of \"random\" or \"stream\"",
            ),
            (
                "samples",
                json!(null),
                "it has random access, and does not say how many `samples`",
            ),
            ("samples", json!(0), "its samples are 0, no number of at least 1"),
            ("samples", json!(1.5), "its samples are 1.5, no number of at least 1"),
            (
                "tensors",
                json!([]),
                "its tensors are no list of what goes into a model, each with name, dtype and shape",
            ),
            (
                "tensors",
                json!([{"name": "x", "dtype": "float", "shape": [3]}]),
                "its tensor {\"name\":\"x\",\"dtype\":\"float\",\"shape\":[3]} is not written as \
                 {\"name\":\"x\",\"dtype\":\"F32\",\"shape\":[3,32,32]}",
            ),
            ("tensors", json!([x, x]), "it has two tensors \"x\""),
            (
                "tensors",
                json!([{"name": "x", "dtype": "F64", "shape": [u64::MAX, 2]}]),
                "one sample has more than 1073741824 bytes",
            ),
        ] {
            let mut hello = hello();
            hello[field] = value;
            assert_eq!(
                read(hello).unwrap_err(),
                format!("its hello is not understood: {expected}")
            );
        }
    }
}
