//! Attention as one operator.

use super::elementwise::broadcast;
use super::linear::multiply;
use super::{Fact, Op, Site, Sizes, Trouble};
use crate::labels::Axes;

pub(super) const OPS: &[Op] = &[Op::new("aten::scaled_dot_product_attention", scaled_dot_product)
    .costing(scaled_dot_product_macs)
    .sized(&[Sizes::Scale("scale")])];

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
    if site.flag("enable_gqa") {
        return Trouble::new("grouped-query attention by flag has no rule");
    }
    let mut turned = key.clone();
    let rank = turned.rank();
    turned.shape.swap(rank - 2, rank - 1);
    turned.rows.swap(rank - 2, rank - 1);
    let mut scores = multiply(site, &query.axes, &turned)?;
    if let Some(mask) = site.optional_tensor("attn_mask")? {
        scores = broadcast(site, &[scores, mask.axes], "adds a mask to the scores")?;
    }
    let last = scores.rank() - 1;
    site.freeze_axes(&scores, [last], "normalises over them");
    let weights = scores.with_row(last, None);
    let output = multiply(site, &weights, &value)?;
    site.give([Fact::tensor(output, query.dtype)]);
    Ok(())
}

fn scaled_dot_product_macs(site: &Site) -> u64 {
    let (Ok(query), Ok(key)) = (site.tensor("query"), site.tensor("key")) else {
        return 0;
    };
    let tokens = |axes: &Axes| axes.shape.iter().rev().nth(1).map_or(0, |&n| n as u64);
    let scores: u64 = query.axes.shape.iter().map(|&n| n as u64).product::<u64>() * tokens(&key.axes);
    scores + site.out_elements() * tokens(&key.axes)
}
