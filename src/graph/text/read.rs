//! The text form read back.

use crate::graph::{Arg, Def, Graph, Issue, Module, Node, NodeId, Output, Param, ParamId, Type, ValueId};
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;

/// Where and why a graph's text could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {message}")]
pub struct ParseError {
    pub line: usize,
    pub message: String,
}

/// Bytes of all tensors together.
const MAX_DATA: usize = 1 << 32;
/// Lists and types within one another.
const MAX_DEPTH: usize = 64;

/// Reads what [`super::print`] wrote.
///
/// # Errors
/// When a line is malformed, names a value that no line before it declares, or declares one twice.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut reader = Reader {
        graph: Graph::default(),
        names: BTreeMap::new(),
        data: 0,
    };
    for (index, line) in text.lines().enumerate() {
        let mut cursor = Cursor { rest: line, depth: 0 };
        cursor.blank();
        if cursor.rest.is_empty() {
            continue;
        }
        reader.line(&mut cursor).map_err(|message| ParseError {
            line: index + 1,
            message,
        })?;
    }
    Ok(reader.graph)
}

struct Reader {
    graph: Graph,
    names: BTreeMap<String, ValueId>,
    data: usize,
}

impl Reader {
    fn line(&mut self, cursor: &mut Cursor) -> Result<(), String> {
        if cursor.rest.starts_with('%') {
            self.definition(cursor)?;
        } else {
            match cursor.word()? {
                "module" => {
                    let path = cursor.string()?;
                    let class = cursor.string()?;
                    self.graph.modules.push(Module { path, class });
                }
                "output" => {
                    let output = self.output(cursor)?;
                    self.graph.outputs.push(output);
                }
                "issue" => {
                    let issue = Issue {
                        node: cursor.string()?,
                        scope: cursor.string()?,
                        op: cursor.string()?,
                        message: cursor.string()?,
                    };
                    self.graph.issues.push(issue);
                }
                "values" => self.reorder(cursor)?,
                other => return Err(format!("a line cannot start with {other:?}")),
            }
        }
        cursor.blank();
        match cursor.rest {
            "" => Ok(()),
            rest => Err(format!("{rest:?} is left over")),
        }
    }

    fn definition(&mut self, cursor: &mut Cursor) -> Result<(), String> {
        let mut declared = Vec::new();
        loop {
            let name = cursor.value_name()?;
            cursor.expect(":")?;
            declared.push((name, cursor.ty()?));
            if !cursor.take(",") {
                break;
            }
        }
        cursor.expect("=")?;
        let word = cursor.word()?;
        let def = match word {
            "input" => {
                let def = Def::Input(self.graph.inputs.len() as u32);
                self.graph.inputs.push(ValueId(self.graph.values.len() as u32));
                def
            }
            "param" | "buffer" => {
                let mut names = vec![cursor.string()?];
                while cursor.rest.starts_with('"') {
                    names.push(cursor.string()?);
                }
                let tensor = self.tensor(cursor)?.into();
                let buffer = word == "buffer";
                let id = ParamId(self.graph.params.len() as u32);
                self.graph.params.push(Param { names, tensor, buffer });
                Def::Param(id)
            }
            "constant" => {
                let tensor = self.tensor(cursor)?;
                self.graph.constants.push(tensor);
                Def::Constant(self.graph.constants.len() as u32 - 1)
            }
            space => return self.node(space, declared, cursor),
        };
        match <[(String, Type); 1]>::try_from(declared) {
            Ok([(name, ty)]) => self.declare(name, ty, def),
            Err(_) => Err(format!("{word:?} makes one value")),
        }
    }

    fn declare(&mut self, name: String, ty: Type, def: Def) -> Result<(), String> {
        let id = self.graph.add_value(name.clone(), ty, def);
        match self.names.insert(name.clone(), id) {
            None => Ok(()),
            Some(_) => Err(format!("%{name} is declared twice")),
        }
    }

    fn node(&mut self, space: &str, declared: Vec<(String, Type)>, cursor: &mut Cursor) -> Result<(), String> {
        cursor.expect("::")?;
        let op = format!("{space}::{}", cursor.word()?);
        let overload = match cursor.take(".") {
            true => cursor.word()?.to_owned(),
            false => String::new(),
        };
        cursor.expect("(")?;
        let mut args = Vec::new();
        while !cursor.take(")") {
            let name = cursor.word()?.to_owned();
            cursor.expect("=")?;
            args.push((name, self.arg(cursor)?));
            if !cursor.take(",") {
                cursor.expect(")")?;
                break;
            }
        }
        cursor.expect("in")?;
        let scope = cursor.string()?;
        let node = NodeId(self.graph.nodes.len() as u32);
        let mut outputs = Vec::new();
        for (output, (name, ty)) in declared.into_iter().enumerate() {
            outputs.push(ValueId(self.graph.values.len() as u32));
            let output = output as u32;
            self.declare(name, ty, Def::Node { node, output })?;
        }
        self.graph.nodes.push(Node {
            op,
            overload,
            args,
            outputs,
            scope,
        });
        Ok(())
    }

