//! The schema: checked in, of one mind with the checker, and described throughout.

use super::{BASE, EXAMPLES, all_cases, read_text};
use crate::spec::{render, schema_json};

#[test]
fn the_schema_is_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/pipeline.schema.json");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == schema_json(),
        "schema/pipeline.schema.json has drifted from the types; run `cargo run -- schema > schema/pipeline.schema.json`"
    );
}

#[test]
fn the_schema_sees_what_the_checker_sees() {
    let schema: serde_json::Value = serde_json::from_str(&schema_json()).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert!(jsonschema::draft7::meta::is_valid(&schema));
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let valid = |text: &str| {
        let value: serde_json::Value = serde_yaml::from_str(text).unwrap();
        validator.is_valid(&value)
    };
    for (name, text) in EXAMPLES {
        assert!(valid(text), "{name}");
    }
    assert!(valid(BASE));
    // What the schema refuses the checker must refuse, and what only the checker refuses is a rule between fields or
    // about the text: these words of its messages tell.
    let beyond = [
        "needs it",
        "missing key `input`",
        "gives the one input",
        "is the one that is measured",
        "is measured already",
        "another metric is called",
        "the array of one",
        "has no name",
        "`model.inputs` has no",
        "has no array",
        "needs `",
        "crop of",
        "numbers; each",
        "when rounded",
        "not a pattern",
        "NNI has no",
        "coupled groups only",
        "means nothing to NNI",
        "masks single",
        "taken by",
        "differs only",
        "no step has",
        "wait for",
        "yields no masks",
        "must be finite",
        "1.0",
        "65 ",
        "18446744073709551615",
        "names no folder of its own",
        "merge keys",
        "tags are",
        "is repeated",
        "a key must",
        "larger than any that",
        "is less than `min`",
    ];
    for case in all_cases() {
        if !case.sets.is_empty() {
            continue;
        }
        let Ok(value) = serde_yaml::from_str::<serde_json::Value>(&case.text) else {
            continue;
        };
        let faults = read_text(&case.text, &[]).unwrap_err();
        if faults.iter().any(|fault| fault.message.contains("is repeated;")) {
            continue;
        }
        let shape = faults
            .iter()
            .any(|fault| !beyond.iter().any(|word| fault.message.contains(word)));
        if shape {
            assert!(!validator.is_valid(&value), "{}: {}", case.name, render(&faults, false));
        }
    }
}

#[test]
fn every_part_of_the_schema_is_described() {
    fn walk(value: &serde_json::Value, path: &str, missing: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(|properties| properties.as_object()) {
            for (key, property) in properties {
                let described = property.get("description").is_some()
                    || property.get("$ref").is_some()
                    || value.get("description").is_some() && properties.len() == 1;
                if !described {
                    missing.push(format!("{path}/{key}"));
                }
            }
            assert_eq!(value.get("additionalProperties"), Some(&false.into()), "{path}");
        }
        if let Some(words) = value.get("oneOf").and_then(|words| words.as_array()) {
            for word in words {
                if word.get("description").is_none() {
                    missing.push(format!("{path}: {word}"));
                }
            }
        }
        match value {
            serde_json::Value::Object(object) => {
                for (key, below) in object {
                    walk(below, &format!("{path}/{key}"), missing);
                }
            }
            serde_json::Value::Array(items) => {
                for (index, below) in items.iter().enumerate() {
                    walk(below, &format!("{path}/{index}"), missing);
                }
            }
            _ => {}
        }
    }
    let mut missing = Vec::new();
    let mut schema: serde_json::Value = serde_json::from_str(&schema_json()).unwrap();
    // This part only asks for keys that are described elsewhere.
    schema.as_object_mut().unwrap().remove("then");
    walk(&schema, "", &mut missing);
    assert!(missing.is_empty(), "{missing:#?}");
}
