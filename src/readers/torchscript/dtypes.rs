//! Element types of results, as far as operators alone tell.
//!
//! Owns one rule an operator, so that checks that two tensors have one element type fold. Gives nothing where it is not
//! sure: a layer's result has the type of its weight, for PyTorch refuses to mix them.

use crate::graph::{Arg, ValueId};
use crate::tensor::DType;

/// The element type of a node's result (of each element, for a list), if it is known.
pub fn dtype(op: &str, args: &[(String, Arg)], dtype_of: &dyn Fn(ValueId) -> Option<DType>) -> Option<DType> {
    // Asked for another one.
    if args.iter().any(|(name, arg)| name == "dtype" && *arg != Arg::None) {
        return None;
    }
    let of = |name: &str| {
        let found = args.iter().find(|(known, _)| known == name);
        found.and_then(|(_, arg)| arg.as_value()).and_then(dtype_of)
    };
    let first = || args.first().and_then(|(_, arg)| arg.as_value()).and_then(dtype_of);
    match op.strip_prefix("aten::").unwrap_or(op) {
        "conv1d" | "conv2d" | "conv3d" | "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d"
        | "_convolution" | "_convolution_mode" | "convolution" | "linear" | "embedding" => of("weight"),
        "cat" | "stack" => {
            let Some((_, Arg::List(items))) = args.first() else {
                return None;
            };
            let mut types = items.iter().map(|item| item.as_value().and_then(dtype_of));
            let first = types.next()??;
            types.all(|ty| ty == Some(first)).then_some(first)
        }
        // A number changes no float type.
        "add" | "sub" | "mul" | "div" => {
            let left = of("self")?;
            let right = match args.iter().find(|(name, _)| name == "other").map(|(_, arg)| arg) {
                Some(Arg::Int(_) | Arg::Float(_)) => Some(left),
                _ => of("other"),
            };
            (right == Some(left) && left.is_float()).then_some(left)
        }
        // Of integers they make floats.
        "sigmoid" | "softmax" => first().filter(|dtype| dtype.is_float()),
        "relu"
        | "gelu"
        | "silu"
        | "hardswish"
        | "dropout"
        | "batch_norm"
        | "layer_norm"
        | "group_norm"
        | "max_pool2d"
        | "avg_pool2d"
        | "adaptive_avg_pool2d"
        | "matmul"
        | "contiguous"
        | "clone"
        | "detach"
        | "alias"
        | "view"
        | "reshape"
        | "flatten"
        | "unflatten"
        | "permute"
        | "transpose"
        | "expand"
        | "unsqueeze"
        | "squeeze"
        | "select"
        | "slice"
        | "narrow"
        | "roll"
        | "flip"
        | "unbind"
        | "chunk"
        | "split"
        | "split_with_sizes"
        | "__getitem__"
        | "prim::ListUnpack" => first(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_sure_is_not_known() {
        let of = |op: &str, more: &[(&str, Arg)], given: DType| {
            let mut args = vec![("self".to_owned(), Arg::Value(ValueId(0)))];
            args.extend(more.iter().map(|(name, arg)| ((*name).to_owned(), arg.clone())));
            dtype(op, &args, &|_| Some(given))
        };
        let (as_it_is, other) = (("dtype", Arg::None), ("dtype", Arg::Int(7)));
        for op in ["aten::softmax", "aten::view"] {
            assert_eq!(of(op, std::slice::from_ref(&as_it_is), DType::F32), Some(DType::F32));
            assert_eq!(of(op, std::slice::from_ref(&other), DType::F32), None);
        }
        assert_eq!(of("aten::sigmoid", &[], DType::F16), Some(DType::F16));
        assert_eq!(of("aten::sigmoid", &[], DType::I64), None);
        assert_eq!(of("aten::relu", &[], DType::I64), Some(DType::I64));
    }
}
