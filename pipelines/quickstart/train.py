"""Trains the quickstart's network and writes every file that quickstart.yaml reads.

    python train.py --data DIR [--epochs 8] [--out FOLDER]

DIR holds Fashion-MNIST (Copyright 2017 Zalando SE, MIT licence) as four `*-ubyte.gz` files: from
https://github.com/zalandoresearch/fashion-mnist or from Debian's package dataset-fashion-mnist, which puts them into
/usr/share/datasets/fashion-mnist. Needs PyTorch, nothing else; the seed fixes all random choices.

Writes model.pt (a traced TorchScript archive), images.idx.gz and labels.idx.gz (the first 2 000 test images) and
masks.pth (masks that contradict each other, for the step `mask_fix`).
"""
import argparse
import gzip
import pathlib
import struct

import torch
from torch import nn
from torch.nn import functional

MEAN, STD = 0.286, 0.353  # of the training images, after division by 255; quickstart.yaml repeats them
SAMPLES = 2000


def convolution(inputs, outputs, size, **options):
    """A convolution that keeps the extent at stride 1. It has no bias, since a batch norm follows."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options)


class Block(nn.Module):
    """ResNet's basic block; the second convolution may be grouped."""

    def __init__(self, inputs, outputs, stride=1, conv_groups=1):
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3, groups=conv_groups)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                convolution(inputs, outputs, 1, stride=stride),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += shortcut
        return self.relu(x)


class Separable(nn.Module):
    """MobileNetV2's block: widen, filter each channel on its own, narrow, add."""

    def __init__(self, channels, width):
        super().__init__()
        self.expand = convolution(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.depthwise = convolution(width, width, 3, groups=width)
        self.bn2 = nn.BatchNorm2d(width)
        self.project = convolution(width, channels, 1)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = functional.relu(self.bn1(self.expand(x)))
        y = functional.relu(self.bn2(self.depthwise(y)))
        return x + self.bn3(self.project(y))


class Branches(nn.Module):
    """Two views of one tensor, side by side."""

    def __init__(self, inputs, near, wide):
        super().__init__()
        self.near = convolution(inputs, near, 1)
        self.wide = convolution(inputs, wide, 3)
        self.bn = nn.BatchNorm2d(near + wide)

    def forward(self, x):
        return functional.relu(self.bn(torch.cat([self.near(x), self.wide(x)], dim=1)))


class Network(nn.Module):
    """Small, yet with something for each analysis to find: residual adds, grouped and depthwise convolutions, a concat."""

    def __init__(self):
        super().__init__()
        self.conv1 = convolution(1, 16, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32, stride=2, conv_groups=4), Block(32, 32, conv_groups=4))
        self.layer3 = Separable(32, 64)
        self.mix = Branches(32, near=20, wide=28)
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.mix(self.layer3(self.layer2(self.layer1(x))))
        x = functional.adaptive_avg_pool2d(x, 1)
        return self.fc(torch.flatten(x, 1))


def read(file):
    """The bytes of a gzipped IDX file as a tensor."""
    data = bytearray(gzip.decompress(file.read_bytes()))
    axes = data[3]
    shape = struct.unpack_from(f">{axes}I", data, 4)
    return torch.frombuffer(data, dtype=torch.uint8, offset=4 + 4 * axes).reshape(shape)


def write(file, tensor):
    """The inverse of read; without a time stamp, so that the same data give the same file."""
    head = bytes([0, 0, 8, tensor.dim()]) + struct.pack(f">{tensor.dim()}I", *tensor.shape)
    file.write_bytes(gzip.compress(head + tensor.numpy().tobytes(), 9, mtime=0))


def normalize(images):
    return ((images.float() / 255 - MEAN) / STD).unsqueeze(1)


def augment(images):
    """Flips half of the images and moves the whole batch by up to two pixels."""
    flip = torch.rand(len(images)) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    down, right = torch.randint(0, 5, (2,)).tolist()
    padded = functional.pad(images, (2, 2, 2, 2), value=-MEAN / STD)
    return padded[:, :, down : down + 28, right : right + 28]


@torch.no_grad()
def accuracy(network, images, labels):
    network.eval()
    right = sum(
        (network(normalize(x)).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500))
    )
    return right / len(images)


def train(images, labels, epochs, batch=128):
    """Returns the trained network in evaluation mode."""
    network = Network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
    for epoch in range(epochs):
        network.train()
        order = torch.randperm(len(images))
        total = 0.0
        for picked in order.split(batch)[: len(images) // batch]:
            loss = functional.cross_entropy(network(augment(normalize(images[picked]))), labels[picked].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * batch
        print(f"epoch {epoch + 1} of {epochs}: loss {total / len(images):.4f}", flush=True)
    return network.eval()


def mask(layer, sparsity):
    """Keeps the filters with the largest L1 norms."""
    norms = layer.weight.detach().abs().sum((1, 2, 3))
    keep = torch.ones_like(norms)
    keep[norms.argsort()[: int(len(norms) * sparsity)]] = 0
    weight = keep.reshape(-1, 1, 1, 1).expand_as(layer.weight).clone()
    return {"weight": weight, "bias": None if layer.bias is None else keep}


def conflicting_masks(network):
    """Masks as somebody makes them who looks at each layer alone.

    The layers of a residual sum keep different channels, and the grouped convolutions lose unequally many filters a group.
    """
    sparsities = {
        "conv1": 0.25,
        "layer1.0.conv1": 0.5,
        "layer1.0.conv2": 0.5,
        "layer1.1.conv2": 0.375,
        "layer2.0.conv1": 0.5,
        "layer2.0.conv2": 0.75,
        "layer2.0.downsample.0": 0.75,
        "layer2.1.conv2": 0.875,
        "layer3.project": 0.875,
        "mix.near": 0.5,
    }
    return {name: mask(network.get_submodule(name), sparsity) for name, sparsity in sparsities.items()}


def save(traced, file):
    """Saves an archive without the records for debugging, which name folders of the machine that made it."""
    traced.save(file)
    reader = torch._C.PyTorchFileReader(str(file))
    records = {name: reader.get_record(name) for name in reader.get_all_records()}
    del reader
    writer = torch._C.PyTorchFileWriter(str(file))
    for name, data in records.items():
        if not name.endswith(".debug_pkl") and name not in ("version", ".data/serialization_id"):
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", required=True, type=pathlib.Path)
    ask.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    ask.add_argument("--epochs", type=int, default=8)
    ask.add_argument("--seed", type=int, default=0)
    args = ask.parse_args()

    torch.manual_seed(args.seed)
    images, labels = (read(args.data / f"train-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    network = train(images, labels, args.epochs)

    images, labels = (read(args.data / f"t10k-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    print(f"accuracy on all {len(images)} test images: {accuracy(network, images, labels):.4f}")
    images, labels = images[:SAMPLES], labels[:SAMPLES]
    print(f"accuracy on the first {SAMPLES}: {accuracy(network, images, labels):.4f}")

    save(torch.jit.trace(network, normalize(images[:2])), args.out / "model.pt")
    write(args.out / "images.idx.gz", images)
    write(args.out / "labels.idx.gz", labels)
    torch.save(conflicting_masks(network), args.out / "masks.pth")


if __name__ == "__main__":
    main()
