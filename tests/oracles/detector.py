"""Makes `tests/data/detector`: a small detector that returns scores and a list of centres and sizes, inputs for it, and what
PyTorch makes of the metric of `tests/data/detector/score.py` with one convolution at a time masked.

    python tests/oracles/detector.py        # torch 2.13.0

Filters are masked as NNI masks them: the k = trunc(n * s) filters of smallest L1 norm, biases with them.
"""

import json
import os

import numpy
import torch
from torch import nn

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "detector")
SPARSITIES = [0.25, 0.5]


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.score = nn.Conv2d(8, 4, 1)
        self.centre = nn.Conv2d(8, 4, 1)
        self.size = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = torch.relu(self.body(torch.relu(self.stem(x))))
        scores = torch.sigmoid(self.score(x)).flatten(1)
        return scores, [self.centre(x).flatten(2), torch.exp(self.size(x)).flatten(2).permute(0, 2, 1)]


torch.manual_seed(0)
torch.set_num_threads(1)
model = Detector().eval()
x = torch.randn(12, 3, 8, 8)
torch.jit.trace(model, x[:2], strict=False).save(os.path.join(OUT, "model.pt"))
numpy.savez_compressed(os.path.join(OUT, "data.npz"), x=x.numpy())


def measured():
    with torch.no_grad():
        scores, (centres, sizes) = model(x)
    means = [part.double().flatten(1).mean(1) for part in (scores, centres, sizes)]
    return (means[0] + 2 * means[1] + 4 * means[2]).mean().item()


found = {"baseline": measured(), "cells": []}
for name, layer in model.named_children():
    for sparsity in SPARSITIES:
        before = layer.weight.detach().clone(), layer.bias.detach().clone()
        gone = layer.weight.detach().abs().flatten(1).sum(1).argsort()[:int(len(layer.weight) * sparsity)]
        with torch.no_grad():
            layer.weight[gone], layer.bias[gone] = 0, 0
        found["cells"].append({"layer": name, "sparsity": sparsity, "value": measured()})
        with torch.no_grad():
            layer.weight.copy_(before[0]), layer.bias.copy_(before[1])
with open(os.path.join(OUT, "masked.json"), "w") as file:
    json.dump(found, file, indent=1)
    file.write("\n")
