"""Makes `tests/data/scripted`: metrics as scripted modules, and what PyTorch measures with them of the quickstart's
network on its first 200 images.

    python tests/oracles/scripted.py    # torch 2.13.0, numpy 2.4.6
"""

import gzip
import json
import os

import numpy
import torch
from torch import Tensor

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "data", "scripted")
QUICKSTART = os.path.join(HERE, "..", "..", "pipelines", "quickstart")


class Accuracy(torch.nn.Module):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.argmax(1) == targets


class Focal(torch.nn.Module):
    """The focal loss, with weights of its own for the classes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.linspace(0.5, 1.5, 10))
        self.gamma = 2.0

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        p = torch.softmax(outputs, 1).gather(1, targets.unsqueeze(1)).squeeze(1)
        return -self.weight[targets] * (1 - p) ** self.gamma * p.log()


class Entropy(torch.nn.Module):
    """Needs no labels."""

    def forward(self, outputs: Tensor) -> Tensor:
        log_p = torch.log_softmax(outputs, 1)
        return -(log_p.exp() * log_p).sum(1)


class Loop(torch.nn.Module):
    """Its loop's length depends on the data."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros(outputs.size(0))
        for _ in range(int(targets.sum())):
            total += outputs.amax(1)
        return total


class Mean(torch.nn.Module):
    """One value a batch instead of one a sample."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) == targets).float().mean()


os.makedirs(OUT, exist_ok=True)
modules = {"accuracy": Accuracy(), "focal": Focal(), "entropy": Entropy(), "loop": Loop(), "mean": Mean()}
for name, module in modules.items():
    torch.jit.script(module.eval()).save(os.path.join(OUT, f"{name}.pt"))

with gzip.open(os.path.join(QUICKSTART, "images.idx.gz")) as file:
    images = numpy.frombuffer(file.read(16 + 200 * 784), numpy.uint8, offset=16).reshape(200, 1, 28, 28)
with gzip.open(os.path.join(QUICKSTART, "labels.idx.gz")) as file:
    labels = torch.from_numpy(numpy.frombuffer(file.read(8 + 200), numpy.uint8, offset=8).astype(numpy.int64))
inputs = (torch.from_numpy(images.copy()).float() / 255 - 0.286) / 0.353
with torch.no_grad():
    outputs = torch.jit.load(os.path.join(QUICKSTART, "model.pt"))(inputs)
    golden = {
        "focal": modules["focal"](outputs, labels).double().mean().item(),
        "entropy": modules["entropy"](outputs).double().mean().item(),
    }
with open(os.path.join(OUT, "golden.json"), "w") as file:
    json.dump(golden, file)
    file.write("\n")
print(golden)
