//! Small networks and what must go together in them; each group is also removed, and the result checked.

use super::{Coupling, Group, Options, Walked, channel_sets, coupling, input_channel_sets, walk};
use crate::graph::testing::{Builder, ints};
use crate::graph::{Arg, Graph, NoEvaluator, ParamId, ValueId};
use crate::labels::Split;
use crate::prune::{PruneError, Removal, remove};
use crate::tensor::{DType, Load, Tensor, Weight, WeightError};

/// Walks, couples, and removes: one unit of each group and then a half, of each balanced block alike, and a half of all
/// groups at once.
fn check(graph: &Graph, shape: &[usize]) -> Coupling {
    check_with(graph, &Options::of_shapes([shape.to_vec()]))
}

fn check_with(graph: &Graph, options: &Options) -> Coupling {
    let mut walked = walk(graph, options, &NoEvaluator);
    let found = coupling(&mut walked);
    let mut together = Removal::default();
    for group in &found.groups {
        let one = some(group, |_| 1);
        let half = some(group, |units| units / 2);
        for units in [&one, &half] {
            let smaller = remove(&walked, options, &removal(&walked, group, units), &NoEvaluator);
            let smaller = smaller.unwrap_or_else(|fault| panic!("{:?}: {fault}", group.outputs));
            for param in &group.params {
                let extent = |graph: &Graph| {
                    let known = graph.params.iter().find(|known| known.name() == param.name);
                    known.map_or(0, |known| known.tensor.shape()[param.axis])
                };
                let gone: usize = units.iter().map(|&unit| param.indices[unit].len()).sum();
                assert_eq!(
                    extent(&smaller) + gone,
                    extent(graph),
                    "{} axis {}",
                    param.name,
                    param.axis
                );
            }
        }
        together = together.and(removal(&walked, group, &half));
    }
    let smaller = remove(&walked, options, &together, &NoEvaluator);
    assert!(smaller.is_ok(), "all at once: {:?}", smaller.err());
    found
}

/// So many units of a group, of each balanced block alike.
fn some(group: &Group, count: impl Fn(usize) -> usize) -> Vec<usize> {
    if group.balance.is_empty() {
        return (0..count(group.units)).collect();
    }
    let blocks = group.balance.iter();
    blocks.flat_map(|block| block[..count(block.len())].to_vec()).collect()
}

fn removal(walked: &Walked, group: &Group, units: &[usize]) -> Removal {
    let param = &group.params[0];
    let id = walked
        .graph
        .params
        .iter()
        .position(|known| known.name() == param.name)
        .expect("the group's parameter");
    let indices: Vec<usize> = units.iter().flat_map(|&unit| param.indices[unit].clone()).collect();
    Removal::of_indices(walked, ParamId(id as u32), param.axis, &indices).expect("units of a group may go")
}

fn outputs(found: &Coupling) -> Vec<(usize, Vec<&str>)> {
    found
        .groups
        .iter()
        .map(|group| (group.units, group.outputs.iter().map(String::as_str).collect()))
        .collect()
}

fn head(builder: &mut Builder, x: ValueId, channels: usize) -> ValueId {
    let pooled = builder.unary("adaptive_avg_pool2d", x, &[("output_size", ints(&[1, 1]))]);
    let flat = builder.unary(
        "flatten",
        pooled,
        &[("start_dim", Arg::Int(1)), ("end_dim", Arg::Int(-1))],
    );
    builder.linear("fc", flat, channels, 3)
}

#[test]
fn a_residual_ties_its_two_ends() {
    let mut b = Builder::default();
    let x = b.input();
    let stem = b.conv("conv1", x, 3, 8, 1);
    let stem = b.batch_norm("bn1", stem, 8);
    let inner = b.conv("conv2", stem, 8, 6, 1);
    let inner = b.unary("relu", inner, &[]);
    let outer = b.conv("conv3", inner, 6, 8, 1);
    let sum = b.binary("add", stem, outer);
    let out = head(&mut b, sum, 8);
    let graph = b.finish(out);
    let found = check(&graph, &[2, 3, 5, 5]);
    assert_eq!(outputs(&found), [(8, vec!["conv1", "conv3"]), (6, vec!["conv2"])]);
    let names: Vec<(&str, usize)> = found.groups[0]
        .params
        .iter()
        .map(|param| (param.name.as_str(), param.axis))
        .collect();
    let expected = [
        ("conv1.weight", 0),
        ("conv1.bias", 0),
        ("bn1.weight", 0),
        ("bn1.bias", 0),
        ("bn1.running_mean", 0),
        ("bn1.running_var", 0),
        ("conv2.weight", 1),
        ("conv3.weight", 0),
        ("conv3.bias", 0),
        ("fc.weight", 1),
    ];
    assert_eq!(names, expected);
    assert_eq!(
        found
            .frozen
            .iter()
            .map(|frozen| frozen.layer.as_str())
            .collect::<Vec<_>>(),
        ["fc"]
    );
    let walked = walk(&graph, &Options::of_shapes([vec![1, 3, 5, 5]]), &NoEvaluator);
    assert_eq!(
        channel_sets(&walked),
        [vec!["conv1", "conv3"], vec!["conv2"], vec!["fc"]]
    );
    assert_eq!(
        input_channel_sets(&walked),
        [vec!["conv1"], vec!["conv2", "fc"], vec!["conv3"]]
    );
}

