//! Numbers in proportion to what is left, where a size counts samples as well as channels (batch times heads).
//!
//! Such a number is another at every batch size, so it is multiplied and divided by nodes of the graph. Owns these nodes,
//! their names and where they are put in.

use crate::graph::{Arg, Def, Graph, Node, NodeId, Type, ValueId};
use std::collections::BTreeSet;

/// Nodes that are yet to be put in, each before the node that has the given number.
#[derive(Debug, Default)]
pub(super) struct Proportions {
    waiting: Vec<(usize, Node)>,
    /// The names of the graph's values, once one was asked for.
    names: BTreeSet<String>,
}

impl Proportions {
    /// A number that is `value · times / of`, and can be read from the node numbered `before` on. `value` is a multiple of
    /// `of`, so nothing is rounded.
    pub fn scaled(&mut self, graph: &mut Graph, value: ValueId, times: usize, of: usize, before: usize) -> ValueId {
        let product = self.number(graph, before, "mul", value, times);
        self.number(graph, before, "floordiv", product, of)
    }

    /// One number of a list, for the node numbered `before` and those behind it.
    pub fn item(&mut self, graph: &mut Graph, list: ValueId, at: usize, before: usize) -> ValueId {
        let args = [("list", Arg::Value(list)), ("idx", Arg::Int(at as i64))];
        self.node(graph, before, "__getitem__", "t", args)
    }

    fn number(&mut self, graph: &mut Graph, before: usize, op: &str, value: ValueId, by: usize) -> ValueId {
        let args = [("a", Arg::Value(value)), ("b", Arg::Int(by as i64))];
        self.node(graph, before, op, "int", args)
    }

    fn node(&mut self, graph: &mut Graph, before: usize, op: &str, overload: &str, args: [(&str, Arg); 2]) -> ValueId {
        // Its definition is written by `insert`.
        let def = Def::Node {
            node: NodeId(u32::MAX),
            output: 0,
        };
        let name = self.unused(graph);
        let output = graph.add_value(name, Type::Int, def);
        let scope = graph
            .nodes
            .get(before)
            .map_or_else(String::new, |node| node.scope.clone());
        let node = Node {
            op: format!("aten::{op}"),
            overload: overload.into(),
            args: args.map(|(name, arg)| (name.to_owned(), arg)).into(),
            outputs: vec![output],
            scope,
        };
        self.waiting.push((before, node));
        output
    }

    /// A name that no value has.
    pub fn unused(&mut self, graph: &Graph) -> String {
        if self.names.is_empty() {
            self.names = graph.values.iter().map(|value| value.name.clone()).collect();
        }
        let mut names = (graph.values.len()..).map(|number| format!("left_{number}"));
        let name = names.find(|name| !self.names.contains(name)).unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    /// Puts the nodes in; the number that each of the graph's nodes has then.
    pub fn insert(mut self, graph: &mut Graph) -> Vec<NodeId> {
        // Stable: a number comes before those that are made of it.
        self.waiting.sort_by_key(|&(before, _)| before);
        let mut waiting = self.waiting.into_iter().peekable();
        let old = std::mem::take(&mut graph.nodes);
        let mut moved = Vec::with_capacity(old.len());
        for (at, node) in old.into_iter().enumerate() {
            while let Some((_, new)) = waiting.next_if(|&(before, _)| before <= at) {
                graph.nodes.push(new);
            }
            moved.push(NodeId(graph.nodes.len() as u32));
            graph.nodes.push(node);
        }
        graph.nodes.extend(waiting.map(|(_, new)| new));
        for (at, node) in graph.nodes.iter().enumerate() {
            for (output, &value) in node.outputs.iter().enumerate() {
                graph.values[value.0 as usize].def = Def::Node {
                    node: NodeId(at as u32),
                    output: output as u32,
                };
            }
        }
        moved
    }
}
