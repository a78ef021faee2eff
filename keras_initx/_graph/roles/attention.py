"""Find attentions: which tensors they compare, which they average, and the scale of their scores."""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._graph.call_recorder import first_argument, is_keras_call
from keras_initx._graph.classify import ATTENTIONS
from keras_initx._graph.records import Graph, Step
from keras_initx._graph.roles.scales import learned_scale, root_mean_square, value_of_scale
from keras_initx._graph.roles.walks import (
    first_weighted,
    is_gating,
    is_softmax,
    last_weighted,
    multiplies_signals,
    steps_before,
)

_PERMUTATIONS = frozenset({"Transpose", "Permute", "Swapaxes", "Moveaxis"})


@dataclass(frozen=True)
class Product:
    """A product of queries and keys.

    Attributes:
        query, key: The numbers of the two tensors.
        width: The number of products that each score sums; 0 if it is not known.
    """

    query: int
    key: int
    width: int


@dataclass(frozen=True)
class Attention:
    """An attention: values averaged by the softmax of scores.

    Attributes:
        step: The step that averages the values.
        value: The number of the tensor of values.
        products: The products that the scores are a sum of.
        score_steps: The steps between the queries and keys and the softmax.
        scale: The factor on the products, from learned scales; None if the author divides the scores by a
            number, such as the root of the width.
    """

    step: Step
    value: int
    products: tuple[Product, ...]
    score_steps: tuple[Step, ...]
    scale: float | None


def attentions(graph: Graph) -> Iterator[Attention]:
    """Return the attentions of a graph, in the order of the computation."""
    for step in graph.steps:
        layer = step.operation
        if step.kind in ATTENTIONS:
            yield _fused(graph, step, _fused_scale(step), step.inputs[:3])
        elif isinstance(layer, keras.layers.Attention) and is_keras_call(layer):
            count = len(keras.tree.flatten(first_argument(layer, step.call.args, step.call.kwargs)))
            query, value, *key = step.inputs[:count]
            yield _fused(graph, step, _layer_scale(layer), (query, key[0] if key else value, value))
        elif multiplies_signals(step) and len(step.inputs) == 2:
            yield from _by_hand(graph, step)


def attention_roles(graph: Graph) -> dict[int, tuple[str, ...]]:
    """Return the roles of the weighted steps around attentions: query, key, value, attention_output."""
    roles: dict[int, tuple[str, ...]] = {}

    def add(steps: list[Step], name: str) -> None:
        for step in steps:
            roles[step.number] = (*roles.get(step.number, ()), name)

    for attention in attentions(graph):
        for product in attention.products:
            add(projections(graph, product.query), "query")
            add(projections(graph, product.key), "key")
        add(projections(graph, attention.value), "value")
        add(first_weighted(graph, attention.step.outputs), "attention_output")
    return {number: tuple(dict.fromkeys(names)) for number, names in roles.items()}


def projections(graph: Graph, tensor: int) -> list[Step]:
    """Return the last kernels before a tensor."""
    return [step for step in last_weighted(graph, tensor) if not step.is_lookup]


def score_factors(graph: Graph) -> dict[int, float]:
    """Return the factor for each query and key projection of attentions that do not scale their scores.

    A score sums `width` products of queries and keys of variance 1. Where no division by sqrt(width) follows,
    a factor of width^(-1/4) on both sides gives the scores variance 1. A side that is normalized, or that has
    no kernel of its own, keeps its scale, and the other side makes up for it. The same holds for outputs of
    the model that are products of two signals, as in two towers or a factorized matrix.
    """
    factors: dict[int, float] = {}
    found = list(attentions(graph))
    for attention in found:
        variance = sum(product.width for product in attention.products) * (attention.scale or 0.0) ** 2
        for product in attention.products if 0 < variance < math.inf else ():
            sides = [_scalable(graph, tensor) for tensor in (product.query, product.key)]
            _share(factors, sides, variance)
    for step in _output_products(graph, found):
        between = [s for s in steps_before(graph, step.inputs) if not s.is_weighted]
        scale = learned_scale(graph, (*between, *_steps_after(graph, step)))
        sides = [_scalable(graph, tensor, lookups=True) for tensor in step.inputs]
        if scale:
            _share(factors, sides, _width(step) * scale**2)
    return {number: factor for number, factor in factors.items() if not math.isclose(factor, 1.0)}


