//! Numbers that the model computes from sizes keep what they were: they are part of what was trained.
//!
//! Owns which values are the size of an axis that shrinks, read alone or out of a list of sizes, and puts the original
//! number in their place: the size that is left, in proportion, for an axis may count samples as well, and a walk at one
//! batch size does not tell. Lists that say shapes are left alone, for those follow what is left.

use super::proportion::Proportions;
use super::{Removal, whole_number};
use crate::graph::{Arg, Graph, Node, Output, ValueId};
use crate::ops::{self, Fact};
use crate::topology::Walked;
use std::collections::BTreeMap;

/// Replaces every size read off an axis that shrinks by its original number.
pub(super) fn keep(walked: &Walked, removal: &Removal, graph: &mut Graph, proportions: &mut Proportions) {
    let mut found = Shrunk {
        walked,
        removal,
        alone: BTreeMap::new(),
        lists: BTreeMap::new(),
    };
    for (at, node) in walked.graph.nodes.iter().enumerate() {
        found.read(node, at);
    }
    let mut known = BTreeMap::new();
    for (&value, size) in &found.alone {
        known.insert(value, size.original(value, graph, proportions));
    }
    for (_, arg) in graph.nodes.iter_mut().flat_map(|node| &mut node.args) {
        substitute(arg, &known);
    }
    let mut outputs = std::mem::take(&mut graph.outputs);
    outputs.iter_mut().for_each(|output| give(output, &known));
    graph.outputs = outputs;
    for (at, node) in walked.graph.nodes.iter().enumerate().filter(|(_, node)| counts(node)) {
        for (place, (_, arg)) in node.args.iter().enumerate() {
            let Some((list, sizes)) = arg.as_value().and_then(|list| Some((list, found.lists.get(&list)?))) else {
                continue;
            };
            let items = sizes.iter().enumerate().map(|(axis, size)| {
                let item = proportions.item(graph, list, axis, at);
                match size {
                    Some(size) => Size { before: at, ..*size }.original(item, graph, proportions),
                    None => Arg::Value(item),
                }
            });
            let items = items.collect();
            graph.nodes[at].args[place].1 = Arg::List(items);
        }
    }
}

/// Whether a node takes lists of sizes for numbers, and not for a shape.
fn counts(node: &Node) -> bool {
    let reads = ["slice", "__getitem__", "ListUnpack", "len", "add", "list"].contains(&node.short());
    !reads && ops::find(&node.op).is_none_or(|op| op.sizes.is_empty())
}

fn give(output: &mut Output, known: &BTreeMap<ValueId, Arg>) {
    match output {
        Output::Value(value) => {
            if let Some(Arg::Value(number)) = known.get(value) {
                *value = *number;
            }
        }
        Output::Tuple(items) | Output::List(items) => items.iter_mut().for_each(|item| give(item, known)),
        Output::Dict(items) => items.iter_mut().for_each(|(_, item)| give(item, known)),
        Output::None => {}
    }
}

fn substitute(arg: &mut Arg, known: &BTreeMap<ValueId, Arg>) {
    match arg {
        Arg::Value(value) => {
            if let Some(number) = known.get(value) {
                *arg = number.clone();
            }
        }
        Arg::List(items) => items.iter_mut().for_each(|item| substitute(item, known)),
        _ => {}
    }
}

/// The original size of an axis that shrinks.
#[derive(Clone, Copy, Debug)]
struct Size {
    whole: usize,
    /// What is left of it, both at the batch size of the walk; none for what has the same size at every batch.
    left: Option<usize>,
    /// The number of the node from which on the size is known.
    before: usize,
}

impl Size {
    /// The original number, where `value` is what is left of it.
    fn original(self, value: ValueId, graph: &mut Graph, proportions: &mut Proportions) -> Arg {
        match self.left {
            None => Arg::Int(self.whole as i64),
            Some(left) => Arg::Value(proportions.scaled(graph, value, self.whole, left, self.before)),
        }
    }
}

/// Sizes of axes that shrink.
struct Shrunk<'a> {
    walked: &'a Walked<'a>,
    removal: &'a Removal,
    alone: BTreeMap<ValueId, Size>,
    /// Lists of sizes: those of the axes that shrink, none for those that do not.
    lists: BTreeMap<ValueId, Vec<Option<Size>>>,
}

