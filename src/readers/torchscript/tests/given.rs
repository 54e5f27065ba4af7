//! What a model takes, and what of its code matters.

use super::{module, outcome};

/// The outcome of a module that takes an input of this type.
fn taking(ty: &str, body: &str) -> String {
    outcome(&module(body).replace("x: Tensor", &format!("x: {ty}")))
}

#[test]
fn tuples_are_taken_apart_and_what_is_not_read_is_named() {
    for (ty, body, expected) in [
        (
            "Tuple[Tensor, Tensor]",
            "a, b, = x\nreturn torch.sub(a, b)",
            "%sub: Tensor = aten::sub.Tensor(self=%x_0, other=%x_1, alpha=1)\noutput %sub",
        ),
        (
            "Tuple[Tensor, Tuple[int, Tensor]]",
            "a, b, = x\nc, d, = b\nreturn torch.select(d, 0, c)",
            "%select: Tensor = aten::select.int(self=%x_1_1, dim=0, index=%x_1_0)\noutput %select",
        ),
        (
            "Dict[str, Tensor]",
            "return x[\"a\"]",
            "code/__torch__.py:5: the model's input \"x\" is a dict whose keys only a trace tells, which is not read; wrap the \
             model in a module whose forward takes tensors only, and trace that",
        ),
        (
            "Tuple[Tensor, __torch__.State]",
            "return x[0]",
            "code/__torch__.py:5: the model's input \"x\" is neither a tensor, a number nor a tuple of them, which is not read",
        ),
    ] {
        let found = taking(ty, body);
        assert!(found.starts_with(expected), "{ty}: {found}");
    }
}

#[test]
fn code_that_is_not_called_may_hold_anything() {
    let odd = "  def odd(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    if True:\n      import os\n    return x\n";
    let rest = "  def fine(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    return torch.relu(x)\n";
    let of = |body: &str| outcome(&(module(body) + odd + rest));
    assert_eq!(
        of("return (self).fine(x, )"),
        "%relu: Tensor = aten::relu(self=%x)\noutput %relu"
    );
    assert_eq!(
        of("return (self).odd(x, )"),
        "code/__torch__.py:11: \"import\" is not read here"
    );
    assert_eq!(
        outcome(&module("return torch.mul(x, 1.j)")),
        "code/__torch__.py:7: expected ')', found a complex number, which is not read; torch.jit.trace keeps it as a tensor"
    );
    let entered = outcome(&module("with x:\n  y = x\nreturn y"));
    assert_eq!(entered, "code/__torch__.py:7: a with statement enters a tensor");
}
