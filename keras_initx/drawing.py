"""Draws the values of one weight as a method chose, for the layer that owns it."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.fans import Fans
from keras_initx.initializers.place import place_of
from keras_initx.methods.choice import Choice


class Owners:
    """The layer that each weight belongs to."""

    def __init__(self, layers: Iterable[keras.Layer]) -> None:
        self._around: dict[int, tuple[keras.Variable, list[keras.Layer]]] = {}
        for layer in layers:
            for variable in layer.weights:
                self._around.setdefault(id(variable), (variable, []))[1].append(layer)

    def has(self, variable: keras.Variable) -> bool:
        """Whether a layer of the model has the weight."""
        return id(variable) in self._around

    def of(self, variable: keras.Variable) -> tuple[keras.Layer, str]:
        """The layer that a weight belongs to, and what it is called there."""
        # The innermost layer is the last to be listed that has the weight.
        return self._around[id(variable)][1][-1], variable.name

    def variables(self) -> list[keras.Variable]:
        """All weights, once each."""
        return [variable for variable, _ in self._around.values()]

    def names(self, variable: keras.Variable) -> list[str]:
        """What a pattern may call a weight: its path, the paths and names of all that it is part of."""
        around = [name for layer in self._around[id(variable)][1] for name in (layer.path, layer.name)]
        return [variable.path, *dict.fromkeys(name for name in around if name)]

    def fans(self, variable: keras.Variable) -> Fans:
        """The fans of a weight by the kind of its layer."""
        return place_of(*self.of(variable)).geometry.fans(tuple(variable.shape))


def mean_square(variable: keras.Variable) -> float:
    """The mean square of a weight's entries; not finite where one of them is not."""
    values = np.asarray(ops.convert_to_numpy(variable), dtype="float32").ravel()
    # A product of numpy's makes no second copy, and takes a third of the time of TensorFlow's.
    return float(np.dot(values, values)) / max(values.size, 1)


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
