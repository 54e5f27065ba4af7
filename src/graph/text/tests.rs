//! The text form: what is printed is read back equal.

use super::*;
use crate::graph::{Issue, Module, Node, NodeId, Param, ParamId};
use crate::tensor::DType;

/// Whole numbers drawn from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }

    fn text(&mut self) -> String {
        ["", "layer1.0.conv", "a \"b\" \\ \n", "ä:=%,)", "x in y"][self.roll(5)].into()
    }

    fn ty(&mut self, depth: usize) -> Type {
        match self.roll(if depth == 0 { 5 } else { 7 }) {
            0 => Type::Tensor,
            1 => Type::Int,
            2 => Type::Float,
            3 => Type::Bool,
            4 => Type::Str,
            5 => Type::List(Box::new(self.ty(depth - 1))),
            _ => Type::Tuple((0..self.roll(3)).map(|_| self.ty(depth - 1)).collect()),
        }
    }

    fn tensor(&mut self) -> Tensor {
        let shape: Vec<usize> = (0..self.roll(4)).map(|_| self.roll(3)).collect();
        let dtype = DType::ALL[self.roll(DType::ALL.len())];
        let bytes = shape.iter().product::<usize>() * dtype.size();
        let data: Vec<u8> = (0..bytes).map(|_| self.roll(256) as u8).collect();
        Tensor::new(dtype, shape, data).unwrap_or_else(|error| panic!("{error}"))
    }

    fn arg(&mut self, values: usize, depth: usize) -> Arg {
        match self.roll(if depth == 0 { 7 } else { 8 }) {
            0 => Arg::None,
            1 => Arg::Bool(self.roll(2) == 0),
            2 => Arg::Int([0, -1, i64::MAX, i64::MIN, 7][self.roll(5)]),
            3 => Arg::Float(
                [
                    0.0,
                    -0.0,
                    1e22,
                    1e-5,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    f64::MIN_POSITIVE,
                    1e16,
                ][self.roll(8)],
            ),
            4 => Arg::Str(self.text()),
            5 => Arg::Device("cuda:1".into()),
            6 if values > 0 => Arg::Value(ValueId(self.roll(values) as u32)),
            6 => Arg::None,
            _ => Arg::List((0..self.roll(4)).map(|_| self.arg(values, depth - 1)).collect()),
        }
    }

    fn output(&mut self, values: usize, depth: usize) -> Output {
        match self.roll(if depth == 0 { 2 } else { 5 }) {
            0 => Output::None,
            1 => Output::Value(ValueId(self.roll(values) as u32)),
            2 => Output::Tuple((0..self.roll(3)).map(|_| self.output(values, depth - 1)).collect()),
            3 => Output::List((0..self.roll(3)).map(|_| self.output(values, depth - 1)).collect()),
            _ => Output::Dict(
                (0..self.roll(3))
                    .map(|_| (self.text(), self.output(values, depth - 1)))
                    .collect(),
            ),
        }
    }

    /// A graph whose laws need not hold.
    fn graph(&mut self) -> Graph {
        let mut graph = Graph::default();
        let mut name = 0;
        let mut fresh = |kind: &str| {
            name += 1;
            format!("{kind}_{name}")
        };
        for _ in 0..self.roll(3) {
            let (path, class) = (self.text(), self.text());
            graph.modules.push(Module { path, class });
        }
        for index in 0..1 + self.roll(2) {
            let value = graph.add_value(fresh("x"), self.ty(1), Def::Input(index as u32));
            graph.inputs.push(value);
        }
        for index in 0..self.roll(4) {
            let (tensor, buffer) = (self.tensor().into(), self.roll(2) == 0);
            let names = (0..1 + self.roll(2)).map(|_| self.text()).collect();
            graph.params.push(Param { names, tensor, buffer });
            graph.add_value(fresh("p"), Type::Tensor, Def::Param(ParamId(index as u32)));
        }
        for index in 0..self.roll(3) {
            graph.constants.push(self.tensor());
            graph.add_value(fresh("c"), Type::Tensor, Def::Constant(index as u32));
        }
        for index in 0..self.roll(6) {
            let known = graph.values.len();
            let args = (0..self.roll(4))
                .map(|at| (format!("a{at}"), self.arg(known, 2)))
                .collect();
            let mut outputs = Vec::new();
            for output in 0..1 + self.roll(2) {
                let node = NodeId(index as u32);
                let def = Def::Node {
                    node,
                    output: output as u32,
                };
                outputs.push(graph.add_value(fresh("v"), self.ty(2), def));
            }
            graph.nodes.push(Node {
                op: ["aten::conv2d", "prim::ListUnpack", "mkldnn::_linear_pointwise"][self.roll(3)].into(),
                overload: ["", "Tensor", "dim_IntList"][self.roll(3)].into(),
                args,
                outputs,
                scope: self.text(),
            });
        }
        let values = graph.values.len();
        for _ in 0..1 + self.roll(2) {
            let output = self.output(values, 2);
            graph.outputs.push(output);
        }
        for _ in 0..self.roll(2) {
            graph.issues.push(Issue {
                node: self.text(),
                scope: self.text(),
                op: self.text(),
                message: self.text(),
            });
        }
        graph
    }
}

proptest::proptest! {
    #[test]
    fn what_is_printed_reads_back_equal(seed: u64) {
        let graph = Dice(seed).graph();
        let text = print(&graph);
        proptest::prop_assert_eq!(parse(&text), Ok(graph), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(seed: u64, cut in 0usize..2000) {
        let text = print(&Dice(seed).graph());
        let mut end = cut.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let _ = parse(&text[..end]);
        let _ = parse(&text[end..]);
    }
}

#[test]
fn values_in_another_order_keep_it() {
    let text = "%x: Tensor = input\n%y: Tensor = aten::relu(self=%x) in \"\"\n%z: Tensor = aten::relu(self=%y) in \"\"\n\
                output %z\nvalues %z %x %y\n";
    let graph = parse(text).unwrap_or_default();
    assert_eq!(graph.values[0].name, "z");
    assert_eq!(graph.inputs, [ValueId(1)]);
    assert_eq!(print(&graph), text);
    assert_eq!(super::super::verify(&graph), Ok(()));
}

#[test]
fn large_tensors_keep_their_shape_and_a_digest() {
    let mut graph = Graph::default();
    graph.constants.push(Tensor::from_f32([100], &[1.5; 100]));
    graph.add_value("c", Type::Tensor, Def::Constant(0));
    let text = print(&graph);
    assert!(text.starts_with("%c: Tensor = constant float32[100] blake3 "), "{text}");
    let again = parse(&text).unwrap_or_default();
    assert_eq!(again.constants, [Tensor::from_f32([100], &[0.0; 100])]);
}

#[test]
fn malformed_lines_are_named() {
    for (text, expected) in [
        (
            "%x: Tensor = input\n%y: Tensor = aten::relu(self=%z) in \"\"",
            "line 2: %z is not declared",
        ),
        ("%x: Tensor = input\n%x: Tensor = input", "line 2: %x is declared twice"),
        ("%x: Thing = input", "line 1: \"Thing\" is no type"),
        (
            "%c: Tensor = constant float32[1000000000000] zeros",
            "line 1: tensors of more than 4294967296 bytes",
        ),
        ("nonsense", "line 1: a line cannot start with \"nonsense\""),
    ] {
        assert_eq!(
            parse(text).map_err(|error| error.to_string()).err().as_deref(),
            Some(expected)
        );
    }
    let deep = format!("%x: {} = input", "List[".repeat(1000));
    assert!(parse(&deep).is_err());
}
