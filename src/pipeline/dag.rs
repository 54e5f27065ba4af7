//! Stages and which reads which: cycles, order, reachability, drawings.

use super::Stage;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Dfs;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Why stages form no pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DagError {
    #[error("two steps are called {id:?}: give one of them another id")]
    Duplicate { id: String },
    #[error("step {id:?} reads step {need:?}, which is not there")]
    Unknown { id: String, need: String },
    #[error("steps read each other in a circle: {}", ids.join(" → "))]
    Cycle { ids: Vec<String> },
    #[error("there is no step {id:?}; steps are {}", known.join(", "))]
    NoSuchStage { id: String, known: Vec<String> },
}

/// Stages in an order in which they can run.
pub struct Dag {
    stages: Vec<Box<dyn Stage>>,
    /// Edges run from what is read to who reads; node weights index `stages`.
    graph: DiGraph<usize, ()>,
    order: Vec<usize>,
}

impl Dag {
    /// Orders the stages: each after what it reads, otherwise as given.
    pub fn new(stages: Vec<Box<dyn Stage>>) -> Result<Dag, DagError> {
        let mut index_of = BTreeMap::new();
        let mut graph = DiGraph::new();
        for (index, stage) in stages.iter().enumerate() {
            graph.add_node(index);
            if index_of.insert(stage.id().to_owned(), index).is_some() {
                return Err(DagError::Duplicate { id: stage.id().into() });
            }
        }
        for (index, stage) in stages.iter().enumerate() {
            for need in stage.needs() {
                let Some(&from) = index_of.get(&need) else {
                    return Err(DagError::Unknown {
                        id: stage.id().into(),
                        need,
                    });
                };
                graph.update_edge(NodeIndex::new(from), NodeIndex::new(index), ());
            }
        }
        let circles = tarjan_scc(&graph);
        let circle = circles
            .into_iter()
            .find(|members| members.len() > 1 || members.iter().any(|&node| graph.contains_edge(node, node)));
        if let Some(mut members) = circle {
            members.sort();
            let mut ids: Vec<String> = members.iter().map(|node| stages[node.index()].id().into()).collect();
            ids.extend(ids.first().cloned());
            return Err(DagError::Cycle { ids });
        }
        let order = order(&graph);
        Ok(Dag { stages, graph, order })
    }

    /// Stages in running order.
    pub fn stages(&self) -> impl Iterator<Item = &dyn Stage> {
        self.order.iter().map(|&index| &*self.stages[index])
    }

    /// The ids of the named stages and of all that they read, directly or not.
    pub fn with_needs(&self, ids: &[String]) -> Result<BTreeSet<String>, DagError> {
        let reversed = petgraph::visit::Reversed(&self.graph);
        let mut found = BTreeSet::new();
        for id in ids {
            let Some(index) = self.stages.iter().position(|stage| stage.id() == id) else {
                return Err(DagError::NoSuchStage {
                    id: id.clone(),
                    known: self.stages.iter().map(|stage| stage.id().into()).collect(),
                });
            };
            let mut walk = Dfs::new(reversed, NodeIndex::new(index));
            while let Some(node) = walk.next(reversed) {
                found.insert(self.stages[node.index()].id().to_owned());
            }
        }
        Ok(found)
    }

    fn edges(&self) -> Vec<(usize, usize)> {
        let ends = self.graph.raw_edges().iter();
        let mut edges: Vec<_> = ends
            .map(|edge| (edge.source().index(), edge.target().index()))
            .collect();
        edges.sort_unstable();
        edges
    }

    fn label(&self, index: usize, line: &str) -> String {
        let stage = &self.stages[index];
        if stage.id() == stage.kind() {
            return stage.id().into();
        }
        format!("{}{line}{}", stage.id(), stage.kind())
    }
}

/// Pipelines as one Mermaid flowchart; several are a frame each.
pub fn mermaid(pipelines: &[(&str, &Dag)]) -> String {
    let mut text = String::from("flowchart TD\n");
    for (name, dag, prefix) in framed(pipelines) {
        if !prefix.is_empty() {
            let _ = writeln!(text, "    subgraph {prefix}[\"{name}\"]");
        }
        for &index in &dag.order {
            let _ = writeln!(text, "    {prefix}s{index}[\"{}\"]", dag.label(index, "<br/>"));
        }
        for (from, to) in dag.edges() {
            let _ = writeln!(text, "    {prefix}s{from} --> {prefix}s{to}");
        }
        if !prefix.is_empty() {
            text.push_str("    end\n");
        }
    }
    text
}

