//! The keys of a family as editors see them. They are gone before the pipeline itself is checked.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::spec::words::FilePath;

/// The keys of a family, which stand beside those of the pipeline.
pub(crate) const KEYS: [&str; 3] = ["extends", "vars", "matrix"];

/// What makes a pipeline of several files, of the environment, or several pipelines of one file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the keys; the tree is read by hand, for its places")]
struct Family {
    /// A pipeline file to start from: mappings are merged key by key, everything else in this file replaces what stands
    /// there. A key set to nothing (`early_stop:`) is taken out.
    #[serde(default)]
    #[schemars(example = &"base.yaml")]
    extends: Option<FilePath>,
    /// Variables, used as `${name}` in strings (`$$` is a dollar sign): a value, or `{env: NAME, default: value}` for a
    /// variable of the environment.
    #[serde(default)]
    #[schemars(example = json!({"data": {"env": "DATA_DIR", "default": "/data"}}))]
    vars: Option<BTreeMap<String, Variable>>,
    /// Lists of values by the path of the key that takes them. Each combination is a pipeline of its own, named by its
    /// values.
    #[serde(default)]
    #[schemars(example = json!({"model.path": ["a.pt", "b.pt"], "seed": [0, 1]}))]
    matrix: Option<BTreeMap<String, Axis>>,
}

/// The values of one axis of the matrix.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "describes the keys")]
struct Axis(#[schemars(length(min = 1))] Vec<Value>);

/// A variable's value, or where it comes from.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the keys")]
enum Variable {
    /// The value itself.
    Text(String),
    /// The value itself.
    Number(f64),
    /// The value itself.
    Bool(bool),
    /// A variable of the environment.
    Environment(Environment),
}

/// A variable of the environment.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the keys")]
struct Environment {
    /// Its name.
    #[schemars(length(min = 1))]
    env: String,
    /// The value where the environment has none. Without it the variable must be set.
    #[serde(default)]
    default: Option<Plain>,
}

/// A plain value.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the keys")]
enum Plain {
    /// A string.
    Text(String),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
}

/// Adds the keys of a family to the schema of a pipeline, and the definitions that they need.
pub(crate) fn add_to_schema(schema: &mut Value, generator: SchemaGenerator) {
    let mut family = generator.into_root_schema_for::<Family>().to_value();
    for part in ["properties", "definitions"] {
        let (Some(Value::Object(all)), Some(Value::Object(more))) =
            (schema.get_mut(part), family.get_mut(part).map(Value::take))
        else {
            continue;
        };
        for (key, value) in more {
            all.entry(key).or_insert(value);
        }
    }
}
