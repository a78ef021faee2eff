"""Draws the values of one weight as a method chose, for the layer that owns it."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.model_init.methods.choice import Choice


def draw(choice: Choice, layer: keras.Layer, name: str, variable: keras.Variable, seed: int) -> Any:
    """The values of a weight of `layer`, in the shape and dtype of `variable`."""
    shape, dtype = tuple(variable.shape), variable.dtype
    prototype = choice.initializer
    if not name.endswith("kernel") and not isinstance(layer, keras.layers.Embedding):
        return keras.random.normal(shape, stddev=1.0, dtype=dtype, seed=seed)
    initializer = prototype.bound_to(layer, name)
    initializer.seed = seed
    if not (choice.mirror_in or choice.mirror_out):
        return initializer(shape, dtype=dtype)
    half = list(shape)
    for axis, mirrored in ((-2, choice.mirror_in), (-1, choice.mirror_out)):
        if mirrored:
            half[axis] = -(-shape[axis] // 2)
    values = initializer(tuple(half), dtype=dtype)
    for axis, mirrored in ((-2, choice.mirror_in), (-1, choice.mirror_out)):
        if mirrored:
            values = _paired(values, axis, shape[axis])
    return values


def _paired(values: Any, axis: int, size: int) -> Any:
    """Each slice followed by its negative, side by side, so that Flatten keeps the pairs."""
    signs = np.where(np.arange(size) % 2, -1.0, 1.0)
    signs = signs.reshape([-1 if a == len(values.shape) + axis else 1 for a in range(len(values.shape))])
    doubled = ops.repeat(values, 2, axis=axis)
    keep = [slice(None)] * len(values.shape)
    keep[axis] = slice(0, size)
    return doubled[tuple(keep)] * ops.cast(ops.convert_to_tensor(signs), values.dtype)
