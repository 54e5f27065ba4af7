//! Graph nodes printed as TorchScript.
//!
//! Owns the text form that libtorch compiles: one node a line, values numbered in order (so that equal programs have
//! equal texts), arguments in the order of the operator's schema. Deliberately knows nothing of tch.

use super::RuntimeError;
use crate::graph::{Arg, Def, Graph, Node, Schema, Type, ValueId, schema_of, subset};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The product of `aten::_grouped_mm`, expert by expert: the operator itself takes no float64, and only widths that fill 16
/// bytes. The same to the bit where it does. Rows that no offset counts are zero, for there it leaves memory as it was.
const GROUPED_MM: &str = "  def grouped_mm(self: __torch__.M,
    rows: Tensor,
    experts: Tensor,
    ends: Tensor) -> Tensor:
    if torch.__and__(torch.eq(torch.dim(rows), 2), torch.eq(torch.dim(experts), 3)):
      parts = annotate(List[Tensor], [])
      start = 0
      for expert in range(torch.size(experts, 0)):
        end = int(torch.select(ends, 0, expert))
        part = torch.mm(torch.slice(rows, 0, start, end), torch.select(experts, 0, expert))
        _0 = torch.append(parts, part)
        start = end
      rest = torch.sub(torch.size(rows, 0), start)
      _1 = torch.append(parts, torch.new_zeros(rows, [rest, torch.size(experts, 2)]))
      made = torch.cat(parts, 0)
    else:
      made = torch._grouped_mm(rows, experts, ends)
    return made
";

/// A printed class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    pub code: String,
    /// Numbers that the code reads as `CONSTANTS.c0` and on, tensors without axes. They must be libtorch's own constants:
    /// those give way to the element type of what they meet, as a number does, where a tensor that is given would not.
    pub numbers: Vec<Tensor>,
}

/// Prints the class whose method `run` computes `outputs` from `inputs`.
///
/// `device` is what every device literal of the graph becomes.
///
/// # Errors
/// When an output depends on a leaf that is not among the inputs, or when something has no printed form.
pub fn source(graph: &Graph, inputs: &[ValueId], outputs: &[ValueId], device: &str) -> Result<Source, RuntimeError> {
    let needed = subset(graph, inputs, outputs);
    if let Some(&leaf) = needed.leaves.first() {
        return Err(RuntimeError::Leaf {
            name: graph.value(leaf).name.clone(),
        });
    }
    let mut names = BTreeMap::new();
    let made = needed.nodes.iter().flat_map(|&node| graph.node(node).outputs.iter());
    for &value in inputs.iter().chain(made) {
        let next = names.len();
        names.entry(value).or_insert(next);
    }
    let number = |value: &ValueId| match graph.value(*value).def {
        Def::Constant(at) => graph
            .constants
            .get(at as usize)
            .filter(|tensor| tensor.shape().is_empty()),
        _ => None,
    };
    let printer = Printer {
        graph,
        device,
        names,
        given: inputs.iter().copied().collect(),
    };
    let mut lines = vec![
        "class M(Module):".to_string(),
        "  __parameters__ = []".to_string(),
        "  __buffers__ = []".to_string(),
        "  training : bool".to_string(),
        "  def run(self: __torch__.M,".to_string(),
        "    v: List[Tensor]) -> List[Tensor]:".to_string(),
    ];
    let mut body = printer.inputs(inputs)?;
    let mut numbers = Vec::new();
    for (value, tensor) in inputs.iter().filter_map(|value| Some((*value, number(value)?.clone()))) {
        body.push(format!("{} = CONSTANTS.c{}", printer.name(value), numbers.len()));
        numbers.push(tensor);
    }
    for &node in &needed.nodes {
        body.push(printer.node(graph.node(node))?);
    }
    body.extend(printer.outputs(outputs)?);
    lines.extend(body.into_iter().map(|line| format!("    {line}")));
    let mut text = lines.join("\n") + "\n";
    if needed.nodes.iter().any(|&node| deals_rows(graph.node(node))) {
        text += GROUPED_MM;
    }
    Ok(Source { code: text, numbers })
}

