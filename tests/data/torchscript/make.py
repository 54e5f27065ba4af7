"""Makes the small archives of this folder: PyTorch 2.13, random weights, seed 0.

    python make.py [FOLDER]

The `.debug_pkl` entries, which hold paths and source of the machine that saves, are left out, and the rest is written anew
with fixed dates, so that the archives stay small and the same.
"""
import enum
import io
import pathlib
import sys
import typing
import zipfile

import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """In-place activations on a residual, a layer used twice, a convolution without bias, dilated, transposed."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.conv2(self.relu(self.conv2(x)))
        y += x
        y = self.up(self.relu(y))
        return self.head(F.dropout(torch.flatten(F.adaptive_avg_pool2d(y, 1), 1), 0.5, self.training))


class Views(nn.Module):
    """Writes through views of views, as Swin's shift mask has them."""

    def forward(self, x):
        mask = torch.zeros(4, 4)
        for count, rows in enumerate((slice(0, -2), slice(-2, None))):
            for columns in (slice(0, 1), slice(1, 4, 2)):
                mask[rows, columns] = count + 1
        mask[3] = 7
        mask.t()[0].mul_(2)
        y = x + mask
        left, right = y.chunk(2, 1)
        left.relu_()
        y.unsqueeze(0)[0, :, 3].copy_(right[:, 0])
        return y * mask, left


class Names(nn.Module):
    """Tied tensors, tied modules, odd names, a dict as output, a whole float above 1e10."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.again = self.layers[0]
        self.ünïcode = nn.Linear(3, 3)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]))
        self.table = torch.tensor([[1, 2], [3, 4]])

    def forward(self, x):
        y = self.embed(x)
        for layer in self.layers:
            y = layer(y)
        y = self.ünïcode(self.again(y)) * self.scale * 1e10 / 3
        return {"out": self.out(y), "y": y + self.table.sum()}


class Shapes(nn.Module):
    """Shape arithmetic: heads, windows, sizes read and written."""

    def forward(self, x):
        n, c, h, w = x.shape
        y = x.view(n, 2, c // 2, h * w).transpose(1, 2).reshape(n, c, h, w)
        q, k, v = y.flatten(2).transpose(1, 2).split(c, 2)[0].unsqueeze(0).expand(3, -1, -1, -1).unbind(0)
        attn = (q @ k.transpose(-2, -1) * (c // 2) ** -0.5).softmax(-1)
        return F.pad((attn @ v).permute(0, 2, 1).reshape(n, c, h, w), (0, (3 - w % 3) % 3, 0, 0))


class Mode(enum.Enum):
    SUM = "sum"
    MAX = "max"


class Pair(typing.NamedTuple):
    first: torch.Tensor
    second: typing.Optional[torch.Tensor]


class Helper(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 1)

    def twice(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        return self.conv(self.conv(x)) * scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.twice(x)


class Script(nn.Module):
    """Branches and loops that fold: attributes, options, lists, dicts, enums, named tuples, raises."""

    mode: Mode
    sizes: typing.List[int]

    def __init__(self):
        super().__init__()
        self.helper = Helper()
        self.blocks = nn.ModuleList([nn.Conv1d(2, 2, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout(0.1)])
        self.named = nn.ModuleDict({"a": nn.Conv1d(2, 2, 1), "b": nn.BatchNorm1d(2)})
        self.mode = Mode.MAX
        self.sizes = [1, 2, 4]
        self.extra: typing.Optional[torch.Tensor] = None
        self.limit = 3

    def pool(self, x: torch.Tensor, sizes: typing.List[int]) -> typing.List[torch.Tensor]:
        found: typing.List[torch.Tensor] = []
        for size in sizes:
            if size > self.limit:
                continue
            if self.mode == Mode.SUM:
                found.append(F.adaptive_avg_pool1d(x, size))
            else:
                found.append(F.adaptive_max_pool1d(x, size))
        return found

    def forward(self, x: torch.Tensor) -> Pair:
        if x.dim() != 3:
            raise ValueError(f"expected 3 dimensions, got {x.dim()}")
        kept: typing.Dict[str, torch.Tensor] = {}
        x = self.helper(x)
        for block in self.blocks:
            x = block(x)
        for name, module in self.named.items():
            x = module(x)
            kept[name] = x
        if self.extra is not None:
            x = x + self.extra
        assert x.shape[0] > 0
        n, c, _ = x.shape
        count = 0
        while count < 2:
            x = x + count * 0.5
            count += 1
        pooled = torch.cat(self.pool(x, self.sizes), 2)
        return Pair(pooled.view(n, c * pooled.size(2)), kept["a"] if "a" in kept else None)


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x


class Standardised(nn.Conv2d):
    """Weight standardisation: batch norm in training mode, but of a weight."""

    def forward(self, x):
        weight = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(weight, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias)


def slim(data):
    """The archive without what names the machine, dates fixed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            if info.filename.endswith((".debug_pkl", "serialization_id")):
                continue
            entry = zipfile.ZipInfo(info.filename)
            entry.compress_type = zipfile.ZIP_DEFLATED if info.filename.endswith(".py") else zipfile.ZIP_STORED
            new.writestr(entry, old.read(info))
    return out.getvalue()


class Nested(nn.Module):
    """Takes a tuple and a dict, and a tuple within a dict."""

    def forward(self, x, state, more: typing.Dict[str, torch.Tensor]):
        h, (c, d) = state
        return x + h * c - d, more["b"] * more["a"]


class Behind(nn.Module):
    """A body that is frozen and a head that is not; a blur has no parameters either, and is no layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
        self.head = nn.Conv2d(3, 2, 1)
        self.blur = torch.ones(2, 1, 2, 2)

    def forward(self, x):
        return F.conv2d(self.head(self.body(x)), self.blur, groups=2)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")

    def save(name, module):
        stream = io.BytesIO()
        torch.jit.save(module, stream)
        (folder / f"{name}.pt").write_bytes(slim(stream.getvalue()))

    def trace(name, module, *inputs):
        torch.manual_seed(0)
        save(name, torch.jit.trace(module, inputs, strict=False))

    torch.manual_seed(0)
    image = torch.randn(2, 2, 4, 4)
    trace("residual", Residual().eval(), image)
    trace("views", Views(), torch.randn(4, 4))
    trace("names", Names(), torch.tensor([[1, 2]]))
    trace("shapes", Shapes(), torch.randn(2, 4, 3, 5))
    trace("standardised", Standardised(2, 3, 1).eval(), image)
    trace("training", nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)).eval(), image)
    save("partly_frozen", torch.jit.freeze(torch.jit.script(Behind().eval()), preserved_attrs=["head"]))
    pair = torch.randn(2, 3), torch.randn(2, 3)
    trace("nested", Nested(), torch.randn(2, 3), (torch.randn(2, 3), pair), {"b": torch.randn(2, 4), "a": torch.ones(1)})
    trace("function", lambda x: torch.sort(x, 1)[0] + torch.max(x, 1, keepdim=True).values, torch.randn(2, 3))
    save("script", torch.jit.script(Script().eval()))
    save("residual_script", torch.jit.script(Residual().eval()))
    save("branch", torch.jit.script(Branch()))
    save("frozen", torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Conv2d(2, 2, 1)).eval())))


if __name__ == "__main__":
    main()
