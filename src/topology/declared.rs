//! What the declared sizes of a model's inputs tell of a graph while it is read.
//!
//! Owns a walk without labels that goes on as the graph grows, at two batch sizes: a number that the batch may change is
//! not told. Deliberately says nothing of numbers that parameters decide, for those are cut and masked.

use super::walk::{Options, Walked, constant, step};
use crate::graph::{Arg, Declare, Def, Evaluate, Graph, Known, Node, Sizes, Type, ValueId, graph_leaves};
use crate::labels::{Keep, Labels, Split};
use crate::ops::{Fact, Number, Trait};
use crate::tensor::DType;
use std::collections::BTreeMap;

/// The batch sizes at which the graph is walked.
const BATCHES: [usize; 2] = [2, 3];

/// One sample's shape of each input and its type, in the order of the graph; `None` where they do not fit it.
pub type Inputs<'e> = Box<dyn Fn(&Graph) -> Option<Vec<(Vec<usize>, DType)>> + Sync + 'e>;

/// What the inputs of a model are declared to be.
pub struct Declared<'e> {
    inputs: Inputs<'e>,
    evaluator: &'e (dyn Evaluate + Sync),
}

/// A graph that grows, at the declared sizes of its inputs.
struct Growing<'d> {
    declared: &'d Declared<'d>,
    /// One walk a batch size; none before the first question.
    walks: Vec<State>,
    /// Nodes that were walked.
    done: usize,
    /// By value: whether it is a number, or a list of numbers, that no batch size changes.
    settled: Vec<bool>,
}

/// What a walk leaves until it goes on.
#[derive(Default)]
struct State {
    facts: Vec<Fact>,
    traits: Vec<Trait>,
    labels: Labels,
    macs: Vec<u64>,
}

impl<'e> Declared<'e> {
    pub fn new(inputs: Inputs<'e>, evaluator: &'e (dyn Evaluate + Sync)) -> Declared<'e> {
        Declared { inputs, evaluator }
    }

    /// Float inputs of these shapes, without the batch axis.
    pub fn of_shapes(shapes: Vec<Vec<usize>>, evaluator: &'e (dyn Evaluate + Sync)) -> Declared<'e> {
        let inputs = shapes.into_iter().map(|shape| (shape, DType::F32)).collect::<Vec<_>>();
        Declared::new(Box::new(move |_| Some(inputs.clone())), evaluator)
    }
}

impl Declare for Declared<'_> {
    fn sizes(&self) -> Box<dyn Sizes + '_> {
        Box::new(Growing {
            declared: self,
            walks: Vec::new(),
            done: 0,
            settled: Vec::new(),
        })
    }
}

