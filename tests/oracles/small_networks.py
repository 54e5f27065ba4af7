"""Writes the small networks that are proven by removal, as archives: PyTorch 2.13, torchvision, timm, transformers.

    DIR/tp/bin/python small_networks.py [NAME ...]          (into ../data/torchscript/networks; none means all)

Odd ones written here, each with one thing that topologies get wrong, and the smallest of the families that people have.
Random weights, seed 0, evaluation mode; batch norms and affine parameters are uneven, so that nothing hides behind a 0 or
a 1. `index.jsonl` names every archive's inputs, as `cargo xtask zoo` reads it.
"""
import io
import json
import os
import pathlib
import sys
import warnings

import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data" / "torchscript"
sys.path.insert(0, str(DATA))
from make import slim  # noqa: E402

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")


class Shuffle(nn.Module):
    """Channel split, channel shuffle, concat: half of the channels pass by."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4))
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(x.mean((2, 3)))


class Gates(nn.Module):
    """A gate from a squeeze, one from a chunk, a GLU, a layer scale and a channel-wise buffer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Conv2d(8, 3, 1)
        self.excite = nn.Conv2d(3, 8, 1)
        self.pair = nn.Conv2d(8, 12, 1)
        self.glu = nn.Conv2d(6, 10, 1)
        self.last = nn.Conv2d(5, 6, 1)
        self.scale = nn.Parameter(torch.randn(6, 1, 1))
        self.register_buffer("shift", torch.randn(1, 6, 1, 1))
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x * torch.sigmoid(self.excite(F.silu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        value, gate = self.pair(x).chunk(2, 1)
        x = value * torch.tanh(gate)
        x = x + self.scale * self.last(F.glu(self.glu(x), 1)) + self.shift
        return self.fc(x.mean((2, 3)))


class Waves(nn.Module):
    """One dimension: dilated gated convolutions, a multiplier on depthwise filters, a skip, a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv1d(2, 6, 3, padding=1)
        self.multiplied = nn.Conv1d(6, 12, 3, padding=2, dilation=2, groups=6)
        self.norm = nn.BatchNorm1d(12)
        self.gate = nn.Conv1d(12, 12, 1, groups=3)
        self.back = nn.Conv1d(12, 6, 1)
        self.up = nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1, groups=2)
        self.fc = nn.Linear(4 * 16, 3)

    def forward(self, x):
        x = self.enter(x)
        y = self.norm(self.multiplied(x))
        x = x + self.back(torch.tanh(y) * torch.sigmoid(self.gate(y)))
        return self.fc(F.elu(self.up(x)).flatten(1))


class Volumes(nn.Module):
    """Three dimensions, then frames moved into channels, pixel shuffle, PReLU and instance norm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.deep = nn.Conv3d(4, 4, 3, padding=1, groups=4, bias=False)
        self.norm = nn.BatchNorm3d(4)
        self.flat = nn.Conv2d(4 * 2, 16, 1)
        self.slope = nn.PReLU(16)
        self.fine = nn.Conv2d(4, 5, 3, padding=1)
        self.instance = nn.InstanceNorm2d(5, affine=True)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.deep(self.conv(x))))
        x = self.slope(self.flat(x.flatten(1, 2)))
        x = self.instance(self.fine(F.pixel_shuffle(x, 2)))
        return self.fc(F.adaptive_max_pool2d(x, 1).flatten(1))


