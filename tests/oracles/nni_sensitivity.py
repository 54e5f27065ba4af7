"""Runs NNI 1.9's SensitivityAnalysis on a golden network and writes its tables.

    python nni_sensitivity.py NNI_FOLDER GOLDEN_FOLDER NAME

NNI_FOLDER is NNI 1.9 unpacked. Writes NAME/sensitivity/*.csv, NNI's own export with `\\n` line ends, and
NAME/sensitivity/index.json, which says for each table: file, method, metric, sparsities asked for (null: NNI's default),
early stop, layers asked for (null: all), and once the baselines and the batch size.
"""
import json
import logging
import pathlib
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
from nni.compression.torch.utils.sensitivity_analysis import SensitivityAnalysis  # noqa: E402

BATCH = 64


def evaluation(metric, x, y):
    """The metric over all samples, summed in float64."""

    def evaluate(network):
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(x), BATCH):
                answers, wanted = network(x[start : start + BATCH]), y[start : start + BATCH]
                if metric == "cross_entropy":
                    total += torch.nn.functional.cross_entropy(answers, wanted, reduction="none").double().sum().item()
                else:
                    total += (answers.argmax(1) == wanted).sum().item()
        return total / len(x)

    return evaluate


def tables(baseline, layers):
    """What to ask: (file, method, metric, sparsities, (early stop's mode, value) or None, layers or None)."""
    exact = baseline["accuracy"]
    loss = baseline["cross_entropy"]
    few = [0.25, 0.5, 0.75]
    for method in ("l1", "l2", "level"):
        for metric in ("accuracy", "cross_entropy"):
            yield f"{method}-{metric}.csv", method, metric, None if method == "l1" else few, None, None
    # Unsorted, and with half hundredths: NNI sorts, and rounds to the even hundredth.
    yield "l1-rounding.csv", "l1", "accuracy", [0.615, 0.9, 0.375, 0.05], None, None
    yield "l1-layers.csv", "l1", "accuracy", few, None, [layers[-1], layers[0]]
    yield "l1-minimize.csv", "l1", "accuracy", None, ("minimize", round(exact * 0.8, 3)), None
    yield "l1-dropped.csv", "l1", "accuracy", None, ("dropped", 0.1), None
    yield "l1-maximize.csv", "l1", "cross_entropy", None, ("maximize", round(loss * 1.2, 3)), None
    yield "l1-raised.csv", "l1", "cross_entropy", None, ("raised", 0.2), None
    yield "level-raised.csv", "level", "cross_entropy", few, ("raised", 0.05), None


def main():
    golden, name = pathlib.Path(sys.argv[2]), sys.argv[3]
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    x, y = networks.data(golden, name)
    fresh = networks.load(golden, name)
    layers = [n for n, m in fresh.named_modules() if isinstance(m, torch.nn.Conv2d)]
    baseline = {metric: evaluation(metric, x, y)(fresh) for metric in ("accuracy", "cross_entropy")}
    folder = golden / name / "sensitivity"
    folder.mkdir(parents=True, exist_ok=True)
    index = {"nni": "1.9", "samples": len(x), "batch_size": BATCH, "baseline": baseline, "tables": []}
    for file, method, metric, sparsities, stop, chosen in tables(baseline, layers):
        network = networks.load(golden, name)
        mode, value = stop or (None, None)
        analysis = SensitivityAnalysis(network, evaluation(metric, x, y), sparsities, method, mode, value)
        analysis.analysis(val_args=[network], specified_layers=chosen)
        analysis.export(str(folder / file))
        (folder / file).write_bytes((folder / file).read_bytes().replace(b"\r\n", b"\n"))
        index["tables"].append(
            {
                "file": file,
                "method": method,
                "metric": metric,
                "sparsities": sparsities,
                "early_stop": stop and {"mode": mode, "value": value},
                "layers": chosen,
            }
        )
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    print(f"{name}: {len(index['tables'])} tables, baseline {baseline}")


main()