impl Growing<'_> {
    /// Walks what was added; `None` where the inputs are not known.
    fn advance(&mut self, graph: &Graph) -> Option<()> {
        if self.walks.is_empty() {
            let inputs = (self.declared.inputs)(graph)?;
            for batch in BATCHES {
                let mut state = State::default();
                state.facts.resize(graph.values.len(), Fact::Unknown);
                for (&value, (shape, dtype)) in graph.inputs.iter().zip(&inputs) {
                    let shape = std::iter::once(batch).chain(shape.iter().copied()).collect();
                    state.facts[value.0 as usize] = Fact::fixed(shape, *dtype);
                }
                self.walks.push(state);
            }
        }
        let options = Options::of_shapes([]);
        for state in &mut self.walks {
            let mut walked = Walked {
                graph,
                facts: std::mem::take(&mut state.facts),
                traits: std::mem::take(&mut state.traits),
                labels: std::mem::take(&mut state.labels),
                macs: std::mem::take(&mut state.macs),
                issues: Vec::new(),
                heads: Split::Within,
                head_splits: BTreeMap::new(),
                keeps: BTreeMap::new(),
                // The walk over the whole graph tells it.
                damage: None,
            };
            walked.facts.resize(graph.values.len(), Fact::Unknown);
            walked.traits.resize(graph.values.len(), Trait::default());
            walked.macs.resize(graph.nodes.len(), 0);
            for (id, node) in graph.nodes_from(self.done) {
                node.reads().into_iter().for_each(|value| load(&mut walked, value));
                step(
                    &mut walked,
                    id,
                    node,
                    &Keep::default(),
                    &options,
                    self.declared.evaluator,
                );
            }
            *state = State {
                facts: walked.facts,
                traits: walked.traits,
                labels: walked.labels,
                macs: walked.macs,
            };
        }
        self.settled.resize(graph.values.len(), false);
        for (_, node) in graph.nodes_from(self.done) {
            for &value in &node.outputs {
                self.settled[value.0 as usize] = self.settles(graph, node, value);
            }
        }
        self.done = graph.nodes.len();
        Some(())
    }

    fn facts(&self, value: ValueId) -> [&Fact; 2] {
        [0, 1].map(|walk| &self.walks[walk].facts[value.0 as usize])
    }

    fn is_settled(&self, graph: &Graph, value: ValueId) -> bool {
        match graph.value(value).def {
            Def::Constant(_) => true,
            _ => self.settled[value.0 as usize],
        }
    }

    /// Whether a result is the same at every batch size: it is at two, and so is what it was computed from.
    fn settles(&self, graph: &Graph, node: &Node, value: ValueId) -> bool {
        let [a, b] = self.facts(value);
        if a != b || !is_number(a) {
            return false;
        }
        // A tensor's sizes and its type are not its elements, which are what buffers and constants say.
        let sizes = matches!(
            node.short(),
            "size" | "sym_size" | "dim" | "len" | "numel" | "dtype" | "is_complex"
        );
        match node.op.as_str() {
            // Two numbers that follow the batch alike are equal at every size.
            "aten::eq" | "aten::ne" if self.alike(node) => true,
            // One number of a list says nothing of the others.
            "aten::__getitem__" | "prim::ListUnpack" | "aten::slice" => {
                let mut rest = node.args.iter().skip(1).flat_map(|(_, arg)| values(arg));
                rest.all(|value| self.is_settled(graph, value))
            }
            _ => node.reads().into_iter().all(|value| {
                let [fact, _] = self.facts(value);
                match graph.value(value).ty {
                    Type::Tensor if !is_number(fact) => sizes || self.fixed(graph, value),
                    _ => self.is_settled(graph, value),
                }
            }),
        }
    }

    /// Whether the two numbers that a node compares are equal at each batch size.
    fn alike(&self, node: &Node) -> bool {
        let [Some(a), Some(b)] = [0, 1].map(|at| node.args.get(at).and_then(|(_, arg)| arg.as_value())) else {
            return false;
        };
        let pairs = self.facts(a).into_iter().zip(self.facts(b));
        pairs.into_iter().all(|(a, b)| a == b && matches!(a, Fact::Number(_)))
    }

    /// Whether no parameter decides a tensor's elements; sizes do not.
    fn fixed(&self, graph: &Graph, value: ValueId) -> bool {
        let leaves = graph_leaves(graph, &[], &[value]);
        leaves.iter().all(|&leaf| match graph.value(leaf).def {
            Def::Param(param) => graph.param(param).buffer,
            _ => true,
        })
    }
}

impl Sizes for Growing<'_> {
    fn known(&mut self, graph: &Graph, value: ValueId) -> Option<Known> {
        self.advance(graph)?;
        let [a, b] = self.facts(value);
        match (a, b) {
            (Fact::Number(number), _) if graph.value(value).ty != Type::Tensor => {
                let literal = match *number {
                    Number::Int(int) => Arg::Int(int),
                    Number::Float(float) => Arg::Float(float),
                    Number::Bool(flag) => Arg::Bool(flag),
                };
                self.settled[value.0 as usize].then_some(Known::Number(literal))
            }
            (Fact::List(a), Fact::List(b)) => (a.len() == b.len()).then_some(Known::Length(a.len())),
            (a, b) => match (a.shape()?.len(), b.shape()?.len()) {
                (a, b) if a == b => Some(Known::Rank(a)),
                _ => None,
            },
        }
    }
}

fn is_number(fact: &Fact) -> bool {
    match fact {
        Fact::Number(_) => true,
        Fact::List(items) => items.iter().all(|item| matches!(item, Fact::Number(_))),
        _ => false,
    }
}