    fn value(&self, cursor: &mut Cursor) -> Result<ValueId, String> {
        let name = cursor.value_name()?;
        self.names
            .get(&name)
            .copied()
            .ok_or_else(|| format!("%{name} is not declared"))
    }

    fn arg(&mut self, cursor: &mut Cursor) -> Result<Arg, String> {
        cursor.blank();
        match cursor.rest.chars().next() {
            Some('%') => Ok(Arg::Value(self.value(cursor)?)),
            Some('"') => Ok(Arg::Str(cursor.string()?)),
            Some('[') => {
                cursor.expect("[")?;
                cursor.enter()?;
                let mut items = Vec::new();
                while !cursor.take("]") {
                    items.push(self.arg(cursor)?);
                    if !cursor.take(",") {
                        cursor.expect("]")?;
                        break;
                    }
                }
                cursor.depth -= 1;
                Ok(Arg::List(items))
            }
            Some('-' | '0'..='9') => cursor.number(),
            _ => match cursor.word()? {
                "None" => Ok(Arg::None),
                "True" => Ok(Arg::Bool(true)),
                "False" => Ok(Arg::Bool(false)),
                "inf" => Ok(Arg::Float(f64::INFINITY)),
                "NaN" => Ok(Arg::Float(f64::NAN)),
                "device" => {
                    cursor.expect("(")?;
                    let name = cursor.string()?;
                    cursor.expect(")")?;
                    Ok(Arg::Device(name))
                }
                other => Err(format!("{other:?} is no argument")),
            },
        }
    }

    fn output(&mut self, cursor: &mut Cursor) -> Result<Output, String> {
        cursor.blank();
        cursor.enter()?;
        let found = match cursor.rest.chars().next() {
            Some('%') => Output::Value(self.value(cursor)?),
            Some(open @ ('(' | '[')) => {
                let close = if open == '(' { ")" } else { "]" };
                cursor.rest = &cursor.rest[1..];
                let mut items = Vec::new();
                while !cursor.take(close) {
                    items.push(self.output(cursor)?);
                    if !cursor.take(",") {
                        cursor.expect(close)?;
                        break;
                    }
                }
                if open == '(' {
                    Output::Tuple(items)
                } else {
                    Output::List(items)
                }
            }
            Some('{') => {
                cursor.rest = &cursor.rest[1..];
                let mut items = Vec::new();
                while !cursor.take("}") {
                    let key = cursor.string()?;
                    cursor.expect(":")?;
                    items.push((key, self.output(cursor)?));
                    if !cursor.take(",") {
                        cursor.expect("}")?;
                        break;
                    }
                }
                Output::Dict(items)
            }
            _ => {
                cursor.expect("None")?;
                Output::None
            }
        };
        cursor.depth -= 1;
        Ok(found)
    }

    fn tensor(&mut self, cursor: &mut Cursor) -> Result<Tensor, String> {
        let name = cursor.word()?;
        let dtype = DType::from_name(name).ok_or_else(|| format!("{name:?} is no element type"))?;
        let mut shape = Vec::new();
        cursor.expect("[")?;
        while !cursor.take("]") {
            let Arg::Int(extent) = cursor.number()? else {
                return Err("a shape is made of whole numbers".into());
            };
            shape.push(usize::try_from(extent).map_err(|_| "an extent is negative".to_owned())?);
            if !cursor.take(",") {
                cursor.expect("]")?;
                break;
            }
        }
        let bytes = shape
            .iter()
            .try_fold(dtype.size(), |product, extent| product.checked_mul(*extent));
        let bytes = bytes.filter(|bytes| *bytes <= MAX_DATA - self.data);
        let bytes = bytes.ok_or_else(|| format!("tensors of more than {MAX_DATA} bytes"))?;
        cursor.blank();
        let zeros = cursor.take("zeros") || bytes == 0;
        let digest = !zeros && cursor.take("blake3");
        let data = if zeros || digest {
            if digest {
                cursor.hex()?;
            }
            self.data += bytes;
            vec![0; bytes]
        } else {
            cursor.hex()?
        };
        Tensor::new(dtype, shape, data).map_err(|error| error.to_string())
    }

