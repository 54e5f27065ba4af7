//! What goes into the model and which of its outputs is measured: the file's words against the model's own.
//!
//! Owns the match of `model.input`, `model.inputs` and `model.output` with the graph. Inputs go by the names of the
//! forward's arguments; where none of the file's names is one, by order. Deliberately reads no data.

use crate::dataset::Input;
use crate::graph::{Graph, Type, ValueId};
use crate::spec::{InputType, Model, ModelInput, OutputChoice, nearest};
use crate::tensor::DType;

/// What does not fit, and where in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub place: String,
    pub message: String,
    pub suggestion: Option<String>,
    pub help: Option<String>,
}

/// The inputs as the file writes them, in its order.
pub fn written(model: &Model) -> Vec<Input> {
    match (&model.input, &model.inputs) {
        (Some(shape), _) => vec![Input::only(&extents(shape))],
        (None, Some(inputs)) => inputs.iter().map(|(name, input)| named(name, input)).collect(),
        (None, None) => Vec::new(),
    }
}

fn named(name: &str, input: &ModelInput) -> Input {
    Input {
        name: Some(name.to_owned()),
        shape: extents(&input.shape),
        dtype: match input.dtype {
            InputType::Float32 => DType::F32,
            InputType::Int64 => DType::I64,
            InputType::Int32 => DType::I32,
            InputType::Uint8 => DType::U8,
            InputType::Bool => DType::Bool,
        },
    }
}

fn extents(shape: &[u32]) -> Vec<usize> {
    shape.iter().map(|&extent| extent as usize).collect()
}

/// The place of an input in the pipeline file.
pub fn place(input: &Input) -> String {
    match &input.name {
        Some(name) => format!("model.inputs.{name}"),
        None => "model.input".to_owned(),
    }
}

/// The inputs in the order of the graph.
pub fn resolve(model: &Model, graph: &Graph) -> Result<Vec<Input>, Vec<Misfit>> {
    let written = written(model);
    let names = graph.input_names();
    let listed = names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let misfit = |place: &str, message: String, help: Option<String>| Misfit {
        place: place.to_owned(),
        message,
        suggestion: None,
        help,
    };
    if let Some(&value) = graph
        .inputs
        .iter()
        .find(|&&value| graph.value(value).ty != Type::Tensor)
    {
        let message = format!("the model's input `{}` is no tensor", graph.value(value).name);
        let help = "wrap the model in a module whose forward takes tensors only, and trace that".to_owned();
        return Err(vec![misfit("model.path", message, Some(help))]);
    }
    if model.input.is_some() {
        return match names.len() {
            1 => Ok(written),
            0 => Err(vec![misfit("model.path", "the model takes no input".to_owned(), None)]),
            count => {
                let message = format!("the model takes {count} inputs ({listed}), but this is the shape of one");
                let help = format!("write `inputs`: a `shape` and a `dtype` for each of {listed}");
                Err(vec![misfit("model.input", message, Some(help))])
            }
        };
    }
    let called = |name: &str| written.iter().find(|input| input.name.as_deref() == Some(name));
    if !names.iter().any(|name| called(name).is_some()) && names.len() == written.len() {
        // None of the names is the model's own: they go by order.
        return Ok(written);
    }
    let mut misfits = Vec::new();
    for input in &written {
        let name = input.name.as_deref().unwrap_or_default();
        if !names.contains(&name) {
            let mut fault = misfit(
                &place(input),
                format!("the model has no input `{name}`"),
                Some(format!("it takes {listed}")),
            );
            let free = names.iter().copied().filter(|name| called(name).is_none());
            fault.suggestion = nearest(name, free).map(str::to_owned);
            misfits.push(fault);
        }
    }
    let missing: Vec<String> = names
        .iter()
        .filter(|name| called(name).is_none())
        .map(|name| format!("`{name}`"))
        .collect();
    if misfits.is_empty() && !missing.is_empty() {
        let message = format!("the model also takes {}", missing.join(", "));
        misfits.push(misfit("model.inputs", message, Some(format!("it takes {listed}"))));
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }
    Ok(names.iter().filter_map(|name| called(name).cloned()).collect())
}

/// The outputs that are measured, the one that counts first: beside the chosen one, all where none was chosen and somebody
/// looks at all.
pub fn outputs(model: &Model, graph: &Graph, all: bool) -> Result<Vec<ValueId>, Misfit> {
    let (_, first) = output(model, graph)?;
    match all && model.output.is_none() {
        true => Ok(tensors(graph).into_iter().map(|(_, value)| value).collect()),
        false => Ok(vec![first]),
    }
}

/// How many tensors a metric that looks at all outputs is given.
pub fn count(model: &Model, graph: &Graph) -> usize {
    outputs(model, graph, true).map_or(0, |outputs| outputs.len())
}

