//! Attention as one operator.

use super::elementwise::broadcast;
use super::linear::{multiply, note_batches};
use super::site::{each_times, product};
use super::{Fact, Op, Site, Sizes, Trouble};
use crate::labels::Axes;

pub(super) const OPS: &[Op] = &[
    Op::new("aten::scaled_dot_product_attention", scaled_dot_product)
        .costing(scaled_dot_product_macs)
        .sized(&[Sizes::Scale("scale")]),
    Op::new("aten::_native_multi_head_attention", fused).costing(fused_macs),
    Op::new("aten::_transformer_encoder_layer_fwd", fused_layer).costing(fused_layer_macs),
];

/// softmax(query · keyᵀ · scale + mask) · value over `[…, tokens, features]`.
fn scaled_dot_product(site: &mut Site) -> Result<(), Trouble> {
    let (query, key, value) = (
        site.tensor("query")?,
        site.tensor("key")?.axes,
        site.tensor("value")?.axes,
    );
    if query.axes.rank() < 2 || key.rank() < 2 || value.rank() < 2 {
        return Trouble::new("attention over fewer than two axes");
    }
    let (key, value) = match site.flag("enable_gqa") {
        true => (repeated(&key, &query.axes)?, repeated(&value, &query.axes)?),
        false => (key, value),
    };
    let mut turned = key.clone();
    let rank = turned.rank();
    turned.shape.swap(rank - 2, rank - 1);
    turned.rows.swap(rank - 2, rank - 1);
    let zero = [site.zero_argument("query"), site.zero_argument("key")];
    note_batches(site, &query.axes, &turned);
    let mut scores = multiply(site, &query.axes, &turned, zero)?;
    if let Some(mask) = site.optional_tensor("attn_mask")? {
        scores = broadcast(site, &[scores, mask.axes], "adds a mask to the scores")?;
    }
    let last = scores.rank() - 1;
    site.freeze_axes(&scores, [last], "normalises over them");
    let weights = scores.with_row(last, None);
    note_batches(site, &weights, &value);
    let output = multiply(site, &weights, &value, [false, site.zero_argument("value")])?;
    site.give([Fact::tensor(output, query.dtype)]);
    Ok(())
}

/// Keys or values of fewer heads than the queries have: each serves as many of theirs, one after the other. A single one
/// serves however many there are.
fn repeated(shared: &Axes, query: &Axes) -> Result<Axes, Trouble> {
    let mut axes = shared.clone();
    let (Some(own), Some(heads)) = (shared.rank().checked_sub(3), query.rank().checked_sub(3)) else {
        return Ok(axes);
    };
    if shared.shape[own] == 1 {
        return Ok(axes);
    }
    let times = query.shape[heads] / shared.shape[own].max(1);
    axes.shape[own] *= times;
    let row = each_times(shared.row(own), times)?;
    Ok(axes.with_row(own, row))
}

fn scaled_dot_product_macs(site: &Site) -> u64 {
    let (Ok(query), Ok(key)) = (site.tensor("query"), site.tensor("key")) else {
        return 0;
    };
    let tokens = |axes: &Axes| axes.shape.iter().rev().nth(1).map_or(0, |&n| n as u64);
    let elements = product(&query.axes.shape).saturating_add(site.out_elements());
    elements.saturating_mul(tokens(&key.axes))
}

/// The fused fast path asks for one width everywhere: input, heads and output keep it.
fn fused(site: &mut Site) -> Result<(), Trouble> {
    let query = site.tensor("query")?;
    freeze_tensors(site, &[], "asks for one width of input, heads and output");
    let (batch, tokens) = match query.axes.shape[..] {
        [batch, tokens, _] => (batch, tokens),
        _ => return Trouble::new("the query has not three axes"),
    };
    let weights = if site.flag("need_weights") {
        vec![batch, tokens, tokens]
    } else {
        vec![0]
    };
    site.give([
        Fact::fixed(query.axes.shape, query.dtype),
        Fact::fixed(weights, query.dtype),
    ]);
    Ok(())
}

/// The fused encoder layer keeps one width but for what its feed-forward part has between its two layers.
fn fused_layer(site: &mut Site) -> Result<(), Trouble> {
    let input = site.tensor("src")?;
    let [first, shift, second] = ["ffn_weight_1", "ffn_bias_1", "ffn_weight_2"].map(|name| site.tensor(name));
    let (first, shift, second) = (first?.axes, shift?.axes, second?.axes);
    let hidden = site.join(first.row(0), shift.row(0), "adds a bias to each");
    let zero = [
        site.zero_argument("ffn_weight_1") && site.zero_argument("ffn_bias_1"),
        site.zero_argument("ffn_weight_2"),
    ];
    site.sum_over(hidden.as_ref(), second.row(1), zero, "feeds them forward");
    let free = [("ffn_weight_1", 0), ("ffn_bias_1", 0), ("ffn_weight_2", 1)];
    freeze_tensors(site, &free, "asks for one width throughout");
    site.give([Fact::fixed(input.axes.shape, input.dtype)]);
    Ok(())
}

/// Freezes every axis of every tensor but those named.
fn freeze_tensors(site: &mut Site, free: &[(&str, usize)], what: &'static str) {
    let mut frozen = Vec::new();
    for (name, fact) in site.facts() {
        let Fact::Tensor(tensor) = fact else { continue };
        let kept = (0..tensor.axes.rank()).filter(|&axis| !free.contains(&(name, axis)));
        frozen.extend(kept.filter_map(|axis| tensor.axes.row(axis).cloned()));
    }
    let why = site.why(what);
    frozen.iter().for_each(|row| site.labels.freeze(row, why));
}

/// Four projections and two products.
fn attention_macs(input: &Axes) -> u64 {
    match input.shape[..] {
        [batch, tokens, width] => {
            let each = product(&[4, width]).saturating_add(product(&[2, tokens]));
            product(&[batch, tokens, width]).saturating_mul(each)
        }
        _ => 0,
    }
}

fn fused_macs(site: &Site) -> u64 {
    site.tensor("query").map_or(0, |query| attention_macs(&query.axes))
}

/// Attention and the two layers of the feed-forward part.
fn fused_layer_macs(site: &Site) -> u64 {
    let (Ok(input), Ok(hidden)) = (site.tensor("src"), site.tensor("ffn_bias_1")) else {
        return 0;
    };
    let hidden = product(&hidden.axes.shape).saturating_mul(2);
    let forward = product(&input.axes.shape).saturating_mul(hidden);
    attention_macs(&input.axes).saturating_add(forward)
}
