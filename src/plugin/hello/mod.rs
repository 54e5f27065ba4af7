//! What a plug-in says of itself.
//!
//! Owns what all kinds have in common: the version of the protocol, and the words for what is not understood. What a
//! metric and what a dataset say besides is in the file of each.

mod dataset;
mod metric;

pub use dataset::{Access, DatasetHello};
pub use metric::{FormName, MetricHello, TENSORS};

use super::error::Fault;
use super::wire::{Answer, VERSION};
use serde_json::Value;

/// What a plug-in says of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Hello {
    Metric(MetricHello),
    Dataset(DatasetHello),
}

impl Hello {
    /// # Errors
    /// When it speaks another version, or a field is not what it should be.
    pub(super) fn read(answer: &Answer) -> Result<Hello, Fault> {
        let fields = Fields(answer);
        match fields.get("protocol") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            found => {
                return Err(Fault::Protocol {
                    found: found.map_or_else(|| "none".into(), Value::to_string),
                    ours: VERSION,
                });
            }
        }
        match fields.word("kind") {
            Some("metric") => MetricHello::read(&fields).map(Hello::Metric),
            Some("dataset") => DatasetHello::read(&fields).map(Hello::Dataset),
            _ => Err(fields.not("kind", "\"metric\" or \"dataset\"")),
        }
    }

    /// The kind of plug-in.
    pub fn kind(&self) -> &'static str {
        match self {
            Hello::Metric(_) => "metric",
            Hello::Dataset(_) => "dataset",
        }
    }
}

/// What the answer to hello says, field by field.
struct Fields<'a>(&'a Answer);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.fields.get(name).filter(|value| !value.is_null())
    }

    fn word(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(Value::as_str)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.word(name).map(str::to_owned)
    }

    /// A field that holds another word than those that are known.
    fn not(&self, name: &str, words: &str) -> Fault {
        let found = self
            .word(name)
            .map_or_else(|| "no word".into(), |word| format!("{word:?}"));
        Fault::Hello(format!("its {name} is {found} instead of {words}"))
    }
}

#[cfg(test)]
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
