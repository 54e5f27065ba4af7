"""Small odd networks, one idea each, for tests/suite/topology.rs.

    python odd_networks.py DIR

writes NAME.pt and appends a line for each to DIR/index.jsonl. Made with torch 2.13.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)


class Tokens(nn.Module):
    """A linear layer, something, a linear layer."""

    def __init__(self, made=16, read=16):
        super().__init__()
        self.i, self.o = nn.Linear(16, made), nn.Linear(read, 5)

    def forward(self, x):
        return self.o(self.body(self.i(x)))


class Image(nn.Module):
    """A convolution, something, a linear layer."""

    def __init__(self, made=16, read=16):
        super().__init__()
        self.stem, self.bn, self.fc = nn.Conv2d(3, made, 3, padding=1), nn.BatchNorm2d(made), nn.Linear(read, 4)

    def forward(self, x):
        return self.fc(self.body(torch.relu(self.bn(self.stem(x)))).mean((2, 3)))


class Mha(Tokens):
    """Attention as a module, batch first."""

    def __init__(self):
        super().__init__()
        self.a = nn.MultiheadAttention(16, 4, batch_first=True)

    def body(self, x):
        return self.a(x, x, x, need_weights=False)[0]


class MhaWeights(Tokens):
    """With its weights averaged, batch second."""

    def __init__(self):
        super().__init__()
        self.a = nn.MultiheadAttention(16, 4, batch_first=False)

    def body(self, x):
        return self.a(x, x, x, need_weights=True)[0]


class MhaCross(Tokens):
    """Keys and values of other widths: three projections."""

    def __init__(self):
        super().__init__()
        self.a = nn.MultiheadAttention(16, 4, batch_first=True, kdim=8, vdim=12)
        self.k = nn.Linear(16,8)
        self.v = nn.Linear(16,12)

    def body(self, x):
        return self.a(x, self.k(x), self.v(x), need_weights=False)[0]


class Decoder(Tokens):
    """Self-attention, cross-attention and a feed-forward block."""

    def __init__(self):
        super().__init__()
        self.a = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True)

    def body(self, x):
        return self.a(x, x)


class Gqa(Tokens):
    """Two heads of keys for four of queries, by flag."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 8)
        self.v = nn.Linear(16, 8)
        self.p = nn.Linear(16,16)

    def body(self, x):
        b, n, c = x.shape
        q, k, v = self.q(x).view(b,n,4,4).transpose(1,2), self.k(x).view(b,n,2,4).transpose(1,2), self.v(x).view(b,n,2,4).transpose(1,2)
        return self.p(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).reshape(b, n, c))


