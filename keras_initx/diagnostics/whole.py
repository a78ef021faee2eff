"""What is wrong with the data, the loss or the model as a whole, rather than with a layer."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph.batches import Batch
from keras_initx.diagnostics.report import NOTED, Finding, LayerSignal

# How far from 1 inputs may be before they are named where something is wrong.
_FAR = 30.0
# Of kernels: no start with less learned anything, under Adam, in benchmarks/screening.py.
_NO_GRADIENT = 1e-9


def whole(
    model: keras.Model,
    batch: Batch,
    rows: Sequence[LayerSignal],
    received: float,
    findings: Sequence[Finding],
) -> Iterator[Finding]:
    """The findings that are about no layer, most serious first.

    Args:
        model: The model.
        batch: What it was looked at on.
        rows: Its layers.
        received: The root mean square of what the first weights are given; 0 where that are no floats.
        findings: What is wrong with layers.
    """
    if all(are_same(values) for values in keras.tree.flatten(batch.x)):
        text = "all samples in x are the same: nothing can tell them apart, whatever the weights; pass others"
        yield Finding("same inputs", "", text)
    gradients = [row.kernel_gradient for row in rows if row.kernel_gradient >= 0]
    if not model.trainable_variables:
        yield Finding("frozen", "", "no weight is trainable: a training would change nothing")
    elif gradients and max(gradients) < _NO_GRADIENT and all(f.verdict in NOTED for f in findings):
        # Where a signal vanishes that is why, and said already.
        measured = f"no kernel has a gradient above {max(gradients):.1g}"
        text = f"{measured}: targets that are met already, a constant loss, stop_gradient or rounding"
        yield Finding("no gradient", "", text)
    serious = {"exploding", "vanishing", "inputs alike", "saturated"} & {f.verdict for f in findings}
    if serious and received > 0 and not 1 / _FAR <= received <= _FAR:
        text = (
            f"the first weights are given inputs of root mean square {received:.2g}, and are drawn for 1: "
            "rescale them (keras.layers.Rescaling, Normalization), or initialize(model, data=x)"
        )
        yield Finding("input scale", "", text)


def are_same(values: Any) -> bool:
    """Whether an input is the same for all samples."""
    found = np.asarray(ops.convert_to_numpy(values))
    return np.array_equal(np.broadcast_to(found[:1], found.shape), found)
