"""Networks in the Python that people write, as scripts and as traces, and what PyTorch computes with them.

    python spellings.py FOLDER

Writes FOLDER/NAME.script.pt, FOLDER/NAME.trace.pt (where it can be traced) and FOLDER/spellings.json: for each network
inputs, and the outputs.
"""
import io
import json
import pathlib
import sys

import torch
from torch import nn

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


NETWORKS = [
    ("device", Device(), [IMAGE]),
    ("ranges", Ranges(), [IMAGE]),
]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    found = {}
    for name, module, shapes in NETWORKS:
        torch.manual_seed(0)
        module = module.eval()
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -1, 1)
        inputs = [torch.rand(shape) * 2 - 1 for shape in shapes]

        def save(kind, module):
            stream = io.BytesIO()
            torch.jit.save(module, stream)
            (folder / f"{name}.{kind}.pt").write_bytes(slim(stream.getvalue()))

        save("script", torch.jit.script(module))
        save("trace", torch.jit.trace(module, inputs[0].clone(), check_trace=False))
        flat = lambda tensor: {"shape": list(tensor.shape), "values": [round(x, 6) for x in tensor.flatten().tolist()]}
        inputs = [torch.tensor(flat(x)["values"]).reshape(x.shape) for x in inputs]
        with torch.no_grad():
            found[name] = [{"x": flat(x), "y": flat(module(x.clone()))} for x in inputs]
    (folder / "spellings.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
