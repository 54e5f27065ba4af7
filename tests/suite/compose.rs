//! Graphs from the examples of the operator table, alone or one behind another.
//!
//! The form of a line is told in `src/ops/examples.txt`. A call may also be named (`a = …`; `a, b = …` for the items of a
//! list) and be read by its name.

use secateur::graph::{
    Arg, Def, Evaluate, Graph, Module, Node, NodeId, Output, Param, ParamId, Type, ValueId, resolve,
};
use secateur::labels::{FROZEN, Label};
use secateur::ops::{self, Fact};
use secateur::tensor::{DType, Tensor};
use secateur::topology::{Options, Walked, walk};
use std::collections::BTreeMap;

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The operator meant.
    pub op: &'static str,
    pub calls: &'static str,
    pub macs: u64,
    pub frozen: bool,
}

/// Every example of the table.
pub fn examples() -> Vec<Example> {
    let lines = ops::EXAMPLES.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(example)
        .collect()
}

fn example(line: &'static str) -> Example {
    let (line, frozen) = match line.strip_suffix(" frozen") {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let (line, macs) = match line.rsplit_once(") = ") {
        Some((rest, macs)) => (
            &line[..=rest.len()],
            macs.parse().expect("a whole number of multiply-accumulates"),
        ),
        None => (line, 0),
    };
    let (op, calls) = match line.split_once(": ") {
        Some((op, calls)) => (op, calls),
        None => (
            line.rsplit("; ")
                .next()
                .and_then(|last| last.split('(').next())
                .unwrap_or(line),
            line,
        ),
    };
    Example {
        op,
        calls,
        macs,
        frozen,
    }
}

/// The operator's full name.
pub fn full(op: &str) -> String {
    if op.contains("::") {
        op.to_owned()
    } else {
        format!("aten::{op}")
    }
}

/// Makes a graph call by call.
pub struct Composer<'e> {
    pub graph: Graph,
    /// Shapes and types of the graph's inputs.
    pub inputs: Vec<(Vec<usize>, DType)>,
    evaluator: &'e dyn Evaluate,
    names: BTreeMap<String, ValueId>,
    /// What activations are made of before fresh ones are: drawn with `draws`.
    pub pool: Vec<ValueId>,
    pub draws: Vec<usize>,
    /// How many nodes the example itself has.
    pub own: usize,
}