#[test]
fn concat_keeps_offsets_and_flatten_gives_a_unit_many_columns() {
    let mut b = Builder::default();
    let x = b.input();
    let left = b.conv("left", x, 3, 2, 1);
    let right = b.conv("right", x, 3, 4, 1);
    let both = b.op(
        "cat",
        &[
            ("tensors", Arg::List(vec![Arg::Value(left), Arg::Value(right)])),
            ("dim", Arg::Int(1)),
        ],
    );
    let flat = b.unary(
        "flatten",
        both,
        &[("start_dim", Arg::Int(1)), ("end_dim", Arg::Int(-1))],
    );
    let out = b.linear("fc", flat, 6 * 4, 3);
    let found = check(&b.finish(out), &[1, 3, 2, 2]);
    assert_eq!(outputs(&found), [(2, vec!["left"]), (4, vec!["right"])]);
    let columns = &found.groups[1]
        .params
        .iter()
        .find(|param| param.name == "fc.weight")
        .expect("fc")
        .indices;
    assert_eq!(columns[0], [8, 9, 10, 11]);
    assert_eq!(columns[3], [20, 21, 22, 23]);
}

#[test]
fn depthwise_follows_and_groups_are_balanced() {
    let mut b = Builder::default();
    let x = b.input();
    let wide = b.conv("expand", x, 3, 8, 1);
    let deep = b.conv("depthwise", wide, 8, 8, 8);
    let grouped = b.conv("grouped", deep, 8, 6, 2);
    let out = head(&mut b, grouped, 6);
    let graph = b.finish(out);
    let found = check(&graph, &[1, 3, 4, 4]);
    // Each of the two groups reads the same positions: four units of two channels each.
    assert_eq!(
        outputs(&found),
        [(4, vec!["expand", "depthwise"]), (6, vec!["grouped"])]
    );
    assert_eq!(found.groups[0].params[0].indices[1], [1, 5]);
    assert_eq!(found.groups[0].inputs, ["depthwise", "grouped"]);
    assert_eq!(found.groups[1].balance, [vec![0, 1, 2], vec![3, 4, 5]]);
    // The shapes that two filters of one group leave would fit.
    let options = Options::of_shapes([vec![1, 3, 4, 4]]);
    let walked = walk(&graph, &options, &NoEvaluator);
    let uneven = removal(&walked, &found.groups[1], &[0, 1]);
    let refused = remove(&walked, &options, &uneven, &NoEvaluator);
    assert!(matches!(refused, Err(PruneError::Unfit { .. })), "{refused:?}");
}

#[test]
fn a_shuffle_ties_positions_across_its_groups() {
    let mut b = Builder::default();
    let x = b.input();
    let conv = b.conv("conv", x, 3, 8, 1);
    let split = b.unary("view", conv, &[("size", ints(&[-1, 2, 4, 5, 5]))]);
    let turned = b.unary("transpose", split, &[("dim0", Arg::Int(1)), ("dim1", Arg::Int(2))]);
    let joined = b.unary("reshape", turned, &[("shape", ints(&[-1, 8, 5, 5]))]);
    let out = head(&mut b, joined, 8);
    let found = check(&b.finish(out), &[1, 3, 5, 5]);
    assert_eq!(found.groups[0].units, 4);
    assert_eq!(found.groups[0].params[0].indices[1], [1, 5]);
    let fc = found.groups[0]
        .params
        .iter()
        .find(|param| param.name == "fc.weight")
        .expect("fc");
    assert_eq!(fc.indices[1], [2, 3]);
}

#[test]
fn norms_over_channels_freeze_unless_approximate() {
    let mut b = Builder::default();
    let x = b.input();
    let hidden = b.linear("first", x, 4, 6);
    let scale = b.param("norm.weight", &[6]);
    let normed = b.op(
        "layer_norm",
        &[
            ("input", Arg::Value(hidden)),
            ("normalized_shape", ints(&[6])),
            ("weight", Arg::Value(scale)),
        ],
    );
    let out = b.linear("second", normed, 6, 2);
    let graph = b.finish(out);
    let found = check(&graph, &[1, 4]);
    assert!(found.groups.is_empty());
    assert!(
        found.frozen[0].reason.contains("layer_norm"),
        "{}",
        found.frozen[0].reason
    );
    let options = Options {
        approximate: true,
        ..Options::of_shapes([vec![1, 4]])
    };
    assert_eq!(outputs(&check_with(&graph, &options)), [(6, vec!["first"])]);
}

