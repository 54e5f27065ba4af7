"""Makes `tests/data/shards`: the same ten images as a folder, as WebDataset archives and as Parquet files, and a few
records of CIFAR's binary formats.

    python tests/oracles/shards.py    # webdataset 1.0.2, datasets 5.2.0, pyarrow 26.0.1, Pillow 13.0.0, numpy 2.4.6

Archives and tables hold the images in the order in which secateur takes a folder's: one of each class in turn. The
images are formulas and noise.
"""

import json
import os
import shutil

import datasets
import numpy
import webdataset
from PIL import Image

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "shards")
CLASSES = ["ash", "elm"]
random = numpy.random.default_rng(0)

shutil.rmtree(OUT, ignore_errors=True)
for folder in ["web", "json", "table"]:
    os.makedirs(os.path.join(OUT, folder))


def picture(kind):
    y, x = numpy.mgrid[0:17, 0:14 + kind].astype(float)
    planes = [127 + 120 * numpy.sin(x / (2 + kind) + y / 5), (x * 13 + y * 7 * kind) % 256, 255 - 9 * y]
    return Image.fromarray(numpy.clip(numpy.stack(planes, -1) + random.normal(0, 9, (17, 14 + kind, 3)), 0, 255).astype(numpy.uint8))


samples = []
for number in range(5):
    for label, name in enumerate(CLASSES):
        ending = ["png", "jpg"][number % 2]
        path = os.path.join(OUT, "folder", name, f"{number}.{ending}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        picture(label).save(path, **({"quality": 80} if ending == "jpg" else {}))
        with open(path, "rb") as file:
            samples.append({"key": f"{name}/{number:04}", "ending": ending, "bytes": file.read(), "label": label})


def archive(path, part, label):
    with webdataset.TarWriter(path, mtime=0) as tar:
        for sample in part:
            tar.write({"__key__": sample["key"], sample["ending"]: sample["bytes"], **label(sample)})


# Two shards, the second gzipped; and one with labels in JSON beside other fields.
archive(os.path.join(OUT, "web", "val-000000.tar"), samples[:6], lambda sample: {"cls": str(sample["label"])})
archive(os.path.join(OUT, "web", "val-000001.tar.gz"), samples[6:], lambda sample: {"cls": str(sample["label"])})
fields = lambda sample: {"json": json.dumps({"caption": sample["key"], "label": sample["label"]})}
archive(os.path.join(OUT, "json", "all.tar"), samples, fields)

# As `Dataset.to_parquet` writes them: a struct of bytes and path, labels of int64; groups of three rows.
features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
for number, part in enumerate([samples[:7], samples[7:]]):
    rows = {
        "image": [{"bytes": sample["bytes"], "path": sample["key"] + "." + sample["ending"]} for sample in part],
        "label": [sample["label"] for sample in part],
    }
    table = datasets.Dataset.from_dict(rows, features=features)
    table.to_parquet(os.path.join(OUT, "table", f"val-{number:05}-of-00002.parquet"), batch_size=3)

# Three records of each of CIFAR's formats, with what numpy makes of the last one.
records = random.integers(0, 256, (3, 3072), dtype=numpy.uint8)
ten = numpy.array([[3], [0], [9]], numpy.uint8)
hundred = numpy.array([[19, 99], [0, 1], [4, 30]], numpy.uint8)
numpy.hstack([ten, records]).tofile(os.path.join(OUT, "cifar10.bin"))
numpy.hstack([hundred, records]).tofile(os.path.join(OUT, "cifar100.bin"))
with open(os.path.join(OUT, "cifar.json"), "w") as file:
    planes = records.reshape(3, 3, 32, 32)
    json.dump({"sums": planes.sum((2, 3)).tolist(), "last": planes[2, 1, 5, :4].tolist()}, file)
    file.write("\n")