impl Shrunk<'_> {
    fn read(&mut self, node: &Node, at: usize) {
        let (Some(input), Some(&out)) = (
            node.args.first().and_then(|(_, arg)| arg.as_value()),
            node.outputs.first(),
        ) else {
            return;
        };
        let number = |name: &str| whole_number(self.walked, node.arg(name)?);
        match node.op.as_str() {
            "aten::size" | "aten::sym_size" | "aten::len" => {
                let Some(sizes) = self.sizes(input, at) else { return };
                let axis = match node.short() {
                    "len" => Some(0),
                    _ => number("dim"),
                };
                match axis {
                    Some(axis) => self.note(out, &sizes, axis),
                    None => _ = self.lists.insert(out, sizes),
                }
            }
            "aten::numel" => {
                if let (Some(_), Some(shape)) = (self.sizes(input, at), self.walked.fact(input).shape()) {
                    let size = Size {
                        whole: shape.iter().product(),
                        left: None,
                        before: at + 1,
                    };
                    self.alone.insert(out, size);
                }
            }
            "aten::slice" => {
                let (Some(sizes), Fact::List(kept)) = (self.lists.get(&input), self.walked.fact(out)) else {
                    return;
                };
                let start = number("start").unwrap_or(0);
                let start = if start < 0 { start + sizes.len() as i64 } else { start };
                let start = usize::try_from(start).unwrap_or(0);
                let step = usize::try_from(number("step").unwrap_or(1)).unwrap_or(1);
                let part = sizes.iter().skip(start).step_by(step.max(1)).take(kept.len());
                let part = part.copied().collect();
                self.lists.insert(out, part);
            }
            "aten::__getitem__" => {
                if let (Some(mut sizes), Some(idx)) = (self.lists.get(&input).cloned(), number("idx")) {
                    sizes.iter_mut().flatten().for_each(|size| size.before = at + 1);
                    self.note(out, &sizes, idx);
                }
            }
            "prim::ListUnpack" => {
                for (&out, size) in node.outputs.iter().zip(self.lists.get(&input).into_iter().flatten()) {
                    self.alone
                        .extend(size.map(|size| (out, Size { before: at + 1, ..size })));
                }
            }
            _ => {}
        }
    }

    /// The sizes of a tensor whose axes shrink, as node number `at` reads them.
    fn sizes(&self, value: ValueId, at: usize) -> Option<Vec<Option<Size>>> {
        let axes = &self.walked.fact(value).as_tensor()?.axes;
        let size = |axis: usize| {
            let row = axes.row(axis)?;
            let left = self.removal.kept(self.walked, row).len();
            (left < row.len()).then_some(Size {
                whole: row.len(),
                left: Some(left),
                before: at + 1,
            })
        };
        let sizes: Vec<Option<Size>> = (0..axes.rank()).map(size).collect();
        sizes.iter().any(Option::is_some).then_some(sizes)
    }

    fn note(&mut self, out: ValueId, sizes: &[Option<Size>], at: i64) {
        if let Ok(at) = ops::wrap_axis(at, sizes.len())
            && let Some(Some(size)) = sizes.get(at)
        {
            self.alone.insert(out, *size);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::testing::Builder;
    use crate::graph::{Arg, NoEvaluator, Type, ValueId};
    use crate::prune::{Removal, remove};
    use crate::topology::{Options, coupling, walk};

    /// A hidden layer of 6 units scaled by a number that `size` reads off it; the scale when two units are gone.
    fn scale_after(size: impl Fn(&mut Builder, ValueId) -> ValueId) -> Option<f64> {
        let mut b = Builder::default();
        let x = b.input();
        let hidden = b.linear("first", x, 4, 6);
        let scale = size(&mut b, hidden);
        let scaled = b.op("mul", &[("self", Arg::Value(hidden)), ("other", Arg::Value(scale))]);
        let out = b.linear("second", scaled, 6, 3);
        let graph = b.finish(out);
        let options = Options::of_shapes([vec![2, 4]]);
        let mut walked = walk(&graph, &options, &NoEvaluator);
        assert_eq!(walked.issues, []);
        assert_eq!(coupling(&mut walked).groups[0].units, 6);
        let first = graph.param_named("first.weight").expect("the first layer");
        let removal = Removal::of_indices(&walked, first, 0, &[1, 4]).expect("units may go");
        let smaller = remove(&walked, &options, &removal, &NoEvaluator).expect("a smaller network");
        let again = walk(&smaller, &options, &NoEvaluator);
        let other = smaller.nodes.iter().find_map(|node| node.arg("other"));
        match other? {
            Arg::Int(int) => Some(*int as f64),
            Arg::Value(value) => match again.fact(*value) {
                crate::ops::Fact::Number(number) => Some(number.as_f64()),
                _ => None,
            },
            _ => None,
        }
    }

    fn shape(b: &mut Builder, x: ValueId) -> ValueId {
        b.op_of("size", &[("self", Arg::Value(x))], Type::List(Box::new(Type::Int)))
    }

    fn item(b: &mut Builder, list: ValueId, idx: i64) -> ValueId {
        b.op_of(
            "__getitem__",
            &[("list", Arg::Value(list)), ("idx", Arg::Int(idx))],
            Type::Int,
        )
    }

    #[test]
    fn a_number_read_off_an_axis_that_shrinks_stays_however_it_is_read() {
        let alone = scale_after(|b, x| b.op_of("size", &[("self", Arg::Value(x)), ("dim", Arg::Int(-1))], Type::Int));
        assert_eq!(alone, Some(6.0));
        let item_of = |idx| {
            scale_after(move |b, x| {
                let list = shape(b, x);
                item(b, list, idx)
            })
        };
        assert_eq!(item_of(1), Some(6.0));
        assert_eq!(item_of(-1), Some(6.0));
        assert_eq!(item_of(0), Some(2.0), "the batch is not what shrinks");
        let unpacked = scale_after(|b, x| {
            let list = shape(b, x);
            b.unpack(list, 2)[1]
        });
        assert_eq!(unpacked, Some(6.0));
        let sliced = scale_after(|b, x| {
            let list = shape(b, x);
            let args = [("l", Arg::Value(list)), ("start", Arg::Int(-1)), ("end", Arg::None)];
            let part = b.op_of("slice", &args, Type::List(Box::new(Type::Int)));
            item(b, part, 0)
        });
        assert_eq!(sliced, Some(6.0));
        let halved = scale_after(|b, x| {
            let list = shape(b, x);
            let size = item(b, list, 1);
            b.op_of("floordiv", &[("a", Arg::Value(size)), ("b", Arg::Int(2))], Type::Int)
        });
        assert_eq!(halved, Some(3.0));
    }
}
