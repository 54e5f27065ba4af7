//! Small graphs for tests, built by hand.

use super::{Arg, Def, Graph, Module, Node, NodeId, Output, Param, ParamId, Type, ValueId};
use crate::tensor::Tensor;

/// Builds a graph node by node.
#[derive(Default)]
pub struct Builder {
    pub graph: Graph,
}

impl Builder {
    pub fn input(&mut self) -> ValueId {
        let value = self
            .graph
            .add_value("x", Type::Tensor, Def::Input(self.graph.inputs.len() as u32));
        self.graph.inputs.push(value);
        value
    }

    /// A parameter with distinct, reproducible numbers.
    pub fn param(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let numel: usize = shape.iter().product();
        let seed = self.graph.params.len() as f32;
        let values: Vec<f32> = (0..numel).map(|at| ((at as f32 + seed) * 12.9898).sin()).collect();
        let id = ParamId(self.graph.params.len() as u32);
        self.graph.params.push(Param {
            names: vec![name.into()],
            tensor: Tensor::from_f32(shape, &values).into(),
            buffer: name.contains("running"),
        });
        self.graph
            .add_value(name.replace('.', "_"), Type::Tensor, Def::Param(id))
    }

    /// One operator with one output; the scope is that of its weight's module, or the root.
    pub fn op(&mut self, op: &str, args: &[(&str, Arg)]) -> ValueId {
        self.op_of(op, args, Type::Tensor)
    }

    /// One operator whose output is of another type.
    pub fn op_of(&mut self, op: &str, args: &[(&str, Arg)], ty: Type) -> ValueId {
        let id = NodeId(self.graph.nodes.len() as u32);
        let short = op.rsplit("::").next().unwrap_or(op);
        let out = self
            .graph
            .add_value(format!("{short}_{}", id.0), ty, Def::Node { node: id, output: 0 });
        let weight = args
            .iter()
            .find(|(name, _)| *name == "weight")
            .and_then(|(_, arg)| arg.as_value());
        let scope = weight
            .and_then(|weight| self.graph.param_of(weight))
            .map_or(String::new(), |param| {
                self.graph
                    .param(param)
                    .name()
                    .rsplit_once('.')
                    .map_or(String::new(), |(module, _)| module.into())
            });
        self.graph.nodes.push(Node {
            op: format!("aten::{short}").replace("aten::ListUnpack", "prim::ListUnpack"),
            overload: String::new(),
            args: args
                .iter()
                .map(|(name, arg)| ((*name).to_owned(), arg.clone()))
                .collect(),
            outputs: vec![out],
            scope,
        });
        out
    }

    /// Unpacks a list into `count` tensors.
    pub fn unpack(&mut self, list: ValueId, count: usize) -> Vec<ValueId> {
        let first = self.op("prim::ListUnpack", &[("list", Arg::Value(list))]);
        let node = NodeId(self.graph.nodes.len() as u32 - 1);
        let mut outputs = vec![first];
        for output in 1..count {
            let def = Def::Node {
                node,
                output: output as u32,
            };
            outputs.push(
                self.graph
                    .add_value(format!("part_{}_{output}", node.0), Type::Tensor, def),
            );
        }
        self.graph.nodes[node.0 as usize].outputs = outputs.clone();
        outputs
    }

    /// A 3×3 convolution with padding 1 and a bias.
    pub fn conv(&mut self, name: &str, x: ValueId, from: usize, to: usize, groups: usize) -> ValueId {
        let weight = self.param(&format!("{name}.weight"), &[to, from / groups, 3, 3]);
        let bias = self.param(&format!("{name}.bias"), &[to]);
        self.graph.modules.push(Module {
            path: name.into(),
            class: "Conv2d".into(),
        });
        self.op(
            "conv2d",
            &[
                ("input", Arg::Value(x)),
                ("weight", Arg::Value(weight)),
                ("bias", Arg::Value(bias)),
                ("stride", ints(&[1, 1])),
                ("padding", ints(&[1, 1])),
                ("dilation", ints(&[1, 1])),
                ("groups", Arg::Int(groups as i64)),
            ],
        )
    }

    /// A batch norm in evaluation mode.
    pub fn batch_norm(&mut self, name: &str, x: ValueId, channels: usize) -> ValueId {
        let names = ["weight", "bias", "running_mean", "running_var"];
        let params = names.map(|param| self.param(&format!("{name}.{param}"), &[channels]));
        self.graph.modules.push(Module {
            path: name.into(),
            class: "BatchNorm2d".into(),
        });
        let mut args = vec![("input", Arg::Value(x))];
        args.extend(
            names
                .into_iter()
                .zip(params)
                .map(|(name, value)| (name, Arg::Value(value))),
        );
        args.extend([
            ("training", Arg::Bool(false)),
            ("momentum", Arg::Float(0.1)),
            ("eps", Arg::Float(1e-5)),
            ("cudnn_enabled", Arg::Bool(false)),
        ]);
        self.op("batch_norm", &args)
    }

    pub fn linear(&mut self, name: &str, x: ValueId, from: usize, to: usize) -> ValueId {
        let weight = self.param(&format!("{name}.weight"), &[to, from]);
        let bias = self.param(&format!("{name}.bias"), &[to]);
        self.graph.modules.push(Module {
            path: name.into(),
            class: "Linear".into(),
        });
        self.op(
            "linear",
            &[
                ("input", Arg::Value(x)),
                ("weight", Arg::Value(weight)),
                ("bias", Arg::Value(bias)),
            ],
        )
    }

    /// An operator of one tensor named `self`, with literal arguments.
    pub fn unary(&mut self, op: &str, x: ValueId, args: &[(&str, Arg)]) -> ValueId {
        let mut all = vec![("self", Arg::Value(x))];
        all.extend(args.iter().cloned());
        self.op(op, &all)
    }

    /// An operator of two tensors.
    pub fn binary(&mut self, op: &str, a: ValueId, b: ValueId) -> ValueId {
        self.op(op, &[("self", Arg::Value(a)), ("other", Arg::Value(b))])
    }

    pub fn finish(mut self, output: ValueId) -> Graph {
        self.graph.outputs.push(Output::Value(output));
        self.graph
    }
}

/// A literal list of whole numbers.
pub fn ints(numbers: &[i64]) -> Arg {
    Arg::List(numbers.iter().map(|&number| Arg::Int(number)).collect())
}
