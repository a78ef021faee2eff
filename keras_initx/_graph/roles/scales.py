"""Find the factor that learned scales put on the scores of an attention, and whether the author set one."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_initx._graph.call_recorder import is_keras_call
from keras_initx._graph.classify import PRODUCTS
from keras_initx._graph.records import Graph, Step
from keras_initx._graph.roles.walks import steps_before


def learned_scale(graph: Graph, steps: Iterable[Step]) -> float | None:
    """Return the product of the learned scales of some steps; None if the author scales by a number."""
    scale = 1.0
    for step in steps:
        if isinstance(step.operation, keras.layers.Rescaling):
            values = [step.operation.scale]
        elif step.kind in PRODUCTS:
            values = [
                v for v in step.call.arguments if v is not None and not isinstance(v, keras.KerasTensor)
            ]
        else:
            continue
        # Tables of angles and masks come from no weight, and their factors are not factors on the scores.
        if not values or not any(s.is_weighted for s in steps_before(graph, step.signals)):
            continue
        for value in values:
            factor = value_of_scale(step, value)
            if factor is None:
                return None
            scale *= factor if step.kind == "Multiply" else 1 / factor if factor else math.inf
    return scale


def value_of_scale(step: Step, value: Any) -> float | None:
    """Return the factor that a value of a step is learned to be: 1 if it is no scale, None if it is a number.

    A function of a weight, such as exp(weight), arrives as a tensor without a trace of the weight. It is told
    from a number of the author's by a weight of as many entries in a layer that the user wrote.
    """
    shape = tuple(getattr(value, "shape", ()))
    if len(shape) > 1 and math.prod(shape) != max(shape):
        return 1.0
    try:
        values = np.asarray(keras.ops.convert_to_numpy(value), "float64")
    except (TypeError, ValueError):
        return 1.0
    if isinstance(value, keras.Variable) or _is_function_of_weight(step, value, values.size):
        return root_mean_square(values)
    return None if values.size == 1 and values.item() != 1 else 1.0


def _is_function_of_weight(step: Step, value: Any, size: int) -> bool:
    if not keras.ops.is_tensor(value) or not step.calls:
        return False
    # The layers of Keras hand no weight to others: the bias of a Dense(1) is no scale.
    own = (part for part in step.calls[0][1]._flatten_layers() if not is_keras_call(part))
    return any(math.prod(weight.shape) == size for part in own for weight in part._trainable_variables)


def root_mean_square(variable: Any) -> float:
    """Return the root mean square of the entries of a variable or an array."""
    values = np.asarray(keras.ops.convert_to_numpy(variable), "float64")
    return float(np.sqrt(np.mean(values**2)))