class Twice(nn.Module):
    """A module called twice, tied embedding and output head, a parameter reached by two paths."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.cell = nn.Linear(6, 6)
        self.wide = nn.Linear(6, 10)
        self.narrow = nn.Linear(10, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight
        self.again = self.cell

    def forward(self, x):
        x = self.embed(x)
        x = torch.tanh(self.cell(x)) + x
        x = torch.tanh(self.again(x)) + self.narrow(F.gelu(self.wide(x)))
        return self.head(x)


class Standardised(nn.Conv2d):
    """A weight that is computed: standardised before it is used."""

    def forward(self, x):
        weight = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(weight, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, padding=1)


class Computed(nn.Module):
    """Weight-normalised and standardised layers beside plain ones."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3, padding=1))
        self.second = Standardised(6, 7, 3)
        self.third = nn.Conv2d(7, 5, 1)
        self.norm = nn.GroupNorm(5, 5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = F.relu(self.third(F.relu(self.second(F.relu(self.first(x))))))
        return self.fc(self.norm(x).mean((2, 3)))


class Joins(nn.Module):
    """A tensor beside itself, adds that stretch, several outputs, a reduction over channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.both = nn.Conv2d(10, 6, 1)
        self.row = nn.Parameter(torch.randn(1, 6, 1, 7))
        self.side = nn.Linear(5, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = F.hardswish(self.conv(x))
        y = self.both(torch.cat([x, x], 1)) + self.row
        y = y + self.side(x.mean((2, 3)))[:, :, None, None]
        attention = x.amax(1, keepdim=True).sigmoid()
        return {"classes": self.fc((y * attention).mean((2, 3))), "map": attention, "mean": x.sum(1)}


class Fused(nn.Module):
    """A class token, position embeddings and attention with q, k and v in one layer, twice: reshape, and chunk."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.places = nn.Parameter(torch.randn(1, 5, 8))
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)
        self.qkv2 = nn.Linear(8, 36, bias=False)
        self.proj2 = nn.Linear(12, 8)
        self.up, self.down = nn.Linear(8, 20), nn.Linear(20, 8)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        n = x.shape[0]
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(n, -1, -1), x], 1) + self.places
        q, k, v = self.qkv(self.norm(x)).reshape(n, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(y.transpose(1, 2).reshape(n, 5, 8))
        q, k, v = (part.view(n, 5, 3, 4).transpose(1, 2) for part in self.qkv2(self.norm(x)).chunk(3, -1))
        y = (q @ k.transpose(-2, -1) * 0.5).softmax(-1) @ v
        x = x + self.proj2(y.transpose(1, 2).reshape(n, 5, 12))
        x = x + self.down(F.gelu(self.up(self.norm(x))))
        return self.fc(x[:, 0])


class Grouped(nn.Module):
    """Grouped-query attention with rotary positions, RMS norm and a gated feed-forward part."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(13, 8)
        self.norm = nn.RMSNorm(8)
        self.q, self.k, self.v = nn.Linear(8, 16, bias=False), nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.out = nn.Linear(16, 8, bias=False)
        self.gate, self.up, self.down = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)
        angles = torch.arange(6)[:, None] * torch.tensor([1.0, 0.1])
        self.register_buffer("cos", angles.cos().repeat(1, 2))
        self.register_buffer("sin", angles.sin().repeat(1, 2))

    def turn(self, x):
        left, right = x[..., :2], x[..., 2:]
        return x * self.cos + torch.cat([-right, left], -1) * self.sin

    def forward(self, x):
        n, t = x.shape
        x = self.embed(x)
        y = self.norm(x)
        q = self.turn(self.q(y).view(n, t, 4, 4).transpose(1, 2))
        k = self.turn(self.k(y).view(n, t, 2, 4).transpose(1, 2))
        v = self.v(y).view(n, t, 2, 4).transpose(1, 2)
        k, v = (part[:, :, None].expand(n, 2, 2, t, 4).reshape(n, 4, t, 4) for part in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, 16))
        y = self.norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Hourglass(nn.Module):
    """Down and up again, skips by concat and by add, resampling, padding by reflection and by zeros."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(2, 5, 3)
        self.down = nn.Conv2d(5, 8, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.up = nn.ConvTranspose2d(8, 5, 2, stride=2)
        self.smooth = nn.Conv2d(5, 5, 3, padding=1, padding_mode="circular")
        self.merge = nn.Conv2d(18, 6, 1)
        self.exit = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, x):
        x = F.leaky_relu(self.enter(F.pad(x, (1, 1, 1, 1), mode="reflect")), 0.1)
        y = F.relu(self.norm(self.down(x)))
        up = self.up(y) + self.smooth(x)
        large = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.exit(F.relu(self.merge(torch.cat([up, x, large], 1))))


class Scripted(nn.Module):
    """Control flow that folds: a loop of constant count over a list, branches on attributes and on None, a tuple."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(3, 6, 1)
        self.blocks = nn.ModuleList([nn.Conv2d(6, 6, 3, padding=1) for _ in range(2)])
        self.extra = nn.Conv2d(6, 4, 1)
        self.depth = 2
        self.residual = True
        self.fc = nn.Linear(10, 3)

    def step(self, x: torch.Tensor, times: int) -> torch.Tensor:
        for _ in range(times):
            x = F.relu(self.enter(x[:, :3]) + x) if self.residual else x
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.step(self.enter(x), self.depth)
        parts = [x]
        for block in self.blocks:
            x = F.relu(block(x))
        if self.residual:
            x = x + parts[0]
        parts.append(self.extra(x))
        parts[0] = x
        return self.fc(torch.cat(parts, 1).mean((2, 3)))


class Opaque(nn.Module):
    """An operator without a rule on one of two branches: the other stays prunable."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 5, 1)
        self.join = nn.Conv2d(5, 6, 1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        left = torch.sort(self.left(x), 1).values
        return self.fc((left + self.join(F.relu(self.right(x)))).mean((2, 3)))


def image(size=32, channels=3):
    return (torch.randn(2, channels, size, size),)


def tokens(count=8, vocabulary=32):
    return (torch.randint(0, vocabulary, (2, count)),)


def resnet(**options):
    from timm.models.resnet import BasicBlock, Bottleneck, ResNet

    options["block"] = {"basic": BasicBlock, "bottleneck": Bottleneck}[options["block"]]
    return ResNet(layers=(1, 1, 1, 1), channels=(8, 8, 12, 12), stem_width=8, num_classes=5, **options)


def densenet():
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=5)


def shufflenet():
    from torchvision.models import ShuffleNetV2

    return ShuffleNetV2([2, 2, 2], [8, 16, 24, 32, 32], num_classes=5)


def squeezenet():
    from torchvision.models.squeezenet import Fire

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 6, 6), Fire(12, 4, 6, 6),
        nn.MaxPool2d(3, 2, ceil_mode=True), Fire(12, 6, 8, 8), nn.Dropout(), nn.Conv2d(16, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def mobilenet():
    from torchvision.models import MobileNetV2

    settings = [[1, 8, 1, 1], [2, 8, 2, 2], [2, 12, 2, 1]]
    return MobileNetV2(num_classes=5, width_mult=0.5, inverted_residual_setting=settings, round_nearest=4)


def efficientnet():
    from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

    settings = [FusedMBConvConfig(2, 3, 1, 8, 8, 2), MBConvConfig(2, 3, 2, 8, 12, 2)]
    return EfficientNet(settings, 0.0, num_classes=5, last_channel=24)


def convnext():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 1)], layer_scale=0.5, num_classes=5)


def vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24, num_classes=5)


def swin(version):
    from torchvision.models import swin_transformer as module

    block = {1: module.SwinTransformerBlock, 2: module.SwinTransformerBlockV2}[version]
    merge = {1: module.PatchMerging, 2: module.PatchMergingV2}[version]
    return module.SwinTransformer(
        [2, 2], 8, [2, 2], [2, 4], [4, 4], mlp_ratio=2.0, num_classes=5, block=block, downsample_layer=merge
    )


class First(nn.Module):
    """A model of transformers that answers with its first tensor only."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        options = {"use_cache": False} if hasattr(self.model.config, "use_cache") else {}
        return self.model(x, return_dict=False, **options)[0]


SMALL = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}


def bert():
    import transformers as t

    return First(t.BertForSequenceClassification(t.BertConfig(num_labels=3, max_position_embeddings=16, **SMALL)))


def gpt2():
    import transformers as t

    sizes = {"vocab_size": 32, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 4}
    return First(t.GPT2LMHeadModel(t.GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)))


def llama():
    import transformers as t

    return First(t.LlamaForCausalLM(t.LlamaConfig(num_key_value_heads=2, max_position_embeddings=16, **SMALL)))


# name: (what makes it, its inputs, traced or scripted)
NETWORKS = {
    "shuffle": (Shuffle, lambda: image(6), "trace"),
    "gates": (Gates, lambda: image(6), "trace"),
    "waves": (Waves, lambda: (torch.randn(2, 2, 8),), "trace"),
    "volumes": (Volumes, lambda: (torch.randn(2, 1, 2, 6, 6),), "trace"),
    "twice": (Twice, lambda: tokens(5, 11), "trace"),
    "computed": (Computed, lambda: image(6), "trace"),
    "joins": (Joins, lambda: image(7), "trace"),
    "fused": (Fused, lambda: image(8), "trace"),
    "grouped_query": (Grouped, lambda: tokens(6, 13), "trace"),
    "hourglass": (Hourglass, lambda: image(6, 2), "trace"),
    "scripted": (Scripted, lambda: image(6), "script"),
    "opaque": (Opaque, lambda: image(6), "trace"),
    "resnet": (lambda: resnet(block="basic"), image, "trace"),
    "resnext_se": (lambda: resnet(block="bottleneck", cardinality=2, base_width=32, block_args={"attn_layer": "se"}), image, "trace"),
    "densenet": (densenet, image, "trace"),
    "shufflenet": (shufflenet, image, "trace"),
    "squeezenet": (squeezenet, image, "script"),
    "mobilenet": (mobilenet, image, "trace"),
    "efficientnet": (efficientnet, image, "trace"),
    "convnext": (convnext, image, "trace"),
    "vit": (vit, lambda: image(16), "trace"),
    "swin": (lambda: swin(1), lambda: image(16), "trace"),
    "swin_v2": (lambda: swin(2), lambda: image(16), "trace"),
    "bert": (bert, tokens, "trace"),
    "gpt2": (gpt2, tokens, "trace"),
    "llama": (llama, tokens, "trace"),
}


@torch.no_grad()
def unsettle(module):
    """Nothing is 0 or 1 everywhere: a scale of 0 would hide whatever lies behind it."""
    tensors = [*module.parameters(), *module.buffers()]
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
            tensor += 0.25 + 0.5 * torch.rand_like(tensor)


def archive(name):
    make, example, form = NETWORKS[name]
    torch.manual_seed(0)
    module, inputs = make().eval(), example()
    unsettle(module)
    if form == "script":
        found = torch.jit.script(module)
    else:
        found = torch.jit.trace(module, inputs, strict=False, check_trace=False)
    stream = io.BytesIO()
    torch.jit.save(found, stream)
    data = slim(stream.getvalue())
    (DATA / "networks" / f"{name}.pt").write_bytes(data)
    shapes = [{"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")} for tensor in inputs]
    return {"name": name, "file": f"{name}.pt", "inputs": shapes}, len(data)


def main():
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(NETWORKS)
    index = DATA / "networks" / "index.jsonl"
    lines = {}
    if index.exists():
        lines = {entry["name"]: entry for entry in map(json.loads, index.read_text().splitlines())}
    for name in names:
        lines[name], size = archive(name)
        print(f"{name}: {size} bytes", flush=True)
    index.write_text("".join(json.dumps(lines[name]) + "\n" for name in NETWORKS if name in lines))


if __name__ == "__main__":
    main()
