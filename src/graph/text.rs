//! The text form of a graph: printed, parsed back, equal.
//!
//! A line is a module, a value with what makes it, the outputs, or an issue:
//!
//! ```text
//! module "conv1" "Conv2d"
//! %x: Tensor = input
//! %conv1_weight: Tensor = param "conv1.weight" float32[4, 3, 3, 3] blake3 0f2a…
//! %constant: Tensor = constant int64[] 0700000000000000
//! %out: Tensor = aten::conv2d(input=%x, weight=%conv1_weight, bias=None, …) in "conv1"
//! %a: Tensor, %b: Tensor = prim::ListUnpack(list=%parts) in ""
//! output (%a, {"aux": %b})
//! ```
//!
//! Parsing what was printed gives an equal graph, but for the data of large tensors: up to 256 bytes stand in the text,
//! of more only a digest, and parsing makes zeros of it (so two texts are equal exactly when the graphs are, data
//! included). Parsing checks the form only; see `verify` for the laws.

mod read;

use super::{Arg, Def, Graph, Output, Type, Value, ValueId};
use crate::tensor::{Tensor, Weight};
use std::fmt::Write;

pub use read::{ParseError, parse};

/// Bytes of a tensor that stand in the text.
const INLINE: usize = 256;

/// Prints a graph, for which its weights are read.
pub fn print(graph: &Graph) -> String {
    print_with(graph, |weight| match weight.read() {
        Ok(read) => tensor(read),
        Err(fault) => format!("{weight:?} unreadable {}", quote(&fault.to_string())),
    })
}

/// The same but for what the weights hold, of which nothing is read or said.
pub fn print_headers(graph: &Graph) -> String {
    print_with(graph, |weight| format!("{weight:?}"))
}

fn print_with(graph: &Graph, content: impl Fn(&Weight) -> String) -> String {
    let mut text = String::new();
    for module in &graph.modules {
        line(
            &mut text,
            format_args!("module {} {}", quote(&module.path), quote(&module.class)),
        );
    }
    let order = canonical(graph);
    for &id in &order {
        let value = graph.value(id);
        match value.def {
            Def::Input(_) => line(&mut text, format_args!("{} = input", declare(value))),
            Def::Param(param) => {
                let param = graph.param(param);
                let kind = if param.buffer { "buffer" } else { "param" };
                let names: Vec<String> = param.names.iter().map(|name| quote(name)).collect();
                let (value, tensor) = (declare(value), content(&param.tensor));
                line(&mut text, format_args!("{value} = {kind} {} {tensor}", names.join(" ")));
            }
            Def::Constant(constant) => {
                let tensor = tensor(&graph.constants[constant as usize]);
                line(&mut text, format_args!("{} = constant {tensor}", declare(value)));
            }
            Def::Node { .. } => {}
        }
    }
    for node in &graph.nodes {
        let outputs: Vec<String> = node.outputs.iter().map(|value| declare(graph.value(*value))).collect();
        let mut args = Vec::with_capacity(node.args.len());
        for (name, arg) in &node.args {
            args.push(format!("{name}={}", argument(graph, arg)));
        }
        let dot = if node.overload.is_empty() { "" } else { "." };
        line(
            &mut text,
            format_args!(
                "{} = {}{dot}{}({}) in {}",
                outputs.join(", "),
                node.op,
                node.overload,
                args.join(", "),
                quote(&node.scope)
            ),
        );
    }
    for output in &graph.outputs {
        let mut wrapped = String::new();
        write_output(graph, output, &mut wrapped);
        line(&mut text, format_args!("output {wrapped}"));
    }
    for issue in &graph.issues {
        let parts = [&issue.node, &issue.scope, &issue.op, &issue.message].map(|part| quote(part));
        line(&mut text, format_args!("issue {}", parts.join(" ")));
    }
    if !order.iter().copied().eq(graph.value_ids()) {
        let names: Vec<String> = graph.values.iter().map(|value| format!("%{}", value.name)).collect();
        line(&mut text, format_args!("values {}", names.join(" ")));
    }
    text
}

/// Inputs, parameters, constants, then results in order of their nodes: the numbering of values that needs no words.
fn canonical(graph: &Graph) -> Vec<ValueId> {
    let mut order = graph.inputs.clone();
    let rest = |wanted: fn(&Def) -> bool| graph.value_ids().filter(move |id| wanted(&graph.value(*id).def));
    let index = |id: &ValueId| match graph.value(*id).def {
        Def::Param(param) => param.0,
        Def::Constant(constant) => constant,
        _ => 0,
    };
    let mut params: Vec<ValueId> = rest(|def| matches!(def, Def::Param(_))).collect();
    params.sort_by_key(index);
    let mut constants: Vec<ValueId> = rest(|def| matches!(def, Def::Constant(_))).collect();
    constants.sort_by_key(index);
    order.extend(params);
    order.extend(constants);
    order.extend(graph.nodes.iter().flat_map(|node| node.outputs.iter().copied()));
    order
}

fn line(text: &mut String, content: std::fmt::Arguments) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn declare(value: &Value) -> String {
    format!("%{}: {}", value.name, type_name(&value.ty))
}

/// A type as the text form writes it.
pub(super) fn type_name(ty: &Type) -> String {
    match ty {
        Type::Tensor => "Tensor".into(),
        Type::Int => "int".into(),
        Type::Float => "float".into(),
        Type::Bool => "bool".into(),
        Type::Str => "str".into(),
        Type::List(item) => format!("List[{}]", type_name(item)),
        Type::Tuple(items) => {
            let names: Vec<String> = items.iter().map(type_name).collect();
            format!("Tuple[{}]", names.join(", "))
        }
    }
}

fn tensor(tensor: &Tensor) -> String {
    let data = tensor.data();
    let content = if data.len() <= INLINE {
        data.iter().map(|byte| format!("{byte:02x}")).collect()
    } else if data.iter().all(|byte| *byte == 0) {
        "zeros".to_owned()
    } else {
        format!("blake3 {}", blake3::hash(data).to_hex())
    };
    format!("{tensor:?} {content}")
}

fn argument(graph: &Graph, arg: &Arg) -> String {
    match arg {
        Arg::None => "None".into(),
        Arg::Bool(true) => "True".into(),
        Arg::Bool(false) => "False".into(),
        Arg::Int(int) => int.to_string(),
        Arg::Float(float) => format!("{float:?}"),
        Arg::Str(text) => quote(text),
        Arg::Device(name) => format!("device({})", quote(name)),
        Arg::Value(value) => format!("%{}", graph.value(*value).name),
        Arg::List(items) => {
            let items: Vec<String> = items.iter().map(|item| argument(graph, item)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn write_output(graph: &Graph, output: &Output, text: &mut String) {
    let mut list = |open: char, items: &[Output], close: char| {
        text.push(open);
        for (at, item) in items.iter().enumerate() {
            text.push_str(if at > 0 { ", " } else { "" });
            write_output(graph, item, text);
        }
        text.push(close);
    };
    match output {
        Output::None => text.push_str("None"),
        Output::Value(value) => {
            text.push('%');
            text.push_str(&graph.value(*value).name);
        }
        Output::Tuple(items) => list('(', items, ')'),
        Output::List(items) => list('[', items, ']'),
        Output::Dict(items) => {
            text.push('{');
            for (at, (key, item)) in items.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                text.push_str(&quote(key));
                text.push_str(": ");
                write_output(graph, item, text);
            }
            text.push('}');
        }
    }
}

#[cfg(test)]
mod tests;
