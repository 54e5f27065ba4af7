//! Proof by removal of composed graphs, and that it fails where a channel less or more goes.

use super::compose::Composer;
use secateur::graph::{Evaluate, Graph};
use secateur::prune::{Removal, proof, remove, zero};
use secateur::runtime::Runtime;
use secateur::tensor::Tensor;
use secateur::topology::{Group, Options, Walked, coupling, walk};

/// Reproducible numbers between 0.3 and 1.7, where every example's operator is defined.
fn inputs(options: &Options) -> Vec<Tensor> {
    let tensors = options.inputs.iter().enumerate().map(|(number, (shape, dtype))| {
        let numel: usize = shape.iter().product();
        let value = |at: usize| 1.0 + 0.7 * ((at + 31 * number + 1) as f64 * 12.9898).sin();
        Tensor::from_f64(shape.clone(), &(0..numel).map(value).collect::<Vec<f64>>()).cast(*dtype)
    });
    tensors.collect()
}

/// One unit, of each balanced block alike.
fn some(group: &Group) -> Vec<usize> {
    if group.balance.is_empty() {
        return vec![0];
    }
    group.balance.iter().map(|block| block[0]).collect()
}

fn removal(walked: &Walked, group: &Group) -> Result<Removal, String> {
    let param = &group.params[0];
    let id = walked.graph.param_named(&param.name).ok_or("a parameter of no graph")?;
    let indices: Vec<usize> = some(group)
        .iter()
        .flat_map(|&unit| param.indices[unit].clone())
        .collect();
    Removal::of_indices(walked, id, param.axis, &indices).map_err(|fault| fault.to_string())
}

fn run(graph: &Graph, given: &[Tensor], runtime: &Runtime) -> Result<Vec<Tensor>, String> {
    let given: Vec<_> = graph.inputs.iter().copied().zip(given.iter().cloned()).collect();
    let outputs = runtime.evaluate(graph, &given, &graph.output_values());
    outputs.map_err(|fault| fault.to_string())
}

fn equal(a: &[Tensor], b: &[Tensor]) -> bool {
    let close = |a: &Tensor, b: &Tensor| {
        let pairs = a.to_f64().into_iter().zip(b.to_f64());
        a.shape() == b.shape()
            && pairs
                .into_iter()
                .all(|(a, b)| a == b || (a - b).abs() <= 1e-6 * a.abs().max(b.abs()))
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
}

/// Removes units of every group alone and of all at once; with `strict` also holds that the equality fails when any
/// parameter of a group loses a channel less or more than the group says.
pub fn prove(composer: &Composer, runtime: &Runtime, strict: bool) -> Result<(), String> {
    let options = composer.options();
    let mut walked = walk(&composer.graph, &options, runtime);
    let found = coupling(&mut walked);
    let given = inputs(&options);
    run(&composer.graph, &given, runtime)?;
    let mut together = Removal::default();
    for group in &found.groups {
        let one = removal(&walked, group)?;
        together = together.and(one.clone());
        let place = |fault: String| {
            format!(
                "{:?}: {fault}",
                group.params.iter().map(|param| &param.name).collect::<Vec<_>>()
            )
        };
        hold(&walked, &options, &one, runtime, &given).map_err(place)?;
        if strict && group.params.len() > 1 {
            differs(&walked, &options, group, &one, runtime, &given).map_err(place)?;
        }
    }
    hold(&walked, &options, &together, runtime, &given)
}

fn hold(
    walked: &Walked,
    options: &Options,
    removal: &Removal,
    runtime: &Runtime,
    given: &[Tensor],
) -> Result<(), String> {
    match proof(walked, options, removal, runtime, given) {
        Ok(difference) if difference <= 1e-9 => Ok(()),
        Ok(difference) => Err(format!("differs by {difference:.1e}")),
        Err(fault) => Err(fault.to_string()),
    }
}

fn differs(
    walked: &Walked,
    options: &Options,
    group: &Group,
    removal: &Removal,
    runtime: &Runtime,
    given: &[Tensor],
) -> Result<(), String> {
    let smaller = remove(walked, options, removal, runtime).map_err(|fault| fault.to_string())?;
    let zeroed = run(
        &zero(walked, removal).map_err(|fault| fault.to_string())?,
        given,
        runtime,
    )?;
    if !equal(&run(&smaller, given, runtime)?, &zeroed) {
        return Err("the smaller network is not the zeroed one".into());
    }
    let gone = some(group);
    for param in &group.params {
        let Some(id) = walked.graph.param_named(&param.name) else {
            continue;
        };
        let at = id.0 as usize;
        let extent = walked.graph.params[at].tensor.shape()[param.axis];
        let taken: Vec<usize> = gone.iter().flat_map(|&unit| param.indices[unit].clone()).collect();
        let kept: Vec<usize> = (0..extent).filter(|index| !taken.contains(index)).collect();
        // A parameter that loses positions of two axes at once is varied on one of them only.
        let others: Vec<_> = group
            .params
            .iter()
            .filter(|other| other.name == param.name && other.axis != param.axis)
            .collect();
        for (what, stay) in [
            ("less", [&kept[..], &taken[..1]].concat()),
            ("more", kept[1..].to_vec()),
        ] {
            // One position would stretch over all.
            if stay.len() < 2 {
                continue;
            }
            let mut stay = stay;
            stay.sort_unstable();
            let whole = walked.graph.params[at].tensor.read();
            let mut tensor = whole.map_err(|fault| fault.to_string())?.select(param.axis, &stay);
            for other in &others {
                let lost: Vec<usize> = gone.iter().flat_map(|&unit| other.indices[unit].clone()).collect();
                let left: Vec<usize> = (0..tensor.shape()[other.axis])
                    .filter(|index| !lost.contains(index))
                    .collect();
                tensor = tensor.select(other.axis, &left);
            }
            let mut varied = smaller.clone();
            varied.params[at].tensor = tensor.into();
            if run(&varied, given, runtime).is_ok_and(|outputs| equal(&outputs, &zeroed)) {
                return Err(format!("{} may lose one channel {what}", param.name));
            }
        }
    }
    Ok(())
}