/// A norm over the last axis written by hand: by the mean of squares, with `centred` around the mean.
fn by_hand(b: &mut Builder, x: ValueId, centred: bool) -> ValueId {
    let mean = [("dim", ints(&[-1])), ("keepdim", Arg::Bool(true))];
    let middle = match centred {
        true => {
            let mean = b.unary("mean", x, &mean);
            b.binary("sub", x, mean)
        }
        false => x,
    };
    let squares = b.unary("pow", middle, &[("exponent", Arg::Int(2))]);
    let variance = b.unary("mean", squares, &mean);
    let above = b.unary("add", variance, &[("other", Arg::Float(0.1))]);
    let scale = b.unary("rsqrt", above, &[]);
    b.binary("mul", middle, scale)
}

#[test]
fn norms_written_by_hand_freeze_unless_approximate() {
    for centred in [false, true] {
        let mut b = Builder::default();
        let x = b.input();
        let hidden = b.linear("first", x, 4, 6);
        let normed = by_hand(&mut b, hidden, centred);
        let out = b.linear("second", normed, 6, 2);
        let graph = b.finish(out);
        let found = check(&graph, &[1, 4]);
        assert_eq!(outputs(&found), []);
        let reason = &found.frozen[0].reason;
        assert!(reason.contains("aten::mean"), "{reason}");
        let options = Options {
            approximate: true,
            ..Options::of_shapes([vec![1, 4]])
        };
        let found = check_with(&graph, &options);
        assert_eq!(outputs(&found), [(6, vec!["first"])]);
        assert!(found.groups[0].approximate, "it is not exact");
    }
}

/// Multi-head attention over `[batch, tokens, 8]` with two heads, q, k and v from one linear layer.
fn attention() -> Graph {
    let mut b = Builder::default();
    let x = b.input();
    let qkv = b.linear("qkv", x, 8, 24);
    let parts = b.unary("reshape", qkv, &[("shape", ints(&[-1, 5, 3, 2, 4]))]);
    let turned = b.unary("permute", parts, &[("dims", ints(&[2, 0, 3, 1, 4]))]);
    let list = b.op_of(
        "unbind",
        &[("self", Arg::Value(turned)), ("dim", Arg::Int(0))],
        crate::graph::Type::List(Box::new(crate::graph::Type::Tensor)),
    );
    let heads = b.unpack(list, 3);
    let mixed = b.op(
        "scaled_dot_product_attention",
        &[
            ("query", Arg::Value(heads[0])),
            ("key", Arg::Value(heads[1])),
            ("value", Arg::Value(heads[2])),
            ("scale", Arg::None),
        ],
    );
    let back = b.unary("transpose", mixed, &[("dim0", Arg::Int(1)), ("dim1", Arg::Int(2))]);
    let joined = b.unary("reshape", back, &[("shape", ints(&[-1, 5, 8]))]);
    let out = b.linear("proj", joined, 8, 8);
    b.finish(out)
}

#[test]
fn attention_is_cut_within_heads_or_by_whole_heads() {
    let graph = attention();
    let within = check(&graph, &[1, 5, 8]);
    assert_eq!(outputs(&within), [(4, vec!["qkv"])]);
    assert_eq!(within.groups[0].params[0].indices[1], [1, 5, 9, 13, 17, 21]);
    assert_eq!(
        within.groups[0]
            .heads
            .as_ref()
            .map(|heads| (heads.cut, heads.count, heads.size)),
        Some(("within", 2, 4))
    );
    let options = Options {
        heads: Split::Whole,
        ..Options::of_shapes([vec![1, 5, 8]])
    };
    let whole = check_with(&graph, &options);
    assert_eq!(outputs(&whole), [(2, vec!["qkv"])]);
    assert_eq!(
        whole.groups[0].params[0].indices[0],
        [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]
    );
    assert_eq!(whole.groups[0].heads.as_ref().map(|heads| heads.cut), Some("whole"));
}

#[test]
fn what_is_not_understood_freezes_what_it_touches() {
    let mut b = Builder::default();
    let x = b.input();
    let first = b.conv("first", x, 3, 4, 1);
    let odd = b.unary("frobnicate", first, &[]);
    let second = b.conv("second", x, 3, 5, 1);
    let third = b.conv("third", second, 5, 2, 1);
    let sum = b.binary("add", odd, third);
    let found = check(&b.finish(sum), &[1, 3, 4, 4]);
    assert_eq!(outputs(&found), [(5, vec!["second"])]);
    assert_eq!(found.issues[0].op, "aten::frobnicate");
}

