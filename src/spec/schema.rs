//! The JSON schema of pipeline files: made from the types, read by editors and by the checker.
//!
//! It is draft-07, which the YAML language servers know. It owns the shape of the file only; rules between fields live
//! in `rules`.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};

use super::types::Pipeline;
use super::{bounds, family};

/// The schema, made once.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft07()
        .for_deserialize()
        .with_transform(RecursiveTransform(tidy));
    let mut schema = settings
        .clone()
        .into_generator()
        .into_root_schema_for::<Pipeline>()
        .to_value();
    family::add_to_schema(&mut schema, settings.into_generator());
    // What says what the schema is stands first.
    if let Value::Object(all) = &mut schema {
        let first: Vec<_> = ["$schema", "title", "description"]
            .iter()
            .filter_map(|key| all.shift_remove_entry(*key))
            .collect();
        let rest = std::mem::take(all);
        all.extend(first);
        all.extend(rest);
    }
    schema
});

/// The schema of a pipeline file, as a value.
pub(super) fn schema() -> &'static Value {
    &SCHEMA
}

/// The schema of a pipeline file, as checked in at `schema/pipeline.schema.json`: pretty, with a newline at the end.
///
/// A file that extends another need not be complete. An editor sees that file alone, so what must be there is asked only
/// of files that extend none; the checker sees the whole and needs no such distinction.
pub fn schema_json() -> String {
    let mut schema = SCHEMA.clone();
    let mut needs = Map::new();
    let sections: Vec<(String, String)> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, section)| {
            let (Some(name), section) = bounds::resolve(&SCHEMA, section) else {
                return None;
            };
            section.get("properties").and(Some((key.clone(), name.to_owned())))
        })
        .collect();
    for (key, name) in sections {
        let section = schema["definitions"][&name].as_object_mut();
        if let Some(required) = section.and_then(|section| section.shift_remove("required")) {
            needs.insert(key, json!({ "required": required }));
        }
    }
    if let Value::Object(all) = &mut schema
        && let Some(required) = all.shift_remove("required")
    {
        all.insert("if".to_owned(), json!({"not": {"required": ["extends"]}}));
        all.insert("then".to_owned(), json!({ "required": required, "properties": needs }));
    }
    format!("{schema:#}\n")
}

/// An optional key is left out, never set to nothing: takes `null` out of types, choices and defaults. Formats such as
/// `uint32` are Rust's and say nothing to an editor, and the line breaks of a comment mean nothing there.
fn tidy(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("format");
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [only] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            if object.is_empty()
                && let Value::Object(only) = only
            {
                *object = only;
            } else {
                object.insert("allOf".to_owned(), Value::Array(vec![only]));
            }
        }
    }
}
