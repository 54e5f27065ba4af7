"""Writes the small files beside it with torch and numpy, for the tests of `src/formats`.

    python tests/data/formats/make.py
"""

import gzip
import os
import struct

import numpy
import torch

os.chdir(os.path.dirname(os.path.abspath(__file__)))

base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
shared = torch.arange(6, dtype=torch.int64)
value = {
    "conv1": {"weight": torch.tensor([[1.0, 1.0], [0.0, 0.0]]), "bias": None},
    "views": [base.t(), base[1:3, ::2], base[0, 0].expand(3), shared[2:], shared, torch.zeros(0, 3)],
    "dtypes": {
        str(dtype).split(".")[1]: torch.tensor([1, 0, 2]).to(dtype)
        for dtype in [
            torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
            torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
        ]
    },
    "plain": (1, -5, 1 << 40, 0.5, True, "ümlaut", None, [1, 2]),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "state": torch.nn.Sequential(torch.nn.Linear(2, 1)).state_dict(),
    3: "a number is a key",
}
value["state"]["0.weight"].fill_(0.25)
value["state"]["0.bias"].fill_(-1)
torch.save(value, "zip.pth")
legacy = {key: inner for key, inner in value.items() if key != "dtypes"}
legacy["dtypes"] = {key: inner for key, inner in value["dtypes"].items() if key not in ("uint16", "uint32", "uint64")}
torch.save(legacy, "legacy.pth", _use_new_zipfile_serialization=False)

x = numpy.arange(24, dtype=numpy.float32).reshape(6, 2, 2)
y = numpy.arange(6)
arrays = {"x": x, "y": y, "f": numpy.asfortranarray(x), "big": x.astype(">f8"), "half": x.astype(numpy.float16)}
numpy.savez("stored.npz", **arrays)
numpy.savez_compressed("deflated.npz", **arrays)
numpy.save("fortran.npy", numpy.asfortranarray(x))

images = struct.pack(">BBBBIII", 0, 0, 8, 3, 6, 2, 2) + bytes(range(24))
with open("images.idx.gz", "wb") as file:
    file.write(gzip.compress(images, mtime=0))