/// The tensors among the outputs.
fn tensors(graph: &Graph) -> Vec<(String, ValueId)> {
    let mut tensors = graph.named_outputs();
    tensors.retain(|&(_, value)| graph.value(value).ty == Type::Tensor);
    tensors
}

/// The output that is measured: the chosen one, else the first.
pub fn output(model: &Model, graph: &Graph) -> Result<(String, ValueId), Misfit> {
    let tensors = tensors(graph);
    let wanted = match &model.output {
        None => tensors.first().map(|(name, _)| name.clone()).unwrap_or_default(),
        Some(OutputChoice::Name(name)) => name.clone(),
        // A lone tensor is its own first output, and places in a dict count too.
        Some(OutputChoice::Place(place)) => graph
            .output_keys()
            .get(*place as usize)
            .cloned()
            .unwrap_or_else(|| place.to_string()),
    };
    if let Some(found) = tensors.iter().find(|(name, _)| *name == wanted) {
        return Ok(found.clone());
    }
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let message = match &names[..] {
        [] => "the model has no output tensor".to_owned(),
        _ if names.iter().any(|name| name.starts_with(&format!("{wanted}."))) => {
            format!("the model's output `{wanted}` is not one tensor")
        }
        _ => format!("the model has no output `{wanted}`"),
    };
    let listed = names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(Misfit {
        place: if model.output.is_some() {
            "model.output"
        } else {
            "model.path"
        }
        .to_owned(),
        message,
        suggestion: nearest(&wanted, names.iter().copied()).map(str::to_owned),
        help: (!names.is_empty()).then(|| format!("its outputs are {listed}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Def, Output};

    /// A model that takes `ids` and `mask` and returns them as a dict, the second within a tuple.
    fn graph() -> Graph {
        let mut graph = Graph::default();
        for (at, name) in ["ids", "mask"].into_iter().enumerate() {
            let input = graph.add_value(name, Type::Tensor, Def::Input(at as u32));
            graph.inputs.push(input);
        }
        let nested = Output::Tuple(vec![Output::Value(graph.inputs[1])]);
        graph.outputs = vec![Output::Dict(vec![
            ("logits".into(), Output::Value(graph.inputs[0])),
            ("past".into(), nested),
        ])];
        graph
    }

    fn model(text: &str) -> Model {
        serde_yaml::from_str(&format!("path: m.pt\n{text}")).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn inputs_go_by_name_or_else_by_order() {
        let resolved = |text: &str| match resolve(&model(text), &graph()) {
            Ok(inputs) => inputs
                .iter()
                .map(|input| format!("{}:{}", input.name.as_deref().unwrap_or_default(), input.dtype))
                .collect::<Vec<_>>()
                .join(" "),
            Err(misfits) => misfits
                .iter()
                .map(|misfit| {
                    let near = misfit.suggestion.as_deref().unwrap_or_default();
                    format!("{}: {} [{near}]", misfit.place, misfit.message)
                })
                .collect::<Vec<_>>()
                .join("; "),
        };
        let shape = "{shape: [4], dtype: int64}";
        for (text, expected) in [
            (
                format!("inputs: {{mask: {{shape: [4]}}, ids: {shape}}}"),
                "ids:int64 mask:float32",
            ),
            (
                format!("inputs: {{a: {{shape: [4]}}, b: {shape}}}"),
                "a:float32 b:int64",
            ),
            (
                format!("inputs: {{ids: {shape}, maks: {shape}}}"),
                "model.inputs.maks: the model has no input `maks` [mask]",
            ),
            (
                format!("inputs: {{ids: {shape}}}"),
                "model.inputs: the model also takes `mask` []",
            ),
            (
                format!("inputs: {{a: {shape}}}"),
                "model.inputs.a: the model has no input `a` []",
            ),
            (
                "input: [4]".to_owned(),
                "model.input: the model takes 2 inputs (`ids`, `mask`), but this is the shape of one []",
            ),
        ] {
            assert_eq!(resolved(&text), expected, "{text}");
        }
    }

    #[test]
    fn an_output_goes_by_name_or_place() {
        for (text, expected) in [
            ("", "logits"),
            ("output: 0", "logits"),
            ("output: logits", "logits"),
            ("output: past.0", "past.0"),
            ("output: 1", "the model's output `past` is not one tensor"),
            ("output: 2", "the model has no output `2`"),
            ("output: logit", "the model has no output `logit`, but `logits`"),
        ] {
            let found = match output(&model(&format!("input: [4]\n{text}")), &graph()) {
                Ok((name, _)) => name,
                Err(Misfit {
                    message,
                    suggestion: Some(near),
                    ..
                }) if !text.ends_with('2') && !text.ends_with('1') => format!("{message}, but `{near}`"),
                Err(misfit) => misfit.message,
            };
            assert_eq!(found, expected, "{text}");
        }
    }
}