/// Pipelines as one graph in Graphviz' language; several are a frame each.
pub fn dot(pipelines: &[(&str, &Dag)]) -> String {
    let name = match pipelines {
        [(name, _)] => name,
        _ => "pipelines",
    };
    let mut text = format!("digraph \"{name}\" {{\n    node [shape=box];\n");
    for (name, dag, prefix) in framed(pipelines) {
        if !prefix.is_empty() {
            let _ = writeln!(text, "    subgraph cluster_{prefix} {{\n    label=\"{name}\";");
        }
        for &index in &dag.order {
            let _ = writeln!(text, "    {prefix}s{index} [label=\"{}\"];", dag.label(index, "\\n"));
        }
        for (from, to) in dag.edges() {
            let _ = writeln!(text, "    {prefix}s{from} -> {prefix}s{to};");
        }
        if !prefix.is_empty() {
            text.push_str("    }\n");
        }
    }
    text.push_str("}\n");
    text
}

/// Each with what tells its stages from those of the others.
fn framed<'a>(pipelines: &'a [(&str, &Dag)]) -> impl Iterator<Item = (&'a str, &'a Dag, String)> {
    let prefix = |at: usize| match pipelines.len() {
        1 => String::new(),
        _ => format!("p{at}"),
    };
    let numbered = pipelines.iter().enumerate();
    numbered.map(move |(at, &(name, dag))| (name, dag, prefix(at)))
}

/// Kahn's order; among stages that could run, the first given goes first.
fn order(graph: &DiGraph<usize, ()>) -> Vec<usize> {
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.neighbors_directed(node, petgraph::Incoming).count())
        .collect();
    let mut ready: BTreeSet<usize> = (0..waiting.len()).filter(|&index| waiting[index] == 0).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for reader in graph.neighbors(NodeIndex::new(index)) {
            waiting[reader.index()] -= 1;
            if waiting[reader.index()] == 0 {
                ready.insert(reader.index());
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn dag(stages: &[(&str, &[&str])]) -> Result<Dag, DagError> {
        Dag::new(stages.iter().map(|(id, needs)| Fake::boxed(id, needs)).collect())
    }

    #[test]
    fn order_is_that_of_the_file_where_it_may_be() -> Result<(), DagError> {
        let dag = dag(&[("d", &["c", "a"]), ("b", &[]), ("a", &["b"]), ("c", &[])])?;
        let order: Vec<&str> = dag.stages().map(Stage::id).collect();
        assert_eq!(order, ["b", "a", "c", "d"]);
        let needed = dag.with_needs(&["a".into()])?;
        assert_eq!(needed.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(matches!(
            dag.with_needs(&["x".into()]),
            Err(DagError::NoSuchStage { .. })
        ));
        Ok(())
    }

    #[test]
    fn circles_and_strangers_are_errors() {
        let cycle = dag(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &[])]).err();
        assert_eq!(
            cycle.map(|error| error.to_string()).as_deref(),
            Some("steps read each other in a circle: a → b → c → a")
        );
        assert!(matches!(dag(&[("a", &["a"])]), Err(DagError::Cycle { .. })));
        assert!(matches!(dag(&[("a", &["x"])]), Err(DagError::Unknown { .. })));
        assert!(matches!(
            dag(&[("a", &[]), ("a", &[])]),
            Err(DagError::Duplicate { .. })
        ));
    }

    #[test]
    fn several_pipelines_are_one_drawing() -> Result<(), DagError> {
        let (a, b) = (dag(&[("a", &[])])?, dag(&[("b", &["c"]), ("c", &[])])?);
        let pipelines = [("x-1", &a), ("x-2", &b)];
        assert_eq!(
            mermaid(&pipelines),
            "flowchart TD\n    subgraph p0[\"x-1\"]\n    p0s0[\"a<br/>fake\"]\n    end\n    subgraph p1[\"x-2\"]\n    \
             p1s1[\"c<br/>fake\"]\n    p1s0[\"b<br/>fake\"]\n    p1s1 --> p1s0\n    end\n"
        );
        let drawn = dot(&pipelines);
        assert!(drawn.starts_with("digraph \"pipelines\" {") && drawn.matches("digraph").count() == 1);
        assert!(
            drawn.contains("subgraph cluster_p1 {\n    label=\"x-2\";\n    p1s1 [") && drawn.contains("p1s1 -> p1s0;")
        );
        Ok(())
    }

    #[test]
    fn drawings() -> Result<(), DagError> {
        let dag = dag(&[("b", &["a"]), ("a", &[])])?;
        assert_eq!(
            mermaid(&[("x", &dag)]),
            "flowchart TD\n    s1[\"a<br/>fake\"]\n    s0[\"b<br/>fake\"]\n    s1 --> s0\n"
        );
        assert_eq!(
            dot(&[("x", &dag)]),
            "digraph \"x\" {\n    node [shape=box];\n    s1 [label=\"a\\nfake\"];\n    s0 [label=\"b\\nfake\"];\n    s1 -> s0;\n}\n"
        );
        Ok(())
    }
}