#[test]
fn gates_and_their_neighbours_go_together() {
    let mut b = Builder::default();
    let x = b.input();
    let conv = b.conv("conv", x, 3, 8, 1);
    let mean = b.unary("mean", conv, &[("dim", ints(&[2, 3])), ("keepdim", Arg::Bool(true))]);
    let squeeze = b.conv("squeeze", mean, 8, 2, 1);
    let excite = b.conv("excite", squeeze, 2, 8, 1);
    let gate = b.unary("sigmoid", excite, &[]);
    let gated = b.binary("mul", conv, gate);
    let out = head(&mut b, gated, 8);
    let found = check(&b.finish(out), &[1, 3, 4, 4]);
    assert_eq!(outputs(&found), [(8, vec!["conv", "excite"]), (2, vec!["squeeze"])]);
}

#[test]
fn halves_of_a_chunk_keep_the_same_positions() {
    let mut b = Builder::default();
    let x = b.input();
    let conv = b.conv("conv", x, 3, 8, 1);
    let list = b.op_of(
        "chunk",
        &[
            ("self", Arg::Value(conv)),
            ("chunks", Arg::Int(2)),
            ("dim", Arg::Int(1)),
        ],
        crate::graph::Type::List(Box::new(crate::graph::Type::Tensor)),
    );
    let halves = b.unpack(list, 2);
    let product = b.binary("mul", halves[0], halves[1]);
    let out = head(&mut b, product, 4);
    let found = check(&b.finish(out), &[1, 3, 4, 4]);
    assert_eq!(outputs(&found), [(4, vec!["conv"])]);
    assert_eq!(found.groups[0].params[0].indices[3], [3, 7]);
}

/// A weight whose file is damaged.
struct Damaged;

impl Load for Damaged {
    fn load(&self) -> Result<Tensor, WeightError> {
        Err(WeightError {
            file: None,
            message: "damaged".into(),
        })
    }

    fn mark(&self) -> String {
        String::new()
    }
}

/// Weights are read where their values decide something, and nowhere else; what cannot be read is no operator that is not
/// understood.
#[test]
fn weights_are_read_where_their_values_decide() {
    let mut net = Builder::default();
    let x = net.input();
    let x = net.conv("conv", x, 2, 4, 1);
    let counts = Arg::Value(net.param("counts", &[4]));
    let repeated = net.unary("repeat_interleave", x, &[("repeats", counts), ("dim", Arg::Int(1))]);
    let out = head(&mut net, repeated, 8);
    let mut graph = net.finish(out);
    for param in &mut graph.params {
        let dtype = if param.name() == "counts" {
            DType::I64
        } else {
            DType::F32
        };
        param.tensor = Weight::unread(dtype, param.tensor.shape(), Damaged);
    }
    let options = Options::of_shapes([vec![1, 2, 8, 8]]);
    let damage = walk(&graph, &options, &NoEvaluator).damage;
    assert_eq!(damage.map(|damage| damage.to_string()).as_deref(), Some("damaged"));
    let counts = graph.params.iter_mut().find(|param| param.name() == "counts");
    counts.expect("the counts").tensor = Tensor::from_i64([4], &[2; 4]).into();
    assert_eq!(walk(&graph, &options, &NoEvaluator).damage, None);
}

#[test]
fn a_layer_whose_channels_are_all_one_says_why_none_may_go() {
    let mut b = Builder::default();
    let x = b.input();
    let y = b.conv("conv", x, 3, 4, 1);
    let halves = b.op_of(
        "chunk",
        &[("self", Arg::Value(y)), ("chunks", Arg::Int(2)), ("dim", Arg::Int(1))],
        crate::graph::Type::List(Box::new(crate::graph::Type::Tensor)),
    );
    let half = b.unpack(halves, 2)[0];
    let near = b.conv("near", half, 2, 3, 1);
    let normed = b.op("group_norm", &[("input", Arg::Value(y)), ("num_groups", Arg::Int(2))]);
    let far = b.conv("far", normed, 4, 3, 1);
    let sum = b.binary("add", near, far);
    let graph = b.finish(sum);
    let found = check(&graph, &[2, 3, 5, 5]);
    assert_eq!(outputs(&found), []);
    let frozen: Vec<(&str, &str)> = found
        .frozen
        .iter()
        .map(|frozen| (frozen.layer.as_str(), frozen.reason.as_str()))
        .collect();
    let stay = "the model's outputs keep their size";
    let expected = [
        ("conv", "all go together, and one must stay"),
        ("near", stay),
        ("far", stay),
    ];
    assert_eq!(frozen, expected);
}
