"""Draw the values of one weight as a method chose, for the layer that owns it."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.model_init.methods import Choice
from keras_initx.model_init.methods.outputs import TiedTable
from keras_initx.model_init.periodic import Limited


def draw(choice: Choice, layer: keras.Layer, name: str, variable: keras.Variable, seed: int) -> Any:
    """Return new values for a weight of `layer`, in the shape and dtype of `variable`."""
    shape, dtype = tuple(variable.shape), variable.dtype
    draws_any = isinstance(layer, keras.layers.Embedding) or isinstance(
        choice.initializer, TiedTable | Limited
    )
    if not name.endswith("kernel") and not draws_any:
        return keras.random.normal(shape, stddev=1.0, dtype=dtype, seed=seed)
    initializer = choice.initializer.bound_to(layer, name)
    initializer.seed = seed
    mirrored_axes = [axis for axis, rule in ((-2, choice.before), (-1, choice.after)) if rule.mirrored]
    half = list(shape)
    for axis in mirrored_axes:
        half[axis] = -(-shape[axis] // 2)
    values = initializer(tuple(half), dtype=dtype)
    for axis in mirrored_axes:
        values = _with_opposites(values, axis, shape[axis])
    return values


def _with_opposites(values: Any, axis: int, size: int) -> Any:
    """Follow each slice along `axis` by its negative; neighbours stay pairs through Flatten."""
    signs = np.where(np.arange(size) % 2, -1.0, 1.0)
    signs = signs.reshape([-1 if a == len(values.shape) + axis else 1 for a in range(len(values.shape))])
    doubled = ops.repeat(values, 2, axis=axis)
    slices = [slice(None)] * len(values.shape)
    slices[axis] = slice(0, size)
    return doubled[tuple(slices)] * ops.cast(ops.convert_to_tensor(signs), values.dtype)
