//! How many dimensions results have, as far as operators alone tell.
//!
//! Owns one rule an operator, so that checks of `dim()` and loops over `size()` fold. A convolution's input counts as a
//! batch. Gives nothing where it is not sure; sizes are never used.

use crate::graph::{Arg, ValueId};

/// The number of dimensions of a node's result (of each element, for a list), if it is known.
pub fn rank(op: &str, args: &[(String, Arg)], rank_of: &dyn Fn(ValueId) -> Option<usize>) -> Option<usize> {
    let arg = |name: &str| args.iter().find(|(known, _)| known == name).map(|(_, arg)| arg);
    let of = |name: &str| arg(name).and_then(Arg::as_value).and_then(rank_of);
    let first = || args.first().and_then(|(_, arg)| arg.as_value()).and_then(rank_of);
    let items = || match args.first() {
        Some((_, Arg::List(items))) => Some(items),
        _ => None,
    };
    // No axes, or an empty list of them, means all.
    let axes = |name: &str| match arg(name) {
        Some(Arg::List(items)) if !items.is_empty() => Some(items.len()),
        Some(Arg::List(_) | Arg::None) => first(),
        Some(Arg::Int(_)) => Some(1),
        _ => None,
    };
    let length = |name: &str| match arg(name) {
        Some(Arg::List(items)) => Some(items.len()),
        _ => None,
    };
    let reduced = |kept: Option<&Arg>, dims: Option<usize>| match kept {
        Some(Arg::Bool(true)) => first(),
        _ => first()?.checked_sub(dims?),
    };
    match op.strip_prefix("aten::").unwrap_or(op) {
        "conv1d" => Some(3),
        "conv2d" | "conv_transpose2d" | "_convolution_mode" | "_convolution" | "convolution" | "conv_transpose1d"
        | "conv3d" | "conv_transpose3d" => of("weight"),
        "embedding" => Some(of("indices")? + 1),
        "view" | "expand" | "broadcast_to" => length("size"),
        "reshape" => length("shape"),
        "zeros" | "ones" | "full" | "new_zeros" | "new_ones" | "new_full" => length("size"),
        "reshape_as" | "view_as" | "expand_as" => of("other"),
        "permute" => length("dims"),
        "unsqueeze" => Some(first()? + 1),
        "select" => first()?.checked_sub(1),
        "unbind" => first()?.checked_sub(1),
        "flatten" => {
            let rank = first()? as i64;
            let dim = |name: &str| {
                arg(name)
                    .and_then(Arg::as_int)
                    .map(|dim| if dim < 0 { dim + rank } else { dim })
            };
            let (start, end) = (dim("start_dim")?, dim("end_dim")?);
            usize::try_from(rank - (end - start)).ok()
        }
        "unflatten" => Some(first()? + length("sizes")?.checked_sub(1)?),
        "mean" | "sum" | "amax" | "amin" | "linalg_vector_norm" | "var" | "std" if arg("dim").is_some() => {
            reduced(arg("keepdim"), axes("dim"))
        }
        "argmax" | "argmin" if arg("dim").is_some_and(|dim| *dim != Arg::None) => reduced(arg("keepdim"), Some(1)),
        "stack" => Some(items()?.iter().find_map(Arg::as_value).and_then(rank_of)? + 1),
        // An empty tensor of one axis may stand beside tensors of any other number.
        "cat" => {
            let ranks = items()?.iter().map(|item| item.as_value().and_then(rank_of));
            let ranks: Vec<Option<usize>> = ranks.collect();
            match ranks.iter().flatten().find(|&&rank| rank > 1) {
                Some(&rank) => Some(rank),
                None => ranks.iter().all(Option::is_some).then_some(1),
            }
        }
        "add" | "sub" | "mul" | "div" | "pow" | "maximum" | "minimum" | "where" | "rsub" | "floor_divide" | "eq"
        | "ne" | "lt" | "le" | "gt" | "ge" | "masked_fill" => {
            let mut ranks = args.iter().filter_map(|(_, arg)| arg.as_value()).map(rank_of);
            ranks.try_fold(0, |most, rank| Some(most.max(rank?)))
        }
        "matmul" => {
            let (left, right) = (first()?, of("other")?);
            (left >= 2 && right >= 2).then_some(left.max(right))
        }
        "scaled_dot_product_attention" => of("query"),
        // The same number as the first argument.
        "relu"
        | "relu6"
        | "gelu"
        | "silu"
        | "mish"
        | "sigmoid"
        | "tanh"
        | "hardswish"
        | "hardsigmoid"
        | "hardtanh"
        | "leaky_relu"
        | "elu"
        | "selu"
        | "softplus"
        | "softmax"
        | "log_softmax"
        | "exp"
        | "sqrt"
        | "rsqrt"
        | "neg"
        | "abs"
        | "clamp"
        | "clamp_min"
        | "clamp_max"
        | "dropout"
        | "feature_dropout"
        | "alpha_dropout"
        | "batch_norm"
        | "instance_norm"
        | "layer_norm"
        | "group_norm"
        | "rms_norm"
        | "linear"
        | "transpose"
        | "contiguous"
        | "clone"
        | "detach"
        | "alias"
        | "to"
        | "slice"
        | "narrow"
        | "roll"
        | "flip"
        | "pad"
        | "constant_pad_nd"
        | "max_pool1d"
        | "max_pool2d"
        | "max_pool3d"
        | "avg_pool1d"
        | "avg_pool2d"
        | "avg_pool3d"
        | "adaptive_avg_pool1d"
        | "adaptive_avg_pool2d"
        | "adaptive_avg_pool3d"
        | "adaptive_max_pool2d"
        | "upsample_nearest1d"
        | "upsample_nearest2d"
        | "upsample_bilinear2d"
        | "upsample_bicubic2d"
        | "upsample_linear1d"
        | "pixel_shuffle"
        | "pixel_unshuffle"
        | "channel_shuffle"
        | "chunk"
        | "split"
        | "split_with_sizes"
        | "copy"
        | "fill"
        | "zero"
        | "zeros_like"
        | "ones_like"
        | "cumsum"
        | "prelu"
        | "index_select"
        | "select_scatter"
        | "slice_scatter"
        | "__getitem__"
        | "prim::ListUnpack" => first(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rank of a result; value N has N axes.
    fn of(op: &str, args: &[(&str, Arg)]) -> Option<usize> {
        let args: Vec<(String, Arg)> = args
            .iter()
            .map(|(name, arg)| ((*name).to_owned(), arg.clone()))
            .collect();
        rank(op, &args, &|value| (value.0 < 9).then_some(value.0 as usize))
    }

    #[test]
    fn reductions_without_axes_reduce_all() {
        let tensor = ("self", Arg::Value(ValueId(4)));
        let axes = |axes: &[i64]| ("dim", Arg::List(axes.iter().map(|&axis| Arg::Int(axis)).collect()));
        let keeps = |keep| ("keepdim", Arg::Bool(keep));
        for op in ["aten::sum", "aten::amax", "aten::mean"] {
            assert_eq!(of(op, &[tensor.clone(), axes(&[]), keeps(false)]), Some(0), "{op}");
            assert_eq!(of(op, &[tensor.clone(), axes(&[]), keeps(true)]), Some(4), "{op}");
            assert_eq!(
                of(op, &[tensor.clone(), ("dim", Arg::None), keeps(false)]),
                Some(0),
                "{op}"
            );
            assert_eq!(of(op, &[tensor.clone(), axes(&[2, 3]), keeps(false)]), Some(2), "{op}");
        }
    }

    #[test]
    fn comparisons_stretch_and_empty_tensors_join_nothing() {
        let value = |rank| Arg::Value(ValueId(rank));
        for op in ["aten::eq", "aten::ge", "aten::masked_fill"] {
            assert_eq!(of(op, &[("self", value(1)), ("other", value(4))]), Some(4), "{op}");
            assert_eq!(of(op, &[("self", value(1)), ("other", Arg::Int(4))]), Some(1), "{op}");
            assert_eq!(of(op, &[("self", value(1)), ("other", value(9))]), None, "{op}");
        }
        let all = |ranks: &[u32]| ("tensors", Arg::List(ranks.iter().map(|&rank| value(rank)).collect()));
        assert_eq!(of("aten::cat", &[all(&[1, 4])]), Some(4));
        assert_eq!(of("aten::cat", &[all(&[9, 4])]), Some(4));
        assert_eq!(of("aten::cat", &[all(&[1, 1])]), Some(1));
        assert_eq!(of("aten::cat", &[all(&[1, 9])]), None);
        assert_eq!(of("aten::stack", &[all(&[2, 2])]), Some(3));
    }
}
