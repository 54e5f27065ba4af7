"""Attention as models spell it, and what its cuts rest on, for tests/suite/heads.rs: small networks, one idea a method.

    DIR/tp/bin/python attention_networks.py [NAME ...]      (into ../data/torchscript/networks; none means all)

Random weights, seed 0, evaluation mode; `index.jsonl` gets a line for each. Made with torch 2.13.
"""
import io
import json
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data" / "torchscript"
sys.path.insert(0, str(DATA))
from make import slim  # noqa: E402

WIDTH = 12


def dot(q, k, v):
    """Attention over `[batch, heads, tokens, features]`, back in `[batch, tokens, heads · features]`."""
    y = (q @ k.transpose(-2, -1) * 0.5).softmax(-1) @ v
    return y.transpose(1, 2).flatten(2)


class Tokens(nn.Module):
    """Layers of `parts`, each added to a stream of tokens."""

    parts = ()

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(16, WIDTH), nn.Linear(WIDTH, 5)
        for name, layers in self.layers().items():
            setattr(self, name, layers)

    def layers(self):
        return {}

    def forward(self, x):
        x = self.enter(x)
        for part in self.parts:
            x = x + getattr(self, part)(x, *x.shape[:2])
        return self.leave(x)


class Norms(Tokens):
    """Queries and keys are normalised over each head's features: only whole heads can go."""

    parts = ("fused", "separate")

    def layers(self):
        return {
            "qkv": nn.Linear(WIDTH, 24), "q_norm": nn.LayerNorm(4), "k_norm": nn.LayerNorm(4), "proj": nn.Linear(8, WIDTH),
            "q": nn.Linear(WIDTH, 24), "k": nn.Linear(WIDTH, 12), "v": nn.Linear(WIDTH, 12), "qn": nn.RMSNorm(6), "kn": nn.RMSNorm(6),
            "o": nn.Linear(24, WIDTH),
        }  # fmt: skip

    def fused(self, x, n, t):
        q, k, v = self.qkv(x).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.proj(y.transpose(1, 2).reshape(n, t, 8))

    def separate(self, x, n, t):
        q = self.qn(self.q(x).view(n, t, -1, 6)).transpose(1, 2)
        k = self.kn(self.k(x).view(n, t, -1, 6)).transpose(1, 2)
        v = self.v(x).view(n, t, -1, 6).transpose(1, 2)
        k, v = (part[:, :, None].expand(n, 2, 2, t, 6).reshape(n, 4, t, 6) for part in (k, v))
        return self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, -1))


class Layouts(Tokens):
    """One layer makes queries, keys and values: heads outside of the three, features outside of the heads."""

    parts = ("outer", "chunked", "strung", "inner")

    def layers(self):
        return {
            "outer_qkv": nn.Linear(WIDTH, 24), "outer_o": nn.Linear(8, WIDTH),
            "chunked_qkv": nn.Linear(WIDTH, 36), "chunked_o": nn.Linear(12, WIDTH),
            "strung_qkv": nn.Linear(WIDTH, 20), "strung_o": nn.Linear(12, WIDTH),
            "inner_qkv": nn.Linear(WIDTH, 45), "inner_o": nn.Linear(15, WIDTH),
        }  # fmt: skip

    def outer(self, x, n, t):
        qkv = self.outer_qkv(x).view(n, t, 2, 3, 4)
        q, k, v = (qkv[..., at, :].transpose(1, 2).reshape(n * 2, t, 4) for at in range(3))
        y = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(-1), v)
        return self.outer_o(y.view(n, 2, t, 4).permute(0, 2, 1, 3).reshape(n, t, 8))

    def chunked(self, x, n, t):
        q, k, v = self.chunked_qkv(x).view(n, t, 3, 12).transpose(1, 2).chunk(3, -1)
        return self.chunked_o(dot(q, k, v))

    def strung(self, x, n, t):
        """Three heads of queries, then one of keys and one of values."""
        qkv = self.strung_qkv(x).view(n, t, 5, 4)
        q, k, v = qkv[..., :-2, :], qkv[..., [-2], :], qkv[..., [-1], :]
        return self.strung_o(dot(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)))

    def inner(self, x, n, t):
        q, k, v = self.inner_qkv(x).view(n, t, 3, 5, 3).permute(2, 0, 4, 1, 3)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.inner_o(y.permute(0, 2, 3, 1).flatten(2))


