"""A plug-in by hand that does one thing wrong: its first argument says which. Its value is each sample's index.

The second argument, if any, is a file that receives the number of a process that it leaves behind.
"""

import json
import os
import signal
import subprocess
import sys
import time

fault = sys.argv[1]
questions = os.fdopen(int(os.environ["SECATEUR_QUESTIONS"]), "rb")
answers = os.fdopen(int(os.environ["SECATEUR_ANSWERS"]), "wb")


def say(line):
    answers.write(line + b"\n")
    answers.flush()


if fault == "variable":
    print("the limit is", os.environ["LIMIT"], file=sys.stderr)
if fault == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if fault in ("fork", "stubborn", "die"):
    # It holds every channel open, and outlives whoever started it.
    left = subprocess.Popen(["sleep", "600"], pass_fds=(questions.fileno(), answers.fileno()))
    with open(sys.argv[2], "w") as file:
        file.write(str(left.pid))

sums = {}
while line := questions.readline():
    question = json.loads(line)
    questions.read(question.get("bytes", 0))
    ask, number = question["ask"], question["id"]
    if ask == "bye":
        break
    answer = {"id": number}
    if ask == "hello":
        form = "aggregate" if fault.startswith("aggregate") else "per_sample"
        answer.update(protocol=2 if fault == "version" else 1, kind="metric", form=form, tensors=["outputs"])
        answer["mergeable"] = fault == "aggregate-sum"
    if ask == "values":
        first, samples = question["first"], question["samples"]
        values = list(range(first, first + samples))
        if fault == "environment":
            print(sorted(os.environ), file=sys.stderr)
            print("descriptors", sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1], file=sys.stderr)
        # The fault happens at the second batch.
        if first > 0:
            if fault == "die":
                print("about to die", file=sys.stderr)
                sys.exit(3)
            if fault in ("hang", "stubborn"):
                print("thinking", file=sys.stderr)
                time.sleep(600)
            if fault == "rubbish":
                say(b"\xff\x00 what?")
                continue
            if fault == "nan":
                values[1] = "nan"
            if fault == "few":
                values.pop()
            if fault == "many":
                values.append(0)
            if fault == "text":
                values[0] = "seven"
            if fault == "flood":
                sys.stderr.write("x" * 3_000_000 + "\n" + "line\n" * 500_000)
                sys.stdout.write("and this\n" * 100_000)
            if fault == "close":
                answers.close()
                time.sleep(600)
            if fault == "order":
                answer["id"] = number + 1
            if fault == "refuse":
                answer["error"] = "these samples are not mine"
        answer["values"] = values
    cell = question.get("cell")
    if ask == "reset":
        sums[cell] = 0
    if ask == "update":
        sums[cell] += sum(range(question["first"], question["first"] + question["samples"]))
    if ask == "state":
        answer["state"] = str(sums[cell])
    if ask == "merge":
        sums[cell] += int(question["state"])
    if fault == "print":
        print("a stray print", ask)
    if ask == "finish":
        answer["value"] = "nan" if fault == "aggregate-nan" else sums[cell] if fault == "aggregate-sum" else 0.5
        answer["parts"] = {"cat": 0.25, "dog": "nan"}
    say(json.dumps(answer).encode())
