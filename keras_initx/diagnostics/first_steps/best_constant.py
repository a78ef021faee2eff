"""`best_constant_loss`: the loss of the best prediction that does not look at the inputs."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Batch
from keras_initx.diagnostics.batch import are_weighted_one_hot
from keras_initx.diagnostics.probe import Probe

_LEAST = 1e-7


def best_constant_loss(probe: Probe, batch: Batch) -> float:
    """Return the least loss of outputs that are the same for all samples and positions of a batch.

    The loss itself judges a few constants, so that it need not be known: means and medians of the targets,
    class frequencies, and their logits. Each is best for a common loss: the mean for the squared error, the
    median for the absolute error, frequencies for a crossentropy that reads probabilities, and logits for one
    that reads logits.

    Args:
        probe: The probe of the model.
        batch: The batch, with targets.

    Returns:
        The loss; NaN if no constant fits the targets.
    """
    targets, outputs = keras.tree.flatten(batch.y), keras.tree.flatten(probe.graph.results)
    if len(targets) != len(outputs):
        return math.nan
    weights = batch.weights if ops.is_tensor(batch.weights) else None
    choices = [
        list(_constants(_array(y), tuple(out.shape), None if weights is None else _array(weights)))
        for y, out in zip(targets, outputs, strict=True)
    ]
    if not all(choices):
        return math.nan

    def loss(constants: list[np.ndarray]) -> float:
        values = [
            ops.convert_to_tensor(np.broadcast_to(c, out.shape), dtype=out.dtype)
            for c, out in zip(constants, outputs, strict=True)
        ]
        try:
            value = float(probe.loss_of(batch, keras.tree.pack_sequence_as(probe.graph.results, values)))
        except Exception:
            # Some losses take no constants, or look at the inputs.
            return math.inf
        return value if math.isfinite(value) else math.inf

    best = [options[0] for options in choices]
    least = loss(best)
    # The losses of several outputs add up, so each has its own best constant.
    for number, options in enumerate(choices):
        for option in itertools.islice(options, 1, None):
            tried = [*best[:number], option, *best[number + 1 :]]
            if (value := loss(tried)) < least:
                best, least = tried, value
    return least if least < math.inf else math.nan


def neutral_loss(probe: Probe, batch: Batch) -> float:
    """Return the loss of a model whose last weights and biases are zeros; NaN if it is not known.

    Its outputs are zeros, or what a sigmoid or softmax returns for zeros.
    """
    activations = {point.output: point.activation.name for point in probe.points}
    values = []
    for number, out in zip(probe.graph.outputs, keras.tree.flatten(probe.graph.results), strict=True):
        neutral = {"sigmoid": 0.5, "softmax": 1 / (out.shape[-1] or 1) if out.shape else 1.0}
        value = neutral.get(activations.get(number, ""), 0.0)
        values.append(ops.full(out.shape, value, dtype=out.dtype))
    try:
        return float(probe.loss_of(batch, keras.tree.pack_sequence_as(probe.graph.results, values)))
    except Exception:
        return math.nan


def _constants(y: np.ndarray, shape: tuple[int, ...], weights: np.ndarray | None) -> Iterator[np.ndarray]:
    """Yield the predictions to try for targets y and outputs of a shape, one value for each unit."""
    units = shape[-1] if len(shape) > 1 else 1
    share = None
    if weights is not None and weights.shape == shape[:1]:
        share = np.repeat(weights, y.size // len(y) // (units if y.size == math.prod(shape) else 1))
    if y.size == math.prod(shape):
        rows = y.reshape(-1, units)
        if y.min() < 0 and are_weighted_one_hot(rows):
            # The crossentropy of an advantage below 0 has no least value.
            return
        mean = np.average(rows, axis=0, weights=share if share is not None and share.any() else None)
        yield mean
        yield np.median(rows, axis=0)
        # Relative errors prefer predictions that are too small.
        yield np.zeros(units)
        if y.min() < 0:
            return
        if y.max() > 1:
            # The frequencies of one-hot rows times a weight each.
            mean = mean / max(mean.sum(), _LEAST)
    elif (
        y.size == math.prod(shape[:-1]) and np.array_equal(y, np.round(y)) and 0 <= y.min() <= y.max() < units
    ):
        classes = y.reshape(-1).astype("int64")
        counts = np.bincount(classes, weights=share, minlength=units)
        mean = counts / max(counts.sum(), _LEAST)
        yield mean
    else:
        return
    rare = np.clip(mean, _LEAST, 1 - _LEAST)
    # Logits of one class of several, and of several sigmoids.
    yield np.log(rare)
    yield np.log(rare / (1 - rare))


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor), dtype="float64")
