"""scikit-learn's F1 of all samples. What it was given goes to $SEEN, so that the test can ask scikit-learn itself."""

import os

import numpy
import secateur_plugin as sp
from sklearn.metrics import f1_score


@sp.metric(direction="maximize")
class F1:
    def reset(self):
        self.outputs, self.targets = [], []

    def update(self, outputs, targets):
        self.outputs.append(outputs)
        self.targets.append(targets)

    def finish(self):
        outputs, targets = numpy.concatenate(self.outputs), numpy.concatenate(self.targets)
        each = f1_score(targets, outputs.argmax(1), average=None, labels=range(10), zero_division=0)
        value = f1_score(targets, outputs.argmax(1), average="macro", labels=range(10), zero_division=0)
        name = os.path.join(os.environ["SEEN"], f"{len(os.listdir(os.environ['SEEN']))}.npz")
        numpy.savez(name, outputs=outputs, targets=targets, value=value)
        return value, dict(enumerate(each))


sp.serve()
