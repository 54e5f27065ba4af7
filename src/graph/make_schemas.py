"""Writes schemas.txt, the operators that a graph may hold, from the schemas that PyTorch knows.

    python make_schemas.py > schemas.txt          (PyTorch 2.13)

An operator is kept when it is a pure function of tensors and numbers: nothing in its signature is written to, no file,
message, thread, generator or device handle is reached, and the same arguments always give the same result. The rules below
name what is dropped; everything else in `aten::` and a few of `prim::` stay. The line order within one operator is
PyTorch's order of registration, in which overloads are tried.
"""
import re

import torch

# Types that a pure function of tensors and numbers is made of; `t` is a type variable.
TYPE = re.compile(r"(Tensor|int|float|bool|str|Scalar|ScalarType|Layout|MemoryFormat|Device|t)(\??)(\[\d*\])?(\??)$")

# Results that depend on more than the arguments: random numbers, memory as it was, the state of the process.
IMPURE = re.compile(
    r"rand|normal|bernoulli|multinomial|poisson|binomial|_gamma|dirichlet|uniform|exponential|geometric|cauchy|seed|philox|sobol"
    r"|empty|resize|_version|warn|print|save|load|from_file|format|grad|autocast|profil|record|thread|callstack|fork|wait"
    r"|manual|hash|scripting|tracing|storage|data_ptr|pin_memory|is_pinned|is_set_to|_debug|_assert|_async|_sync"
    r"|^(set|data|device|output_nr|is_leaf|is_distributed|_get_cpu_capability|batch_norm_update_stats|_index_put_impl)$"
)
# Other kinds of tensors, and internals of one backend, of differentiation or of other tools.
FOREIGN = re.compile(
    r"backward|sparse|coalesce|^_?(crow_|ccol_|row_ind|col_ind|indices|values|nnz|dim[IV]$)|nested|jagged|padded|cudnn|miopen|mkldnn|mps"
    r"|cuda|cufft|xpu|thnn|fbgemm|quantize|fake_quant|qscheme|qparams|^q_|int_repr|int[48]pack|_scaled_mm|_scaled_grouped|foreach|_fused|_amp"
    r"|functional_|_functional|_copy_from|_to_copy|_neg_view|fw_primal|_jvp|_dual|vulkan|metal|named|names|_nnpack|_batch_dim|_dep_token"
    r"|_flash_|_efficient_|_fill_mem|_wrapped_|_dyn_quant|_cslt|_semi_struct|_triton|_linalg_check|_validate|_propagate|_foobar|^_pack_|_tensor_to_list"
    r"|_use_|_has_|_choose_|_slow_|_transform_bias|_convert_|_weight_int|_batch_norm_impl|_safe_|_test|_rowwise|_compressed|overrideable|_fallback"
    r"|^_cast_|_chunk_cat|_conj_copy|chalf|^Complex|_local_scalar|_saved|lift|_lazy|^(hspmm|smm|sspaddmm|dense_dim)$"
)
# Strings, dictionaries and lists that change, which the reader computes itself.
PYTHON = re.compile(
    r"^(append|extend|insert|pop|remove|reverse|clear|_set_item|Delete|dict|keys|values|items|get|update|popitem|setdefault|ord|chr|hex|oct"
    r"|bin|str|join|rsplit|partition|rpartition|strip|lstrip|rstrip|lower|upper|capitalize|title|casefold|swapcase|center|ljust|rjust|zfill"
    r"|expandtabs|replace|startswith|endswith|find|rfind|rindex|splitlines|percentFormat|list|__contains__|Complex|divmod|id|get_device"
    r"|is(digit|alpha|alnum|space|lower|upper|title|identifier|printable|decimal|numeric))$"
)
PRIM = {
    "prim::NumToTensor", "prim::dtype", "prim::min", "prim::max", "prim::abs", "prim::itemsize",
}  # fmt: skip
# Pure in spite of their names.
KEPT = {"aten::_pack_padded_sequence"}
# Random only in training, which the reader refuses.
TRAINED = {"aten::rrelu"}
# Variadic, as the printed code has them (`a, b, = x`).
UNPACK = ["prim::If(bool condition, t then, t otherwise) -> t", "prim::ListUnpack(t[] list) -> ...", "prim::TupleUnpack(Any tup) -> ..."]


def line(schema):
    """The schema as ATen writes it, alias marks removed and SymInt read as int."""
    text = str(schema)
    if schema.name in TRAINED:
        text = text.replace(", Generator? generator=None", "")
    if re.search(r"\([a-z0-9|*]+!", text) or "..." in text:
        return None
    text = re.sub(r"\((?:[a-z](?:\|[a-z])*|\*|[a-z] -> \*|\* -> [a-z]|[a-z] -> [a-z])\)", "", text)
    return text.replace("SymInt", "int").replace("number", "Scalar")


def kept(schema):
    space, _, name = schema.name.partition("::")
    text = line(schema)
    if text is None:
        return None
    if space == "prim" and schema.name not in PRIM or space not in ("aten", "prim"):
        return None
    dropped = IMPURE.search(name) or FOREIGN.search(name) or PYTHON.match(name)
    if space == "aten" and dropped and schema.name not in KEPT or "polar.Scalar" in text:
        return None
    if not schema.returns:
        return None
    args, _, returns = text[text.index("(") + 1 :].rpartition(") -> ")
    pieces = [piece for piece in split(args) if piece and piece != "*"]
    results = split(returns[1:-1]) if returns.startswith("(") else [returns]
    found = [piece.split(" ")[0] for piece in pieces] + [piece.split(" ")[0] for piece in results]
    return text if all(TYPE.match(kind) for kind in found) else None


def split(text):
    """At commas outside brackets and quotes."""
    pieces, depth, quoted, last = [], 0, False, 0
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted and char in "([":
            depth += 1
        elif not quoted and char in ")]":
            depth -= 1
        elif not quoted and char == "," and depth == 0:
            pieces.append(text[last:at].strip())
            last = at + 1
    return [*pieces, text[last:].strip()]


def main():
    names = sorted({schema.name for schema in torch._C._jit_get_all_schemas()})
    lines = list(UNPACK)
    for name in names:
        for schema in torch._C._jit_get_schemas_for_operator(name):
            text = kept(schema)
            if text and text not in lines:
                lines.append(text)
    lines.sort(key=lambda text: re.split(r"[.(]", text)[0])
    print("\n".join(lines))


if __name__ == "__main__":
    main()
