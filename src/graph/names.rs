//! What a model calls its inputs and outputs.
//!
//! Owns the names by which files and messages speak of them: arguments of `forward`, keys of a dict, places in a tuple.
//! Deliberately decides nothing: which input gets which data is for others.

use super::{Graph, Output, ValueId};

/// What the only output of a model is called.
const ONLY: &str = "output";

impl Graph {
    /// The names of the inputs: the arguments of the model's `forward`.
    pub fn input_names(&self) -> Vec<&str> {
        self.inputs
            .iter()
            .map(|&input| self.value(input).name.as_str())
            .collect()
    }

    /// The tensors among the outputs, in order, each with its name: the key in a dict or the place in a tuple, joined by
    /// dots where they are nested; `output` for a single tensor.
    pub fn named_outputs(&self) -> Vec<(String, ValueId)> {
        let mut found = Vec::new();
        match &self.outputs[..] {
            [Output::Value(value)] => found.push((ONLY.to_owned(), *value)),
            [root] => inside(root, "", &mut found),
            several => several
                .iter()
                .enumerate()
                .for_each(|(at, output)| named(output, &at.to_string(), &mut found)),
        }
        found
    }

    /// The names of the parts that the model returns, one level deep: keys of a dict, places in a tuple.
    pub fn output_keys(&self) -> Vec<String> {
        let places = |count: usize| (0..count).map(|at| at.to_string()).collect();
        match &self.outputs[..] {
            [Output::Value(_)] => vec![ONLY.to_owned()],
            [Output::Tuple(items) | Output::List(items)] => places(items.len()),
            [Output::Dict(items)] => items.iter().map(|(key, _)| key.clone()).collect(),
            several => places(several.len()),
        }
    }
}

fn named(output: &Output, name: &str, found: &mut Vec<(String, ValueId)>) {
    match output {
        Output::Value(value) => found.push((name.to_owned(), *value)),
        other => inside(other, &format!("{name}."), found),
    }
}

fn inside(output: &Output, before: &str, found: &mut Vec<(String, ValueId)>) {
    match output {
        Output::Tuple(items) | Output::List(items) => {
            for (at, item) in items.iter().enumerate() {
                named(item, &format!("{before}{at}"), found);
            }
        }
        Output::Dict(items) => {
            for (key, item) in items {
                named(item, &format!("{before}{key}"), found);
            }
        }
        Output::Value(_) | Output::None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_by_key_and_place() {
        let value = |id| Output::Value(ValueId(id));
        let names = |output| {
            let graph = Graph {
                outputs: vec![output],
                ..Graph::default()
            };
            graph
                .named_outputs()
                .into_iter()
                .map(|(name, value)| (name, value.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(value(3)), [("output".to_owned(), 3)]);
        let nested = Output::Dict(vec![
            ("logits".into(), value(5)),
            ("past".into(), Output::Tuple(vec![value(1), Output::None, value(2)])),
        ]);
        assert_eq!(
            names(nested),
            [
                ("logits".to_owned(), 5),
                ("past.0".to_owned(), 1),
                ("past.2".to_owned(), 2)
            ]
        );
        assert_eq!(names(Output::Tuple(vec![value(7), value(8)]))[1], ("1".to_owned(), 8));
    }
}
