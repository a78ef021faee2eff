"""Set the output bias to the log-odds of the classes."""

import math
from typing import Any

import numpy as np

from keras_initx._graph import Graph, WeightContext
from keras_initx._weights import PathFilter, WeightIndex
from keras_initx.errors import InitxError
from keras_initx.initializers import PriorBias


def set_output_bias(
    graph: Graph,
    found: dict[int, WeightContext],
    owners: WeightIndex,
    selection: PathFilter,
    labels: Any,
    class_counts: Any,
) -> str:
    """Gives the output layer the log-odds of the classes as its bias; returns a note."""
    heads = [site for site in found.values() if "head" in site.roles and site.biased]
    if len(heads) != 1:
        allowed = "a model with one output layer that has a bias"
        found_heads = ", ".join(site.path for site in heads) or "none"
        remedy = f"Found: {found_heads}. Or give a layer bias_initializer=keras_initx.PriorBias(...)."
        raise InitxError("output_bias", "prior", allowed, remedy)
    bias = graph.steps[heads[0].step].bias
    assert bias is not None
    if not bias.trainable or not selection.has(owners.names(bias)):
        received = f"{bias.path}, which is frozen or left out by only= or skip="
        raise InitxError("output_bias", received, "an output layer that may be changed")
    if class_counts is None:
        class_counts = _counts(labels, math.prod(bias.shape))
    owner, name = owners.of(bias)
    initializer = PriorBias(class_counts=class_counts).bound_to(owner, name)
    bias.assign(initializer(tuple(bias.shape), dtype=bias.dtype))
    return f"{bias.path}: log-odds of the classes"


def _counts(labels: Any, width: int) -> list[int]:
    """How many labels each class has, as numbers or one-hot rows."""
    values = np.asarray(labels)
    # One output is the probability of the second of two classes.
    classes = max(width, 2)
    given = f"{values.dtype} of shape {values.shape}"
    allowed = f"class numbers from 0 to {classes - 1}, or one-hot rows: the layer has {classes} classes"
    if values.dtype.kind not in "biuf":
        remedy = "np.unique(labels, return_inverse=True)[1] makes numbers of names."
        raise InitxError("labels", given, allowed, remedy)
    # One number for each pixel or word is as good as one for each sample.
    if values.ndim > 1 and values.shape[-1] == width > 1:
        if not np.all(values.sum(axis=-1) == 1) or not np.all((values == 0) | (values == 1)):
            raise InitxError("labels", f"{given}, not one-hot", allowed)
        values = np.argmax(values, axis=-1)
    if not values.size or np.any(values != np.floor(values)) or values.min() < 0 or values.max() >= classes:
        span = f", values from {values.min():g} to {values.max():g}" if values.size else ""
        raise InitxError("labels", given + span, allowed)
    counts = np.bincount(values.ravel().astype("int64"), minlength=classes)
    if not counts.all():
        received = f"no label of class {int(np.argmin(counts))}"
        remedy = "A class without samples has no log-odds: pass class_counts=, with 1 added to each."
        raise InitxError("labels", received, "labels of every class", remedy)
    return counts.tolist()
