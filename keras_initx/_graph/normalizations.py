"""Recognize normalizations that are written as operations, such as x * rsqrt(mean(x^2) + epsilon)."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._graph.classify import ELEMENTWISE, PRODUCTS
from keras_initx._graph.records import Graph, Step
from keras_initx._graph.replay import real_arguments

_REDUCTIONS = frozenset({"Mean", "Sum", "Var", "Std", "Max", "Min", "Norm", "Moments", "Median"})
_OTHERS = frozenset(
    ["Cast", "Rsqrt", "Reciprocal", "ExpandDims", "Squeeze", "Reshape", "BroadcastTo", "StopGradient"]
)
_KINDS = ELEMENTWISE | _REDUCTIONS | _OTHERS
# Formulas of normalizations are shorter.
_MOST_STEPS = 20
# The size of the input of the test: far above any epsilon, and then larger by a factor of 4.
_SIZE, _FACTOR = 1e3, 4.0


def with_normalizations(graph: Graph) -> Graph:
    """Return the graph with the class of normalizations that are written as operations.

    The last step of such a formula becomes the normalization. Steps that only compute its statistics are
    marked, since they do not carry the signal.
    """
    changed: dict[int, Step] = {}
    for step in graph.steps:
        if step.kind not in PRODUCTS or step.is_layer or len(set(step.inputs)) != 2:
            continue
        for tensor in step.inputs:
            if (found := _normalization(graph, step, tensor)) is not None:
                changed.update(found)
                break
    if not changed:
        return graph
    return replace(graph, steps=tuple(changed.get(step.number, step) for step in graph.steps))


def _normalization(graph: Graph, step: Step, signal: int) -> dict[int, Step] | None:
    """Return the classified steps of a normalization of `signal` that ends in `step`, or None."""
    carriers, base = {step.number: step}, signal
    centring = graph.producer(signal)
    while centring is not None and centring.kind in ("Cast", "Subtract") and centring.signals:
        # x - mean(x) is part of the formula.
        carriers[centring.number], base = centring, centring.signals[0]
        centring = graph.producer(base)
    for origin in dict.fromkeys([base, signal]):
        formula = _formula(graph, step, origin)
        if formula and any(s.kind in _REDUCTIONS for s in formula) and _ignores_scale(formula, step, origin):
            own = {n: s for n, s in carriers.items() if any(f.number == n for f in formula)}
            return _classes(graph, step, formula, own)
    return None


def _formula(graph: Graph, step: Step, origin: int) -> list[Step]:
    """Return the steps that compute the result of `step` from one tensor alone, in order; [] without them."""
    tensors, steps = [t for t in step.inputs if t != origin], {step.number: step}
    while tensors:
        producer = graph.producer(tensors.pop())
        if producer is None or producer.kind not in _KINDS or producer.is_layer or len(steps) > _MOST_STEPS:
            return []
        if producer.number not in steps:
            steps[producer.number] = producer
            tensors += [t for t in producer.inputs if t != origin]
    return [steps[number] for number in sorted(steps)]


def _ignores_scale(formula: list[Step], step: Step, origin: int) -> bool:
    """Return whether the result varies with the input, but not with the scale of the input."""
    shape = next(tuple(t.shape) for s in formula for n, t in s.tensors if n == origin)
    if None in shape or tuple(step.shapes[0]) != shape:
        return False
    values = (np.random.default_rng(0).standard_normal(shape) * _SIZE).astype("float32")
    try:
        small, large = (_computed(formula, origin, factor * values) for factor in (1.0, _FACTOR))
    except Exception:
        return False
    return bool(np.std(small) > 0 and np.allclose(small, large, rtol=1e-3, atol=1e-3 * np.std(small)))


def _computed(formula: list[Step], origin: int, values: np.ndarray) -> np.ndarray:
    """Return the result of a formula on an array."""
    tensors: dict[int, Any] = {origin: keras.ops.convert_to_tensor(values)}
    for step in formula:
        args, kwargs = real_arguments(step, tensors)
        outputs = keras.tree.flatten(step.operation.call(*args, **kwargs))
        tensors.update(zip(step.outputs, outputs, strict=True))
    return np.asarray(keras.ops.convert_to_numpy(tensors[formula[-1].outputs[0]]), "float64")


def _classes(graph: Graph, step: Step, formula: list[Step], carriers: dict[int, Step]) -> dict[int, Step]:
    """Return the steps of a normalization with their class."""
    numbers = {s.number for s in formula}
    found = {}
    for part in formula:
        readers = [c.number for t in part.outputs for c in graph.consumers(t)]
        if part.number == step.number:
            found[part.number] = replace(part, is_normalization=True, is_merge=False, is_pass_through=True)
        elif part.number in carriers:
            found[part.number] = replace(part, is_merge=False, is_pass_through=True)
        elif numbers.issuperset(readers):
            found[part.number] = replace(part, of_statistics=True)
    return found


def gain_of(graph: Graph, step: Step) -> keras.Variable | None:
    """Return the gain of a normalization: a weight of its own, or one that multiplies its result."""
    for name in ("gamma", "scale"):
        if isinstance(own := getattr(step.operation, name, None), keras.Variable):
            return own
    readers = graph.consumers(step.outputs[0])
    while len(readers) == 1 and (readers[0].kind == "Cast" or _is_number(readers[0])):
        readers = graph.consumers(readers[0].outputs[0])
    if step.is_layer or len(readers) != 1 or readers[0].kind != "Multiply":
        return None
    # The gain of a user's formula is a factor of its own, and not 1 + a weight.
    gains = [v for v in readers[0].call.arguments if isinstance(v, keras.Variable)]
    return gains[0] if gains and gains[0].trainable else None


def _is_number(step: Step) -> bool:
    """Return whether a step multiplies or divides its only tensor by a number, such as sqrt(width)."""
    others = [v for v in step.call.arguments if not isinstance(v, keras.KerasTensor) and v is not None]
    return step.kind in PRODUCTS and len(others) == 1 and _is_constant(others[0])


def _is_constant(value: Any) -> bool:
    return not isinstance(value, keras.Variable) and all(n == 1 for n in tuple(getattr(value, "shape", ())))
