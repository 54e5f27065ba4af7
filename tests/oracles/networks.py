"""Loads a golden network and its data. Runs under both of the oracles' torch versions.

An archive of a new torch may not load in an old one, so the weights travel as `NAME/weights.pth`, which make_golden.sh
has this file write from model.pt first, and removes last:

    python networks.py GOLDEN_FOLDER NAME...
"""
import gzip
import pathlib
import sys

import numpy
import torch

import odd_models

QUICKSTART = pathlib.Path(__file__).resolve().parents[2] / "pipelines" / "quickstart"


def quickstart():
    """The module that trained the quickstart's network."""
    sys.path.insert(0, str(QUICKSTART))
    import train

    return train


def folder(golden, name):
    """Where the network's model.pt and masks lie; what the oracles say lies under GOLDEN_FOLDER always."""
    return QUICKSTART if name == "quickstart" else golden / name


def sample(name):
    """The shape of one sample."""
    return (1, 28, 28) if name == "quickstart" else (odd_models.NETWORKS | odd_models.TOPOLOGIES)[name][1]


def load(golden, name):
    """The network in evaluation mode, with the weights of its archive."""
    network = quickstart().Network() if name == "quickstart" else odd_models.build(name)
    network.load_state_dict(torch.load(golden / name / "weights.pth"))
    return network.eval()


def data(golden, name):
    """Inputs as the network wants them, and the wanted classes."""
    if name != "quickstart":
        found = numpy.load(golden / name / "data.npz")
        return torch.from_numpy(found["x"]), torch.from_numpy(found["y"])
    images, labels = (gzip.decompress((QUICKSTART / f"{part}.idx.gz").read_bytes()) for part in ("images", "labels"))
    count = len(labels) - 8
    images = torch.frombuffer(bytearray(images[16:]), dtype=torch.uint8).reshape(count, 28, 28)
    labels = torch.frombuffer(bytearray(labels[8:]), dtype=torch.uint8)
    return quickstart().normalize(images), labels.long()


def main():
    golden = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:]:
        (golden / name).mkdir(parents=True, exist_ok=True)
        weights = torch.jit.load(str(folder(golden, name) / "model.pt")).state_dict()
        torch.save(weights, golden / name / "weights.pth")


if __name__ == "__main__":
    main()