class GqaRepeat(Gqa):
    """The same by repetition."""

    def body(self, x):
        b, n, c = x.shape
        q, k, v = self.q(x).view(b,n,4,4).transpose(1,2), self.k(x).view(b,n,2,4).transpose(1,2), self.v(x).view(b,n,2,4).transpose(1,2)
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        return self.p(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class LinearAttention(Tokens):
    """Features that are not zero where a channel is: the products over them freeze."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 48)

    def body(self, x):
        q, k, v = self.q(x).chunk(3, -1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        return q @ (k.transpose(1, 2) @ v)


class TiedHead(nn.Module):
    """The table of tokens is the output layer."""

    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(128, 16)
        self.f = nn.Linear(16, 24)
        self.g = nn.Linear(24, 16)
        self.h = nn.Linear(16, 128, bias=False)
        self.h.weight = self.e.weight

    def forward(self, x):
        return self.h(self.g(torch.tanh(self.f(self.e(x)))))


class WeightNorm(nn.Module):
    """Weights of a direction and a length."""

    def __init__(self):
        super().__init__()
        wn = torch.nn.utils.parametrizations.weight_norm
        self.a = wn(nn.Linear(16, 12))
        self.b = wn(nn.Linear(12, 8))
        self.c = nn.Linear(8, 3)

    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


class SpectralNorm(nn.Module):
    """Weights divided by their largest singular value."""

    def __init__(self):
        super().__init__()
        sn = torch.nn.utils.parametrizations.spectral_norm
        self.a = sn(nn.Linear(16, 12))
        self.b = sn(nn.Linear(12, 8))
        self.c = nn.Linear(8, 3)

    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


class Transposed(Image):
    """Transposed convolutions: plain, grouped, depthwise."""

    def __init__(self):
        super().__init__(16, 8)
        self.t = nn.ConvTranspose2d(16, 12, 2, 2)
        self.g = nn.ConvTranspose2d(12, 12, 2, 2, groups=3)
        self.d = nn.ConvTranspose2d(12, 24, 2, 2, groups=12)
        self.p = nn.Conv2d(24, 8, 1)

    def body(self, x):
        return self.p(torch.relu(self.d(torch.relu(self.g(torch.relu(self.t(x)))))))


class Lstm(Tokens):
    """Two layers, both directions."""

    def __init__(self):
        super().__init__(16, 24)
        self.r = nn.LSTM(16, 12, 2, bidirectional=True, batch_first=True)

    def body(self, x):
        return self.r(x)[0]


class Gru(Tokens):
    """The last state."""

    def __init__(self):
        super().__init__(16, 12)
        self.r = nn.GRU(16, 12, batch_first=True)

    def body(self, x):
        return self.r(x)[1].transpose(0, 1)


class Fold(nn.Module):
    """Windows taken out and added up."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3, padding=1)
        self.l = nn.Linear(32, 16)
        self.o = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        u = F.unfold(self.c(x), 2, stride=2).transpose(1, 2)
        return self.o(F.fold(self.l(u).transpose(1, 2), (12, 12), 2, stride=2))


class Rearrange(Image):
    """Moves by number and by places freeze; a shuffle does not."""

    def __init__(self):
        super().__init__(16, 16)
        self.l = nn.Linear(16, 16)
        self.register_buffer('p', torch.randperm(16))

    def body(self, x):
        b, c, h, w = x.shape
        y = x.view(b, 4, 4, h, w).transpose(1, 2).reshape(b, c, h, w)[:, self.p].flip(1).roll(3, 1)
        return self.l(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class If(nn.Module):
    """A branch on data takes one of two results."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Conv2d(8, 6, 1)
        self.f = nn.Linear(6, 4)
        self.g = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.a(x))
        if bool(x.mean() > 0):
            x = x * 2.0
        else:
            x = x - 1.0
        return self.g(torch.relu(self.f(torch.relu(self.b(x)).mean((2, 3)))))


class IfShape(nn.Module):
    """A branch on a shape."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Conv2d(8, 6, 1)
        self.f = nn.Linear(6, 4)
        self.g = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.a(x))
        if x.shape[2] % 7 != 0:
            x = torch.nn.functional.pad(x, [0, 1, 0, 1])
        return self.g(torch.relu(self.f(torch.relu(self.b(x)).mean((2, 3)))))


class Loop(nn.Module):
    """A loop of known length, a list and a dictionary."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.g = nn.Linear(8, 2)

    def forward(self, x):
        x = torch.relu(self.a(x))
        ys = [x]
        for i in range(3):
            x = x + torch.relu(self.b(x))
            ys.append(x)
        d = {'last': ys[-1], 'all': torch.stack(ys).sum(0)}
        return self.g((d['last'] + d['all']).mean((2, 3)))


class Experts(Tokens):
    """A mixture of experts: tokens sorted by expert, products by offsets."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(16, 3)
        self.up = nn.Parameter(torch.randn(3, 24, 16) / 4)
        self.down = nn.Parameter(torch.randn(3, 16, 12) / 4)

    def body(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        scores, experts = self.router(tokens).softmax(-1).topk(2, -1)
        return self.mixed(tokens, scores, experts).view(x.shape[0], x.shape[1], -1)

    def mixed(self, tokens, scores, experts):
        ordered, order = torch.sort(experts.reshape(-1))
        ends = torch.histc(ordered.float(), 3, 0, 2).cumsum(0, dtype=torch.int32)
        gate, value = torch._grouped_mm(tokens[order // 2], self.up.transpose(1, 2), ends).chunk(2, -1)
        made = torch._grouped_mm(F.silu(gate) * value, self.down.transpose(1, 2), ends)
        made = made * scores.reshape(-1)[order].unsqueeze(-1)
        back = torch.empty_like(order)
        back[order] = torch.arange(order.shape[0])
        return made[back].view(experts.shape[0], 2, -1).sum(1)


class ExpertsBatched(Experts):
    """The same with each token's expert looked up."""

    def mixed(self, tokens, scores, experts):
        tokens = tokens.repeat_interleave(2, 0).unsqueeze(-1)
        gate, value = torch.bmm(self.up[experts.reshape(-1)], tokens).chunk(2, 1)
        made = torch.bmm(self.down[experts.reshape(-1)], F.silu(gate) * value).squeeze(-1)
        return (made * scores.reshape(-1, 1)).view(experts.shape[0], 2, -1).sum(1)


NETWORKS = {
    "mha": (Mha, (2, 6, 16), "trace"),
    "mha_weights": (MhaWeights, (2, 6, 16), "trace"),
    "mha_cross": (MhaCross, (2, 6, 16), "trace"),
    "decoder": (Decoder, (2, 6, 16), "trace"),
    "gqa_flag": (Gqa, (2, 6, 16), "trace"),
    "gqa_repeat": (GqaRepeat, (2, 6, 16), "trace"),
    "linear_attention": (LinearAttention, (2, 6, 16), "trace"),
    "tied_head": (TiedHead, (2, 6), "trace"),
    "weight_norm": (WeightNorm, (2, 6, 16), "trace"),
    "spectral_norm": (SpectralNorm, (2, 6, 16), "trace"),
    "transposed": (Transposed, (2, 3, 12, 12), "trace"),
    "lstm": (Lstm, (2, 6, 16), "trace"),
    "gru": (Gru, (2, 6, 16), "trace"),
    "fold": (Fold, (2, 3, 12, 12), "trace"),
    "rearrange": (Rearrange, (2, 3, 12, 12), "trace"),
    "branch_on_data": (If, (2, 3, 12, 12), "script"),
    "branch_on_shape": (IfShape, (2, 3, 12, 12), "script"),
    "loop": (Loop, (2, 3, 12, 12), "script"),
    "experts": (Experts, (2, 6, 16), "trace"),
    "experts_batched": (ExpertsBatched, (2, 6, 16), "trace"),
}


def main():
    folder = pathlib.Path(sys.argv[1])
    with open(folder / "index.jsonl", "a") as index:
        for name, (network, shape, form) in NETWORKS.items():
            module = network().eval()
            for norm in module.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.running_mean.normal_()
                    norm.running_var.uniform_(0.5, 2)
            x = torch.randint(0, 100, shape) if len(shape) == 2 else torch.randn(shape)
            if form == "script":
                made = torch.jit.script(module)
            else:
                made = torch.jit.trace(module, x, check_trace=False)
            made.save(str(folder / f"{name}.pt"))
            dtype = str(x.dtype).removeprefix("torch.")
            line = {"name": name, "file": f"{name}.pt", "inputs": [{"shape": list(shape), "dtype": dtype}]}
            index.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
