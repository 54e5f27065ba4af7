"""Scripted networks whose Python branches on data and on shapes, and what PyTorch computes with them.

    python branches.py FOLDER

Writes FOLDER/NAME.pt and FOLDER/branches.json: for each network inputs that take every way through it, and the outputs.
"""
import json
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "data" / "torchscript"))
from make import slim  # noqa: E402
import io  # noqa: E402


class Early(nn.Module):
    """Returns early, on data."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 1)
        self.b = nn.Conv2d(4, 4, 1)
        self.c = nn.Conv2d(2, 4, 1)
        self.d = nn.Conv2d(4, 3, 1)
        self.e = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.e(F.relu(self.d(self.c(x))))
        if bool(x.sum() > 0):
            return y
        x = self.a(x)
        if bool(x.max() > 1):
            return self.e(F.relu(x[:, :3]))
        return self.e(self.b(x)[:, :3]) + y


class InPlace(nn.Module):
    """Writes in place in one branch, through a view in the other, and in none behind it."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 1)
        self.b = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        y = self.a(x)
        view = y[:, 1:3]
        if bool(x.sum() > 0):
            y.relu_()
            z = y * 2
        else:
            view.mul_(3.0)
            z = y
        return self.b(z) + view.sum()


class Windows(nn.Module):
    """Swin's kind: a list that a branch on sizes writes, a flag that two branches read."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 1)
        self.b = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        y = self.a(x)
        _, _, h, w = y.shape
        shift = [1, 2]
        if h <= 3:
            shift[0] = 0
        if w <= 3:
            shift[1] = 0
        resized = False
        if h % 2 != 0 or w % 2 != 0:
            y = F.pad(y, [0, w % 2, 0, h % 2])
            resized = True
        if sum(shift) > 0:
            y = torch.roll(y, [-shift[0], -shift[1]], [2, 3])
        y = self.b(y.relu())
        if resized:
            y = y[:, :, :h, :w]
        return y


class Held(nn.Module):
    """Writes a list that the module holds."""

    def __init__(self):
        super().__init__()
        self.kept = [1, 2]
        self.a = nn.Conv2d(2, 3, 1)

    def forward(self, x):
        if bool(x.sum() > 0):
            self.kept[0] = 3
        else:
            self.kept[0] = 5
        return self.a(x) * self.kept[0]


class Lists(nn.Module):
    """Lists that both sides of a branch made go into others."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 1)
        self.b = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.a(x)
        if bool(x.sum() > 0):
            end = [x]
        else:
            end = [-x]
        parts = [x]
        parts.extend(end)
        return self.b(torch.cat(parts, 1))


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.manual_seed(0)
    image = torch.rand(2, 2, 4, 6)
    inputs = {
        "held": [image, -image],
        "lists": [image, -image],
        "early": [image, -image, -9 * image],
        "in_place": [image, -image],
        "windows": [image, image[:, :, :3], image[:, :, :, :2], image[:, :, :3, :3]],
    }
    found = {}
    for name, module in [("early", Early()), ("in_place", InPlace()), ("windows", Windows()), ("held", Held()), ("lists", Lists())]:
        script = torch.jit.script(module.eval())
        stream = io.BytesIO()
        torch.jit.save(script, stream)
        (folder / f"{name}.pt").write_bytes(slim(stream.getvalue()))
        flat = lambda tensor: {"shape": list(tensor.shape), "values": tensor.flatten().tolist()}
        with torch.no_grad():
            found[name] = [{"x": flat(x), "y": flat(module(x.clone()))} for x in inputs[name]]
    (folder / "branches.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
