"""Slices the groups of coupling.json out of PyTorch's own modules, and compares.

    DIR/tp/bin/python slice_modules.py SECATEUR [NAME ...]      (torchvision:resnet18, timm:repvgg_a0; none means all below)

For each network: random weights, traced, `SECATEUR run` on a pipeline with one `dependencies` step, then a random half of
each group's units (up to 25 groups one at a time, and all groups at once) is cut out of the parameters and buffers of the
module itself, as `coupling.json` lists them. The module that is left must compute in float64 what the whole one computes
with the same positions zeroed. Prints one Markdown row a network. Networks whose Python has widths written into it cannot
run smaller, whatever is cut; the last column says so.
"""
import copy
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings

import torch
from torch import nn

warnings.filterwarnings("ignore")

NETWORKS = """torchvision:alexnet torchvision:vgg11_bn torchvision:resnet18 torchvision:resnet50 torchvision:wide_resnet50_2
torchvision:resnext50_32x4d torchvision:squeezenet1_1 torchvision:densenet121 torchvision:googlenet torchvision:inception_v3
torchvision:mobilenet_v2 torchvision:mobilenet_v3_small torchvision:mnasnet0_5 torchvision:shufflenet_v2_x0_5
torchvision:efficientnet_b0 torchvision:regnet_y_400mf torchvision:convnext_tiny timm:repvgg_a0 timm:hrnet_w18_small
timm:ghostnet_100""".split()


def build(name):
    """The network in evaluation mode, nothing in it 0 or 1 everywhere, and its sample's shape."""
    torch.manual_seed(0)
    kind, _, model = name.partition(":")
    if kind == "torchvision":
        import torchvision

        options = {"weights": None}
        if model in ("googlenet", "inception_v3"):
            options.update(init_weights=False, aux_logits=False)
        module = getattr(torchvision.models, model)(**options)
    else:
        import timm

        module = timm.create_model(model, pretrained=False)
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point() and tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
            tensor.data += 0.25 + 0.5 * torch.rand_like(tensor)
    return module.eval(), [3, 96, 96]


def coupling(secateur, module, shape):
    """What secateur says of the traced module."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        traced = torch.jit.trace(module, torch.randn(2, *shape), strict=False, check_trace=False)
        traced.save(str(folder / "model.pt"))
        pipeline = {"version": 1, "name": "slice", "model": {"path": "model.pt", "input": shape}}
        pipeline["steps"] = [{"dependencies": {}}]
        (folder / "slice.yaml").write_text(json.dumps(pipeline))
        subprocess.run([secateur, "run", "slice.yaml", "--progress", "none"], cwd=folder, check=True, capture_output=True)
        return json.loads((folder / "out/slice/dependencies/coupling.json").read_text())


def half(group, chance):
    """A random half of the units, of each balanced block alike."""
    blocks = group["balance"] or [range(group["units"])]
    return sorted(unit for block in blocks for unit in chance.sample(list(block), len(block) // 2))


def lost(cuts):
    """(parameter, axis): the positions that go."""
    found = {}
    for group, units in cuts:
        for param in group["params"]:
            taken = [index for unit in units for index in param["indices"][unit]]
            found.setdefault((param["name"], param["axis"]), []).extend(taken)
    return found


def owner(module, name):
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


@torch.no_grad()
def zeroed(module, cuts):
    module = copy.deepcopy(module)
    for (name, axis), taken in lost(cuts).items():
        where, leaf = owner(module, name)
        getattr(where, leaf).index_fill_(axis, torch.tensor(sorted(taken)), 0)
    return module


@torch.no_grad()
def sliced(module, cuts):
    """The smaller module: tensors cut, and the attributes that PyTorch's own layers read brought in line."""
    module = copy.deepcopy(module)
    for (name, axis), taken in lost(cuts).items():
        where, leaf = owner(module, name)
        tensor = getattr(where, leaf)
        kept = torch.tensor([at for at in range(tensor.shape[axis]) if at not in set(taken)])
        cut = tensor.index_select(axis, kept)
        setattr(where, leaf, nn.Parameter(cut) if isinstance(tensor, nn.Parameter) else cut)
        if isinstance(where, nn.GroupNorm) and leaf == "weight":
            where.num_groups = where.num_groups * len(kept) // tensor.shape[0]
        if isinstance(where, nn.modules.conv._ConvNd) and leaf == "weight" and axis == 0 and tensor.shape[1] == 1 and where.groups > 1:
            where.groups = where.groups * len(kept) // tensor.shape[0]
    return module


def difference(module, cuts, x):
    with torch.no_grad():
        small, whole, before = sliced(module, cuts)(x), zeroed(module, cuts)(x), module(x)
    found = ((small - whole).abs().max() / whole.abs().max()).item()
    # Outputs that are 0, no number, or the same whatever is cut would prove nothing.
    assert found == found and not torch.equal(whole, before), "the outputs tell nothing"
    return found


def look(secateur, name):
    module, shape = build(name)
    found = coupling(secateur, module, shape)
    module, chance = module.double(), random.Random(0)
    x = torch.randn(2, *shape, dtype=torch.float64)
    cuts = [(group, half(group, chance)) for group in found["groups"]]
    step = -(-len(cuts) // 25)
    worst, faults = 0.0, []
    for which in [*([cut] for cut in cuts[::step]), cuts]:
        try:
            worst = max(worst, difference(module, which, x))
        except Exception as fault:  # the module's own Python refuses the smaller width
            faults.append(f"{which[0][0]['outputs'][0]}: {str(fault).splitlines()[0][:80]}")
    before = sum(p.numel() for p in module.parameters())
    left = "-" if faults else f"{sum(p.numel() for p in sliced(module, cuts).parameters()) / before:.2f}"
    tried = len(cuts[::step]) + 1
    note = f"{len(faults)} of {tried} do not run: {faults[0]}" if faults else ""
    return f"| {name} | {len(cuts)} | {tried - len(faults)} | {worst:.1e} | {left} | {note} |"


def main():
    torch.set_num_threads(1)
    print("| network | groups | removals that ran | largest difference | parameters left | note |\n|---|---|---|---|---|---|")
    for name in sys.argv[2:] or NETWORKS:
        print(look(str(pathlib.Path(sys.argv[1]).resolve()), name), flush=True)


if __name__ == "__main__":
    main()
