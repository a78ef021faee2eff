"""All that training changes of a model: its variables, and those of every optimizer that it has."""

import math
from collections.abc import Sequence

import keras
import numpy as np


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that has the settings: mixed precision wraps it in one that scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The variables of an optimizer and of the one that it wraps, each once."""
    return list({id(v): v for v in (*optimizer.variables, *inner_optimizer(optimizer).variables)}.values())


def optimizers_of(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """A model's optimizer, and those that a training step of its own may use besides."""
    found = [getattr(model, "optimizer", None)]
    for value in vars(model).values():
        found.extend(
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, list | tuple)
            else [value]
        )
    optimizers = [o for o in found if isinstance(o, keras.optimizers.Optimizer)]
    return list({id(o): o for o in optimizers}.values())


def every_variable(model: keras.Model) -> list[keras.Variable]:
    """The variables of the model and of its optimizers, each once."""
    found = [*model.variables, *(v for o in optimizers_of(model) for v in optimizer_state(o))]
    return list({id(v): v for v in found}.values())


def checkpoint_bytes(model: keras.Model) -> int:
    """The bytes of all that a file of the model's weights and its optimizer holds, at most."""
    # A data set of HDF5, with the groups around it, is about four kilobytes.
    return sum(math.prod(v.shape) * _width(v) + 4096 for v in every_variable(model)) + 2**16


def _width(variable: keras.Variable) -> int:
    digits = "".join(filter(str.isdigit, keras.backend.standardize_dtype(variable.dtype)))
    return max(1, int(digits or 8) // 8)


def values_of(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """A copy of their values."""
    # Not of `v.value`: a scalar that TensorFlow mirrors on several devices is no array there.
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Gives each variable its value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
