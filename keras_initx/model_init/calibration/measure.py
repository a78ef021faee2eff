"""What is measured of a weight while its layer computes, and the small tools for it."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops


@dataclass
class Weight:
    """A weight to scale, and what became of it.

    Attributes:
        path: The weight's path, for messages.
        variable: The weight.
        target: The root mean square that its result is brought to; None leaves it as it was drawn.
        bias: The bias that is added to its result, where the method sets it.
        shift: The constant d that the bias adds to each input: bias = d x (column sums of the kernel);
            None takes minus the mean of the inputs.
        offset: What the bias adds to the scaled result.
        measured: The root mean square of its result as drawn; NaN until it is known.
        result: The same after scaling, without `offset`.
        error: The relative standard error of that, from the spread between samples.
        how: What its result was measured by, in words.
    """

    path: str
    variable: keras.Variable
    target: float | None = 1.0
    bias: keras.Variable | None = None
    shift: float | None = 0.0
    offset: float = 0.0
    measured: float = math.nan
    result: float = math.nan
    error: float = 0.0
    how: str = ""

    def tell(self, size: float, error: float, how: str) -> None:
        """Keeps what was measured; what was drawn, from the first time."""
        # A weight that is left as it is has no before and after.
        self.measured = size if math.isnan(self.measured) or self.target is None else self.measured
        self.error, self.how = error, how
        self.result = size if self.target is None else self.target


def root_mean_square(result: Any) -> tuple[float, float]:
    """The root mean square of a tensor, and its relative standard error over the samples."""
    values = ops.square(ops.cast(result, "float32"))
    by_sample = ops.mean(ops.reshape(values, (values.shape[0], -1)), axis=1) if values.shape else values[None]
    squares = np.asarray(ops.convert_to_numpy(by_sample), dtype="float64")
    mean = float(np.mean(squares))
    if len(squares) < 2 or not mean > 0:
        return math.sqrt(mean) if mean >= 0 else math.nan, 0.0
    return math.sqrt(mean), float(np.std(squares, ddof=1) / math.sqrt(len(squares)) / (2 * mean))


def column_sums(weight: Weight, inputs: Any) -> Any:
    """The bias that adds `weight.shift` to each input."""
    assert weight.bias is not None
    shift = weight.shift
    if shift == 0:
        return np.zeros(tuple(weight.bias.shape), "float32")
    if shift is None:
        shift = -float(ops.convert_to_numpy(ops.mean(ops.cast(inputs, "float32"))))
    axes = tuple(range(len(weight.variable.shape) - 1))
    sums = np.sum(ops.convert_to_numpy(weight.variable), axis=axes, dtype="float64")
    return (sums * shift).astype("float32")
