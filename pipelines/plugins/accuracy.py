"""A metric for secateur: the fraction of samples whose largest output is the label's.

In a pipeline:   metric: {command: {argv: [python3, accuracy.py]}}
Try it alone:    secateur plugin test python3 accuracy.py

It needs numpy, and nothing of secateur: the module secateur_plugin is put beside it when it is started.
"""

import secateur_plugin as sp


# direction: which way is better. bounds (optional): the least and the largest value of a sample.
@sp.metric(direction="maximize", bounds=(0, 1))
def accuracy(outputs, targets):  # numpy arrays, batch first; name a parameter indices, inputs or baseline to get those
    return outputs.argmax(1) == targets  # one value a sample


# A metric of all samples together is a class; one object is made for each cell:
#
# @sp.metric(direction="maximize")
# class F1:
#     def reset(self):
#         self.outputs, self.targets = [], []
#
#     def update(self, outputs, targets):  # batches in the order of the samples
#         self.outputs.append(outputs.argmax(1))
#         self.targets.append(targets)
#
#     def finish(self):  # a number, or (number, {"a class": number, ...})
#         return f1_score(numpy.concatenate(self.targets), numpy.concatenate(self.outputs))

sp.serve()  # serve(tensors="torch") gives torch tensors
