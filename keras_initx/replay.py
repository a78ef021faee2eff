"""Computes a traced model step by step on real tensors, so that each step can be looked at or changed."""

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras

from keras_initx.graph import Graph, Step
from keras_initx.observing import Opened, carried_mask, is_symbolic

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
    composites = _by_their_end(graph)
    left.update(number for ended in composites.values() for o in ended for number in o.inputs + o.mask)
    for step in graph.steps:
        assert step.call is not None
        args, kwargs = _filled(step, tensors)
        outputs = handler(step, args, kwargs)
        done = list(step.inputs)
        computed = [t for t in keras.tree.flatten(outputs) if keras.ops.is_tensor(t)]
        for number, tensor in zip(step.outputs, computed, strict=False):
            if left[number]:
                tensors[number] = tensor
        for opened in composites.get(step.number, ()):
            _hand_mask_on(opened, tensors)
            done += [*opened.inputs, *opened.mask]
        for number in done:
            left[number] -= 1
            if not left[number]:
                del tensors[number]
    return [tensors[number] for number in graph.outputs]


def _by_their_end(graph: Graph) -> dict[int, list[Opened]]:
    """The composite layers by the step that computes the last of what they return."""
    found: dict[int, list[Opened]] = {}
    for opened in graph.opened.values():
        producers = [p.number for t in opened.outputs if (p := graph.producer(t)) is not None]
        if producers and opened.layer.supports_masking:
            found.setdefault(max(producers), []).append(opened)
    return found


def _hand_mask_on(opened: Opened, tensors: dict[int, Any]) -> None:
    """Does what `Layer.__call__` does at its end, which the steps inside of a composite layer do not."""
    results = [tensors[number] for number in opened.outputs if number in tensors]
    missing = [t for t in results if carried_mask(t) is None]
    inputs = [tensors[number] for number in opened.inputs]
    given = [tensors[number] for number in opened.mask] or [carried_mask(t) for t in inputs]
    if not missing or all(mask is None for mask in given):
        return
    one = len(inputs) == 1
    masks = opened.layer.compute_mask(inputs[0] if one else inputs, given[0] if len(given) == 1 else given)
    flat = keras.tree.flatten(masks) if masks is not None else []
    for tensor, mask in zip(results, flat, strict=False):
        if carried_mask(tensor) is None and mask is not None:
            # What cannot be given attributes, as some backends' tensors, goes without.
            with contextlib.suppress(AttributeError):
                tensor._keras_mask = mask


def compute(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a step in inference mode, but for batch normalization, which sees its batch.

    So it does in training; benchmarks/trainability.py has `auto_moving` to compare it with its moving
    statistics.
    """
    assert step.call is not None
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
    assert step.call is not None
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