def _share(factors: dict[int, float], sides: list[list[Step]], variance: float) -> None:
    """Add the factors by which the sides that can be scaled bring a variance to 1 together."""
    count = sum(map(bool, sides))
    for step in itertools.chain(*sides):
        factors.setdefault(step.number, variance ** (-0.5 / count))


def _output_products(graph: Graph, found: list[Attention]) -> Iterator[Step]:
    """Return the products of two signals that become an output of the model without another weight."""
    of_attentions = {step.number for attention in found for step in (attention.step, *attention.score_steps)}
    for step in graph.steps:
        if not multiplies_signals(step) or len(set(step.inputs)) != 2 or step.number in of_attentions:
            continue
        if any(is_gating(graph, tensor) or not last_weighted(graph, tensor) for tensor in step.inputs):
            continue
        after = _steps_after(graph, step)
        if not any(s.is_weighted or s.is_normalization or multiplies_signals(s) for s in after):
            yield step


def _steps_after(graph: Graph, step: Step) -> list[Step]:
    """Return all steps that read the outputs of a step, directly or through others."""
    tensors, steps = list(step.outputs), {}
    while tensors:
        for reader in graph.consumers(tensors.pop()):
            if reader.number not in steps:
                steps[reader.number] = reader
                tensors += reader.outputs
    return list(steps.values())


def _width(step: Step) -> int:
    """Return how many products each value of a product of two signals sums."""
    left, right = (_shape_of(step, tensor) for tensor in step.inputs)
    letters = _einsum_letters(step)
    if letters is not None:
        a, b, out = letters
        sizes = [left[n - len(a)] or 0 for n, name in enumerate(a) if name in b and name not in out]
        return math.prod(sizes)
    return (left[-1] or 0) if step.kind == "Matmul" else _summed(left, right, step.shapes[0])


def _scalable(graph: Graph, tensor: int, lookups: bool = False) -> list[Step]:
    """Return the kernels that set the scale of a tensor; [] if something else affects the scale."""
    between = [step for step in steps_before(graph, [tensor]) if not step.is_weighted]
    last = last_weighted(graph, tensor)
    others = [step for step in last if step.is_recurrent or (step.is_lookup and not lookups)]
    if others or any(step.is_normalization for step in between):
        return []
    return last


def _fused(graph: Graph, step: Step, scale: float | None, tensors: tuple[int, ...]) -> Attention:
    """Return an attention that one step computes from queries, keys and values."""
    query, key, value = tensors
    before = tuple(step for step in steps_before(graph, [query, key]) if not step.is_weighted)
    learned = learned_scale(graph, before)
    total = None if scale is None or learned is None else scale * learned
    return Attention(step, value, (Product(query, key, _shape_of(step, query)[-1] or 0),), (), total)


def _fused_scale(step: Step) -> float | None:
    arguments = dict(zip(("query", "key", "value", "bias", "mask", "scale"), step.call.args, strict=False))
    scale = {**arguments, **step.call.kwargs}.get("scale")
    # Without an argument, the operation divides by the root of the width.
    return None if scale is None else value_of_scale(step, scale)


def _layer_scale(layer: keras.layers.Attention) -> float | None:
    if isinstance(layer, keras.layers.AdditiveAttention) or layer.score_mode != "dot":
        return None
    return 1.0 if layer.scale is None else root_mean_square(layer.scale)


