"""Find the numbers that a model multiplies a signal by around a step, and the look-ups it is added to."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._graph import Graph, Step
from keras_initx._weights import own_scale

# Steps that neither scale a signal nor move it.
_UNCHANGED = frozenset({"Cast", "Identity", "Copy", "Dropout", "Activation"})
_DIVISIONS = frozenset({"Divide", "TrueDivide"})


def constant_multiplier(graph: Graph, step: Step) -> float:
    """Return the number that the steps right after a step multiply its result by; 1 if there are none."""
    return _multiplied(graph, step)[0]


def scale_on_inputs(graph: Graph, step: Step, variable: keras.Variable, fan_in: float) -> float:
    """Return the size of the output of a weight for inputs of size 1, times the constants before it.

    It is NaN if `initialize` drew the weight.
    """
    scale, tensors = own_scale(variable, fan_in), step.signals
    while len(tensors) == 1 and (before := graph.producer(tensors[0])) is not None:
        number = _factor(before) if len(before.inputs) == 1 else None
        if number is None:
            break
        scale, tensors = scale * abs(number), before.inputs
    return scale


def added_lookups(graph: Graph, step: Step) -> Iterator[Step]:
    """Yield the look-ups whose rows are added to the result of a step: positions, types."""
    if not step.outputs:
        return
    sums = [s for s in graph.consumers(_multiplied(graph, step)[1]) if s.kind == "Add"]
    seen = {step.number}
    while sums:
        total = sums.pop()
        for tensor in total.inputs:
            other = _unmoved(graph, tensor)
            if other is not None and other.is_lookup and other.number not in seen:
                seen.add(other.number)
                yield other
        sums += [s for s in graph.consumers(total.outputs[0]) if s.kind == "Add" and _adds_lookup(graph, s)]


def _adds_lookup(graph: Graph, step: Step) -> bool:
    return any((other := _unmoved(graph, t)) is not None and other.is_lookup for t in step.inputs)


def _unmoved(graph: Graph, tensor: int) -> Step | None:
    """Return the step that computes a tensor, apart from casts and reshapes."""
    while (step := graph.producer(tensor)) is not None:
        if step.kind not in _UNCHANGED | {"ExpandDims", "BroadcastTo", "Reshape", "GetItem"}:
            return step
        if not step.inputs:
            return None
        tensor = step.inputs[0]
    return None


def _multiplied(graph: Graph, step: Step) -> tuple[float, int]:
    """Return the number that follows a step, and the number of the multiplied tensor."""
    factor, tensor = 1.0, step.outputs[0] if step.outputs else -1
    while len(consumers := graph.consumers(tensor)) == 1:
        consumer = consumers[0]
        if len(consumer.inputs) != 1 or len(consumer.outputs) != 1:
            break
        if (number := _factor(consumer)) is None:
            break
        factor, tensor = factor * number, consumer.outputs[0]
    return factor, tensor


def _factor(step: Step) -> float | None:
    """Return the number that a step multiplies its only input by; None if it does anything else."""
    if isinstance(step.operation, keras.layers.Rescaling):
        return _scalar(step.operation.scale) if _scalar(step.operation.offset) == 0 else None
    if step.kind in _UNCHANGED:
        linear = step.kind != "Activation" or step.is_pass_through
        return 1.0 if linear else None
    if step.kind != "Multiply" and step.kind not in _DIVISIONS:
        return None
    numbers = [_scalar(v) for v in step.call.arguments if not isinstance(v, keras.KerasTensor)]
    if len(numbers) != 1 or not numbers[0]:
        return None
    if step.kind == "Multiply":
        return numbers[0]
    return 1 / numbers[0] if isinstance(step.call.arguments[0], keras.KerasTensor) else None


def _scalar(value: Any) -> float | None:
    """Return a number, or a constant with one value; None for anything else, and for a variable."""
    if isinstance(value, keras.Variable | str) or value is None:
        return None
    array = np.asarray(keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value)
    return float(array.reshape(())) if array.size == 1 and array.dtype.kind in "biuf" else None
