"""Prints the table `SUMS` of `src/mask/norm.rs`: torch's float32 sums of values from a small generator.

    python tests/data/formats/sums.py
"""

import torch

state, values = 12345, []
for _ in range(25088):
    state = (state * 1664525 + 1013904223) % 2**32
    values.append((state >> 8) / (1 << 24))
row = torch.tensor(values, dtype=torch.float32)
for count in [1, 3, 7, 8, 9, 27, 31, 32, 63, 147, 576, 1152, 4608, 9216, 25088]:
    total = row[:count].expand(4, count).contiguous().sum(dim=1)
    assert (total == total[0]).all()
    print(f"({count}, 0x{total[0].view(torch.int32).item():08x}),")
