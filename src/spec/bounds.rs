//! The local questions of the checker: what one schema asks of one value, and how to say it.

use serde_json::{Map, Value};

use super::node::{Data, Node, key_path, shorten};

/// What a schema allows at one place, sorted by how YAML writes it.
#[derive(Default)]
pub(super) struct Choices<'a> {
    /// Plain words.
    pub words: Vec<&'a str>,
    /// Mappings with exactly one key, and the schema of its value.
    pub tagged: Vec<(&'a str, &'a Value)>,
    /// Everything else.
    pub plain: Vec<&'a Value>,
}

/// Follows references within the schema `root`. Gives the name of the last definition passed, too.
pub(super) fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> (Option<&'a str>, &'a Value) {
    let mut name = None;
    loop {
        let inner = match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([only]) => only,
            _ => schema,
        };
        let Some(reference) = inner.get("$ref").and_then(Value::as_str) else {
            return (name, schema);
        };
        name = reference.rsplit('/').next();
        match root.pointer(reference.trim_start_matches('#')) {
            Some(target) => schema = target,
            None => return (name, schema),
        }
    }
}

/// What a schema allows, its references followed.
pub(super) fn choices<'a>(root: &'a Value, schema: &'a Value) -> Choices<'a> {
    let mut choices = Choices::default();
    collect(root, schema, &mut choices);
    choices
}

fn collect<'a>(root: &'a Value, schema: &'a Value, into: &mut Choices<'a>) {
    let (_, schema) = resolve(root, schema);
    if let Some(Value::Array(alternatives)) = schema.get("oneOf").or_else(|| schema.get("anyOf")) {
        for alternative in alternatives {
            collect(root, alternative, into);
        }
    } else if let Some(Value::Array(words)) = schema.get("enum") {
        into.words.extend(words.iter().filter_map(Value::as_str));
    } else if let Some(Value::String(word)) = schema.get("const") {
        into.words.push(word);
    } else if let (Some(Value::Object(properties)), [only]) = (schema.get("properties"), &*required(schema))
        && properties.len() == 1
        && let Some((key, value)) = properties.get_key_value(*only)
    {
        into.tagged.push((key, value));
    } else {
        into.plain.push(schema);
    }
}

/// The keys that a mapping must have.
pub(super) fn required(schema: &Value) -> Vec<&str> {
    match schema.get("required") {
        Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a schema names a type.
pub(super) fn has_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(types)) => types.iter().any(|one| one == name),
        _ => false,
    }
}

/// Whether a node is of a schema's type. A number written as a float is no integer.
pub(super) fn fits(schema: &Value, node: &Node) -> bool {
    match &node.data {
        Data::Map(_) => has_type(schema, "object"),
        Data::List(_) => has_type(schema, "array"),
        Data::Text(_) => has_type(schema, "string"),
        Data::Bool(_) => has_type(schema, "boolean"),
        Data::Number(number, text) => {
            has_type(schema, "number") || has_type(schema, "integer") && (!number.is_f64() || is_huge_integer(text))
        }
        Data::Null | Data::Given(_) | Data::Broken => false,
    }
}

/// An integer beyond 64 bits reads as a float, but its fault is its size, not its type.
fn is_huge_integer(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Why a number breaks the schema's bounds, if it does.
pub(super) fn out_of_range(schema: &Value, number: &serde_yaml::Number, text: &str) -> Option<String> {
    let value = number.as_f64()?;
    let found = shorten(text);
    if !value.is_finite() {
        return Some(format!("must be finite, found {found}"));
    }
    let bound = |name: &str| schema.get(name).filter(|bound| bound.is_number());
    let beyond = |name: &str, test: fn(f64, f64) -> bool| {
        let bound = bound(name)?;
        test(value, bound.as_f64()?).then_some(bound)
    };
    if let Some(bound) = beyond("exclusiveMinimum", |value, bound| value <= bound) {
        return Some(format!("must be above {bound}, found {found}"));
    }
    if let Some(bound) = beyond("exclusiveMaximum", |value, bound| value >= bound) {
        return Some(format!("must be below {bound}, found {found}"));
    }
    let (least, most) = (bound("minimum"), bound("maximum"));
    let outside =
        beyond("minimum", |value, bound| value < bound).is_some() || beyond("maximum", |v, bound| v > bound).is_some();
    if outside {
        return Some(match (least, most) {
            (Some(least), Some(most)) if least == most => format!("must be {least}, found {found}"),
            (Some(least), Some(most)) => format!("must lie between {least} and {most}, found {found}"),
            (Some(least), None) => format!("must be at least {least}, found {found}"),
            (_, most) => format!("must be at most {}, found {found}", most.unwrap_or(&Value::Null)),
        });
    }
    if schema.pointer("/not/const").and_then(Value::as_f64) == Some(value) {
        return Some(format!("must not be {found}"));
    }
    if has_type(schema, "integer") && number.is_f64() {
        return Some(format!("must be at most {}, found {found}", u64::MAX));
    }
    None
}

/// The allowed keys, or, where words are allowed too, the values.
pub(super) fn allowed(choices: &Choices<'_>) -> String {
    if !choices.words.is_empty() {
        return allowed_values(choices);
    }
    or(&choices
        .tagged
        .iter()
        .map(|(key, _)| format!("`{key}`"))
        .collect::<Vec<_>>())
}

/// The allowed words and one-key mappings, as they are written.
pub(super) fn allowed_values(choices: &Choices<'_>) -> String {
    let words = choices.words.iter().map(|word| format!("`{word}`"));
    let tags = choices.tagged.iter().map(|(key, _)| format!("`{{{key}: …}}`"));
    or(&words.chain(tags).collect::<Vec<_>>())
}

/// "a", "a or b", "a, b or c".
pub(super) fn or(parts: &[String]) -> String {
    join(parts, "or")
}

/// "a", "a and b", "a, b and c".
pub(super) fn and(parts: &[String]) -> String {
    join(parts, "and")
}

fn join(parts: &[String], word: &str) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [init @ .., last] => format!("{} {word} {last}", init.join(", ")),
    }
}

/// What to do about a key that resembles none: the valid ones.
pub(super) fn expected_keys(properties: &Map<String, Value>) -> String {
    if properties.is_empty() {
        return "no keys are expected here".to_owned();
    }
    let keys: Vec<String> = properties.keys().map(|key| format!("`{key}`")).collect();
    format!("expected {}", or(&keys))
}

/// The mapping that a key belongs in, where it belongs in one only: `dataset` for `batch_size`.
pub(super) fn home(root: &Value, key: &str) -> Option<String> {
    let mut homes = Vec::new();
    find_homes(root, root, key, "", &mut homes);
    match homes.as_slice() {
        [only] if !only.is_empty() => Some(only.clone()),
        _ => None,
    }
}

/// Walks the schema; its types do not contain themselves, so this ends.
fn find_homes(root: &Value, schema: &Value, key: &str, path: &str, homes: &mut Vec<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
        && let Some(target) = root.pointer(reference.trim_start_matches('#'))
    {
        find_homes(root, target, key, path, homes);
    }
    for choice in ["allOf", "anyOf", "oneOf"] {
        for inner in schema.get(choice).and_then(Value::as_array).into_iter().flatten() {
            find_homes(root, inner, key, path, homes);
        }
    }
    if let Some(items) = schema.get("items") {
        find_homes(root, items, key, &format!("{path}[]"), homes);
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        if properties.contains_key(key) {
            homes.push(path.to_owned());
        }
        for (name, inner) in properties {
            find_homes(root, inner, key, &key_path(path, name), homes);
        }
    }
}
