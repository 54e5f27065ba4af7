"""Everything a plug-in of secateur needs, in one file: it hears questions, calls your function, and answers.

A function of outputs and targets that gives one value a sample is a whole metric:

    import secateur_plugin as sp

    @sp.metric(direction="maximize")
    def accuracy(outputs, targets):            # numpy arrays, batch first
        return outputs.argmax(1) == targets    # one value a sample

    sp.serve()

A class with reset, update and finish is a metric of all samples together (F1, mAP, BLEU); one object of it is made for
each cell that is measured, so keep everything in self:

    @sp.metric(direction="maximize")
    class F1:
        def reset(self): ...
        def update(self, outputs, targets): ...     # batches in the order of the samples
        def finish(self): return 0.5                # or (0.5, {"cat": 0.4, "dog": 0.6})
        def state(self): ...                        # both optional: what json.dumps can write, so that parts of the
        def merge(self, state): ...                 # samples can be measured apart; the other's samples come behind

What the function (or `update`) is given goes by the names of its parameters: outputs, targets, indices (of the samples),
inputs (of the model), baseline (the unmasked model's outputs). Several output tensors come as a list.

Samples are held by a class with __len__ and __getitem__, as torch.utils.data has it, one object of which is made:

    @sp.dataset(fingerprint=sp.digest("val.npz"))
    class Validation:
        def __len__(self): return 10000
        def __getitem__(self, at): return image, label  # or {"ids": ..., "mask": ..., "targets": ...}, or the input alone

by a function of sample numbers, which gives a whole batch at once, or by a generator, which gives one sample after the
other and is called again for each pass:

    @sp.dataset(samples=10000)
    def validation(rows): return images[rows], labels[rows]

    @sp.dataset
    def validation():
        for image, label in source: yield image, label

Arrays are numpy's or torch's. The fingerprint (any text; digest makes one of files) stands for the content of the data:
results are kept as long as it stays the same. Print what you like: it goes to secateur's log. The protocol is in
docs/plugin-protocol.md.
"""

import hashlib
import inspect
import json
import os
import re
import sys
import traceback

import numpy

PROTOCOL = 1

_TENSORS = ("outputs", "targets", "indices", "inputs", "baseline")

_TYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "F16": "float16", "F32": "float32", "F64": "float64",
}

_CODES = {name: code for code, name in _TYPES.items()}

_plugin = None


def metric(function=None, *, direction=None, name=None, bounds=None):
    """Makes a function of one value a sample, or a class with reset, update and finish, the metric of this file.

    direction is "maximize" or "minimize"; bounds are the least and the largest value of a sample, if there are such.
    """

    def register(function):
        global _plugin
        whole = inspect.isclass(function)
        asked = list(inspect.signature(function.update if whole else function).parameters)[1 if whole else 0:]
        unknown = [word for word in asked if word not in _TENSORS]
        if unknown:
            raise TypeError(f"{function.__name__} asks for {unknown[0]}, but there are only {', '.join(_TENSORS)}")
        _plugin = _Metric(function, whole, asked, {
            "protocol": PROTOCOL,
            "kind": "metric",
            "name": name or function.__name__,
            "form": "aggregate" if whole else "per_sample",
            "direction": direction,
            "tensors": asked,
            "bounds": bounds,
            "mergeable": whole and hasattr(function, "state") and hasattr(function, "merge"),
        })
        return function

    return register(function) if function else register


def dataset(function=None, *, samples=None, name=None, fingerprint=None):
    """Makes a class with __len__ and __getitem__, a function of rows, or a generator the dataset of this file.

    samples is how many there are; a function of rows must say it, a generator may. fingerprint is a text that changes when
    the data do, or a function that gives it.
    """

    def register(function):
        global _plugin
        called = name or function.__name__
        stamp = fingerprint() if callable(fingerprint) else fingerprint
        if inspect.isgeneratorfunction(function):
            _plugin = _Stream(function, samples, called, stamp)
        elif inspect.isclass(function):
            held = function()
            _plugin = _Rows(lambda rows: _stacked([held[row] for row in rows]), len(held), called, stamp)
        elif samples is None:
            raise TypeError(f"{called} is no generator, so say how many samples it has: @dataset(samples=10000)")
        else:
            _plugin = _Rows(lambda rows: _named(function(numpy.asarray(rows))), samples, called, stamp)
        return function

    return register(function) if function else register


