//! Arithmetic in bfloat16: what is read from outside is cast once, and the outputs are cast back.
//!
//! Parameters, and what folding made of them, are cast where arithmetic on samples first reads them, so folds stay exact.
//! An element type that an operator of the samples names as float32 becomes bfloat16 as well, as in a model that was cast
//! by `model.bfloat16()`.

use super::{Editor, fixed};
use crate::graph::{Arg, Def, Graph, Node, Type, ValueId, schema_of};
use std::collections::BTreeMap;

/// ATen's numbers of element types.
const FLOAT32: Arg = Arg::Int(6);
const BFLOAT16: Arg = Arg::Int(15);

pub(super) fn apply(graph: Graph) -> Graph {
    let fixed = fixed(&graph);
    let is_fixed = |value: ValueId| fixed[value.0 as usize];
    let outputs = graph.output_values();
    let (mut editor, nodes) = Editor::new(graph);
    let mut cast: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for mut node in nodes {
        if node.outputs.iter().all(|&output| is_fixed(output)) {
            editor.keep(node);
            continue;
        }
        for value in node.reads() {
            let outside = is_fixed(value) || matches!(editor.graph().value(value).def, Def::Input(_));
            if outside && floating(editor.graph(), value) && !cast.contains_key(&value) {
                let name = format!("{}_reduced", editor.graph().value(value).name);
                let reduced = editor.op(&name, "aten::to", &[Arg::Value(value), BFLOAT16]);
                cast.insert(value, reduced);
            }
        }
        for (_, arg) in &mut node.args {
            arg.map_values(&mut |value| cast.get(&value).copied().unwrap_or(value));
        }
        rename_types(&mut node);
        without_fusion(&mut node);
        editor.keep(node);
    }
    for output in outputs {
        if !is_fixed(output) && editor.maker(output).is_some() {
            let name = format!("{}_restored", editor.graph().value(output).name);
            let restored = editor.op(&name, "aten::to", &[Arg::Value(output), FLOAT32]);
            editor.redirect_outputs(output, restored);
        }
    }
    editor.finish()
}

/// Whether a leaf or what is made of leaves holds float32. Node values are not followed: what folding makes of float32 is
/// float32, and what indexes with integers reads constants.
fn floating(graph: &Graph, value: ValueId) -> bool {
    let value = graph.value(value);
    let dtype = match value.def {
        _ if value.ty != Type::Tensor => return false,
        Def::Param(param) => graph.param(param).tensor.dtype(),
        Def::Constant(index) => graph.constants[index as usize].dtype(),
        Def::Input(_) | Def::Node { .. } => return true,
    };
    dtype == crate::tensor::DType::F32
}

/// TorchScript makes one operator of a sum and a ReLU behind it that knows no bfloat16; a clamp it leaves alone.
fn without_fusion(node: &mut Node) {
    if node.op == "aten::relu" {
        node.op = "aten::clamp_min".into();
        node.args.push(("min".into(), Arg::Int(0)));
    }
}

fn rename_types(node: &mut Node) {
    let Some(schema) = schema_of(&node.op, &node.overload) else {
        return;
    };
    for (wanted, (_, arg)) in schema.args.iter().zip(&mut node.args) {
        if wanted.ty.starts_with("ScalarType") && *arg == FLOAT32 {
            *arg = BFLOAT16;
        }
    }
}
