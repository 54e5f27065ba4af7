//! Small networks in which a careless rule cuts too much or too little: what may go of each, proven by removal.

mod cases;
mod odd;
mod stretched;

use super::compose::{Composer, Example};
use cases::CASES;
use odd::ODD;
use secateur::graph::{Evaluate, NoEvaluator, verify};
use secateur::topology::{coupling, walk};
use stretched::STRETCHED;

/// What the network is about; its calls, of which the last gives the output; the units of each coupled group.
type Case = (&'static str, &'static str, &'static [usize]);

/// Of which shapes have to be found by running the network.
#[cfg(feature = "torch")]
const RUN: &[Case] = &[(
    "experts that each take the tokens for which a mask holds",
    "k, t = where(condition=!2x6); x = ~6x4; own = index(self=x, indices=[t]); h = linear(input=own, weight=@8x4);
     h = relu(self=h); h = linear(input=h, weight=@5x8); y = zeros(size=[6, 5]);
     y = index_add(self=y, dim=0, index=t, source=h); g = linear(input=own, weight=@7x4); g = relu(self=g);
     g = linear(input=g, weight=@5x7); index_add(self=y, dim=0, index=t, source=g)",
    &[8, 5, 7],
)];

fn compose<'e>(calls: &'static str, evaluator: &'e dyn Evaluate) -> Composer<'e> {
    let example = Example {
        op: "",
        calls,
        macs: 0,
        frozen: false,
    };
    let mut composer = Composer::new(evaluator);
    let results = composer.add(&example);
    for value in composer.unpacked(results) {
        composer.head(value);
    }
    composer
}

/// What the labels alone say; a network that has to be run to be labelled is left to the proof.
fn look(composer: &Composer, expected: &[usize], evaluator: &dyn Evaluate) -> Result<(), String> {
    verify(&composer.graph).map_err(|fault| format!("{fault:?}"))?;
    let mut walked = walk(&composer.graph, &composer.options(), evaluator);
    if let Some(issue) = walked.issues.first() {
        return Err(format!("{} {}", issue.op, issue.message));
    }
    let found: Vec<usize> = coupling(&mut walked).groups.iter().map(|group| group.units).collect();
    if found == expected {
        Ok(())
    } else {
        Err(format!("groups of {found:?} units instead of {expected:?}"))
    }
}

#[test]
fn labels_couple_neither_more_nor_less() {
    let mut faults = Vec::new();
    for &(what, calls, expected) in CASES.iter().chain(STRETCHED) {
        let composer = compose(calls, &NoEvaluator);
        if let Err(fault) = look(&composer, expected, &NoEvaluator) {
            faults.push(format!("{what}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[cfg(feature = "torch")]
#[test]
fn what_may_go_is_proven_by_removal() {
    let runtime = secateur::runtime::Runtime::new();
    let mut faults = Vec::new();
    for &(what, calls, expected) in CASES.iter().chain(STRETCHED).chain(RUN) {
        let composer = compose(calls, &runtime);
        let fault = look(&composer, expected, &runtime).and_then(|()| super::removal::prove(&composer, &runtime, true));
        if let Err(fault) = fault {
            faults.push(format!("{what}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Graphs that no PyTorch would run: each is labelled, or not understood, but always answered.
///
/// Among them are tensors that no memory holds: they are told from their sizes.

#[test]
fn odd_graphs_are_answered() {
    let mut faults = Vec::new();
    for &calls in ODD {
        let walked = std::panic::catch_unwind(|| {
            let composer = compose(calls, &NoEvaluator);
            let mut walked = walk(&composer.graph, &composer.options(), &NoEvaluator);
            secateur::topology::flops(&walked, 1);
            coupling(&mut walked)
        });
        if walked.is_err() {
            faults.push(calls);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
