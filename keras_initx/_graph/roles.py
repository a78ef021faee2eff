"""What a weighted step of a graph is there for: the end of a residual branch, a gate, an attention ..."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import keras
import numpy as np

from keras_initx._graph.classify import ATTENTIONS, CONTRACTIONS, activation_after
from keras_initx._graph.records import Graph, Step
from keras_initx._theory import Activation
from keras_initx.errors import InitxError, unknown_name

ROLES = {
    "residual_end": "its result is added to a signal that went around it",
    "gate": "its result, squashed, multiplies a signal",
    "query": "its result is compared with the keys of an attention",
    "key": "its result is compared with the queries of an attention",
    "value": "an attention averages its result",
    "attention_output": "it reads what an attention averaged",
    "embedding": "its rows are looked up",
    "additive_table": "it is added to the signal as it is: positions, class tokens, types",
    "head": "no weight comes after it",
}
_SQUASHING = frozenset({"sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign"})

_Layer = TypeVar("_Layer", bound=type[keras.Layer])
_DECLARED: dict[type, str] = {}


def role(name: str) -> Callable[[_Layer], _Layer]:
    """Declares the role of a layer class of your own, where the graph cannot see it.

    Above a class made of other layers it is the role of the weights in it that make its result.

    Args:
        name: residual_end, gate, query, key, value, attention_output, embedding, additive_table or head.

    Raises:
        InitxError: Another name, or something that is no class of layers.

    Example:

    >>> @role("gate")
    ... class Squeeze(keras.layers.Dense):
    ...     pass
    """
    if isinstance(name, type):
        remedy = 'Write @role("gate"), say, above the class.'
        raise InitxError("role", name.__name__, ", ".join(ROLES), remedy)
    if name not in ROLES:
        raise unknown_name("role", name, ROLES)

    def declare(cls: _Layer) -> _Layer:
        if not isinstance(cls, type) or not issubclass(cls, keras.Layer):
            raise InitxError("role", cls, "a class of layers to stand above")
        _DECLARED[cls] = name
        return cls

    return declare


def declared_roles(graph: Graph) -> dict[int, tuple[tuple[str, int], ...]]:
    """The roles that were declared for weighted steps, each with the number of the layer's call.

    Of a layer that is made of others they are those of the last weighted steps of its result: of what carries
    the signal, and not of what gates it. Where it returns several, what is made of another one is left out.
    """
    above = graph.ancestors
    found: dict[int, tuple[tuple[str, int], ...]] = {}
    done: set[tuple[int, str]] = set()
    for step in graph.steps:
        for number, layer in step.calls:
            for name in [name for cls, name in _DECLARED.items() if isinstance(layer, cls)]:
                if (number, name) in done:
                    continue
                done.add((number, name))
                ends = [step] if step.is_weighted else []
                if number in graph.opened:
                    ends = _ends_within(graph, above, number)
                for end in ends:
                    found[end.number] = (*found.get(end.number, ()), (name, number))
    return found


def _ends_within(graph: Graph, above: dict[int, int], number: int) -> list[Step]:
    last = [step for tensor in graph.opened[number] for step in _last_weighted(graph, tensor)]
    ends = {s.number: s for s in last if any(call == number for call, _ in s.calls)}
    before = {n: _all(above[tensor] for tensor in step.inputs) for n, step in ends.items()}
    return [step for n, step in ends.items() if not any(before[n] >> other & 1 for other in ends)]


def residual_ends(graph: Graph) -> tuple[dict[int, int], int]:
    """The last weighted steps of each residual branch with the number of their sum; and how many sums.

    A sum is residual where one operand, the trunk, went around the other, the branch: they have an
    ancestor in common (an input of the model too), from which the trunk comes with at most one weighted
    step (a projection) and the branch with more.
    """
    above = graph.ancestors
    weighted = sum(1 << step.number for step in graph.steps if step.is_weighted)
    ends: dict[int, int] = {}
    number = 0
    for step in graph.steps:
        if step.kind != "Add" or len(set(step.inputs)) < 2:
            continue
        operands = list(dict.fromkeys(step.inputs))
        alone = [above[a] & ~_all(above[b] for b in operands if b != a) for a in operands]
        counts = [(mask & weighted).bit_count() for mask in alone]
        trunk = min(counts)
        most = 1 if len(operands) == 2 else 0
        if trunk > most or max(counts) <= trunk or not _have_origin(graph, above, operands):
            continue
        number += 1
        for operand, count in zip(operands, counts, strict=True):
            if count > trunk:
                for last in _last_weighted(graph, operand):
                    ends.setdefault(last.number, number)
    return ends, number


def _all(masks: Iterator[int]) -> int:
    joined = 0
    for mask in masks:
        joined |= mask
    return joined


def _have_origin(graph: Graph, above: dict[int, int], operands: list[int]) -> bool:
    """Whether the operands of a sum come from one tensor, and none of them from constants alone."""
    common = above[operands[0]]
    for operand in operands[1:]:
        common &= above[operand]
    if common:
        return True
    # Two branches right after an input of the model share no step.
    return all(_reaches(graph, operand, set(graph.inputs)) for operand in operands)


def _reaches(graph: Graph, tensor: int, goal: set[int]) -> bool:
    tensors, seen = [tensor], {tensor}
    while tensors:
        tensor = tensors.pop()
        if tensor in goal:
            return True
        producer = graph.producer(tensor)
        new = [t for t in (producer.inputs if producer else ()) if t not in seen]
        seen.update(new)
        tensors += new
    return False


def _last_weighted(graph: Graph, tensor: int) -> list[Step]:
    """The weighted steps that a tensor comes from without another one between.

    Of a product the signal is followed and not what gates it: the size of that is not the product's.
    """
    tensors, seen, found = [tensor], {tensor}, []
    while tensors:
        producer = graph.producer(tensors.pop())
        if producer is None:
            continue
        if producer.is_weighted:
            found.append(producer)
            continue
        operands = list(dict.fromkeys(producer.inputs))
        if len(operands) > 1 and (producer.kind == "Multiply" or producer.kind in CONTRACTIONS):
            operands = [t for t in operands if not _is_gating(graph, t)] or operands
        new = [t for t in operands if t not in seen]
        seen.update(new)
        tensors += new
    return found


def _is_gating(graph: Graph, tensor: int) -> bool:
    """Whether a tensor comes from its weights through a softmax or a squashing activation."""

    def gating(step: Step) -> bool:
        if step.kind == "Softmax":
            return True
        after = step.activation or step.applied_activation
        return after is not None and (_squashes(after) or after.name == "softmax")

    # What was gated before is a signal again.
    return _walk_up(graph, tensor, gating, until=lambda step: step.is_product) is not None


def is_gate(graph: Graph, step: Step) -> bool:
    """Whether the result of a step is squashed and then multiplies another signal."""
    own = step.applied_activation
    tensors = [(t, own is not None and _squashes(own)) for t in step.outputs]
    seen = set(step.outputs)
    while tensors:
        tensor, squashed = tensors.pop()
        consumers = graph.consumers(tensor)
        if squashed and any(c.is_product for c in consumers):
            return True
        after = activation_after(graph, tensor)
        if after and not squashed and _squashes(after[0]):
            onward = [(after[1], True)]
        else:
            onward = [(t, squashed) for c in consumers if c.is_pass_through for t in c.outputs]
        tensors += [(t, passed) for t, passed in onward if t not in seen]
        seen.update(t for t, _ in onward)
    return False


def _squashes(activation: Activation) -> bool:
    """Whether an activation is flat on both sides, far out."""
    if activation.function is None:
        return activation.name in _SQUASHING
    try:
        low, lower, high, higher = activation.function.function(np.array([-30.0, -60.0, 30.0, 60.0]))
    except Exception:
        return False
    return bool(abs(low - lower) < 0.1 and abs(high - higher) < 0.1 and low != high)


def attention_roles(graph: Graph) -> dict[int, tuple[str, ...]]:
    """Which weighted steps make the queries, keys and values of an attention, and which read its result."""
    found: dict[int, tuple[str, ...]] = {}

    def tell(tensor: int, name: str) -> None:
        for step in _last_weighted(graph, tensor):
            if not step.is_lookup:
                found[step.number] = (*found.get(step.number, ()), name)

    for step in graph.steps:
        operands = list(step.inputs)
        if step.kind in ATTENTIONS:
            for operand, name in zip(operands, ("query", "key", "value"), strict=False):
                tell(operand, name)
        elif step.kind in CONTRACTIONS and not step.is_weighted and len(operands) == 2:
            weights = [_comes_through_softmax(graph, operand) for operand in operands]
            if sum(weights) != 1:
                continue
            scores = _scores(graph, operands[weights.index(True)])
            if len(scores) != 2:
                # A router weighs experts, and compares nothing.
                continue
            tell(operands[weights.index(False)], "value")
            for operand, name in zip(scores, ("query", "key"), strict=False):
                tell(operand, name)
        else:
            continue
        for reader in _first_weighted(graph, step.outputs):
            found[reader.number] = (*found.get(reader.number, ()), "attention_output")
    return {number: tuple(dict.fromkeys(names)) for number, names in found.items()}


def _comes_through_softmax(graph: Graph, tensor: int) -> bool:
    return _walk_up(graph, tensor, lambda step: step.kind == "Softmax") is not None


def _scores(graph: Graph, tensor: int) -> tuple[int, ...]:
    """The two tensors whose product is the scores behind attention weights."""
    product = _walk_up(graph, tensor, lambda s: s.kind in CONTRACTIONS and not s.is_weighted)
    return product.inputs if product else ()


def _walk_up(
    graph: Graph,
    tensor: int,
    wanted: Callable[[Step], bool],
    until: Callable[[Step], bool] = lambda step: step.is_weighted,
) -> Step | None:
    tensors, seen = [tensor], {tensor}
    while tensors:
        producer = graph.producer(tensors.pop(0))
        if producer is None:
            continue
        if wanted(producer):
            return producer
        if producer.is_weighted or until(producer):
            continue
        new = [t for t in producer.inputs if t not in seen]
        seen.update(new)
        tensors += new
    return None


def _first_weighted(graph: Graph, outputs: tuple[int, ...]) -> list[Step]:
    """The weighted steps that read a tensor through nothing but transparent steps."""
    tensors, seen, found = list(outputs), set(outputs), []
    while tensors:
        for consumer in graph.consumers(tensors.pop()):
            if consumer.is_weighted:
                found.append(consumer)
            elif consumer.is_pass_through and not consumer.is_merge and not consumer.is_normalization:
                new = [t for t in consumer.outputs if t not in seen]
                seen.update(new)
                tensors += new
    return found