struct Printer<'a> {
    graph: &'a Graph,
    device: &'a str,
    names: BTreeMap<ValueId, usize>,
    given: BTreeSet<ValueId>,
}

impl Printer<'_> {
    fn name(&self, value: ValueId) -> String {
        self.numbered("t", value)
    }

    fn numbered(&self, prefix: &str, value: ValueId) -> String {
        // Every value that is printed is given or made by a printed node, else it would be a leaf.
        format!("{prefix}{}", self.names.get(&value).copied().unwrap_or(usize::MAX))
    }

    /// The name under which a node leaves an output: another than [`Printer::name`] when the value is given.
    fn target(&self, value: ValueId) -> String {
        self.numbered(if self.given.contains(&value) { "u" } else { "t" }, value)
    }

    fn unprintable(&self, place: impl Into<String>, op: &str, message: impl Into<String>) -> RuntimeError {
        RuntimeError::Unprintable {
            node: place.into(),
            op: op.to_string(),
            message: message.into(),
        }
    }

    /// Takes the list of inputs apart; numbers come as tensors of one element.
    fn inputs(&self, inputs: &[ValueId]) -> Result<Vec<String>, RuntimeError> {
        let (mut names, mut casts) = (String::new(), Vec::new());
        for &input in inputs {
            let value = self.graph.value(input);
            let name = self.name(input);
            let cast = match value.ty {
                Type::Tensor => None,
                Type::Int => Some("int"),
                Type::Float => Some("float"),
                Type::Bool => Some("bool"),
                Type::Str | Type::List(_) | Type::Tuple(_) => {
                    return Err(self.unprintable(&value.name, "input", "only tensors and numbers can be given"));
                }
            };
            match cast {
                None => names += &format!("{name}, "),
                Some(cast) => {
                    let number = self.numbered("i", input);
                    names += &format!("{number}, ");
                    casts.push(format!("{name} = {cast}({number})"));
                }
            }
        }
        let mut lines = Vec::new();
        if !names.is_empty() {
            lines.push(format!("{names}= v"));
        }
        lines.extend(casts);
        Ok(lines)
    }

    /// Returns every tensor; lists and tuples are flattened, numbers become tensors.
    fn outputs(&self, outputs: &[ValueId]) -> Result<Vec<String>, RuntimeError> {
        let mut lines = Vec::new();
        // Runs of single tensors, and the lists of tensors between them.
        let mut parts: Vec<String> = Vec::new();
        let mut single: Vec<String> = Vec::new();
        let flush = |single: &mut Vec<String>, parts: &mut Vec<String>| {
            if !single.is_empty() {
                parts.push(format!("[{}]", std::mem::take(single).join(", ")));
            }
        };
        let mut fresh = 0;
        let mut pending: Vec<(String, Type)> = outputs
            .iter()
            .rev()
            .map(|&output| (self.name(output), self.graph.value(output).ty.clone()))
            .collect();
        while let Some((name, ty)) = pending.pop() {
            match ty {
                Type::Tensor => single.push(name),
                Type::Int | Type::Float | Type::Bool => single.push(format!("ops.prim.NumToTensor({name})")),
                Type::List(item) => match *item {
                    Type::Tensor => {
                        flush(&mut single, &mut parts);
                        parts.push(name);
                    }
                    Type::Int | Type::Float | Type::Bool => {
                        single.push(format!(
                            "torch.tensor({name}, dtype=None, device=None, requires_grad=False)"
                        ));
                    }
                    _ => return Err(self.unprintable(&name, "output", "a list of lists cannot be returned")),
                },
                Type::Tuple(items) => {
                    let names: Vec<String> = items.iter().map(|_| (format!("o{fresh}"), fresh += 1).0).collect();
                    lines.push(format!("{}, = {name}", names.join(", ")));
                    pending.extend(names.into_iter().zip(items).rev());
                }
                Type::Str => return Err(self.unprintable(&name, "output", "text cannot be returned")),
            }
        }
        flush(&mut single, &mut parts);
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_else(|| "annotate(List[Tensor], [])".into());
        let all = parts.fold(first, |all, part| format!("torch.add({all}, {part})"));
        lines.push(format!("return {all}"));
        Ok(lines)
    }

    fn node(&self, node: &Node) -> Result<String, RuntimeError> {
        let mut targets: String = node.outputs.iter().map(|&output| self.target(output) + ", ").collect();
        let unpacks = matches!(node.op.as_str(), "prim::ListUnpack" | "prim::TupleUnpack");
        if node.outputs.len() == 1 && !unpacks {
            targets.truncate(targets.len() - 2);
            targets.push(' ');
        }
        // Of two values that are there already, the condition takes one.
        if let ("prim::If", [(_, condition), (_, then), (_, otherwise)]) = (node.op.as_str(), &node.args[..]) {
            let [condition, then, otherwise] = [
                self.arg(condition, None, &node.op)?,
                self.arg(then, None, &node.op)?,
                self.arg(otherwise, None, &node.op)?,
            ];
            return Ok(format!(
                "if {condition}:\n      {targets}= {then}\n    else:\n      {targets}= {otherwise}"
            ));
        }
        Ok(format!("{targets}= {}", self.call(node)?))
    }

    fn call(&self, node: &Node) -> Result<String, RuntimeError> {
        let schema = schema_of(&node.op, &node.overload);
        let place = || {
            node.outputs
                .first()
                .map_or("", |&output| &self.graph.value(output).name)
                .to_string()
        };
        let mut args = Vec::new();
        for (index, (name, arg)) in node.args.iter().enumerate() {
            let ty = schema
                .and_then(|schema| schema.args.get(index))
                .map(|arg| arg.ty.as_str());
            let text = self.arg(arg, ty, &node.op)?;
            args.push((name.as_str(), text));
        }
        let only = || match args.as_slice() {
            [(_, text)] => Ok(text.clone()),
            _ => Err(self.unprintable(place(), &node.op, "takes one argument")),
        };
        let item = || match args.as_slice() {
            [(_, list), (_, index)] => Ok(format!("({list})[{index}]")),
            _ => Err(self.unprintable(place(), &node.op, "takes two arguments")),
        };
        let all = || {
            args.iter()
                .map(|(_, text)| text.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        Ok(match node.op.as_str() {
            "prim::ListUnpack" | "prim::TupleUnpack" => only()?,
            "prim::TupleConstruct" => format!("({},)", all()),
            "prim::ListConstruct" => format!("[{}]", all()),
            "prim::TupleIndex" | "aten::__getitem__" => item()?,
            _ if deals_rows(node) => {
                let given: Vec<&str> = args.iter().take(3).map(|(_, text)| text.as_str()).collect();
                format!("(self).grouped_mm({}, )", given.join(", "))
            }
            "aten::Int" => format!("int({})", only()?),
            "aten::Float" => format!("float({})", only()?),
            "aten::Bool" => format!("bool({})", only()?),
            "aten::ScalarImplicit" => format!("annotate(number, {})", only()?),
            "aten::IntImplicit" => format!("annotate(int, {})", only()?),
            "aten::FloatImplicit" => format!("annotate(float, {})", only()?),
            op => {
                let function = match op.split_once("::") {
                    Some(("aten", name)) => format!("torch.{name}"),
                    Some((namespace, name)) => format!("ops.{namespace}.{name}"),
                    None => return Err(self.unprintable(place(), op, "has no namespace")),
                };
                format!("{function}({})", arguments(&args, schema))
            }
        })
    }

    fn arg(&self, arg: &Arg, ty: Option<&str>, op: &str) -> Result<String, RuntimeError> {
        let base = ty.map(|ty| ty.trim_end_matches('?'));
        Ok(match arg {
            Arg::None => "None".into(),
            Arg::Bool(true) => "True".into(),
            Arg::Bool(false) => "False".into(),
            Arg::Int(int) if base == Some("float") => float(*int as f64),
            Arg::Int(int) => int.to_string(),
            Arg::Float(value) => float(*value),
            Arg::Str(text) => quoted(text),
            Arg::Device(_) => format!("torch.device({})", quoted(self.device)),
            Arg::Value(value) => self.name(*value),
            Arg::List(items) => {
                let element = base.and_then(element_type);
                let texts: Result<Vec<String>, RuntimeError> =
                    items.iter().map(|item| self.arg(item, element, op)).collect();
                let list = format!("[{}]", texts?.join(", "));
                let optional = op == "aten::index" || element == Some("Tensor?") || items.contains(&Arg::None);
                match element.map(script_type) {
                    Some("Scalar?") => format!("annotate(List[Optional[number]], {list})"),
                    _ if optional => format!("annotate(List[Optional[Tensor]], {list})"),
                    Some(element) if items.is_empty() => format!("annotate(List[{element}], {list})"),
                    _ => list,
                }
            }
        })
    }
}

/// Whether a node deals rows out to experts, by offsets and without more.
fn deals_rows(node: &Node) -> bool {
    let given = |name: &str| node.arg(name).is_some_and(|arg| *arg != Arg::None);
    node.op == "aten::_grouped_mm" && given("offs") && !given("bias") && !given("out_dtype")
}

/// Positional arguments, then those that the schema wants by name; all by name when the schema is unknown.
fn arguments(args: &[(&str, String)], schema: Option<&Schema>) -> String {
    let mut text = String::new();
    for (index, (name, value)) in args.iter().enumerate() {
        let by_name = match schema {
            Some(schema) => schema
                .args
                .get(index)
                .is_none_or(|arg| arg.keyword_only || arg.name != *name),
            None => true,
        };
        let separator = if index == 0 { "" } else { ", " };
        let _ = match by_name && !name.is_empty() {
            true => write!(text, "{separator}{name}={value}"),
            false => write!(text, "{separator}{value}"),
        };
    }
    text
}

/// `int` of `int[2]`, `Tensor?` of `Tensor?[]`.
fn element_type(ty: &str) -> Option<&str> {
    ty.ends_with(']')
        .then(|| ty.rsplit_once('['))
        .flatten()
        .map(|(element, _)| element)
}

/// ATen's name of an element type as TorchScript writes it.
fn script_type(element: &str) -> &str {
    match element {
        "SymInt" => "int",
        "Scalar" => "number",
        other => other,
    }
}

/// The shortest text that reads back to the same float and cannot be taken for an integer.
fn float(value: f64) -> String {
    if value.is_nan() {
        "nan".into()
    } else {
        format!("{value:?}")
    }
}

/// A string literal: printable ASCII as it is, every other byte in octal.
fn quoted(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                literal.push('\\');
                literal.push(char::from(byte));
            }
            b' '..=b'~' => literal.push(char::from(byte)),
            _ => literal += &format!("\\{byte:03o}"),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_keep_their_kind_and_value() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e-5, "1e-5"),
            (1e10, "10000000000.0"),
            (1e22, "1e22"),
            (0.1, "0.1"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn strings_are_escaped_to_ascii() {
        assert_eq!(quoted("a\"\\\n\u{e9}"), "\"a\\\"\\\\\\012\\303\\251\"");
    }

    #[test]
    fn element_types_are_read_from_list_types() {
        assert_eq!(element_type("int[2]"), Some("int"));
        assert_eq!(element_type("Tensor?[]"), Some("Tensor?"));
        assert_eq!(element_type("Tensor"), None);
    }
}
