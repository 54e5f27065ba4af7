"""NNI 1.9's sensitivity analysis of one network, timed: `cargo xtask bench --nni DIR` starts it.

    DIR/tp/bin/python nni.py --nni DIR/nni-1.9 --model model.pt --samples samples.safetensors --sparsities 0.25,0.5

The archive gives the weights; the module is the quickstart's (pipelines/quickstart/train.py) or torchvision's of the file's
name, since NNI looks for Python's own Conv2d. Prints one JSON line: seconds, and the values layer by layer.
"""
import argparse
import importlib.util
import json
import logging
import pathlib
import struct
import sys
import time
import types
import warnings

warnings.filterwarnings("ignore")


def samples(path):
    """x and y of a safetensors file."""
    import numpy
    import torch

    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head = json.loads(data[8 : 8 + length])
    kinds = {"F32": numpy.float32, "I64": numpy.int64}

    def tensor(name):
        entry = head[name]
        start, end = (8 + length + at for at in entry["data_offsets"])
        array = numpy.frombuffer(data[start:end], kinds[entry["dtype"]]).reshape(entry["shape"])
        return torch.from_numpy(array.copy())

    return tensor("x"), tensor("y")


def module(path):
    """The network in Python, with the archive's weights."""
    import torch

    state = torch.jit.load(path).state_dict()
    train = pathlib.Path(path).parent / "train.py"
    if train.is_file():
        spec = importlib.util.spec_from_file_location("train", train)
        source = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(source)
        made = source.Network()
    else:
        import torchvision

        name = pathlib.Path(path).stem.removeprefix("torchvision-")
        extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        made = getattr(torchvision.models, name)(weights=None, **extra)
    made.load_state_dict(state, strict=False)
    return made.eval()


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("nni", "model", "samples", "sparsities"):
        ask.add_argument("--" + name, required=True)
    ask.add_argument("--batch", type=int, default=64)
    ask.add_argument("--threads", type=int, default=2)
    args = ask.parse_args()

    # NNI's top-level package starts its trial machinery on import; the analysis needs none of it.
    sys.path.insert(0, args.nni)
    package = types.ModuleType("nni")
    package.__path__ = [args.nni + "/nni"]
    sys.modules["nni"] = package
    import torch
    from nni.compression.torch.utils.sensitivity_analysis import SensitivityAnalysis

    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    network = module(args.model)
    x, y = samples(args.samples)

    def evaluate(network):
        network.eval()
        right = 0
        with torch.no_grad():
            for start in range(0, len(x), args.batch):
                outputs = network(x[start : start + args.batch])
                right += (outputs.argmax(1) == y[start : start + args.batch]).sum().item()
        return right / len(x)

    sparsities = [float(sparsity) for sparsity in args.sparsities.split(",")]
    analysis = SensitivityAnalysis(network, evaluate, sparsities, "l1")
    start = time.perf_counter()
    table = analysis.analysis(val_args=[network])
    seconds = time.perf_counter() - start
    values = [row[sparsity] for row in table.values() for sparsity in sorted(row)]
    print(json.dumps({"seconds": seconds, "values": values}))


main()
