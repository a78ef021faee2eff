"""Find out whether weights that start at zero let the rest of the model learn."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._graph.classify import PRODUCTS
from keras_initx._graph.normalizations import gain_of
from keras_initx._graph.records import Graph, Step, union
from keras_initx._graph.roles.walks import multiplies_signals
from keras_initx._theory import LINEAR, Activation, elementwise


@dataclass(frozen=True)
class _Constant:
    """The value of a tensor that no longer depends on the inputs.

    Attributes:
        value: The value of all entries; NaN if it is unknown but not zero.
        closed: The steps that made it constant, as a set of bits.
    """

    value: float
    closed: int


def stopping_steps(graph: Graph, closed: Collection[int]) -> set[int]:
    """Return the steps whose zeros stop the signal.

    A weighted step of zeros returns its bias, whatever it reads. The rest of the model learns if the signal
    goes around the step: through a sum, a concatenation, or a product with a constant that is not zero, such
    as exp(0) in the coupling of a flow, or a bias of 1 in a gate. It stops if a later weighted step, or the
    output of the model, reads constants only, if two zeros multiply each other, or in a matrix product.

    Args:
        graph: The traced model.
        closed: The numbers of the weighted steps whose kernels are all zeros, or nearly.

    References: Dinh et al. 2017 (arXiv 1605.08803) and Kingma & Dhariwal 2018 (arXiv 1807.03039, section 3)
    for couplings; Liu et al. 2021 (arXiv 2105.08050), section 2.1, for the gate of gMLP.
    """
    constants: dict[int, _Constant] = {}
    # The tensors that depend on the inputs of the model: parameters alone are neither signal nor constant.
    signal = set(graph.inputs)
    stopping = 0
    for step in graph.steps:
        read = [constants[t] for t in dict.fromkeys(step.inputs) if t in constants]
        lives = any(t in signal for t in step.inputs)
        zeros = [c for c in read if c.value == 0]
        result = None
        if step.number in closed:
            stopping |= 0 if lives else union(c.closed for c in read)
            result = _Constant(_bias(step), 1 << step.number)
        elif read and multiplies_signals(step):
            # A matrix of equal values makes all units alike.
            stopping |= union(c.closed for c in read)
        elif zeros and step.kind in PRODUCTS:
            stopping |= union(c.closed for c in zeros) if len(zeros) > 1 else 0
            result = _Constant(0.0, union(c.closed for c in zeros))
        elif read and not lives:
            if step.is_weighted:
                stopping |= union(c.closed for c in read)
            else:
                result = _Constant(_value(step, read), union(c.closed for c in read))
        if result is not None:
            constants.update(dict.fromkeys(step.outputs, result))
        elif read or lives:
            signal.update(step.outputs)
    stopping |= union(constants[t].closed for t in graph.outputs if t in constants)
    return {number for number in closed if stopping >> number & 1}


def steps_behind_zeros(graph: Graph, moves: Callable[[keras.Variable], bool]) -> set[int]:
    """Return the weighted steps whose every path to the output passes zeros that training opens.

    The zeros are the gain of a normalization, or a kernel, such as the one that computes the transform of a
    point net. No gradient reaches the steps before them until the first training step changes the zeros.

    Args:
        graph: The traced model.
        moves: Return whether a weight has a gradient.

    References: Goyal et al. 2017 (arXiv 1706.02677), section 5.1, for branches that end in a gain of zero; Qi
    et al. 2017 (arXiv 1612.00593) for transforms that start at the identity.
    """
    return ways_around(graph, lambda step: () if _opens(graph, step, moves) else step.inputs)[0]


def ways_around(graph: Graph, passed: Callable[[Step], Collection[int]]) -> tuple[set[int], set[int]]:
    """Return the weighted steps with no path to the output, and the tensors with one.

    Args:
        graph: The traced model.
        passed: Return the inputs of a step whose values reach its result. The weighted steps that lead to
            the output, but not through these inputs, are returned.
    """
    leads, reached = set(graph.outputs), set(graph.outputs)
    for step in reversed(graph.steps):
        if leads.intersection(step.outputs):
            leads.update(step.inputs)
        if reached.intersection(step.outputs):
            reached.update(passed(step))
    behind = {
        step.number
        for step in graph.steps
        if step.is_weighted and leads.intersection(step.outputs) and not reached.intersection(step.outputs)
    }
    return behind, reached


def _opens(graph: Graph, step: Step, moves: Callable[[keras.Variable], bool]) -> bool:
    """Return whether the weights of a step are zeros, and the first training step changes them."""
    gain = gain_of(graph, step) if step.is_normalization else None
    weights = step.kernels if gain is None else (gain,)
    return bool(weights) and all(
        w.trainable and not np.any(keras.ops.convert_to_numpy(keras.ops.cast(w, "float32"))) and moves(w)
        for w in weights
    )


def _bias(step: Step) -> float:
    """Return the value of the result of a step whose kernel is zeros."""
    bias = np.zeros(1) if step.bias is None else keras.ops.convert_to_numpy(step.bias).astype("float64")
    value = float(bias.flat[0]) if np.all(bias == bias.flat[0]) else math.nan
    return _applied(step.applied_activation or LINEAR, value)


def _applied(activation: Activation, value: float) -> float:
    function = None if activation == LINEAR else elementwise(activation)
    if function is None:
        return value if activation == LINEAR else math.nan
    return float(np.asarray(function[0](np.array([value])), dtype="float64")[0])


def _value(step: Step, read: list[_Constant]) -> float:
    """Return the value of the result of a step that reads constants only."""
    if step.activation is not None and len(read) == 1:
        return _applied(step.activation, read[0].value)
    values = {c.value for c in read}
    if step.is_layer or step.is_pass_through:
        shifts = step.kind in ("Add", "Subtract") or isinstance(step.operation, keras.layers.Rescaling)
        if not shifts:
            keeps = step.is_pass_through and (not step.is_normalization or values == {0.0})
            return values.pop() if keeps and len(values) == 1 else math.nan
    return _evaluated(step, read)


def _evaluated(step: Step, read: list[_Constant]) -> float:
    """Return the result of an operation on numbers; NaN if it needs more than numbers."""
    numbers = dict(zip(dict.fromkeys(step.inputs), read, strict=False))
    tensors = iter(step.inputs)

    def number(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor):
            return value
        return keras.ops.convert_to_tensor(np.float32(numbers[next(tensors)].value))

    try:
        arguments = keras.tree.map_structure(number, (step.call.args, step.call.kwargs))
        result = step.operation.call(*arguments[0], **arguments[1])
        return float(keras.ops.convert_to_numpy(result))
    except Exception:
        return math.nan
