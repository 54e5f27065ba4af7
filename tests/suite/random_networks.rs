//! Laws on random networks made of the examples of all operators: what a group says may go may go, and the order in which
//! operators are written down does not matter.

use super::compose::{Composer, Example, examples};
use super::removal::prove;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use secateur::graph::{Def, Graph, NodeId, print, verify};
use secateur::runtime::Runtime;
use secateur::topology::{Coupling, Options, ParamUnits, coupling, walk};
use std::collections::BTreeSet;

/// An example, and what its activations are made of.
type Pick = (prop::sample::Index, Vec<usize>);

/// A network of the picked examples: activations are earlier results where the draws say so, and every result that
/// nothing reads is an output.
fn compose<'e>(picks: &[Pick], table: &[Example], runtime: &'e Runtime) -> Composer<'e> {
    let mut composer = Composer::new(runtime);
    let mut results = Vec::new();
    for (index, draws) in picks {
        composer.draws.clone_from(draws);
        let made = composer.add(index.get(table));
        for value in composer.unpacked(made) {
            results.push(value);
            if composer.live(value).is_some() {
                composer.pool.push(value);
            }
        }
    }
    let used = composer.graph.uses();
    for value in results.into_iter().filter(|value| !used.contains_key(value)) {
        composer.head(value);
    }
    composer
}

/// The same operators in another order in which they can run.
fn reordered(graph: &Graph, seed: u64) -> Graph {
    let mut order: Vec<NodeId> = Vec::new();
    let mut waiting: BTreeSet<u32> = (0..graph.nodes.len() as u32).collect();
    let made_by = |value| match graph.value(value).def {
        Def::Node { node, .. } => Some(node.0),
        _ => None,
    };
    while !waiting.is_empty() {
        let ready = |&&node: &&u32| {
            let reads = graph.node(NodeId(node)).reads().into_iter();
            reads.filter_map(made_by).all(|before| !waiting.contains(&before))
        };
        let key = |node: u32| (u64::from(node) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (seed << 9)) >> 7;
        let Some(next) = waiting.iter().filter(ready).copied().min_by_key(|&node| key(node)) else {
            break;
        };
        waiting.remove(&next);
        order.push(NodeId(next));
    }
    let mut other = graph.clone();
    other.nodes = order.iter().map(|&node| graph.node(node).clone()).collect();
    for (at, node) in order.iter().enumerate() {
        for &value in &graph.node(*node).outputs {
            if let Def::Node { node, .. } = &mut other.values[value.0 as usize].def {
                *node = NodeId(at as u32);
            }
        }
    }
    other
}

/// Groups without the order that graphs give them.
fn groups(found: &Coupling) -> BTreeSet<String> {
    let tell = |group: &secateur::topology::Group| {
        let mut params: Vec<&ParamUnits> = group.params.iter().collect();
        params.sort_by_key(|param| (&param.name, param.axis));
        format!("{:?} {:?}", params, group.balance)
    };
    found.groups.iter().map(tell).collect()
}

fn couple(graph: &Graph, options: &Options, runtime: &Runtime) -> Result<BTreeSet<String>, String> {
    verify(graph).map_err(|fault| format!("{fault:?}"))?;
    let mut walked = walk(graph, options, runtime);
    match walked.issues.first() {
        Some(issue) => Err(format!("{} {}", issue.op, issue.message)),
        None => Ok(groups(&coupling(&mut walked))),
    }
}

fn law(picks: &[Pick], table: &[Example], runtime: &Runtime) -> Result<(), String> {
    let composer = compose(picks, table, runtime);
    prove(&composer, runtime, false)?;
    let options = composer.options();
    let here = couple(&composer.graph, &options, runtime)?;
    for seed in [1, 2] {
        let there = couple(&reordered(&composer.graph, seed), &options, runtime)?;
        if here != there {
            return Err(format!(
                "in another order the groups are\n{there:#?}\ninstead of\n{here:#?}"
            ));
        }
    }
    Ok(())
}

/// `PROPTEST_CASES=1000 cargo test … random_networks` tries more, the same ones each time.
#[test]
fn removal_holds_in_any_order() {
    let runtime = Runtime::new();
    let table = examples();
    let picks = prop::collection::vec(
        (any::<prop::sample::Index>(), prop::collection::vec(0_usize..64, 0..4)),
        1..6,
    );
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(40),
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRunner::deterministic().rng().clone());
    let outcome = runner.run(&picks, |picks| {
        law(&picks, &table, &runtime).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, picks)) => {
            let smallest = compose(&picks, &table, &runtime).graph;
            panic!("{why}\n{}", print(&smallest));
        }
        Err(other) => panic!("{other}"),
    }
}
