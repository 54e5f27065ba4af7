"""Writes model.pt, data.npz and masks*.pth of every network of odd_models.py; of TOPOLOGIES model.pt alone.

    python make_models.py GOLDEN_FOLDER

The weights are random, the batch norms settled on the data, the last bias set so that no class is rare, and the labels
are what the network itself answers after noise: so the accuracy is far from 0 and from 1, and masks move it.
"""
import pathlib
import sys

import numpy
import torch
from torch import nn

import odd_models
from networks import quickstart


def samples(name):
    """Multiples of a quarter, which compress well."""
    _, shape, count = odd_models.NETWORKS[name]
    return torch.randn(count, *shape).mul(4).round().clamp(-8, 8).div(4)


@torch.no_grad()
def settle(network, x):
    """Gives batch norms the statistics of the data and every class its share of the answers."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.5, 0.5)
    network.train()(x)
    network.eval()
    answers = network(x)
    spread = answers.std(0)
    network.fc.weight.div_(spread[:, None] / 2)
    network.fc.bias.copy_((network.fc.bias - answers.mean(0)) / (spread / 2))


def lowest(norms, sparsity):
    """1 where the norm is among the larger ones, else 0."""
    keep = torch.ones_like(norms)
    keep[norms.argsort(stable=True)[: int(len(norms) * sparsity)]] = 0
    return keep


def filters(layer, keep):
    """The masks that keep these filters."""
    weight = keep.reshape(-1, 1, 1, 1).expand_as(layer.weight).clone()
    return {"weight": weight, "bias": None if layer.bias is None else keep.clone()}


def filter_masks(network):
    """Filters by L1 norm, another sparsity in each layer, every fourth layer left without a mask."""
    found = {}
    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.out_channels > 1]
    for index, (name, layer) in enumerate(layers):
        if index % 4 != 3:
            found[name] = filters(layer, lowest(layer.weight.abs().sum((1, 2, 3)), (0.5, 0.3, 0.7)[index % 4]))
    return found


def input_masks(network):
    """Uneven's masks on the input axis, in layers that read one tensor."""
    found = {}
    for name, sparsity in (("single", 0.5), ("tall", 0.3), ("same", 0.5), ("one", 0.25)):
        layer = network.get_submodule(name)
        keep = lowest(layer.weight.abs().sum((0, 2, 3)), sparsity)
        found[name] = {"weight": keep.reshape(1, -1, 1, 1).expand_as(layer.weight).clone(), "bias": None}
    return found


def fine_masks(network):
    """Uneven's masks of which one, in a coupled set, takes single weights."""
    found = filter_masks(network)
    found["same"] = filters(network.same, lowest(network.same.weight.abs().sum((1, 2, 3)), 0.4))
    weight = network.tall.weight
    found["tall"] = {"weight": lowest(weight.abs().flatten(), 0.5).reshape(weight.shape), "bias": None}
    return found


def whole_masks(network):
    """Grouped's masks in which a whole group of a convolution goes, and a few filters of the others."""
    three, two = torch.ones(18), torch.ones(12)
    three[[0, 3, 6, 7, 8, 9, 10, 11, 12]] = 0
    two[[0, 1, 2, 3, 4, 5, 8, 11]] = 0
    return {"three": filters(network.three, three), "two": filters(network.two, two), "skip": filters(network.skip, two)}


# network: {file beside the model: what makes it}
MASKS = {
    "uneven": {"masks": filter_masks, "masks-input": input_masks, "masks-fine": fine_masks},
    "shared": {"masks": filter_masks},
    "grouped": {"masks": filter_masks, "masks-whole": whole_masks},
    "hourglass": {"masks": filter_masks},
}


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    for name in odd_models.NETWORKS:
        network = odd_models.build(name)
        x = samples(name)
        settle(network, x)
        with torch.no_grad():
            answers = network(x)
        y = (answers + 1.2 * torch.randn_like(answers)).argmax(1)
        right = (answers.argmax(1) == y).float().mean().item()
        print(f"{name}: accuracy {right:.3f}, classes {y.bincount().tolist()}")
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        quickstart().save(torch.jit.trace(network, x[:2]), place / "model.pt")
        numpy.savez_compressed(place / "data.npz", x=x.numpy(), y=y.numpy())
        for file, make in MASKS[name].items():
            with torch.no_grad():
                torch.save(make(network), place / f"{file}.pth")
    for name, (_, shape, _) in odd_models.TOPOLOGIES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        network = odd_models.build(name)
        quickstart().save(torch.jit.trace(network, torch.ones(2, *shape)), folder / name / "model.pt")


if __name__ == "__main__":
    main()