impl<'e> Composer<'e> {
    pub fn new(evaluator: &'e dyn Evaluate) -> Composer<'e> {
        Composer {
            graph: Graph::default(),
            inputs: Vec::new(),
            evaluator,
            names: BTreeMap::new(),
            pool: Vec::new(),
            draws: Vec::new(),
            own: 0,
        }
    }

    pub fn options(&self) -> Options {
        Options::of_inputs(self.inputs.iter().cloned())
    }

    /// Calls all that a line says; what the last call gives.
    pub fn add(&mut self, example: &Example) -> Vec<ValueId> {
        let mut last = Vec::new();
        self.names.clear();
        for call in example.calls.split(';').map(str::trim) {
            let (names, call) = match call.split_once(" = ") {
                Some((names, call)) if !names.contains('(') => (names, call),
                _ => ("", call),
            };
            last = self.named_call(call, &last);
            if names.contains(", ") {
                last = self.unpacked(last);
            }
            for (name, &value) in names.split(", ").filter(|name| !name.is_empty()).zip(&last) {
                self.names.insert(name.to_owned(), value);
            }
        }
        last
    }

    fn named_call(&mut self, call: &str, last: &[ValueId]) -> Vec<ValueId> {
        let Some((op, args)) = call.split_once('(') else {
            let mut text = call;
            return self.arg(&mut text, last).as_value().into_iter().collect();
        };
        let mut text = args.strip_suffix(')').expect("a call is closed");
        let mut named = Vec::new();
        while !text.is_empty() {
            let (name, rest) = text.split_once('=').expect("arguments have names");
            text = rest;
            let arg = self.arg(&mut text, last);
            named.push((name.to_owned(), arg));
            text = text.strip_prefix(", ").unwrap_or(text);
        }
        self.call(&full(op), &named)
    }

    fn arg(&mut self, text: &mut &str, last: &[ValueId]) -> Arg {
        if let Some(rest) = text.strip_prefix('[') {
            *text = rest;
            let mut items = Vec::new();
            while !text.starts_with(']') {
                items.push(self.arg(text, last));
                *text = text.strip_prefix(", ").unwrap_or(text);
            }
            *text = &text[1..];
            return Arg::List(items);
        }
        if let Some(rest) = text.strip_prefix('"') {
            let (inside, rest) = rest.split_once('"').expect("a string is closed");
            *text = rest;
            return Arg::Str(inside.to_owned());
        }
        let end = text.find([',', ']']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        *text = rest;
        let shape = |word: &str| -> Vec<usize> {
            let extents = word.trim_start_matches(['~', '^', '!', '@', '#']).split('x');
            extents
                .map(|extent| extent.trim_end_matches('*').parse().expect("an extent"))
                .collect()
        };
        if let Some(&value) = self.names.get(word) {
            return Arg::Value(value);
        }
        let star = word.split('x').position(|extent| extent.ends_with('*'));
        match word.as_bytes() {
            b"_" => Arg::Value(last[0]),
            b"None" => Arg::None,
            b"True" => Arg::Bool(true),
            b"False" => Arg::Bool(false),
            [b'~', ..] => Arg::Value(self.activation(&shape(word), star)),
            [b'^', ..] => {
                let value = self.activation(&shape(word), star);
                let args = [
                    ("self".to_owned(), Arg::Value(value)),
                    ("other".to_owned(), Arg::Float(1.0)),
                ];
                Arg::Value(self.call("aten::add", &args)[0])
            }
            [b'!', ..] => {
                let value = self.activation(&shape(word), star);
                let args = [
                    ("self".to_owned(), Arg::Value(value)),
                    ("other".to_owned(), Arg::Float(0.75)),
                ];
                Arg::Value(self.call("aten::gt", &args)[0])
            }
            [b'@', ..] => Arg::Value(self.param(&shape(word))),
            [b'#', ..] => {
                let shape = shape(word);
                let numel: usize = shape.iter().product();
                let numbers: Vec<f64> = (0..numel).map(|at| (at * 2 % 3) as f64).collect();
                self.graph
                    .constants
                    .push(Tensor::from_f64(shape, &numbers).cast(DType::I64));
                let def = Def::Constant(self.graph.constants.len() as u32 - 1);
                Arg::Value(self.value(Type::Tensor, def))
            }
            _ => match word.parse() {
                Ok(int) => Arg::Int(int),
                Err(_) => Arg::Float(word.parse().expect("a number")),
            },
        }
    }

    fn value(&mut self, ty: Type, def: Def) -> ValueId {
        let name = format!("v{}", self.graph.values.len());
        self.graph.add_value(name, ty, def)
    }

    pub fn input(&mut self, shape: &[usize]) -> ValueId {
        let value = self.value(Type::Tensor, Def::Input(self.graph.inputs.len() as u32));
        self.graph.inputs.push(value);
        self.inputs.push((shape.to_vec(), DType::F32));
        value
    }

    /// A parameter with distinct numbers between 0.4 and 1.4, as the weight of a module of its own.
    pub fn param(&mut self, shape: &[usize]) -> ValueId {
        let number = self.graph.params.len();
        let numel: usize = shape.iter().product();
        let numbers: Vec<f64> = (0..numel)
            .map(|at| 0.4 + ((at + 7 * number + 1) as f64 * 0.618_034).fract())
            .collect();
        self.graph.params.push(Param {
            names: vec![format!("m{number}.weight")],
            tensor: Tensor::from_f64(shape.to_vec(), &numbers).cast(DType::F32).into(),
            buffer: false,
        });
        self.graph.modules.push(Module {
            path: format!("m{number}"),
            class: "Module".into(),
        });
        self.value(Type::Tensor, Def::Param(ParamId(number as u32)))
    }

    /// A value of this shape of which positions of the axis with the star may go.
    fn activation(&mut self, shape: &[usize], star: Option<usize>) -> ValueId {
        let Some(star) = star else { return self.input(shape) };
        if let (Some(draw), false) = (self.draws.pop(), self.pool.is_empty()) {
            let drawn = self.pool[draw % self.pool.len()];
            if let Some(value) = self.adapted(drawn, shape, star) {
                return value;
            }
        }
        let mut thin = shape.to_vec();
        thin[star] = 1;
        let mut scale = vec![1; shape.len()];
        scale[star] = shape[star];
        let (input, scale) = (self.input(&thin), self.param(&scale));
        self.of_two("aten::mul", input, scale)
    }

    fn of_two(&mut self, op: &str, a: ValueId, b: ValueId) -> ValueId {
        let args = [("self".to_owned(), Arg::Value(a)), ("other".to_owned(), Arg::Value(b))];
        self.call(op, &args)[0]
    }

    /// An earlier value as it is where it fits, else through a linear layer over its live axis.
    fn adapted(&mut self, value: ValueId, shape: &[usize], star: usize) -> Option<ValueId> {
        let (axis, found) = self.live(value)?;
        if found == shape && axis == star {
            return Some(value);
        }
        // Zeros follow what they meet along every axis, that of the samples too.
        if found[0] != shape[0] || axis == 0 {
            return None;
        }
        let mut made = self.narrowed(value, axis, found.len(), shape[star]);
        let middle: Vec<Arg> = (1..found.len() as i64 - 1).map(Arg::Int).collect();
        if !middle.is_empty() {
            let args = [
                ("self".to_owned(), Arg::Value(made)),
                ("dim".to_owned(), Arg::List(middle)),
            ];
            made = self.call("aten::mean", &args)[0];
        }
        let mut spread = vec![1; shape.len()];
        (spread[0], spread[star]) = (shape[0], shape[star]);
        let sizes = spread.iter().map(|&extent| Arg::Int(extent as i64)).collect();
        made = self.call(
            "aten::view",
            &[
                ("self".to_owned(), Arg::Value(made)),
                ("size".to_owned(), Arg::List(sizes)),
            ],
        )[0];
        let mut thin = shape.to_vec();
        (thin[0], thin[star]) = (1, 1);
        let input = self.input(&thin);
        Some(self.of_two("aten::mul", made, input))
    }

    /// A linear layer over one axis, which becomes the last.
    fn narrowed(&mut self, value: ValueId, axis: usize, rank: usize, to: usize) -> ValueId {
        let turn = [
            ("self".to_owned(), Arg::Value(value)),
            ("dim0".to_owned(), Arg::Int(axis as i64)),
            ("dim1".to_owned(), Arg::Int(rank as i64 - 1)),
        ];
        let turned = self.call("aten::transpose", &turn)[0];
        let Some((_, shape)) = self.live(turned) else {
            return turned;
        };
        let weight = self.param(&[to, shape[rank - 1]]);
        let args = [
            ("input".to_owned(), Arg::Value(turned)),
            ("weight".to_owned(), Arg::Value(weight)),
            ("bias".to_owned(), Arg::None),
        ];
        self.call("aten::linear", &args)[0]
    }

    /// The axis of a float tensor that may lose positions, and its shape.
    pub fn live(&self, value: ValueId) -> Option<(usize, Vec<usize>)> {
        let walked = self.walked();
        let Fact::Tensor(tensor) = walked.fact(value) else {
            return None;
        };
        if !tensor.dtype.is_float() {
            return None;
        }
        let live = |axis: &usize| {
            let row = tensor.axes.row(*axis);
            // What no parameter goes with may stand along the batch.
            let may = |&label: &Label| walked.labels.find(label) != FROZEN && !walked.labels.idle(label);
            row.is_some_and(|row| row.iter().any(may))
        };
        let axis = (0..tensor.axes.rank()).find(live)?;
        Some((axis, tensor.axes.shape.clone()))
    }

    fn walked(&self) -> Walked<'_> {
        walk(&self.graph, &self.options(), self.evaluator)
    }

    /// One call, resolved as a reader would; its results.
    pub fn call(&mut self, op: &str, args: &[(String, Arg)]) -> Vec<ValueId> {
        let type_of = |arg: &Arg| {
            arg.as_value()
                .map_or(Type::Tensor, |value| self.graph.value(value).ty.clone())
        };
        let taken = || match args.first().map(|(_, arg)| type_of(arg)) {
            Some(Type::Tuple(items)) => items,
            Some(Type::List(item)) => {
                let count = match args[0].1.as_value().map(|value| self.walked().fact(value).clone()) {
                    Some(Fact::List(items)) => items.len(),
                    _ => 1,
                };
                vec![*item; count]
            }
            _ => vec![Type::Tensor],
        };
        let mut node = Node {
            op: op.to_owned(),
            overload: String::new(),
            args: args.to_vec(),
            outputs: Vec::new(),
            scope: String::new(),
        };
        let returns = match op {
            "prim::ListUnpack" | "prim::TupleUnpack" => taken(),
            _ => {
                let found = resolve(op, &[], args, &|value| &self.graph.value(value).ty)
                    .unwrap_or_else(|fault| panic!("{fault}"));
                node.overload.clone_from(&found.schema.overload);
                node.args = found.args;
                match found.returns.len() {
                    0 | 1 => found.returns,
                    _ => vec![Type::Tuple(found.returns)],
                }
            }
        };
        let id = NodeId(self.graph.nodes.len() as u32);
        let made = returns.into_iter().enumerate();
        let outputs: Vec<ValueId> = made
            .map(|(output, ty)| {
                let def = Def::Node {
                    node: id,
                    output: output as u32,
                };
                self.value(ty, def)
            })
            .collect();
        node.outputs.clone_from(&outputs);
        self.graph.nodes.push(node);
        outputs
    }

    /// The tensors and numbers of results, lists taken apart.
    pub fn unpacked(&mut self, values: Vec<ValueId>) -> Vec<ValueId> {
        let mut found = Vec::new();
        for value in values {
            match self.graph.value(value).ty.clone() {
                Type::List(item) if *item == Type::Tensor => {
                    found.extend(self.call("prim::ListUnpack", &[("list".to_owned(), Arg::Value(value))]))
                }
                Type::Tuple(_) => {
                    found.extend(self.call("prim::TupleUnpack", &[("tup".to_owned(), Arg::Value(value))]))
                }
                _ => found.push(value),
            }
        }
        found
    }

    /// What becomes an output of the model: a linear layer over what may lose positions, else the value itself.
    pub fn head(&mut self, value: ValueId) {
        let mut value = value;
        let kind = match self.walked().fact(value) {
            Fact::Tensor(tensor) => Some(tensor.dtype),
            _ => None,
        };
        if kind.is_some_and(DType::is_complex) {
            value = self.call("aten::resolve_conj", &[("self".to_owned(), Arg::Value(value))])[0];
            value = self.call("aten::view_as_real", &[("self".to_owned(), Arg::Value(value))])[0];
        }
        if kind.is_some_and(|dtype| !dtype.is_inexact()) && self.graph.value(value).ty == Type::Tensor {
            let args = [
                ("self".to_owned(), Arg::Value(value)),
                ("dtype".to_owned(), Arg::Int(6)),
            ];
            value = self.call("aten::to", &args)[0];
        }
        if matches!(self.graph.value(value).ty, Type::Int | Type::Float | Type::Bool) {
            let input = self.input(&[2]);
            value = self.of_two("aten::mul", input, value);
        }
        if let Some((axis, shape)) = self.live(value) {
            value = self.narrowed(value, axis, shape.len(), 3);
        }
        self.graph.outputs.push(Output::Value(value));
    }
}
