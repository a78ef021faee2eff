"""Tables that are added to the signal as they are: positions, class tokens, types."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._graph import Graph, WeightContext
from keras_initx._weights import WeightIndex
from keras_initx.initializers import Auto
from keras_initx.model_init.methods.choice import Choice

_JOINING = frozenset({"Add", "Concatenate"})
# Weights that are added too, but start at zero for a reason.
_BIASES = ("bias", "beta", "gamma")


def additive_tables(
    graph: Graph, owners: WeightIndex
) -> Iterator[tuple[WeightContext, Choice, keras.Variable]]:
    """The tables of a graph: weights that are added to a signal, or joined to it, and are no biases."""
    seen: set[int] = set()
    for step in graph.steps:
        if step.kind not in _JOINING or step.call is None or not step.inputs:
            continue
        given = keras.tree.flatten((step.call.args, step.call.kwargs))
        variables = [v for v in given if isinstance(v, keras.Variable)] + list(step.call.tables.values())
        for variable in variables:
            if id(variable) in seen or len(variable.shape) < 2 or variable.name.endswith(_BIASES):
                continue
            seen.add(id(variable))
            layer, _ = owners.of(variable)
            site = WeightContext(
                step.number, layer.path or layer.name, type(layer).__name__, roles=("additive_table",)
            )
            reason = "added to the signal: brought to its scale"
            yield site, Choice("table", Auto(gain=1.0), target=1.0, reason=reason), variable


def unseen_tables(graph: Graph, model: keras.Model) -> list[keras.Variable]:
    """Weights of zeros that no step reads as they are: tables that start at zero may be among them."""
    read = {id(v) for step in graph.steps for v in step.kernels}
    # Keras's own layers add no tables; what they hold besides kernels starts at zero for a reason.
    foreign = [
        s for s in graph.steps if s.owner is not None and not type(s.owner).__module__.startswith("keras.")
    ]
    own = {id(v): v for step in foreign if step.owner is not None for v in step.owner.trainable_variables}
    for step in graph.steps:
        if step.is_layer and not step.opaque:
            own = {key: v for key, v in own.items() if all(v is not w for w in step.call.operation.weights)}
    return [
        v
        for key, v in own.items()
        if key not in read
        and len(v.shape) >= 2
        and not v.name.endswith(_BIASES)
        and "float" in keras.backend.standardize_dtype(v.dtype)
        and not np.any(keras.ops.convert_to_numpy(v))
    ]


def table_values(variable: keras.Variable, seed: int) -> Any:
    """Normal values for a table."""
    return keras.random.normal(tuple(variable.shape), dtype=variable.dtype, seed=seed)