class Einsum(Tokens):
    """Products by named axes, with and without an ellipsis."""

    parts = ("named", "dotted")

    def layers(self):
        made = {name: nn.Linear(WIDTH, 8) for name in ("q", "k", "v")}
        return {**made, "o": nn.Linear(8, WIDTH), "qkv": nn.Linear(WIDTH, 36, bias=False), "p": nn.Linear(12, WIDTH)}

    def named(self, x, n, t):
        q, k, v = (layer(x).view(n, t, 2, 4) for layer in (self.q, self.k, self.v))
        weights = torch.einsum("bihd, bjhd -> bhij", q, k).softmax(-1)
        return self.o(torch.einsum("bhij, bjhd -> bihd", weights, v).flatten(2))

    def dotted(self, x, n, t):
        q, k, v = (part.view(n, t, 3, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        weights = torch.einsum("...id,...jd->...ij", q, k).softmax(-1)
        return self.p(torch.einsum("...ij,...jd->...id", weights, v).transpose(1, 2).flatten(2))


class MultiQuery(Tokens):
    """One head of keys and values for all of queries: stretched, by flag, by broadcasting."""

    parts = ("stretched", "flagged", "broadcast")

    def layers(self):
        made = {}
        for name in self.parts:
            made |= {f"{name}_q": nn.Linear(WIDTH, 12), f"{name}_kv": nn.Linear(WIDTH, 8), f"{name}_o": nn.Linear(12, WIDTH)}
        return made

    def made(self, name, x, n, t):
        k, v = getattr(self, f"{name}_kv")(x).view(n, t, 2, 1, 4).permute(2, 0, 3, 1, 4)
        return getattr(self, f"{name}_q")(x).view(n, t, 3, 4).transpose(1, 2), k, v

    def stretched(self, x, n, t):
        q, k, v = self.made("stretched", x, n, t)
        k, v = (part[:, :, None].expand(n, 1, 3, t, 4).reshape(n, 3, t, 4) for part in (k, v))
        return self.stretched_o(dot(q, k, v))

    def flagged(self, x, n, t):
        y = F.scaled_dot_product_attention(*self.made("flagged", x, n, t), enable_gqa=True)
        return self.flagged_o(y.transpose(1, 2).flatten(2))

    def broadcast(self, x, n, t):
        return self.broadcast_o(dot(*self.made("broadcast", x, n, t)))


class Stretched(nn.Module):
    """Tensors of one channel, or of one number, that are stretched to the channels that they meet."""

    def __init__(self):
        super().__init__()
        self.stem, self.gate = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 1, 1)
        self.wide, self.next = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 6, 1)
        self.register_buffer("edge", torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]).view(1, 1, 3, 3))
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        n, _, h, w = x.shape
        x = F.relu(self.stem(x))
        x = x * torch.sigmoid(self.gate(x)).expand(-1, 6, -1, -1)
        y = self.wide(x)
        y = F.conv2d(y, self.edge.repeat(8, 1, 1, 1), padding=1, groups=8) + torch.full((n, 8, h, w), 0.5)
        y = torch.where(y > torch.ones(n, 8, 1, 1), y, y.new_full((8, 1, 1), 0.25))
        z = self.next(y)
        blurred = F.conv2d(z, self.edge.abs().repeat_interleave(6, 0) / 8, padding=1, groups=6)
        return self.fc(torch.cat([z, blurred], 1).mean((2, 3)))


class Choices(nn.Module):
    """Channels split into parts of which only one can go."""

    def __init__(self):
        super().__init__()
        self.stem, self.pieces, self.norm = nn.Conv2d(3, 12, 3), nn.Conv2d(6, 8, 1), nn.GroupNorm(4, 8)
        self.left, self.right, self.fc = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        n, _, h, w = x.shape
        x = self.pieces(x.view(n, 6, 2, h, w).amax(2))
        shuffled = x.view(n, 4, 2, h, w).transpose(1, 2).reshape(n, 8, h, w)
        return self.fc((self.left(shuffled) + self.right(self.norm(x))).mean((2, 3)))


class SpectralConvs(nn.Module):
    """Convolutions whose weights are divided by their largest singular value: a view merges a weight's axes."""

    def __init__(self):
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.a, self.b, self.fc = norm(nn.Conv2d(3, 8, 3)), norm(nn.Conv2d(8, 6, 3)), nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)))


NETWORKS = {
    "attention_norms": (Norms, (2, 6, 16)),
    "attention_layouts": (Layouts, (2, 6, 16)),
    "attention_einsum": (Einsum, (2, 6, 16)),
    "multi_query": (MultiQuery, (2, 6, 16)),
    "stretched": (Stretched, (2, 3, 8, 8)),
    "choices": (Choices, (2, 3, 8, 8)),
    "spectral_convs": (SpectralConvs, (2, 3, 8, 8)),
}


@torch.no_grad()
def archive(name):
    network, shape = NETWORKS[name]
    torch.manual_seed(0)
    module, x = network().eval(), torch.randn(shape)
    for param in module.parameters():
        if param.numel() > 1 and bool((param == param.flatten()[0]).all()):
            param += 0.25 + 0.5 * torch.rand_like(param)
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, x, check_trace=False), stream)
    data = slim(stream.getvalue())
    (DATA / "networks" / f"{name}.pt").write_bytes(data)
    return {"name": name, "file": f"{name}.pt", "inputs": [{"shape": list(shape), "dtype": "float32"}]}, len(data)


def main():
    torch.set_num_threads(1)
    index = DATA / "networks" / "index.jsonl"
    lines = {entry["name"]: entry for entry in map(json.loads, index.read_text().splitlines())}
    for name in sys.argv[1:] or list(NETWORKS):
        lines[name], size = archive(name)
        print(f"{name}: {size} bytes", flush=True)
    index.write_text("".join(json.dumps(line) + "\n" for line in lines.values()))


if __name__ == "__main__":
    main()
