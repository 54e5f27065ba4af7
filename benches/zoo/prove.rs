//! Proof by removal, group by group and all at once.

use crate::models::samples;
use crate::table::Row;
use secateur::graph::Graph;
use secateur::prune::{Prover, PruneError, Removal, difference, given, remove, zero};
use secateur::runtime::Runtime;
use secateur::topology::{Group, Options, Walked, coupling, walk};

/// Removes a random half of each group alone, and of all groups at once.
pub fn prove(row: &mut Row, graph: &Graph, options: &Options, groups: usize, runtime: &Runtime) {
    let mut walked = walk(graph, options, runtime);
    let found = coupling(&mut walked);
    if found.groups.is_empty() {
        return;
    }
    let inputs = samples(graph, options);
    let prover = match Prover::new(&walked, options, runtime, &inputs) {
        Ok(prover) => prover,
        Err(fault) => return row.all.record(Err(fault.to_string())),
    };
    let mut together = Removal::default();
    let step = found.groups.len().div_ceil(groups);
    for (at, group) in found.groups.iter().enumerate() {
        let removal = match removal(&walked, group, at as u64) {
            Ok(removal) => removal,
            Err(message) => {
                row.each.record(Err(message));
                continue;
            }
        };
        together = together.and(removal.clone());
        if at % step == 0 {
            row.each
                .record(prover.proof(&removal).map_err(|fault| fault.to_string()));
        }
    }
    drop(prover);
    let all = at_two_batch_sizes(&walked, options, &together, runtime, &mut row.ran);
    row.all.record(all.map_err(|fault| fault.to_string()));
}

/// A random half of a group's units.
fn removal(walked: &Walked, group: &Group, seed: u64) -> Result<Removal, String> {
    let param = &group.params[0];
    let id = walked
        .graph
        .param_named(&param.name)
        .ok_or("its parameter is missing")?;
    let gone: Vec<usize> = half(group.units, &group.balance, seed)
        .into_iter()
        .flat_map(|unit| param.indices[unit].clone())
        .collect();
    Removal::of_indices(walked, id, param.axis, &gone).map_err(|fault| fault.to_string())
}

/// The smaller network at the batch size of the walk, and at a larger one where the whole network runs at it.
fn at_two_batch_sizes(
    walked: &Walked,
    options: &Options,
    removal: &Removal,
    runtime: &Runtime,
    ran: &mut Vec<String>,
) -> Result<f64, PruneError> {
    let smaller = remove(walked, options, removal, runtime)?;
    let zeroed = zero(walked, removal)?;
    let mut larger = options.clone();
    for (shape, _) in &mut larger.inputs {
        if let Some(batch) = shape.first_mut() {
            *batch += 1;
        }
    }
    let mut worst: f64 = 0.0;
    for options in [options, &larger] {
        let given = samples(walked.graph, options);
        match difference(&smaller, &zeroed, runtime, &given) {
            Ok(difference) => worst = worst.max(difference),
            // A batch size that the trace wrote down.
            Err(_) if !ran.is_empty() && !runs(walked.graph, options, runtime) => continue,
            Err(fault) => return Err(fault),
        }
        let shapes = options
            .inputs
            .iter()
            .map(|(shape, _)| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"));
        ran.push(shapes.collect::<Vec<_>>().join(" "));
    }
    Ok(worst)
}

/// A pseudo-random half of the units, equally many of each balanced block, at least one of each left.
fn half(units: usize, balance: &[Vec<usize>], seed: u64) -> Vec<usize> {
    let pick = |pool: &[usize]| {
        let mut order: Vec<(u64, usize)> = pool
            .iter()
            .map(|&unit| {
                (
                    (unit as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (seed << 17)) >> 13,
                    unit,
                )
            })
            .collect();
        order.sort_unstable();
        order
            .into_iter()
            .take(pool.len() / 2)
            .map(|(_, unit)| unit)
            .collect::<Vec<_>>()
    };
    if balance.is_empty() {
        return pick(&(0..units).collect::<Vec<_>>());
    }
    balance.iter().flat_map(|block| pick(block)).collect()
}

/// The options with images of the wished side, where the whole network runs on them.
pub fn sized(side: Option<usize>, graph: &Graph, options: Options, runtime: &Runtime) -> Options {
    let Some(side) = side else { return options };
    let mut smaller = options.clone();
    for (shape, _) in &mut smaller.inputs {
        if let [_, _, height, width] = &mut shape[..] {
            (*height, *width) = (side.min(*height), side.min(*width));
        }
    }
    if runs(graph, &smaller, runtime) {
        smaller
    } else {
        options
    }
}

/// Whether a network in float64 runs on inputs of these shapes.
fn runs(graph: &Graph, options: &Options, runtime: &Runtime) -> bool {
    let given = given(graph, &samples(graph, options));
    runtime.run(graph, &given, &graph.output_values()).is_ok()
}
