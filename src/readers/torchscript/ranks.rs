//! How many dimensions results have, as far as operators alone tell.
//!
//! Owns one rule an operator, so that checks of `dim()` and loops over `size()` fold. A convolution's input counts as a
//! batch. Gives nothing where it is not sure; sizes are never used.

use crate::graph::{Arg, ValueId};

/// The number of dimensions of a node's result (of each element, for a list), if it is known.
pub fn rank(op: &str, args: &[(String, Arg)], rank_of: &dyn Fn(ValueId) -> Option<usize>) -> Option<usize> {
    let arg = |name: &str| args.iter().find(|(known, _)| known == name).map(|(_, arg)| arg);
    let of = |name: &str| arg(name).and_then(Arg::as_value).and_then(rank_of);
    let length = |name: &str| match arg(name) {
        Some(Arg::List(items)) => Some(items.len()),
        _ => None,
    };
    let first = || args.first().and_then(|(_, arg)| arg.as_value()).and_then(rank_of);
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
            reduced(arg("keepdim"), length("dim"))
        }
        "argmax" | "argmin" if arg("dim").is_some_and(|dim| *dim != Arg::None) => reduced(arg("keepdim"), Some(1)),
        "cat" | "stack" => {
            let Some((_, Arg::List(items))) = args.first() else {
                return None;
            };
            let rank = items.iter().find_map(Arg::as_value).and_then(rank_of)?;
            Some(if op.ends_with("stack") { rank + 1 } else { rank })
        }
        "add" | "sub" | "mul" | "div" | "pow" | "maximum" | "minimum" | "where" | "rsub" | "floor_divide" => {
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
        | "masked_fill"
        | "prelu"
        | "eq"
        | "ne"
        | "lt"
        | "gt"
        | "index_select"
        | "select_scatter"
        | "slice_scatter"
        | "__getitem__"
        | "prim::ListUnpack" => first(),
        _ => None,
    }
}
