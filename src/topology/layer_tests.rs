//! Which layers a group takes channels from, where their weights are not plainly those of one module.

use super::{Options, coupling, flops, layers, walk};
use crate::graph::testing::{Builder, ints};
use crate::graph::{Arg, Module, NoEvaluator, Type, ValueId};

/// A group: its units, the layers that lose output channels and those that lose input channels.
type Found = (usize, Vec<String>, Vec<String>);

/// The groups of what `body` makes of an input and the names of the layers that are frozen.
fn found(shape: &[usize], body: impl Fn(&mut Builder, ValueId) -> ValueId) -> (Vec<Found>, Vec<String>) {
    let mut b = Builder::default();
    let x = b.input();
    let out = body(&mut b, x);
    let graph = b.finish(out);
    let mut walked = walk(&graph, &Options::of_shapes([shape.to_vec()]), &NoEvaluator);
    assert_eq!(walked.issues, []);
    let found = coupling(&mut walked);
    let groups = found.groups.into_iter();
    (
        groups.map(|group| (group.units, group.outputs, group.inputs)).collect(),
        found.frozen.into_iter().map(|frozen| frozen.layer).collect(),
    )
}

fn group(units: usize, outputs: &[&str], inputs: &[&str]) -> Found {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    (units, owned(outputs), owned(inputs))
}

fn linear(b: &mut Builder, x: ValueId, weight: ValueId) -> ValueId {
    b.op("linear", &[("input", Arg::Value(x)), ("weight", Arg::Value(weight))])
}

#[test]
fn a_depthwise_transposed_convolution_loses_outputs_with_its_inputs() {
    for each in [1, 2] {
        let (groups, frozen) = found(&[2, 3, 5, 5], |b, x| {
            let x = b.conv("first", x, 3, 8, 1);
            let weight = b.param("up.weight", &[8, each, 2, 2]);
            let args = [("stride", ints(&[2, 2])), ("padding", ints(&[0, 0]))];
            let more = [
                ("output_padding", ints(&[0, 0])),
                ("dilation", ints(&[1, 1])),
                ("groups", Arg::Int(8)),
            ];
            let read = [("input", Arg::Value(x)), ("weight", Arg::Value(weight))];
            let up = b.op("conv_transpose2d", &[&read[..], &args, &more].concat());
            b.conv("last", up, 8 * each, 3, 1)
        });
        assert_eq!(
            groups,
            [group(8, &["first", "up"], &["up", "last"])],
            "{each} filters a channel"
        );
        assert_eq!(frozen, ["last"]);
    }
}

#[test]
fn a_weight_under_a_norm_belongs_to_its_module() {
    for [direction, length] in [
        ["first.weight_v", "first.weight_g"],
        [
            "first.parametrizations.weight.original1",
            "first.parametrizations.weight.original0",
        ],
    ] {
        let (groups, frozen) = found(&[2, 4], |b, x| {
            let (v, g) = (b.param(direction, &[6, 4]), b.param(length, &[6, 1]));
            let weight = b.op(
                "_weight_norm",
                &[("v", Arg::Value(v)), ("g", Arg::Value(g)), ("dim", Arg::Int(0))],
            );
            let hidden = linear(b, x, weight);
            b.linear("last", hidden, 6, 3)
        });
        assert_eq!(groups, [group(6, &["first"], &["last"])], "{direction}");
        assert_eq!(frozen, ["last"]);
    }
}

#[test]
fn parts_of_one_parameter_are_one_layer() {
    let (groups, frozen) = found(&[2, 4], |b, x| {
        let all = b.param("attention.in_proj_weight", &[12, 4]);
        let part = |b: &mut Builder, at: i64| {
            let place = [("dim", Arg::Int(0)), ("start", Arg::Int(at)), ("end", Arg::Int(at + 6))];
            let weight = b.unary("slice", all, &place);
            linear(b, x, weight)
        };
        let (near, far) = (part(b, 0), part(b, 6));
        let sum = b.binary("add", near, far);
        b.linear("attention.out_proj", sum, 6, 3)
    });
    assert_eq!(groups, [group(6, &["attention"], &["attention.out_proj"])]);
    assert_eq!(frozen, ["attention.out_proj"]);
}

