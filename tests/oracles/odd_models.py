"""Small networks with odd shapes, on which the oracles are asked.

Each factory answers with fixed random weights, in evaluation mode. NETWORKS is the list; the scripts beside sweep it.
"""
import torch
from torch import nn
from torch.nn import functional


class Uneven(nn.Module):
    """Filter counts that no sparsity divides, one-filter layers, dilation, no bias, in-place writes on a residual."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 7, 3, bias=False)
        self.bn = nn.BatchNorm2d(7)
        self.single = nn.Conv2d(7, 1, 1)
        self.spread = nn.Conv2d(1, 7, 3, padding=2, dilation=2)
        self.tall = nn.Conv2d(7, 13, (5, 1), stride=(2, 1), padding=(1, 0), bias=False)
        self.same = nn.Conv2d(13, 13, 3, padding="same")
        self.one = nn.Conv2d(13, 1, (2, 3), bias=False)
        self.last = nn.Conv2d(1, 11, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(11, 5)

    def forward(self, x):
        x = self.relu(self.bn(self.stem(x)))
        y = self.spread(functional.leaky_relu_(self.single(x), 0.1))
        y += x
        y = self.relu(y)
        y = self.tall(y)
        y = self.relu(y + self.same(y))
        y = torch.tanh(self.last(self.one(y)))
        return self.fc(y.amax((2, 3)))


class Shared(nn.Module):
    """A convolution that runs twice, and filters whose norms tie exactly: pairs in one layer, all of them in another."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.pairs = nn.Conv2d(6, 10, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(10)
        self.equal = nn.Conv2d(10, 8, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8 * 3 * 3, 4)

    def tie(self):
        """Makes norms equal to the last bit: the same absolute values, other signs, or one power of two a filter."""
        with torch.no_grad():
            self.pairs.weight[5:] = -self.pairs.weight[:5]
            signs = torch.where(self.equal.weight > 0, 1.0, -1.0)
            self.equal.weight.copy_(signs * 0.25)
            self.twice.weight[4] = self.twice.weight[1].flip(0, 1, 2)

    def forward(self, x):
        x = self.relu(self.stem(x))
        x = self.relu(self.twice(x))
        x = x + self.twice(x)
        x = functional.max_pool2d(self.bn(self.pairs(x)), 2)
        x = functional.hardtanh(self.equal(x))
        return self.fc(torch.flatten(x, 1))


class Grouped(nn.Module):
    """Grouped convolutions whose groups do not divide each other, depthwise with and without multiplier, a concat."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.three = nn.Conv2d(12, 18, 3, padding=1, groups=3)
        self.bn = nn.BatchNorm2d(18)
        self.depthwise = nn.Conv2d(18, 18, 3, stride=2, padding=1, groups=18, bias=False)
        self.multiplied = nn.Conv2d(12, 24, 3, stride=2, padding=1, groups=12)
        self.left = nn.Conv2d(18, 6, 1)
        self.right = nn.Conv2d(24, 8, 1, bias=False)
        self.two = nn.Conv2d(14, 12, 3, groups=2)
        self.skip = nn.Conv2d(14, 12, 3, bias=False)
        self.norm = nn.GroupNorm(3, 12)
        self.fc = nn.Linear(12, 6)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        left = functional.relu6(self.bn(self.three(x)))
        left = self.left(self.depthwise(left))
        right = functional.silu(self.right(self.multiplied(x)))
        x = torch.cat((left, right), 1)
        x = functional.relu(self.norm(self.two(x)) + self.skip(x))
        return self.fc(x.mean((2, 3)))


class Hourglass(nn.Module):
    """Down and up again: strided and transposed convolutions (grouped too), skips by add and by concat, a flatten."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(1, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 9, 2, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(9)
        self.deep = nn.Conv2d(9, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.wide = nn.ConvTranspose2d(9, 3, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.merge = nn.Conv2d(9, 4, 3, stride=2)
        self.hidden = nn.Linear(4 * 3 * 3, 15)
        self.fc = nn.Linear(15, 3)

    def forward(self, x):
        x = functional.relu(self.enter(x))
        y = functional.elu(self.bn(self.down(x)))
        up = self.up(torch.sigmoid(self.deep(y)))
        up += x
        y = torch.cat([up, self.wide(y)], dim=1)
        y = functional.relu(self.merge(y))
        return self.fc(functional.gelu(self.hidden(y.flatten(1))))


class Gated(nn.Module):
    """One parameter before and behind another module."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x * self.gate) + self.gate


class Borrowed(nn.Module):
    """What several operators read: a constant, parameters of the model's own, a parameter of a module called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.fourth = (nn.Conv2d(4, 4, 1) for _ in range(4))
        self.half = torch.tensor(0.5)
        self.left, self.right = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.gated = Gated()
        self.gate = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.register_buffer("shift", torch.ones(1, 4, 1, 1))
        self.near, self.far, self.last = (nn.Conv2d(4, 4, 1, bias=False) for _ in range(3))

    def forward(self, x):
        x = self.second(self.first(x) * self.half)
        x = self.third(x * self.half)
        x = self.fourth(x)
        x = self.right(self.gated(self.left(self.gated(x))))
        x = self.far(self.near(x) * self.gate)
        return self.last(x - self.shift)


class Rows(nn.Module):
    """Rows of pixels made an image again, by sizes that are handed in."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x, width):
        return self.conv(x.flatten(2).reshape(x.shape[0], 4, -1, width))


class Handed(nn.Module):
    """Sizes read early and used late, in the same module and in others."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.own = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.near, self.far, self.turned = Rows(), Rows(), Rows()
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        height, width = x.shape[2], x.shape[3]
        x = torch.relu(self.inner(x))
        x = torch.relu(self.own(x.flatten(2).reshape(x.shape[0], 4, height, width)))
        x = torch.relu(self.near(x, width))
        x = torch.relu(self.far(x, width))
        return self.last(torch.relu(self.turned(x, height // 2 * 2)))


def maxvit():
    """torchvision's MaxViT with two small stages: attention over windows and over a grid."""
    from torchvision.models import MaxVit

    return MaxVit((32, 32), 8, 4, [8, 16], [1, 2], 8, 0.0, num_classes=4)


# name: (class, one sample's shape, number of samples)
NETWORKS = {
    "uneven": (Uneven, (2, 11, 9), 300),
    "shared": (Shared, (3, 13, 12), 250),
    "grouped": (Grouped, (3, 10, 10), 250),
    "hourglass": (Hourglass, (1, 8, 8), 400),
}

# The same of networks whose topology alone is asked for: without data.
TOPOLOGIES = {
    "borrowed": (Borrowed, (4, 8, 8), 0),
    "handed": (Handed, (4, 6, 8), 0),
    "maxvit": (maxvit, (3, 32, 32), 0),
}


def build(name):
    """The network with weights that only the seed decides. make_models.py settles its norms and its last bias on data."""
    torch.manual_seed([*sorted(NETWORKS), *TOPOLOGIES].index(name))
    network = (NETWORKS | TOPOLOGIES)[name][0]()
    if hasattr(network, "tie"):
        network.tie()
    return network.eval()
