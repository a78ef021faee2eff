"""Choose sizes in place of a model's unknown ones, so that its position tables are long enough."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph.call_recorder import is_symbolic
from keras_initx._graph.records import SHAPE_ONLY, Graph, Step
from keras_initx._graph.replay import compute, real_arguments
from keras_initx.errors import InitxError

# Sizes to try for images and for everything else. The first pair that works is used.
# Raw audio needs the longest ones.
_IMAGE_SIZES = (64, 128, 224, 331, 331, 331)
_LENGTHS = (16, 32, 64, 128, 1024, 4096)
# The number of further lengths to try.
_MAX_TRIES = 8
# Larger tensors hold no positions.
_LARGEST = 2**20


def fitting_graph(model: keras.Model, traced_at: Callable[[int, int], Graph]) -> Graph:
    """Return the graph of a model with unknown sizes, at a length that its position tables cover.

    Args:
        model: The model.
        traced_at: Traces the model at a size for images and a length for everything else, in place of unknown
            sizes. It raises an `InitxError` if the model cannot be called at these sizes.

    Raises:
        InitxError: The model can be called at none of the sizes that were tried.
    """
    graph, failure = None, None
    for image, length in zip(_IMAGE_SIZES, _LENGTHS, strict=True):
        try:
            graph = traced_at(image, length)
            break
        except InitxError as error:
            # The smallest inputs make the shortest message.
            failure = failure or error
    misfits = [] if graph is None else _misfits(graph)
    if graph is None:
        image, length = _IMAGE_SIZES[0], 0
        lengths = [n for n in _table_lengths(model.variables) if n not in _LENGTHS]
    else:
        lengths = [n for n in _table_lengths(v for s in misfits for v in s.operation.weights) if n < length]
    for other in lengths[:_MAX_TRIES]:
        if graph is not None and not misfits:
            break
        try:
            candidate = traced_at(image, other)
        except InitxError:
            continue
        remaining = _misfits(candidate)
        if graph is None or len(remaining) < len(misfits):
            graph, misfits = candidate, remaining
    if graph is None:
        assert failure is not None
        raise failure
    return graph


def _table_lengths(variables: Iterable[keras.Variable]) -> list[int]:
    """Return the numbers of rows of look-up tables, the largest first; kernels do not count."""
    tables = [v for v in variables if len(v.shape) > 1 and not v.name.endswith("kernel")]
    return sorted({int(v.shape[-2]) for v in tables}, reverse=True)


def _misfits(graph: Graph) -> list[Step]:
    """Return the layers that may need shorter inputs.

    These are layers that the trace could not open, and look-ups beyond the end of a position table.
    """
    # The values of tensors that depend on the shapes of the inputs alone.
    fixed: dict[int, Any] = {}
    misfits = []
    for step in graph.steps:
        if step.opaque:
            misfits.append(step)
        elif isinstance(step.operation, keras.layers.Embedding) and set(step.inputs) <= fixed.keys():
            ids = keras.tree.flatten(real_arguments(step, fixed))[0]
            if np.max(ops.convert_to_numpy(ids), initial=0) >= step.operation.input_dim:
                misfits.append(step)
        elif not step.is_layer and (step.kind in SHAPE_ONLY or set(step.inputs) <= fixed.keys()):
            shapes = keras.tree.flatten(step.call.outputs)
            if sum(math.prod(t.shape) for t in shapes) <= _LARGEST:
                fixed.update(_computed(step, fixed))
    return misfits


def _computed(step: Step, fixed: dict[int, Any]) -> dict[int, Any]:
    """Return the values of an operation that reads only the shapes of its inputs, or values in `fixed`."""
    inputs = [t for t in step.call.arguments if is_symbolic(t)]
    stand_ins = {n: ops.zeros(t.shape, t.dtype) for n, t in zip(step.inputs, inputs, strict=True)}
    try:
        outputs = compute(step, *real_arguments(step, stand_ins | fixed))
    except Exception:
        return {}
    return dict(zip(step.outputs, keras.tree.flatten(outputs), strict=False))