#[test]
fn several_weights_of_one_module_go_by_their_own_names() {
    let body = |b: &mut Builder, x: ValueId| {
        let near = b.param("attention.q_proj_weight", &[6, 4]);
        let far = b.param("attention.k_proj_weight", &[6, 4]);
        let (near, far) = (linear(b, x, near), linear(b, x, far));
        let sum = b.binary("add", near, far);
        b.linear("last", sum, 6, 3)
    };
    let (groups, _) = found(&[2, 4], body);
    let names = ["attention.q_proj_weight", "attention.k_proj_weight"];
    assert_eq!(groups, [group(6, &names, &["last"])]);
    let mut b = Builder::default();
    let x = b.input();
    let out = body(&mut b, x);
    let layers = layers(&b.finish(out));
    let found: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(found, [&names[..], &["last"]].concat());
}

#[test]
fn a_weight_that_a_product_reads_is_a_layer() {
    let (groups, frozen) = found(&[2, 4], |b, x| {
        let weight = b.param("block.w", &[4, 6]);
        let hidden = b.binary("matmul", x, weight);
        b.linear("last", hidden, 6, 3)
    });
    assert_eq!(groups, [group(6, &["block"], &["last"])]);
    assert_eq!(frozen, ["last"]);
}

#[test]
fn recurrent_weights_are_layers_of_their_own_names() {
    let (groups, _) = found(&[2, 5, 4], |b, x| {
        let params = [("weight_ih_l0", [9, 4]), ("weight_hh_l0", [9, 3])];
        let params = params.map(|(name, shape)| Arg::Value(b.param(&format!("gru.{name}"), &shape)));
        let start = b.op("zeros", &[("size", ints(&[1, 2, 3]))]);
        let args = [
            ("input", Arg::Value(x)),
            ("hx", Arg::Value(start)),
            ("params", Arg::List(params.to_vec())),
            ("has_biases", Arg::Bool(false)),
            ("num_layers", Arg::Int(1)),
            ("dropout", Arg::Float(0.0)),
            ("train", Arg::Bool(false)),
            ("bidirectional", Arg::Bool(false)),
            ("batch_first", Arg::Bool(true)),
        ];
        let both = b.op_of("gru", &args, Type::Tuple(vec![Type::Tensor, Type::Tensor]));
        let read = b.unpack(both, 2)[0];
        b.linear("last", read, 3, 2)
    });
    let outputs = ["gru.weight_ih_l0", "gru.weight_hh_l0"];
    assert_eq!(groups, [group(3, &outputs, &["gru.weight_hh_l0", "last"])]);
}

/// The encoder layer of PyTorch's fast path, of width 4 and two heads, with 6 features between its last two layers.
fn fused(b: &mut Builder, x: ValueId, module: &str) -> ValueId {
    let mut args = vec![
        ("src", Arg::Value(x)),
        ("embed_dim", Arg::Int(4)),
        ("num_heads", Arg::Int(2)),
    ];
    for (name, param, shape) in [
        ("qkv_weight", "self_attn.in_proj_weight", &[12, 4][..]),
        ("proj_weight", "self_attn.out_proj.weight", &[4, 4]),
        ("norm_weight_1", "norm1.weight", &[4]),
        ("norm_weight_2", "norm2.weight", &[4]),
        ("ffn_weight_1", "linear1.weight", &[6, 4]),
        ("ffn_bias_1", "linear1.bias", &[6]),
        ("ffn_weight_2", "linear2.weight", &[4, 6]),
    ] {
        args.push((name, Arg::Value(b.param(&format!("{module}{param}"), shape))));
    }
    b.op("_transformer_encoder_layer_fwd", &args)
}

#[test]
fn the_layers_of_a_fused_encoder_layer_are_known() {
    let (groups, frozen) = found(&[2, 5, 4], |b, x| fused(b, x, ""));
    assert_eq!(groups, [group(6, &["linear1"], &["linear2"])]);
    assert_eq!(frozen, ["self_attn", "self_attn.out_proj", "linear2"]);
}

#[test]
fn what_applies_the_weights_of_several_modules_costs_the_one_that_holds_them() {
    let mut b = Builder::default();
    let x = b.input();
    let out = fused(&mut b, x, "layers.0.");
    for (path, class) in [("layers.0", "TransformerEncoderLayer"), ("layers.0.linear1", "Linear")] {
        b.graph.modules.push(Module {
            path: path.into(),
            class: class.into(),
        });
    }
    let graph = b.finish(out);
    let walked = walk(&graph, &Options::of_shapes([vec![2, 5, 4]]), &NoEvaluator);
    let rows = flops(&walked, 2).rows;
    let costs: Vec<(&str, u64)> = rows.iter().map(|row| (row.layer.as_str(), row.macs)).collect();
    assert_eq!(costs, [("layers.0", 760), ("layers.0.linear1", 0)]);
}