def _by_hand(graph: Graph, step: Step) -> Iterator[Attention]:
    """Return the attention whose values a matrix product averages, if its weights come from products."""

    def ends(step: Step) -> bool:
        return is_softmax(step) or multiplies_signals(step)

    weights = []
    for operand in step.inputs:
        nearest = steps_before(graph, [operand], until=ends)
        weights.append(next((s for s in nearest if is_softmax(s) and not s.is_weighted), None))
    if sum(softmax is not None for softmax in weights) != 1:
        return
    softmax = next(s for s in weights if s is not None)
    value = step.inputs[weights.index(None)]
    scores = steps_before(graph, softmax.inputs, until=multiplies_signals)
    # A mixture of experts has no product: its router weighs experts, but compares no two signals.
    products = [s for s in scores if multiplies_signals(s) and len(s.inputs) == 2]
    if products:
        operands = [tensor for product in products for tensor in product.inputs]
        between = [s for s in [*scores, *steps_before(graph, operands)] if not s.is_weighted]
        compared = tuple(_product(graph, p, softmax, scores) for p in products)
        yield Attention(step, value, compared, tuple(scores), learned_scale(graph, tuple(between)))


def _product(graph: Graph, step: Step, softmax: Step, between: list[Step]) -> Product:
    """Return the operands of a product of signals: the axis of the keys is the axis of the softmax."""
    first, second = step.inputs
    axis = _axis_at(step, softmax, {s.number for s in between}, graph)
    letters = _einsum_letters(step)
    is_key_first = axis == -2
    if letters is not None:
        a, b, out = letters
        letter = out[axis] if -len(out) <= axis else out[-1]
        is_key_first = letter in a and letter not in b
    return Product(*((second, first) if is_key_first else (first, second)), _width(step))


def _axis_at(product: Step, softmax: Step, between: set[int], graph: Graph) -> int:
    """Return the axis of a product that the softmax normalizes later, counted from the end."""
    path: list[Step] = []
    tensor = product.outputs[0]
    while True:
        readers = graph.consumers(tensor)
        if any(reader.number == softmax.number for reader in readers):
            break
        following = next((r for r in readers if r.number in between and r.number != product.number), None)
        if following is None:
            return -1
        path.append(following)
        tensor = following.outputs[0]
    axis = getattr(softmax.operation, "axis", -1)
    axis = max(axis) if isinstance(axis, tuple | list) else axis
    if not isinstance(axis, int):
        return -1
    rank = len(softmax.shapes[0])
    axis = axis if axis < 0 else axis - rank
    for step in reversed(path):
        axis = _axis_before(step, axis)
    return axis


def _axis_before(step: Step, axis: int) -> int:
    """Return the axis of a step's input that becomes an axis of its output; both count from the end."""
    shape = _shape_of(step, step.signals[0])
    if step.kind in _PERMUTATIONS:
        # Different sizes show where each axis goes.
        sizes = np.zeros(range(1, len(shape) + 1), "float32")
        moved = tuple(step.operation.call(sizes).shape)
        return moved[axis] - 1 - len(shape)
    if step.is_merge or len(shape) == len(step.shapes[0]):
        return axis
    # A reshape keeps an axis if the axes after it hold as many values as before.
    after = math.prod(n or 1 for n in step.shapes[0][axis:])
    return next(
        (n - len(shape) for n in range(len(shape)) if math.prod(m or 1 for m in shape[n:]) == after), -1
    )


def _einsum_letters(step: Step) -> tuple[str, str, str] | None:
    """Return the axes of both operands and of the result of an einsum; None for another step."""
    subscripts = getattr(step.operation, "subscripts", None)
    if step.kind != "Einsum" or not isinstance(subscripts, str):
        return None
    match = re.fullmatch(r"\.*(\w+),\.*(\w+)->\.*(\w+)", subscripts.replace(" ", ""))
    return None if match is None else (match[1], match[2], match[3])


def _summed(left: Any, right: Any, out: Any) -> int:
    """Return how many products each value of a matrix product sums, from the sizes of a sample."""
    sizes = [math.prod(n or 1 for n in shape[1:]) for shape in (left, right, out)]
    return math.isqrt(sizes[0] * sizes[1] // max(sizes[2], 1))


def _shape_of(step: Step, tensor: int) -> tuple[int | None, ...]:
    """Return the shape of a tensor that a step reads."""
    return tuple(dict(step.tensors)[tensor].shape)