    /// Gives the values the numbers in which the line names them.
    fn reorder(&mut self, cursor: &mut Cursor) -> Result<(), String> {
        let mut order = Vec::new();
        while !cursor.rest.is_empty() {
            order.push(self.value(cursor)?);
            cursor.blank();
        }
        let mut new = vec![None; self.graph.values.len()];
        for (to, from) in order.iter().enumerate() {
            if new[from.0 as usize].replace(ValueId(to as u32)).is_some() {
                return Err("a value is named twice".into());
            }
        }
        let new: Option<Vec<ValueId>> = new.into_iter().collect();
        let new = new.ok_or_else(|| "a value is not named".to_owned())?;
        let graph = &mut self.graph;
        let moved = |value: ValueId| new[value.0 as usize];
        graph.values = order.iter().map(|from| graph.values[from.0 as usize].clone()).collect();
        graph.inputs.iter_mut().for_each(|value| *value = moved(*value));
        for node in &mut graph.nodes {
            node.outputs.iter_mut().for_each(|value| *value = moved(*value));
            node.args
                .iter_mut()
                .for_each(|(_, arg)| arg.map_values(&mut |value| moved(value)));
        }
        fn walk(output: &mut Output, moved: &impl Fn(ValueId) -> ValueId) {
            match output {
                Output::Value(value) => *value = moved(*value),
                Output::Tuple(items) | Output::List(items) => items.iter_mut().for_each(|item| walk(item, moved)),
                Output::Dict(items) => items.iter_mut().for_each(|(_, item)| walk(item, moved)),
                Output::None => {}
            }
        }
        graph.outputs.iter_mut().for_each(|output| walk(output, &moved));
        self.names.values_mut().for_each(|value| *value = moved(*value));
        Ok(())
    }
}

struct Cursor<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Cursor<'t> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(format!("nested more than {MAX_DEPTH} deep")),
            false => Ok(()),
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.blank();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) {
            return Ok(());
        }
        let found: String = self.rest.chars().take(20).collect();
        Err(format!("expected {token:?}, found {found:?}"))
    }

    /// The longest run of characters that `wanted` takes.
    fn run(&mut self, wanted: fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|char| !wanted(char)).unwrap_or(self.rest.len());
        let (found, rest) = self.rest.split_at(end);
        self.rest = rest;
        found
    }

    fn word(&mut self) -> Result<&'t str, String> {
        self.blank();
        let found = self.run(|char| char.is_ascii_alphanumeric() || char == '_');
        match found {
            "" => Err(format!(
                "expected a word, found {:?}",
                self.rest.chars().take(20).collect::<String>()
            )),
            found => Ok(found),
        }
    }

    fn value_name(&mut self) -> Result<String, String> {
        self.expect("%")?;
        Ok(self.word()?.to_owned())
    }

    fn string(&mut self) -> Result<String, String> {
        self.blank();
        let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let found = match strings.next() {
            Some(Ok(found)) => found,
            _ => return Err("expected a string in double quotes".into()),
        };
        let used = strings.byte_offset();
        self.rest = self.rest[used..].trim_start();
        Ok(found)
    }

    fn number(&mut self) -> Result<Arg, String> {
        self.blank();
        let text = self.run(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '+' | '.'));
        match text.parse::<i64>() {
            Ok(int) => Ok(Arg::Int(int)),
            Err(_) => text
                .parse()
                .map(Arg::Float)
                .map_err(|_| format!("{text:?} is no number")),
        }
    }

    fn hex(&mut self) -> Result<Vec<u8>, String> {
        self.blank();
        let text = self.run(|char| char.is_ascii_hexdigit());
        if text.len() % 2 == 1 {
            return Err("half a byte".into());
        }
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).map_err(|error| error.to_string());
        (0..text.len()).step_by(2).map(byte).collect()
    }

    fn ty(&mut self) -> Result<Type, String> {
        self.enter()?;
        let found = match self.word()? {
            "Tensor" => Type::Tensor,
            "int" => Type::Int,
            "float" => Type::Float,
            "bool" => Type::Bool,
            "str" => Type::Str,
            "List" => {
                self.expect("[")?;
                let item = self.ty()?;
                self.expect("]")?;
                Type::List(Box::new(item))
            }
            "Tuple" => {
                self.expect("[")?;
                let mut items = Vec::new();
                while !self.take("]") {
                    items.push(self.ty()?);
                    if !self.take(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Type::Tuple(items)
            }
            other => return Err(format!("{other:?} is no type")),
        };
        self.depth -= 1;
        Ok(found)
    }
}
