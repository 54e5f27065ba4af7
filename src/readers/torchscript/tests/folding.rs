//! Code whose outcome is known when it is read: writes in place, numbers, containers and slices.

use super::{module, outcome};

#[test]
fn writes_in_place_become_new_values() {
    for (body, expected) in [
        (
            "y = torch.relu_(x)\nreturn torch.add(x, y)",
            "%y: Tensor = aten::relu(self=%x)\n%add: Tensor = aten::add.Tensor(self=%y, other=%y, alpha=1)\noutput %add",
        ),
        (
            "_0 = torch.fill_(torch.select(x, 1, 0), 3)\nreturn x",
            "%select: Tensor = aten::select.int(self=%x, dim=1, index=0)\n%fill: Tensor = aten::fill.Scalar(self=%select, \
             value=3)\n%select_scatter: Tensor = aten::select_scatter(self=%x, src=%fill, dim=1, index=0)\noutput %select_scatter",
        ),
        (
            "a, b, = torch.split(x, 2, 1)\n_0 = torch.zero_(b)\nreturn torch.mul(x, a)",
            "%split: List[Tensor] = aten::split.Tensor(self=%x, split_size=2, dim=1)\n%ListUnpack: Tensor, %ListUnpack_2: Tensor \
             = prim::ListUnpack(list=%split)\n%zero: Tensor = aten::zero(self=%ListUnpack_2)\n%split_2: List[Tensor] = \
             aten::split.Tensor(self=%x, split_size=2, dim=1)\n%__getitem__: Tensor = aten::__getitem__.t(list=%split_2, \
             idx=0)\n%cat: Tensor = aten::cat(tensors=[%__getitem__, %zero], dim=1)\n%split_3: List[Tensor] = \
             aten::split.Tensor(self=%cat, split_size=2, dim=1)\n%__getitem___2: Tensor = aten::__getitem__.t(list=%split_3, \
             idx=0)\n%mul: Tensor = aten::mul.Tensor(self=%cat, other=%__getitem___2)\noutput %mul",
        ),
        (
            "y = torch.reshape(x, [-1])\n_0 = torch.relu_(y)\nreturn y",
            "%y: Tensor = aten::reshape(self=%x, shape=[-1])\n%relu: Tensor = aten::relu(self=%y)\noutput %relu",
        ),
        (
            "y = torch.reshape(x, [-1])\n_0 = torch.relu_(y)\nreturn x",
            "code/__torch__.py:9: a tensor is read after a write in place through aten::reshape, which shares memory or copies \
             depending on strides; write out of place instead",
        ),
        (
            "y = torch.empty([2, 3])\n_0 = torch.fill_(y, 1.)\nreturn y",
            "%y: Tensor = aten::zeros(size=[2, 3], dtype=None, layout=None, device=None, pin_memory=None)\n%fill: Tensor = \
             aten::fill.Scalar(self=%y, value=1.0)\noutput %fill",
        ),
        (
            "_0 = torch.transpose_(x, 0, 1)\nreturn x",
            "%transpose: Tensor = aten::transpose.int(self=%x, dim0=0, dim1=1)\noutput %transpose",
        ),
        (
            "y = torch.select(x, 0, 0)\n_0 = torch.unsqueeze_(x, 0)\n_1 = torch.relu_(x)\nreturn torch.add(x, y)",
            "%unsqueeze: Tensor = aten::unsqueeze(self=%x, dim=0)\n%relu: Tensor = aten::relu(self=%unsqueeze)\n%reshape_as: \
             Tensor = aten::reshape_as(self=%relu, other=%x)\n%select: Tensor = aten::select.int(self=%reshape_as, dim=0, \
             index=0)\n%add: Tensor = aten::add.Tensor(self=%relu, other=%select, alpha=1)\noutput %add",
        ),
        (
            "s = torch.size(x)\n_0 = torch.t_(x)\nreturn torch.view(x, s)",
            "code/__torch__.py:8: operator aten::t_ changes the shape of a tensor in place whose size or parts were taken \
             before; use aten::t instead",
        ),
        (
            "y = torch.unsqueeze(x, 0)\nif bool(torch.sum(x)):\n  _0 = torch.squeeze_(y)\nelse:\n  pass\nreturn y",
            "code/__torch__.py:8: a branch that only a run can tell writes in place to what shares memory with others or not, \
             depending on strides; save the model with torch.jit.trace(model.eval(), example) instead of torch.jit.script",
        ),
        (
            "y = torch.flatten(x, 1)\n_0 = torch.relu_(y)\nreturn torch.view(y, torch.size(x))",
            "%y: Tensor = aten::flatten.using_ints(self=%x, start_dim=1, end_dim=-1)\n%relu: Tensor = aten::relu(self=%y)\n\
             %size: List[int] = aten::size(self=%x)\n%view: Tensor = aten::view(self=%relu, size=%size)\noutput %view",
        ),
        (
            "y = torch.reshape(x, [-1])\n_0 = torch.relu_(y)\nreturn torch.reshape_as(y, x)",
            "%y: Tensor = aten::reshape(self=%x, shape=[-1])\n%relu: Tensor = aten::relu(self=%y)\n%reshape_as: Tensor = \
             aten::reshape_as(self=%relu, other=%x)\noutput %reshape_as",
        ),
    ] {
        assert_eq!(outcome(&module(body)), expected, "{body}");
    }
}

