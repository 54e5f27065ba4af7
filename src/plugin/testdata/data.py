"""A dataset by hand, without numpy: sample n is x = [n, n + 0.5] and the target n % 3; there are ten.

The first argument says what it does wrong, at the sample 4; the second one is its form.
"""

import json
import os
import struct
import sys
import time

fault, form = sys.argv[1], sys.argv[2]
questions = os.fdopen(int(os.environ["SECATEUR_QUESTIONS"]), "rb")
answers = os.fdopen(int(os.environ["SECATEUR_ANSWERS"]), "wb")
tensors = [{"name": "x", "dtype": "F32", "shape": [2]}, {"name": "targets", "dtype": "I64", "shape": []}]
coming = 0

while line := questions.readline():
    question = json.loads(line)
    ask, number = question["ask"], question["id"]
    answer, payload = {"id": number}, b""
    if ask == "bye":
        break
    if ask == "hello":
        samples = None if fault == "endless" else os.getpid() if fault == "moody" else 10
        answer.update(protocol=1, kind="dataset", form=form, samples=samples, tensors=tensors, fingerprint="ten")
        if fault == "metric":
            answer = {"id": number, "protocol": 1, "kind": "metric", "form": "per_sample"}
    if ask == "rewind":
        print("begun again", file=sys.stderr)
        coming = 0
    if ask == "read":
        rows = question["rows"]
        x = struct.pack(f"<{2 * len(rows)}f", *(value for row in rows for value in (row, row + 0.5)))
        y = struct.pack(f"<{len(rows)}q", *(row % 3 for row in rows))
        count, x_type = len(rows), "F32"
        if form == "stream" and (rows != sorted(rows) or rows[0] < coming):
            answer["error"] = f"{rows} cannot be had, {coming} comes next"
        coming = rows[-1] + 1
        if rows[-1] > 9:
            answer["error"] = "it ended after 10 samples"
        if 4 in rows:
            if fault == "die":
                print("about to die", file=sys.stderr)
                sys.exit(3)
            if fault == "hang":
                time.sleep(600)
            if fault == "few":
                count, x, y = count - 1, x[:-8], y[:-8]
            if fault == "dtype":
                x_type = "I32"
            if fault == "many":
                x += b"\0" * 100_000
            if fault == "nan":
                x = struct.pack("<f", float("nan")) + x[4:]
        header = {
            "x": {"dtype": x_type, "shape": [count, 2], "data_offsets": [0, len(x)]},
            "targets": {"dtype": "I64", "shape": [count], "data_offsets": [len(x), len(x) + len(y)]},
        }
        if 4 in rows and fault == "lacks":
            header = {"x": header["x"]}
        text = json.dumps(header).encode()
        payload = struct.pack("<Q", len(text)) + text + x + y
        if 4 in rows and fault == "cut":
            payload = struct.pack("<Q", 1 << 40) + payload[8:]
        if "error" in answer:
            payload = b""
        if payload:
            answer["bytes"] = len(payload)
    answers.write(json.dumps(answer).encode() + b"\n" + payload)
    answers.flush()
