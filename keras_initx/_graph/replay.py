"""Computes a traced model step by step on real tensors, so that each step can be looked at or changed."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from keras_initx._graph.masks import TAKEN_OFF, carried_mask, carrying
from keras_initx._graph.observer import is_symbolic
from keras_initx._graph.records import Graph, Step

# What a step returns, given the step, its arguments, and the function that computes it as the model does.
Handler = Callable[[Step, tuple[Any, ...], dict[str, Any]], Any]


def replay(graph: Graph, inputs: Any, handler: Handler) -> Any:
    """Calls every step of `graph` on the results of those before, through `handler`.

    Tensors are let go as soon as no later step needs them.

    Args:
        graph: The traced model.
        inputs: Tensors in the structure of the model's inputs, of the shapes that were traced.
        handler: Computes a step: `compute` does it as the model would.

    Returns:
        The model's outputs, as a flat list in the order of `graph.outputs`.
    """
    tensors: dict[int, Any] = dict(zip(graph.inputs, keras.tree.flatten(inputs), strict=True))
    left = Counter(number for step in graph.steps for number in step.inputs)
    left.update(graph.outputs)
    left.update(number for step in graph.steps for number in _masks(step.masks))
    left.update(_masks(graph.masks))
    for step in graph.steps:
        _put_masks(step.inputs, step.masks, tensors)
        args, kwargs = _filled(step, tensors)
        outputs = handler(step, args, kwargs)
        done = [*step.inputs, *_masks(step.masks)]
        computed = [t for t in keras.tree.flatten(outputs) if keras.ops.is_tensor(t)]
        for number, tensor in zip(step.outputs, computed, strict=False):
            if left[number]:
                tensors[number] = tensor
        for number in done:
            left[number] -= 1
            if not left[number]:
                del tensors[number]
    _put_masks(graph.outputs, graph.masks, tensors)
    return [tensors[number] for number in graph.outputs]


def _masks(numbers: Iterable[int | None]) -> list[int]:
    return [number for number in numbers if number is not None and number != TAKEN_OFF]


def _put_masks(numbers: Sequence[int], masks: Sequence[int | None], tensors: dict[int, Any]) -> None:
    """Lets tensors carry what they do in the model.

    The layers that would hand a mask on, or take it off, may have been opened, and a handler may return
    another tensor. Where the trace saw no mask a tensor keeps what it carries: an operation that returns its
    argument as it is hands that on.
    """
    for number, mask in zip(numbers, masks, strict=False):
        if mask is None or (carried_mask(tensors[number]) is None) == (mask == TAKEN_OFF):
            continue
        tensors[number] = carrying(tensors[number], None if mask == TAKEN_OFF else tensors[mask])


def compute(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a step in inference mode, but for batch normalization, which sees its batch.

    So it does in training; benchmarks/trainability.py has `auto_moving` to compare it with its moving
    statistics.
    """
    operation = step.call.operation
    if not step.is_layer:
        return operation.call(*args, **kwargs)
    if _takes_training(operation):
        kwargs = {**kwargs, "training": isinstance(operation, keras.layers.BatchNormalization)}
    return operation(*args, **kwargs)


def _takes_training(layer: keras.Layer) -> bool:
    return "training" in inspect.signature(layer.call).parameters


def _filled(step: Step, tensors: dict[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a step with tensors in place of the symbolic ones."""
    numbers = iter(step.inputs)
    given = (step.call.args, step.call.kwargs)
    flat = [tensors[next(numbers)] if is_symbolic(v) else v for v in keras.tree.flatten(given)]
    args, kwargs = keras.tree.pack_sequence_as(given, flat)
    return args, kwargs


def is_about_inputs(error: Exception) -> bool:
    """Whether a model may have raised it for the values or shapes that it was called on."""
    # TensorFlow's own class, by name: no backend is imported here.
    return (
        isinstance(error, ValueError | TypeError | IndexError)
        or type(error).__name__ == "InvalidArgumentError"
    )
