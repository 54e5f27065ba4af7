"""Writes what NNI 2.10.1 says of a network's topology, and its repair of the network's masks.

    python nni_topology.py NNI_FOLDER GOLDEN_FOLDER NAME...      golden networks: NAME/topology.json, NAME/fixed.pth
    python nni_topology.py NNI_FOLDER GOLDEN_FOLDER torchvision  every classification network of torchvision that NNI
                                                                 survives: nni_topology/NETWORK.json
    python nni_topology.py NNI_FOLDER GOLDEN_FOLDER torchvision:NETWORK...

NNI_FOLDER is NNI 2.10.1 unpacked. `channel` and `input_channel` are all sets, those of one layer too, in NNI's order,
the members sorted; linear layers are among them as NNI has them. `group` is in NNI's order. `macs` and `layer_params` are
NNI's of convolutions and linear layers, without bias additions (it counts a strided transposed convolution by its outputs),
`calls` the same for each call of each; `params` are all of the network's. `masks` says what became of each file of masks.
"""
import json
import logging
import pathlib
import signal
import sys
import types
import warnings

warnings.filterwarnings("ignore")

import torch

import networks

# NNI's top-level package starts its trial machinery on import; the analysis needs none of it.
package = types.ModuleType("nni")
package.__path__ = [str(pathlib.Path(sys.argv[1]) / "nni")]
sys.modules["nni"] = package
sys.path.insert(0, sys.argv[1])
from nni.compression.pytorch.utils.counter import count_flops_params  # noqa: E402
from nni.compression.pytorch.utils.mask_conflict import fix_mask_conflict  # noqa: E402
from nni.compression.pytorch.utils.shape_dependency import (  # noqa: E402
    ChannelDependency,
    GroupDependency,
    InputChannelDependency,
)

LIMIT = 300  # seconds for one question about one network


def late(*_):
    raise TimeoutError(f"NNI did not finish in {LIMIT} s")


def attempt(ask):
    """The answer, or what NNI failed with."""
    signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        return ask()
    except Exception as fault:
        return {"nni_failed": f"{type(fault).__name__}: {fault}".splitlines()[0][:200]}
    finally:
        signal.alarm(0)


def sets(dependency):
    """NNI lists a layer once for each of its calls; a set is given once, where it comes first."""
    answer = []
    for members in dependency.dependency_sets:
        if sorted(members) not in answer:
            answer.append(sorted(members))
    return answer


def topology(network, shape):
    example = torch.ones(1, *shape)
    answer = {"nni": "2.10.1", "input": list(shape)}
    traced = torch.jit.trace(network, example, strict=False, check_trace=False)
    answer["channel"] = attempt(lambda: sets(ChannelDependency(network, example, traced, prune_type="Filter")))
    answer["group"] = attempt(
        lambda: [[n, int(g)] for n, g in GroupDependency(network, example, traced).dependency.items()]
    )
    answer["input_channel"] = attempt(lambda: sets(InputChannelDependency(network, example, traced)))
    macs, params, rows = count_flops_params(network, example, verbose=False)
    answer["macs"], answer["layer_params"] = int(macs), int(params)
    answer["params"] = sum(p.numel() for p in network.parameters())
    return answer, [[row["name"], int(row["flops"]), int(row["params"])] for row in rows]


def write(file, answer):
    """One line a key, so that a difference is readable and the file small."""
    rows = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in answer.items())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{\n" + rows + "\n}\n")


def golden_network(golden, name):
    shape = networks.sample(name)
    answer, rows = topology(networks.load(golden, name), shape)
    answer["calls"] = rows
    answer["masks"] = {}
    for file in sorted(networks.folder(golden, name).glob("masks*.pth")):
        fixed = file.name.replace("masks", "fixed")
        network, masks = networks.load(golden, name), torch.load(file)
        result = attempt(lambda: fix_mask_conflict(masks, network, torch.ones(2, *shape)))
        answer["masks"][file.name] = result if "nni_failed" in result else fixed
        if "nni_failed" not in result:
            torch.save(result, golden / name / fixed)
    write(golden / name / "topology.json", answer)


def torchvision_network(golden, name):
    import torchvision

    options = {"weights": None}
    if name in ("googlenet", "inception_v3"):
        options.update(init_weights=False, aux_logits=False)
    size = 299 if name == "inception_v3" else 224
    network = torchvision.models.get_model(name, **options).eval()
    if sum(p.numel() for p in network.parameters()) > 150e6:
        print(f"{name}: left out, over 150 million parameters", flush=True)
        return
    answer, _ = topology(network, (3, size, size))
    failed = {key: answer[key]["nni_failed"] for key in ("channel", "group", "input_channel") if isinstance(answer[key], dict)}
    print(f"{name}: {failed or 'ok'}", flush=True)
    if len(failed) < 3:
        write(golden / "nni_topology" / f"{name}.json", answer)


def main():
    golden = pathlib.Path(sys.argv[2])
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for name in sys.argv[3:]:
        if name == "torchvision":
            import torchvision

            for network in torchvision.models.list_models(module=torchvision.models):
                torchvision_network(golden, network)
        elif name.startswith("torchvision:"):
            torchvision_network(golden, name.removeprefix("torchvision:"))
        else:
            golden_network(golden, name)


main()
