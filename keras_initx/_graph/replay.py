"""Compute a traced model step by step on real tensors, so that each step can be measured or changed."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from keras_initx._graph.call_recorder import is_symbolic
from keras_initx._graph.masks import REMOVED, carried_mask, with_mask
from keras_initx._graph.records import Graph, Step

# Computes the outputs of a step from the step, its positional and its keyword arguments.
Handler = Callable[[Step, tuple[Any, ...], dict[str, Any]], Any]


def replay(graph: Graph, inputs: Any, handler: Handler) -> Any:
    """Compute every step of `graph` with `handler`, in order, on the results of the steps before it.

    Each tensor is released as soon as no later step needs it.

    Args:
        graph: The traced model.
        inputs: Tensors in the structure of the model's inputs, with the shapes that were traced.
        handler: Computes one step; `compute` does it as the model would.

    Returns:
        The model's outputs, as a flat list in the order of `graph.outputs`.
    """
    tensors: dict[int, Any] = dict(zip(graph.inputs, keras.tree.flatten(inputs), strict=True))
    uses = Counter(number for step in graph.steps for number in step.inputs)
    uses.update(graph.outputs)
    uses.update(number for step in graph.steps for number in _present(step.masks))
    uses.update(_present(graph.masks))
    for step in graph.steps:
        _restore_masks(step.inputs, step.masks, tensors)
        args, kwargs = real_arguments(step, tensors)
        outputs = handler(step, args, kwargs)
        computed = [t for t in keras.tree.flatten(outputs) if keras.ops.is_tensor(t)]
        for number, tensor, shape in zip(step.outputs, computed, step.shapes, strict=False):
            if uses[number]:
                tensors[number] = _with_shape(tensor, shape)
        for number in [*step.inputs, *_present(step.masks)]:
            uses[number] -= 1
            if not uses[number]:
                del tensors[number]
    _restore_masks(graph.outputs, graph.masks, tensors)
    return [tensors[number] for number in graph.outputs]


def _with_shape(tensor: Any, shape: tuple[int | None, ...]) -> Any:
    """Return a tensor with the shape that was traced, if the compiled computation does not know its own.

    Text that is split into words, for example, has an unknown number of words in a TensorFlow graph.
    """
    # A TensorFlow tensor of unknown rank has no tuple of sizes.
    is_known = getattr(tensor.shape, "rank", 0) is not None and None not in tuple(tensor.shape)
    # Rows of different lengths have no common one.
    if is_known or None in shape or type(tensor).__name__.startswith(("Ragged", "Sparse")):
        return tensor
    return keras.ops.reshape(tensor, shape)


def _present(masks: Iterable[int | None]) -> list[int]:
    """Return the numbers of the masks that exist."""
    return [number for number in masks if number is not None and number != REMOVED]


def _restore_masks(numbers: Sequence[int], masks: Sequence[int | None], tensors: dict[int, Any]) -> None:
    """Give tensors the masks that they carry in the model.

    The trace may have entered the layers that would propagate or remove a mask, and a handler may return
    another tensor than the model would. A tensor for which the trace saw no mask keeps the mask that it
    carries, because an operation that returns its argument unchanged also passes on its mask.
    """
    for number, mask in zip(numbers, masks, strict=False):
        if mask is None or (carried_mask(tensors[number]) is None) == (mask == REMOVED):
            continue
        tensors[number] = with_mask(tensors[number], None if mask == REMOVED else tensors[mask])


def compute(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the result of a step in inference mode, except that batch normalization uses its batch.

    Batch normalization does so in training, too. The `auto_moving` variant in benchmarks/trainability.py uses
    the moving statistics instead, for comparison.
    """
    if not step.is_layer:
        return step.operation.call(*args, **kwargs)
    if _takes_training(step.operation):
        kwargs = {**kwargs, "training": isinstance(step.operation, keras.layers.BatchNormalization)}
    return step.operation(*args, **kwargs)


def _takes_training(layer: keras.Layer) -> bool:
    return "training" in inspect.signature(layer.call).parameters


def real_arguments(step: Step, tensors: dict[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a step with real tensors in place of the symbolic ones."""
    numbers = iter(step.inputs)
    flat = [tensors[next(numbers)] if is_symbolic(value) else value for value in step.call.arguments]
    args, kwargs = keras.tree.pack_sequence_as((step.call.args, step.call.kwargs), flat)
    return args, kwargs


def is_about_inputs(error: Exception) -> bool:
    """Return whether the values or shapes of a model's inputs may have caused an error."""
    # TensorFlow's own class is recognized by its name, since this package imports no backend.
    return (
        isinstance(error, ValueError | TypeError | IndexError)
        or type(error).__name__ == "InvalidArgumentError"
    )