fn values(arg: &Arg) -> Vec<ValueId> {
    let mut found = Vec::new();
    arg.for_each_value(&mut |value| found.push(value));
    found
}

/// Gives parameters and constants their facts; no label is kept.
fn load(walked: &mut Walked, value: ValueId) {
    if walked.facts[value.0 as usize] != Fact::Unknown {
        return;
    }
    let fact = match walked.graph.value(value).def {
        Def::Param(id) => {
            let tensor = &walked.graph.param(id).tensor;
            Fact::fixed(tensor.shape().to_vec(), tensor.dtype())
        }
        Def::Constant(index) => constant(&walked.graph.constants[index as usize]),
        _ => return,
    };
    walked.facts[value.0 as usize] = fact;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{NoEvaluator, parse};

    /// What the sizes 4×6×8 of one sample tell of the last value of a text.
    fn known(lines: &str) -> String {
        let text = format!("%x: Tensor = input\n%w: Tensor = param \"w\" float32[2] 0000803f00000040\n{lines}");
        let body: Vec<&str> = text.lines().collect();
        let graph = parse(&body.join("\n")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let declared = Declared::of_shapes(vec![vec![4, 6, 8]], &NoEvaluator);
        let last = graph.nodes[graph.nodes.len() - 1].outputs[0];
        // Asked of each value in turn, as a reader does, the answer is the same.
        let mut again = declared.sizes();
        let found = declared.sizes().known(&graph, last);
        let asked = graph.value_ids().map(|value| again.known(&graph, value));
        assert_eq!(asked.last(), Some(found.clone()));
        found.map_or_else(|| "not known".into(), |known| format!("{known:?}"))
    }

    #[test]
    fn what_the_batch_may_change_is_not_told() {
        let size = |dim: usize| format!("%s{dim}: int = aten::size.int(self=%x, dim={dim}) in \"\"\n");
        let (batch, height) = (size(0), size(2));
        for (lines, expected) in [
            (height.clone(), "Number(Int(6))"),
            (batch.clone(), "not known"),
            (
                format!("{height}%b: bool = aten::gt.int(a=%s2, b=5) in \"\"\n"),
                "Number(Bool(true))",
            ),
            // Of 2 and of 3 samples alike, but not of 9.
            (
                format!("{batch}%b: bool = aten::lt.int(a=%s0, b=5) in \"\"\n"),
                "not known",
            ),
            (
                format!("{batch}%a: int = aten::mul.int(a=%s0, b=0) in \"\"\n"),
                "not known",
            ),
            ("%l: List[int] = aten::size(self=%x) in \"\"\n".to_owned(), "Length(4)"),
            (
                "%l: List[int] = aten::size(self=%x) in \"\"\n%a: int = prim::max.self_int(self=%l) in \"\"\n"
                    .to_owned(),
                "not known",
            ),
            (
                "%l: List[int] = aten::size(self=%x) in \"\"\n%a: int = aten::__getitem__.t(list=%l, idx=3) in \"\"\n"
                    .to_owned(),
                "Number(Int(8))",
            ),
            // Two sizes that follow the batch alike.
            (
                format!(
                    "{batch}%y: Tensor = aten::relu(self=%x) in \"\"\n%a: int = aten::size.int(self=%y, dim=0) in \"\"\n%b: bool = \
                     aten::eq.int(a=%s0, b=%a) in \"\"\n"
                ),
                "Number(Bool(true))",
            ),
            (
                "%y: Tensor = aten::unsqueeze(self=%x, dim=0) in \"\"\n".to_owned(),
                "Rank(5)",
            ),
            (
                "%y: List[Tensor] = aten::split.Tensor(self=%x, split_size=4, dim=2) in \"\"\n".to_owned(),
                "Length(2)",
            ),
            // A parameter may be cut or masked.
            (
                "%y: int = aten::size.int(self=%w, dim=0) in \"\"\n".to_owned(),
                "Number(Int(2))",
            ),
        ] {
            assert_eq!(known(&lines), expected, "{lines}");
        }
    }
}
