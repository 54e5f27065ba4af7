//! Recurrent layers: LSTM, GRU and plain ones, of several layers and both directions, and single steps of them.
//!
//! A hidden unit is one position in every gate, of every layer and direction: the module has one hidden size, and one
//! tensor holds the state of them all. Without parameters its state stays zero when it starts at zero, whatever it reads.

use super::site::product;
use super::{Fact, Op, Site, TensorFact, Trouble, Zeros};
use crate::labels::{Axes, Row, concat};

pub(super) const OPS: &[Op] = &[
    Op::new("aten::lstm", recurrent).costing(macs).zero(Zeros::Start),
    Op::new("aten::gru", recurrent).costing(macs).zero(Zeros::Start),
    Op::new("aten::rnn_tanh", recurrent).costing(macs).zero(Zeros::Start),
    Op::new("aten::rnn_relu", recurrent).costing(macs).zero(Zeros::Start),
    Op::new("aten::lstm_cell", recurrent).costing(macs).zero(Zeros::Start),
    Op::new("aten::gru_cell", recurrent).costing(macs).zero(Zeros::Start),
    Op::new("aten::rnn_tanh_cell", recurrent)
        .costing(macs)
        .zero(Zeros::Start),
    Op::new("aten::rnn_relu_cell", recurrent)
        .costing(macs)
        .zero(Zeros::Start),
];

const STEPS: &str = "carries them from step to step";

/// Blocks of hidden units in a gate's weight.
fn gates(site: &Site) -> usize {
    match site.node.short() {
        "lstm" | "lstm_cell" => 4,
        "gru" | "gru_cell" => 3,
        _ => 1,
    }
}

/// Weights of one direction of one layer.
struct Cell {
    input: TensorFact,
    hidden: TensorFact,
    biases: Vec<TensorFact>,
}

/// Whether the operator takes one step only.
fn steps_once(site: &Site) -> bool {
    site.node.arg("w_ih").is_some()
}

fn cells(site: &Site) -> Result<(Vec<Cell>, usize), Trouble> {
    if steps_once(site) {
        let biases = [site.optional_tensor("b_ih")?, site.optional_tensor("b_hh")?];
        let cell = Cell {
            input: site.tensor("w_ih")?,
            hidden: site.tensor("w_hh")?,
            biases: biases.into_iter().flatten().collect(),
        };
        return Ok((vec![cell], 1));
    }
    let directions = if site.flag("bidirectional") { 2 } else { 1 };
    let each = if site.flag("has_biases") { 4 } else { 2 };
    let params = site.tensors("params")?;
    let count = usize::try_from(site.int("num_layers")?).unwrap_or(0);
    let count = count.min(params.len()) * directions;
    if count == 0 || params.len() != count * each {
        return Trouble::new(format!(
            "{} weights for {count} cells: projections have no rule",
            params.len()
        ));
    }
    let cells = params.chunks(each).map(|own| Cell {
        input: own[0].clone(),
        hidden: own[1].clone(),
        biases: own[2..].to_vec(),
    });
    Ok((cells.collect(), directions))
}

fn states(site: &Site) -> Result<Vec<TensorFact>, Trouble> {
    match site.fact("hx") {
        Fact::List(_) => site.tensors("hx"),
        _ => Ok(vec![site.tensor("hx")?]),
    }
}

fn recurrent(site: &mut Site) -> Result<(), Trouble> {
    if site.node.arg("batch_sizes").is_some() {
        return Trouble::new("packed sequences have no rule");
    }
    let input = site.tensor("input")?;
    let (cells, directions) = cells(site)?;
    let (states, gates) = (states(site)?, gates(site));
    let (Some(last), Some(size)) = (
        input.axes.rank().checked_sub(1),
        cells[0].hidden.axes.shape.get(1).copied(),
    ) else {
        return Trouble::new("the input or a weight has no axes");
    };
    // Everything but the features is steps or samples.
    site.freeze_axes(&input.axes, 0..last, "steps over it");

    let mut unit = cells[0].hidden.axes.row(1).cloned();
    for state in &states {
        let axis = state.axes.rank().saturating_sub(1);
        site.freeze_axes(&state.axes, 0..axis, "steps over it");
        unit = site.join(unit.as_ref(), state.axes.row(axis), STEPS);
    }
    for cell in &cells {
        unit = site.join(unit.as_ref(), cell.hidden.axes.row(1), STEPS);
        for gate in [&cell.input, &cell.hidden].into_iter().chain(&cell.biases) {
            let block = match gate.axes.row(0) {
                Some(row) => Some(Row::from(site.tie_blocks(row, gates, "gates each of them")?)),
                None => None,
            };
            unit = site.join(unit.as_ref(), block.as_ref(), "gates each of them");
        }
    }
    // Each layer reads the input, or both directions of the layer before it.
    let both = unit.as_ref().map(|unit| unit.repeat(directions).into());
    for (at, cell) in cells.iter().enumerate() {
        let read = if at < directions {
            input.axes.row(last).cloned()
        } else {
            both.clone()
        };
        site.join(read.as_ref(), cell.input.axes.row(1), "sums over its input features");
    }

    let mut output = input.axes.clone();
    output.rows.fill(None);
    output.shape[last] = size * directions;
    let made = concat(&vec![(size, unit.as_ref()); directions]);
    let mut facts = Vec::new();
    if !steps_once(site) {
        facts.push(Fact::tensor(output.with_row(last, made), input.dtype));
    }
    facts.extend(states.into_iter().map(|state| {
        let axis = state.axes.rank().saturating_sub(1);
        let axes = Axes::fixed(state.axes.shape.clone());
        Fact::tensor(axes.with_row(axis, unit.clone()), state.dtype)
    }));
    site.give(facts);
    Ok(())
}

/// Every weight once a step and sample.
fn macs(site: &Site) -> u64 {
    let (Ok(input), Ok((cells, _))) = (site.tensor("input"), cells(site)) else {
        return 0;
    };
    let Some((_, steps)) = input.axes.shape.split_last() else {
        return 0;
    };
    let elements = |tensor: &TensorFact| product(&tensor.axes.shape);
    let weights = cells
        .iter()
        .flat_map(|cell| [elements(&cell.input), elements(&cell.hidden)]);
    product(steps).saturating_mul(weights.fold(0, u64::saturating_add))
}
