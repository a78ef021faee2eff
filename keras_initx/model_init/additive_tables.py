"""Tables that are added to the signal: positions, class tokens, token types."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._graph import Graph, WeightContext, trace
from keras_initx._weights import Snapshot, WeightIndex
from keras_initx.initializers import Auto, fold_in
from keras_initx.model_init.methods import Choice

_JOINING = frozenset({"Add", "Concatenate"})
# Names of weights that are added too, but start at zero or one on purpose.
_BIASES = ("bias", "beta", "gamma")


def additive_tables(
    graph: Graph, index: WeightIndex
) -> Iterator[tuple[WeightContext, Choice, keras.Variable]]:
    """Yield the tables of a graph: weights that are added to or concatenated with a signal, except biases."""
    seen: set[int] = set()
    for step in graph.steps:
        if step.kind not in _JOINING or not step.inputs:
            continue
        for variable in step.call.variables:
            if id(variable) in seen or len(variable.shape) < 2 or variable.name.endswith(_BIASES):
                continue
            seen.add(id(variable))
            layer, _ = index.of(variable)
            context = WeightContext(
                step.number, layer.path or layer.name, type(layer).__name__, roles=("additive_table",)
            )
            yield (
                context,
                Choice("table", Auto(gain=1.0), "added to the signal: brought to its scale"),
                variable,
            )


def trace_with_tables(model: keras.Model, batch: Any, seed: int) -> Graph:
    """Trace a model, with values other than zero in the tables that start at zero.

    A constant of zeros does not show which weight it was computed from.
    """
    graph = trace(model, batch)
    hidden = _hidden_tables(graph)
    if not hidden:
        return graph
    with Snapshot(hidden) as zeros:
        for number, variable in enumerate(hidden):
            table_seed = fold_in(seed, f"table {number}")
            variable.assign(keras.random.normal(tuple(variable.shape), dtype=variable.dtype, seed=table_seed))
        graph = trace(model, batch)
        zeros.restore()
    return graph


def _hidden_tables(graph: Graph) -> list[keras.Variable]:
    """Return weights of zeros that no step reads directly: tables that start at zero may be among them."""
    read = {id(v) for step in graph.steps for v in step.kernels}
    # Keras's own layers add no tables: their weights other than kernels start at zero on purpose.
    foreign = [
        s for s in graph.steps if s.layer is not None and not type(s.layer).__module__.startswith("keras.")
    ]
    weights = {id(v): v for step in foreign if step.layer is not None for v in step.layer.trainable_variables}
    for step in graph.steps:
        if step.is_layer and not step.opaque:
            inner = {id(v) for v in step.call.operation.weights}
            weights = {key: v for key, v in weights.items() if key not in inner}
    return [
        v
        for key, v in weights.items()
        if key not in read
        and len(v.shape) >= 2
        and not v.name.endswith(_BIASES)
        and "float" in keras.backend.standardize_dtype(v.dtype)
        and not np.any(keras.ops.convert_to_numpy(v))
    ]
