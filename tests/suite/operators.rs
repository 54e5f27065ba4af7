//! Every operator of the table by its smallest example: labelled, priced, printed as a program and run, and proven by
//! removal.

use super::compose::{Composer, Example, examples, full};
use secateur::graph::{NoEvaluator, verify};
use secateur::ops;
use secateur::topology::{coupling, walk};
use std::collections::BTreeSet;

#[test]
fn every_operator_has_an_example() {
    let known: BTreeSet<String> = examples().iter().map(|example| full(example.op)).collect();
    let table: BTreeSet<String> = ops::table().map(|op| op.name.to_owned()).collect();
    let missing: Vec<&String> = table.difference(&known).collect();
    let strange: Vec<&String> = known.difference(&table).collect();
    assert!(
        missing.is_empty(),
        "without an example in src/ops/examples.txt: {missing:?}"
    );
    assert!(strange.is_empty(), "examples of what is not in the table: {strange:?}");
}

/// The graph of one example, its results as outputs.
fn graph_of<'e>(example: &Example, evaluator: &'e dyn secateur::graph::Evaluate) -> Composer<'e> {
    let mut composer = Composer::new(evaluator);
    let results = composer.add(example);
    composer.own = composer.graph.nodes.len();
    for value in composer.unpacked(results) {
        composer.head(value);
    }
    composer
}

/// Faults of one example: rules, prices and what is frozen.
fn look(example: &Example, composer: &Composer, evaluator: &dyn secateur::graph::Evaluate) -> Result<(), String> {
    let graph = &composer.graph;
    verify(graph).map_err(|fault| format!("{fault:?}"))?;
    let mut walked = walk(graph, &composer.options(), evaluator);
    if let Some(issue) = walked.issues.first() {
        return Err(format!("{} {}", issue.op, issue.message));
    }
    let own = graph
        .nodes()
        .take(composer.own)
        .filter(|(_, node)| node.op == full(example.op));
    let macs: u64 = own.map(|(id, _)| walked.macs[id.0 as usize]).sum();
    if macs != example.macs {
        return Err(format!("costs {macs} multiply-accumulates instead of {}", example.macs));
    }
    let groups = coupling(&mut walked).groups.len();
    if (groups == 0) != example.frozen {
        return Err(format!("{groups} coupled groups"));
    }
    Ok(())
}

/// Operators that have to be run to be labelled need libtorch; all others do without.
#[test]
fn every_operator_is_labelled_and_priced() {
    let runs = "movedim moveaxis rot90 fliplr flipud native_channel_shuffle diagonal flip unfold \
                channel_shuffle";
    let runs: BTreeSet<&str> = runs.split_whitespace().collect();
    let mut faults = Vec::new();
    for example in examples() {
        let composer = graph_of(&example, &NoEvaluator);
        match (look(&example, &composer, &NoEvaluator), runs.contains(example.op)) {
            (Err(fault), false) => faults.push(format!("{}: {fault}", example.op)),
            (Ok(()), true) => faults.push(format!("{} is labelled without being run", example.op)),
            _ => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[cfg(feature = "torch")]
#[test]
fn every_operator_is_run_and_proven_by_removal() {
    let runtime = secateur::runtime::Runtime::new();
    let mut faults = Vec::new();
    for example in examples() {
        let composer = graph_of(&example, &runtime);
        let fault = look(&example, &composer, &runtime).and_then(|()| super::removal::prove(&composer, &runtime, true));
        if let Err(fault) = fault {
            faults.push(format!("{}: {fault}", example.op));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