def digest(*paths):
    """A text that changes when the content of one of these files does."""
    whole = hashlib.sha256()
    for path in paths:
        one = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                one.update(chunk)
        whole.update(one.digest())
    return whole.hexdigest()


def serve(tensors="numpy"):
    """Answers until secateur says goodbye. With tensors="torch" the function gets torch tensors."""
    if _plugin is None:
        raise RuntimeError("decorate a function or a class with @secateur_plugin.metric or .dataset before serve()")
    if "SECATEUR_QUESTIONS" not in os.environ:
        sys.exit("this is a plug-in of secateur: try it with `secateur plugin test python3 " + sys.argv[0] + "`")
    questions = os.fdopen(int(os.environ["SECATEUR_QUESTIONS"]), "rb", buffering=1 << 20)
    answers = os.fdopen(int(os.environ["SECATEUR_ANSWERS"]), "wb")
    while line := questions.readline():
        question = json.loads(line)
        given = _read(questions, question.get("bytes", 0), tensors)
        if question["ask"] == "bye":
            break
        parts = []
        try:
            answer = _plugin.answer(question, given)
            if "tensors behind" in answer:
                parts = _written(answer.pop("tensors behind"))
                answer["bytes"] = sum(map(len, parts))
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps({"id": question["id"], **answer}).encode() + b"\n")
        for part in parts:
            answers.write(part)
        answers.flush()


class _Metric:
    def __init__(self, function, whole, asked, hello):
        self.function, self.whole, self.asked, self.hello = function, whole, asked, hello
        self.cells = {}

    def answer(self, question, given):
        ask, cell = question["ask"], question.get("cell")
        if ask == "hello":
            return self.hello
        if ask == "values" and not self.whole:
            return {"values": _values(self.function(*self.pick(given)), question["samples"])}
        if ask == "reset" and self.whole:
            self.cells[cell] = self.function()
            if hasattr(self.function, "reset"):
                self.cells[cell].reset()
            return {}
        if ask == "drop" and self.whole:
            self.cells.pop(cell, None)
            return {}
        if ask in ("update", "finish", "state", "merge") and self.whole:
            if cell not in self.cells:
                return {"error": f"{cell} was not begun"}
            if ask == "update":
                self.cells[cell].update(*self.pick(given))
                return {}
            if ask == "finish":
                result = self.cells.pop(cell).finish()
                value, parts = result if isinstance(result, tuple) else (result, {})
                return {"value": _number(value), "parts": {str(key): _number(part) for key, part in parts.items()}}
            if self.hello["mergeable"] and ask == "state":
                return {"state": json.dumps(self.cells[cell].state())}
            if self.hello["mergeable"]:
                self.cells[cell].merge(json.loads(question["state"]))
                return {}
        return {"error": f"{ask} is not a question for this plug-in"}

    def pick(self, given):
        return [given[word] if len(given[word]) > 1 else given[word][0] for word in self.asked]


class _Rows:
    """Samples that can be had in any order."""

    form = "random"

    def __init__(self, batch, samples, name, fingerprint):
        self.batch, self.samples, self.name, self.fingerprint = batch, samples, name, fingerprint

    def answer(self, question, given):
        if question["ask"] == "hello":
            return {
                "protocol": PROTOCOL, "kind": "dataset", "form": self.form, "name": self.name, "samples": self.samples,
                "fingerprint": None if self.fingerprint is None else str(self.fingerprint),
                "tensors": [{"name": name, "dtype": _code(name, batch), "shape": list(batch.shape[1:])}
                            for name, batch in self.first().items()],
            }
        if question["ask"] == "read":
            rows = question["rows"]
            if self.samples is not None and not all(0 <= row < self.samples for row in rows):
                return {"error": f"there are {self.samples} samples, and {max(rows)} is not the number of one"}
            return {"tensors behind": self.read(rows)}
        if question["ask"] == "rewind" and self.form == "stream":
            self.rewind()
            return {}
        return {"error": f"{question['ask']} is not a question for this plug-in"}

    def first(self):
        return self.read([0])

    def read(self, rows):
        return self.batch(rows)


