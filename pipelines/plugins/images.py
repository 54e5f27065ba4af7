"""Samples for secateur: the arrays `images` and `labels` of a file of numpy's.

In a pipeline:   dataset: {source: {command: {argv: [python3, images.py, val.npz]}}}
Try it alone:    secateur plugin test python3 images.py val.npz

It needs numpy, and nothing of secateur: the module secateur_plugin is put beside it when it is started.
"""

import sys

import numpy
import secateur_plugin as sp

arrays = numpy.load(sys.argv[1])
images, labels = arrays["images"], arrays["labels"]


# fingerprint: a text that changes when the data do; without it only the words above and the files that `files` names tell.
@sp.dataset(samples=len(images), fingerprint=sp.digest(sys.argv[1]))
def validation(rows):  # the numbers of the samples that are wanted, in any order
    return images[rows], labels[rows]  # batch first; or a dict: {"ids": ..., "mask": ..., "targets": ...}


# One sample at a time, as torch.utils.data has it; one object is made:
#
# @sp.dataset(fingerprint="2024-05")
# class Validation:
#     def __len__(self):
#         return len(images)
#
#     def __getitem__(self, at):
#         return images[at], labels[at]  # numpy arrays, torch tensors or numbers
#
# One after the other, where nothing else can be had; it is called again for each pass:
#
# @sp.dataset
# def validation():
#     for image, label in zip(images, labels):
#         yield image, label

sp.serve()
