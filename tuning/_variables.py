"""Every variable that training can change: the model's and its optimizers'."""

import math
from collections.abc import Sequence

import keras
import numpy as np

# What every optimizer of Keras has, and a change of the optimizer therefore keeps.
SHARED = (
    *("learning_rate", "weight_decay", "clipnorm", "global_clipnorm", "clipvalue"),
    *("use_ema", "ema_momentum", "ema_overwrite_frequency", "loss_scale_factor"),
    "gradient_accumulation_steps",
)


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer that has the settings; mixed precision wraps it in one that scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the variables of an optimizer and of the one that it wraps, each once."""
    return list({id(v): v for v in (*optimizer.variables, *inner_optimizer(optimizer).variables)}.values())


def optimizers_of(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Return a model's optimizer, and the others among its attributes, which a custom train step may use."""
    candidates = [getattr(model, "optimizer", None)]
    for value in vars(model).values():
        if isinstance(value, dict):
            candidates.extend(value.values())
        else:
            candidates.extend(value if isinstance(value, list | tuple) else [value])
    optimizers = [o for o in candidates if isinstance(o, keras.optimizers.Optimizer)]
    return list({id(o): o for o in optimizers}.values())


def every_variable(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of the model and of its optimizers, each once."""
    variables = [*model.variables, *(v for o in optimizers_of(model) for v in optimizer_state(o))]
    return list({id(v): v for v in variables}.values())


def checkpoint_bytes(model: keras.Model) -> int:
    """Return an upper bound on the bytes of a weights file of the model and its optimizer."""
    # HDF5 adds about four kilobytes to each variable, for the data set and the groups around it.
    return sum(math.prod(v.shape) * _width(v) + 4096 for v in every_variable(model)) + 2**16


def _width(variable: keras.Variable) -> int:
    digits = "".join(filter(str.isdigit, keras.backend.standardize_dtype(variable.dtype)))
    return max(1, int(digits or 8) // 8)


def values_of(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Return copies of the variables' values."""
    # Not from `v.value`: for a scalar that TensorFlow mirrors on several devices it is not an array.
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Assign one value to each variable."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
