"""Makes `tests/data/bert`: a text classifier of two inputs with random weights, token numbers for it, and what PyTorch
measures of it with one linear layer at a time masked.

    python tests/oracles/bert.py        # torch 2.13.0, transformers 5.24.0, safetensors 0.8.0

Filters are masked as NNI masks them: the k = trunc(n * s) filters of smallest L1 norm, biases with them.
"""

import json
import os

import numpy
import torch
import transformers
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "bert")
SPARSITIES = [0.25, 0.5]
LENGTH, SAMPLES = 12, 48

torch.manual_seed(0)
torch.set_num_threads(1)
config = transformers.BertConfig(
    vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=16, num_labels=4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    initializer_range=0.3, tie_word_embeddings=False,
)
model = transformers.BertForSequenceClassification(config).eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0.0, 0.2)
        elif "LayerNorm" in name:
            parameter.uniform_(0.5, 1.5)

ids = torch.randint(0, config.vocab_size, (SAMPLES, LENGTH))
mask = (torch.arange(LENGTH)[None] < torch.randint(4, LENGTH + 1, (SAMPLES, 1))).long()
with torch.no_grad():
    labels = model(ids, mask).logits.argmax(1)
# One label in six is wrong, so that the baseline is no perfect score.
labels[::6] = (labels[::6] + 1) % config.num_labels

traced = torch.jit.trace(model, (ids[:2], mask[:2]), strict=False)
os.makedirs(OUT, exist_ok=True)
traced.save(os.path.join(OUT, "model.pt"))
arrays = {"ids": ids, "mask": mask, "y": labels}
save_file(arrays, os.path.join(OUT, "data.safetensors"))
numpy.savez_compressed(os.path.join(OUT, "data.npz"), **{name: value.numpy() for name, value in arrays.items()})


def measured():
    with torch.no_grad():
        logits = model(ids, mask).logits.double()
    return {
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "cross_entropy": torch.nn.functional.cross_entropy(logits, labels).item(),
    }


def masked(layer, sparsity):
    """The metrics without the layer's smallest filters, and how many those are."""
    saved = {name: value.clone() for name, value in layer.state_dict().items()}
    norms = layer.weight.detach().abs().sum(1)
    count = int(len(norms) * sparsity)
    with torch.no_grad():
        for name in saved:
            getattr(layer, name)[norms.argsort()[:count]] = 0
    found = measured()
    layer.load_state_dict(saved)
    return {**found, "pruned": count, "of": len(norms)}


layers = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
golden = {
    "baseline": measured(),
    "cells": [
        {"layer": name, "sparsity": sparsity, **masked(layer, sparsity)}
        for name, layer in layers
        for sparsity in SPARSITIES
    ],
}
with open(os.path.join(OUT, "masked.json"), "w") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
print(golden["baseline"], len(golden["cells"]))
