"""Whether a model of a fixed batch size may be measured on more samples than it takes."""

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Graph, Step, compute, patched_attribute, replay, trace
from keras_initx._weights import all_layers
from keras_initx.errors import InitxError


def takes_samples_alone(model: keras.Model, graph: Graph, inputs: Any, fixed: int) -> bool:
    """Return whether a model of a fixed batch size computes each sample of a larger batch by itself.

    Then every tensor that depends on the inputs grows by as much as they do, along one axis, and has the same
    values for the samples of the smaller batch.

    Args:
        model: The model.
        graph: Its trace, at its own batch size.
        inputs: The larger batch.
        fixed: The model's batch size.
    """
    samples = len(keras.tree.flatten(inputs)[0])
    if samples == fixed:
        return True
    try:
        wide = trace(model, inputs)
    except InitxError:
        return False
    axes: dict[int, list[int | None]] = {}
    grown = set(wide.inputs)
    for before, after in zip(graph.steps, wide.steps, strict=False):
        if (before.kind, before.outputs) != (after.kind, after.outputs):
            return False
        if grown.intersection(after.inputs):
            pairs = zip(before.shapes, after.shapes, strict=False)
            axes[after.number] = [_grown_axis(old, new, fixed, samples) for old, new in pairs]
            if None in axes[after.number]:
                return False
            grown.update(after.outputs)
    if len(graph.steps) != len(wide.steps):
        return False
    # From the middle: a cumulative sum is the same for the first samples.
    start = (samples - fixed) // 2
    own = keras.tree.map_structure(lambda tensor: tensor[start : start + fixed], inputs)
    try:
        narrow = _sizes(model, graph, own, graph, axes, 0)
        sizes = narrow, _sizes(model, wide, inputs, graph, axes, start / fixed)
    except Exception:  # A layer of the user's own may refuse another batch size in any way.
        return False
    # A sum over more samples rounds otherwise.
    return bool(np.allclose(*sizes, rtol=1e-3, equal_nan=True))


def _grown_axis(
    before: tuple[int | None, ...], after: tuple[int | None, ...], fixed: int, samples: int
) -> int | None:
    """Return the axis of a shape that grows as the batch does; None if no axis does, or another one too."""
    if len(before) != len(after):
        return None
    changed = [n for n, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    if len(changed) != 1 or (before[changed[0]] or 0) * samples != (after[changed[0]] or 0) * fixed:
        return None
    return changed[0]


def _sizes(
    model: keras.Model,
    graph: Graph,
    inputs: Any,
    narrow: Graph,
    axes: dict[int, list[int | None]],
    start: float,
) -> list[float]:
    """Return the mean square of what each step computes for one batch of the model's own size.

    Args:
        model: The model.
        graph: Its trace for `inputs`.
        inputs: The batch.
        narrow: The trace for a batch of the model's own size.
        axes: The axes of the samples, by step.
        start: Where that batch begins, in units of its size.
    """
    sizes: list[float] = []

    def measured(step: Step, args: Any, kwargs: Any) -> Any:
        if isinstance(step.operation, keras.layers.BatchNormalization):
            # In training it depends on the other samples, and more of them are then better.
            kwargs = {**kwargs, "training": False}
            outputs = step.operation(*args, **kwargs)
        else:
            outputs = compute(step, args, kwargs)
        tensors = [t for t in keras.tree.flatten(outputs) if ops.is_tensor(t)]
        for tensor, axis, shape in zip(
            tensors, axes.get(step.number, ()), narrow.steps[step.number].shapes, strict=False
        ):
            if "float" not in keras.backend.standardize_dtype(tensor.dtype):
                continue
            count = shape[axis or 0] or 0
            part = slice(round(start * count), round(start * count) + count)
            own = tensor[(slice(None),) * (axis or 0) + (part,)]
            sizes.append(float(ops.convert_to_numpy(ops.mean(ops.square(ops.cast(own, "float32"))))))
        return outputs

    with contextlib.ExitStack() as stack:
        # The states of stateful cells have the model's own batch size; they start at zero either way.
        for layer in all_layers(model):
            if getattr(layer, "stateful", False):
                stack.enter_context(patched_attribute(layer, "stateful", False))
        replay(graph, inputs, measured)
    return sizes