#[test]
fn numbers_and_containers_fold() {
    for (body, expected) in [
        (
            "return torch.mul(x, 10000000000)",
            "%mul: Tensor = aten::mul.Scalar(self=%x, other=10000000000)\noutput %mul",
        ),
        (
            "return torch.leaky_relu(x, 10000000000)",
            "%leaky_relu: Tensor = aten::leaky_relu(self=%x, negative_slope=10000000000)\noutput %leaky_relu",
        ),
        (
            "return torch.dropout(x, 10000000000, False)",
            "%dropout: Tensor = aten::dropout(input=%x, p=10000000000.0, train=False)\noutput %dropout",
        ),
        (
            "n = ops.prim.NumToTensor(torch.size(x, 1))\nreturn torch.view(x, [int(n), -1])",
            "%size: int = aten::size.int(self=%x, dim=1)\n%view: Tensor = aten::view(self=%x, size=[%size, -1])\noutput %view",
        ),
        (
            "a, b, c, = torch.size(x)\nreturn torch.view(x, [b, torch.mul(torch.floordiv(7, 2), -1)])",
            "%b: int = aten::size.int(self=%x, dim=1)\n%view: Tensor = aten::view(self=%x, size=[%b, -3])\noutput %view",
        ),
        (
            "a, b, = torch.slice(torch.size(x), -2)\nreturn torch.view(x, [b, (torch.size(x))[-3]])",
            "%b: int = aten::size.int(self=%x, dim=-1)\n%size: int = aten::size.int(self=%x, dim=-3)\n%view: Tensor = \
             aten::view(self=%x, size=[%b, %size])\noutput %view",
        ),
        (
            "if torch.ne(torch.dim(x), 4):\n  ops.prim.RaiseException(\"no\")\nelse:\n  pass\nreturn x",
            "output %x",
        ),
        (
            "l = annotate(List[Tensor], [])\nfor i in range(2):\n  _0 = torch.append(l, torch.add(x, i))\nreturn torch.cat(l, 1)",
            "%add: Tensor = aten::add.Scalar(self=%x, other=0, alpha=1)\n%add_2: Tensor = aten::add.Scalar(self=%x, other=1, \
             alpha=1)\n%cat: Tensor = aten::cat(tensors=[%add, %add_2], dim=1)\noutput %cat",
        ),
        (
            "d = {\"a\": x}\nt = (d[\"a\"], 1)\na, b, = t\nif torch.__is__(a, None):\n  y = a\nelse:\n  y = torch.relu((t)[0])\nreturn {\"y\": y}",
            "%y: Tensor = aten::relu(self=%x)\noutput {\"y\": %y}",
        ),
        (
            "v, i, = torch.max(x, 1)\nreturn v",
            "%max: Tuple[Tensor, Tensor] = aten::max.dim(self=%x, dim=1, keepdim=False)\n%TupleUnpack: Tensor, %TupleUnpack_2: \
             Tensor = prim::TupleUnpack(tup=%max)\noutput %TupleUnpack",
        ),
        (
            "for i in range(torch.__range_length(5, 0, -2)):\n  x = torch.add(x, torch.__derive_index(i, 5, -2))\nreturn x",
            "%x_2: Tensor = aten::add.Scalar(self=%x, other=5, alpha=1)\n%x_3: Tensor = aten::add.Scalar(self=%x_2, other=3, \
             alpha=1)\n%x_4: Tensor = aten::add.Scalar(self=%x_3, other=1, alpha=1)\noutput %x_4",
        ),
        (
            "for i in ops.prim.rangelist(1):\n  x = torch.add(x, i)\nfor i in range(3, 1):\n  x = torch.neg(x)\nreturn x",
            "%x_2: Tensor = aten::add.Scalar(self=%x, other=0, alpha=1)\noutput %x_2",
        ),
        (
            "return torch.add(x, torch.__range_length(0, 1, 0))",
            "code/__torch__.py:7: the model raises: a range in steps of zero",
        ),
        (
            "l = torch.chunk(x, 2, 1)\nm = l\n_0 = torch.append(l, x)\n_1 = torch._set_item(m, 0, x)\nreturn torch.cat(m, torch.sub(torch.len(l), \
             2))",
            "%l: List[Tensor] = aten::chunk(self=%x, chunks=2, dim=1)\n%ListUnpack: Tensor, %ListUnpack_2: Tensor = \
             prim::ListUnpack(list=%l)\n%cat: Tensor = aten::cat(tensors=[%x, %ListUnpack_2, %x], dim=1)\noutput %cat",
        ),
        (
            "return torch.slice([x], None, None, 0)",
            "code/__torch__.py:7: a slice in steps of zero",
        ),
        (
            "return torch.floordiv(1, 0)",
            "code/__torch__.py:7: the model raises: floordiv of 1 by zero",
        ),
        (
            "ops.prim.RaiseException(\"never\")\nreturn x",
            "code/__torch__.py:7: the model raises: never",
        ),
    ] {
        assert_eq!(outcome(&module(body)), expected, "{body}");
    }
}

#[test]
fn slices_are_pythons() {
    for (bounds, expected) in [
        ("None, None, -1", "[3, 2, 1, 0]"),
        ("-2, 0, -2", "[2]"),
        ("9, None, -3", "[3, 0]"),
        ("1, 9", "[1, 2, 3]"),
        ("None, None, 3", "[0, 3]"),
        ("3, 1", "[]"),
        ("-9, -1", "[0, 1, 2]"),
    ] {
        let text = outcome(&module(&format!(
            "return torch.view(x, torch.slice([0, 1, 2, 3], {bounds}))"
        )));
        assert!(text.contains(&format!("size={expected})")), "{bounds}: {text}");
    }
}
