"""Everything a plug-in of secateur needs, in one file: it reads batches, calls your function, and answers.

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
inputs (of the model), baseline (the unmasked model's outputs). Several output tensors come as a list. Print what you
like: it goes to secateur's log. The protocol is in docs/plugin-protocol.md.
"""

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


def serve(tensors="numpy"):
    """Answers until secateur says goodbye. With tensors="torch" the function gets torch tensors."""
    if _plugin is None:
        raise RuntimeError("decorate a function or a class with @secateur_plugin.metric before serve()")
    if "SECATEUR_QUESTIONS" not in os.environ:
        sys.exit("this is a plug-in of secateur: try it with `secateur plugin test python3 " + sys.argv[0] + "`")
    questions = os.fdopen(int(os.environ["SECATEUR_QUESTIONS"]), "rb", buffering=1 << 20)
    answers = os.fdopen(int(os.environ["SECATEUR_ANSWERS"]), "wb")
    while line := questions.readline():
        question = json.loads(line)
        given = _read(questions, question.get("bytes", 0), tensors)
        if question["ask"] == "bye":
            break
        try:
            answer = _plugin.answer(question, given)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps({"id": question["id"], **answer}).encode() + b"\n")
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