class _Stream(_Rows):
    """Samples that come one after the other."""

    form = "stream"

    def __init__(self, function, samples, name, fingerprint):
        super().__init__(None, samples, name, fingerprint)
        self.function = function
        self.rewind()

    def rewind(self):
        self.coming, self.next = self.function(), 0

    def first(self):
        self.rewind()
        first = self.read([0])
        self.rewind()
        return first

    def read(self, rows):
        found = []
        for row in rows:
            if row < self.next:
                raise IndexError(f"sample {row} is over, and {self.next} comes next")
            for sample in self.coming:
                self.next += 1
                if self.next > row:
                    found.append(sample)
                    break
            else:
                raise EOFError(f"the stream ended after {self.next} samples")
        return _stacked(found)


def _named(sample):
    """A sample, or a batch, as arrays by name."""
    if isinstance(sample, (tuple, list)):
        if len(sample) != 2:
            raise ValueError(f"a sample is (input, target), or a dict, or the input alone, but this has {len(sample)} parts")
        sample = {"inputs": sample[0], "targets": sample[1]}
    if not isinstance(sample, dict):
        sample = {"inputs": sample}
    return {name: _array(value) for name, value in sample.items()}


def _stacked(samples):
    named = [_named(sample) for sample in samples]
    return {name: numpy.stack([sample[name] for sample in named]) for name in named[0]}


def _array(value):
    return value.detach().cpu().numpy() if hasattr(value, "detach") else numpy.asarray(value)


def _code(name, array):
    code = _CODES.get(array.dtype.name)
    if code is None:
        raise TypeError(f"{name} has the type {array.dtype}, which is not one of {', '.join(_CODES)}")
    return code


def _written(named):
    """Tensors as the parts of a safetensors file."""
    header, parts, end = {}, [], 0
    # The widest elements first, so that all are aligned.
    for name, array in sorted(named.items(), key=lambda item: -item[1].itemsize):
        data = numpy.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()
        header[name] = {"dtype": _code(name, array), "shape": list(array.shape), "data_offsets": [end, end + len(data)]}
        parts.append(data)
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *parts]


def _read(questions, count, tensors):
    """The tensors behind a question: lists by name, outputs and outputs.1 and so on under one."""
    if not count:
        return {}
    buffer = bytearray(count)
    if questions.readinto(buffer) != count:
        raise EOFError("the question was cut short")
    start = 8 + int.from_bytes(buffer[:8], "little")
    header = json.loads(buffer[8:start])
    given = {}
    for name, entry in sorted(header.items(), key=lambda item: _order(item[0])):
        if name == "__metadata__":
            continue
        low, high = entry["data_offsets"]
        given.setdefault(_order(name)[0], []).append(
            _tensor(entry["dtype"], entry["shape"], memoryview(buffer)[start + low:start + high], tensors))
    return given


def _order(name):
    found = re.fullmatch(r"(.*)\.(\d+)", name)
    return (found[1], int(found[2])) if found else (name, 0)


def _tensor(kind, shape, data, tensors):
    if kind == "BF16":
        # numpy has no bfloat16; it is the upper half of a float32.
        array = (numpy.frombuffer(data, "<u2").astype("uint32") << 16).view("float32")
    else:
        array = numpy.frombuffer(data, _TYPES[kind])
    array = array.reshape(shape)
    if tensors == "torch":
        import torch

        return torch.from_numpy(array)
    return array


def _values(values, samples):
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    values = numpy.asarray(values)
    if values.shape != (samples,):
        raise ValueError(f"the metric gave shape {list(values.shape)} for {samples} samples: one value a sample is wanted")
    values = values.astype("float64")
    return values.tolist() if numpy.isfinite(values).all() else [_number(value) for value in values]


def _number(value):
    value = float(value)
    if value != value:
        return "nan"
    return value if abs(value) != float("inf") else ("inf" if value > 0 else "-inf")
