"""Networks in the Python that people write, as scripts and as traces, and what PyTorch computes with them.

    python spellings.py FOLDER [NAME...]

Writes for each network FOLDER/NAME.script.pt, FOLDER/NAME.trace.pt and FOLDER/NAME.json: inputs, and the outputs.
"""
import io
import json
import os
import pathlib
import sys
import typing

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "data" / "torchscript"))
from make import slim  # noqa: E402

IMAGE = (2, 3, 6, 6)


class Device(nn.Module):
    """Keeps the device that it was made for."""

    def __init__(self):
        super().__init__()
        self.device = torch.device("cpu")
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.a(x.to(self.device))
        if y.device != self.device:
            y = y.to(self.device)
        return self.b(y + torch.ones(1, device=self.device))


class Ranges(nn.Module):
    """Counts from elsewhere, down and in steps; a norm that counts over sizes."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.norm = nn.InstanceNorm2d(4)
        self.b = nn.Conv2d(4, 4, 1)
        self.c = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.norm(self.a(x))
        levels = [y, y.relu(), y * 2]
        y = levels[-1]
        for at in range(len(levels) - 2, -1, -1):
            y = self.b(y) + levels[at]
        for at in range(1, 6, 2):
            y = y + 0.1 * at
        return self.c(y)


class C2f(nn.Module):
    """YOLO's: a list of pieces that grows."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.m = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])
        self.b = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        y = list(self.a(x).chunk(2, 1))
        for m in self.m:
            y.append(m(y[-1]))
        return self.b(torch.cat(y, 1))


class Pieces(nn.Module):
    """Lists of pieces are gone over, measured, added to and changed."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.b = nn.Conv2d(4, 4, 1)
        self.c = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        y = self.a(x)
        found: typing.List[torch.Tensor] = []
        for piece in y.split([4, 4], 1):
            found.append(self.b(piece))
        pieces = list(y.split([4, 4], 1)) + [found[0]]
        pieces[1] = pieces[1] + found[1]
        if len(pieces) == 3:
            pieces[0] = -pieces[0]
        return self.c(torch.cat(pieces, 1))


class Backwards(nn.Module):
    """A decoder that goes over what the encoder left, from its end."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)])
        self.up = nn.ModuleList([nn.Conv2d(10, 4, 1), nn.Conv2d(8, 2, 1)])

    def forward(self, x):
        left: typing.List[torch.Tensor] = []
        for down in self.down:
            x = down(x).relu()
            left.append(x)
        left = left[::-1]
        for at, up in enumerate(self.up):
            x = up(torch.cat([x, left[at]], 1))
        return x


class Sizes(nn.Module):
    """Branches on sizes whose other side does not run, or gives another shape."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.b = nn.Conv2d(8, 4, 1)
        self.c = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        if x.size(2) > 100:
            x = F.avg_pool2d(x, 2)
        y = self.a(x)
        if y.size(3) % 2 == 0:
            y = y.view(y.size(0), 8, -1, 2).mean(3, keepdim=True)
        else:
            y = y.view(y.size(0), 8, 5, -1)
        z = F.avg_pool2d(self.b(y), (2, 1))
        if z.shape != y.shape:
            z = F.interpolate(z, size=y.shape[2:])
        return self.c(z + max(z.size(2), 3) * 0.1)


class Steps(nn.Module):
    """A cell that goes over time, and parts of which the shape says how many there are."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(6, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        h = torch.zeros(x.size(0), 5)
        left: typing.List[torch.Tensor] = []
        for t in range(1, x.size(1)):
            h = self.cell(x[:, t], h)
            left.append(h)
        parts = x.split(2, 1)
        for part in parts:
            h = self.cell(part.mean(1), h)
        for at in range(3):
            h = h + left[at % len(left)]
        return self.head(h)


