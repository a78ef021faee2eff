"""Measure the root mean square of a tensor, and compute the bias that shifts the inputs of a kernel."""

import math
from typing import Any

import numpy as np
from keras import ops

from keras_initx.model_init.tasks import WeightTask


def root_mean_square(tensor: Any) -> tuple[float, float]:
    """Return the root mean square of a tensor, and its relative standard error over the samples.

    One sample shows no spread, so its values stand for samples: normal ones have an error of 1 / sqrt(2 n).
    """
    squares = ops.square(ops.cast(tensor, "float32"))
    # The length, because the shape of a scalar is true as a condition on TensorFlow.
    squares = ops.reshape(squares, (squares.shape[0] if len(squares.shape) else 1, -1))
    per_sample = ops.mean(squares, axis=1)
    means = np.asarray(ops.convert_to_numpy(per_sample), dtype="float64")
    mean = float(np.mean(means))
    if not mean > 0:
        return math.sqrt(mean) if mean >= 0 else math.nan, 0.0
    if len(means) < 2:
        return math.sqrt(mean), (2 * math.prod(squares.shape)) ** -0.5
    return math.sqrt(mean), float(np.std(means, ddof=1) / math.sqrt(len(means)) / (2 * mean))


def shift_bias(task: WeightTask, inputs: Any) -> Any:
    """Return the bias that adds the shift of a choice to each input: shift x (column sums of the kernel).

    A shift of None subtracts the mean of the inputs.
    """
    assert task.bias is not None
    shift = task.choice.before.shift
    if shift == 0:
        return np.zeros(tuple(task.bias.shape), "float32")
    if shift is None:
        shift = -float(ops.convert_to_numpy(ops.mean(ops.cast(inputs, "float32"))))
    axes = tuple(range(len(task.variable.shape) - 1))
    sums = np.sum(ops.convert_to_numpy(task.variable), axis=axes, dtype="float64")
    return (sums * shift).astype("float32")
