"""Set the output bias to the log-odds of the classes."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_initx._graph import Graph, WeightContext
from keras_initx._weights import PathFilter, WeightIndex
from keras_initx.errors import InitxError
from keras_initx.initializers import PriorBias


def set_output_bias(
    graph: Graph,
    contexts: Iterable[WeightContext],
    index: WeightIndex,
    path_filter: PathFilter,
    labels: Any,
    class_counts: Any,
) -> keras.Variable:
    """Set the bias of the output layer to the log-odds of the classes, and return the bias."""
    heads = [context for context in contexts if "head" in context.roles and context.biased]
    if len(heads) != 1:
        listed = f"{len(heads)}: {', '.join(head.path for head in heads)}" if heads else "none"
        raise InitxError(
            "output_bias",
            "prior",
            "None for this model",
            "Give a layer bias_initializer=keras_initx.PriorBias(...) instead.",
            f"`output_bias='prior'` needs one output layer with a bias, but the model has {listed}",
        )
    bias = graph.steps[heads[0].step].bias
    assert bias is not None
    if not bias.trainable or not path_filter.matches(index.names(bias)):
        raise InitxError(
            "output_bias",
            "prior",
            "None for this model",
            "Make the layer trainable, or change only= and skip= to include the bias.",
            f"`output_bias='prior'` may not change {bias.path}: it is frozen, or excluded by only= or skip=",
        )
    p = None if class_counts is not None else _frequencies(labels, math.prod(bias.shape))
    layer, name = index.of(bias)
    initializer = PriorBias(p, class_counts).bound_to(layer, name)
    try:
        values = initializer(tuple(bias.shape), dtype=bias.dtype)
    except InitxError as error:
        if not error.argument.endswith(": p"):
            raise
        allowed = "class numbers or one-hot rows, since the output is a softmax"
        raise InitxError("labels", "rows that are not one-hot", allowed) from error
    bias.assign(values)
    return bias


def _frequencies(labels: Any, width: int) -> list[float]:
    """Return the frequency of each output's class, from class numbers, or from rows of 0 and 1.

    A row has the classes of a sample, one (one-hot) or several (multi-hot).
    """
    values = np.asarray(labels)
    # One output is the probability of the second of two classes.
    classes = max(width, 2)
    received = f"{values.dtype} values of shape {values.shape}"
    if values.dtype.kind not in "biuf":
        remedy = "Turn names into numbers with np.unique(labels, return_inverse=True)[1]."
        raise _bad_labels(received, classes, remedy)
    # One label for each pixel or word counts like one for each sample.
    if values.ndim > 1 and values.shape[-1] == width > 1:
        if not values.size or not np.all((values == 0) | (values == 1)):
            raise _bad_labels(f"{received} other than 0 and 1", classes)
        frequencies = values.reshape(-1, width).mean(axis=0)
    else:
        is_class = np.floor(values) == values
        if not values.size or not np.all(is_class & (values >= 0) & (values < classes)):
            span = f" from {values.min():g} to {values.max():g}" if values.size else ""
            raise _bad_labels(received + span, classes)
        frequencies = np.bincount(values.ravel().astype("int64"), minlength=classes) / values.size
    if np.any((frequencies <= 0) | (frequencies >= 1)):
        never = int(np.argmin(frequencies)) if frequencies.min() <= 0 else int(np.argmax(frequencies))
        which = "no sample of" if frequencies[never] <= 0 else "only samples of"
        raise InitxError(
            "labels",
            f"{which} class {never}",
            "labels with and without every class",
            "Give the layer bias_initializer=keras_initx.PriorBias(p=...) for the frequencies you expect.",
            f"`labels` has {which} class {never}, so its log-odds are infinite",
        )
    return [float(f) for f in (frequencies if width > 1 else frequencies[1:])]


def _bad_labels(received: str, classes: int, remedy: str = "") -> InitxError:
    allowed = f"class numbers from 0 to {classes - 1}, or rows of 0 and 1 for {classes} classes"
    return InitxError("labels", received, allowed, remedy, f"`labels` must be {allowed}, got {received}")