class Spectral(nn.Module):
    """A global filter (GFNet) with a complex weight, a Fourier unit (LaMa), a Fourier layer that keeps few modes (FNO)."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.filter = nn.Parameter(torch.randn(4, 6, 4, 2))
        self.unit = nn.Conv2d(8, 10, 1)
        self.modes = nn.Parameter(torch.randn(5, 3, 2, 2, dtype=torch.cfloat))
        self.skip = nn.Conv2d(5, 3, 1)
        self.b = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        y = torch.fft.rfft2(self.a(x), dim=(2, 3), norm="ortho") * torch.view_as_complex(self.filter)
        y = torch.fft.irfft2(y, s=(6, 6), dim=(2, 3), norm="ortho")
        f = torch.fft.rfftn(y, dim=(-2, -1))
        f = self.unit(torch.cat([f.real, f.imag], 1)).relu()
        real, imag = f.chunk(2, 1)
        y = torch.fft.irfftn(torch.complex(real, imag), s=(6, 6), dim=(-2, -1))
        f = torch.fft.rfft2(y)
        kept = torch.zeros(f.size(0), 3, 6, 4, dtype=torch.cfloat)
        kept[:, :, :2, :2] = torch.einsum("bixy,ioxy->boxy", f[:, :, :2, :2], self.modes)
        if torch.is_complex(kept):
            y = torch.fft.irfft2(kept, s=[6, 6]) + self.skip(y)
        if not y.is_complex():
            y = y * torch.fft.fft(y, dim=3).abs()
        return self.b(y)


class Turned(nn.Module):
    """Rotary positions as complex numbers; transforms over the hidden features; what is conjugate by a mark only."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(6, 8)
        self.k = nn.Linear(6, 8)
        self.v = nn.Linear(6, 5)
        self.mix = nn.Linear(5, 4)
        self.out = nn.Linear(4, 2)
        angles = torch.outer(torch.arange(4).float(), 10.0 ** -torch.arange(4).float())
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def turned(self, x):
        pairs = torch.view_as_complex(x.reshape(x.size(0), x.size(1), 4, 2).contiguous())
        return torch.view_as_real(pairs * self.turns).flatten(2)

    def forward(self, x):
        scores = self.turned(self.q(x)) @ self.turned(self.k(x)).transpose(1, 2)
        y = scores.softmax(-1) @ self.v(x)
        y = torch.fft.fft2(self.mix(y)).conj()
        return self.out(torch.real(y * 1.5) - y.imag)


class Masks(nn.Module):
    """Masks that are written over, and a slope that is random in training only."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.slope = nn.RReLU()
        self.b = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.slope(self.a(x))
        mask = y > 0.5
        mask |= y < -0.5
        mask &= y < 1
        return self.b(y * mask)


class Typed(nn.Module):
    """Writes float64 into float32, which stays float32; asks for ranks of what is reduced, compared and joined."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(4, 2, 1)
        self.register_buffer("shift", torch.rand(4, 1, 1, dtype=torch.float64))

    def forward(self, x):
        y = self.a(x)
        y += self.shift
        y *= self.shift
        z = self.b(y)
        if z.amax().dim() == 0 and (self.shift > y).dim() == 4:
            z = z * 2
        if torch.cat([torch.zeros(0), z]).dim() == 4:
            z = z + 1
        return z


class Quiet(nn.Module):
    """Enters torch.no_grad(), which changes no result."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        with torch.no_grad():
            y = self.a(x)
            with torch.no_grad():
                y = y * 2
        return self.b(y)


NETWORKS = {
    "device": (Device, [IMAGE]),
    "ranges": (Ranges, [IMAGE]),
    "c2f": (C2f, [IMAGE]),
    "pieces": (Pieces, [IMAGE]),
    "backwards": (Backwards, [IMAGE]),
    "sizes": (Sizes, [IMAGE]),
    "steps": (Steps, [(2, 4, 6)]),
    "spectral": (Spectral, [IMAGE]),
    "turned": (Turned, [(2, 4, 6)]),
    "masks": (Masks, [IMAGE]),
    "typed": (Typed, [IMAGE]),
    "quiet": (Quiet, [IMAGE]),
}


def write(folder, name):
    network, shapes = NETWORKS[name]
    torch.manual_seed(0)
    module = network().eval()
    for parameter in module.parameters():
        nn.init.uniform_(torch.view_as_real(parameter) if parameter.is_complex() else parameter, -1, 1)
    numbers = lambda tensor: [round(x, 6) for x in tensor.flatten().tolist()]
    flat = lambda tensor: {"shape": list(tensor.shape), "values": numbers(tensor)}
    inputs = [torch.tensor(numbers(torch.rand(shape) * 2 - 1)).reshape(shape) for shape in shapes]

    def save(kind, module):
        stream = io.BytesIO()
        torch.jit.save(module, stream)
        (folder / f"{name}.{kind}.pt").write_bytes(slim(stream.getvalue()))

    save("script", torch.jit.script(module))
    save("trace", torch.jit.trace(module, inputs[0].clone(), check_trace=False))
    with torch.no_grad():
        found = [{"x": flat(x), "y": flat(module(x.clone()))} for x in inputs]
    (folder / f"{name}.json").write_text(json.dumps(found) + "\n")


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for name in sys.argv[2:] or NETWORKS:
        # A process each, so that an archive is the same whatever was written before it.
        if (child := os.fork()) == 0:
            write(folder, name)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, name


if __name__ == "__main__":
    main()
