"""Find the roles of weighted steps: residual branch ends, gates, attention projections, declared roles."""

import functools
import operator
from collections.abc import Callable, Iterable
from typing import TypeVar

import keras
import numpy as np

from keras_initx._graph.classify import ATTENTIONS, CONTRACTIONS, activation_after
from keras_initx._graph.records import Graph, Step
from keras_initx._theory import Activation
from keras_initx.errors import InitxError, unknown_name

ROLES = {
    "residual_end": "its result is added to a signal that bypasses it",
    "gate": "its result is squashed and then multiplies a signal",
    "query": "its result is compared with the keys of an attention",
    "key": "its result is compared with the queries of an attention",
    "value": "an attention averages its result",
    "attention_output": "it reads the average that an attention computes",
    "embedding": "its rows are looked up",
    "additive_table": "it is added to the signal unchanged: positions, class tokens, types",
    "head": "no weight comes after it",
}
# Activations that are flat on both sides.
_SQUASHING = frozenset({"sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign"})

_Layer = TypeVar("_Layer", bound=type[keras.Layer])
_DECLARED: dict[type, str] = {}


def role(name: str) -> Callable[[_Layer], _Layer]:
    """Declare the role of your own layer class if the graph does not show it.

    If the class contains other layers, the role applies to the inner weights that compute its result.

    Args:
        name: residual_end, gate, query, key, value, attention_output, embedding, additive_table or head.

    Raises:
        InitxError: The name is unknown, or the decorated object is not a layer class.

    Example:

    >>> @role("gate")
    ... class Squeeze(keras.layers.Dense):
    ...     pass
    """
    if isinstance(name, type):
        remedy = 'Name the role above the class, for example @role("gate").'
        raise InitxError("role", name.__name__, f"one of {', '.join(ROLES)}", remedy)
    if name not in ROLES:
        raise unknown_name("role", name, ROLES)

    def declare(cls: _Layer) -> _Layer:
        if not isinstance(cls, type) or not issubclass(cls, keras.Layer):
            raise InitxError(
                "role",
                cls,
                "placed above a layer class",
                problem=f"`role` decorates a layer class, not {cls!r}",
            )
        _DECLARED[cls] = name
        return cls

    return declare


def declared_roles(graph: Graph) -> dict[int, tuple[tuple[str, int], ...]]:
    """Return the declared roles of weighted steps, each with the number of the layer call that it is from.

    The role of a layer that contains other layers goes to the last weighted steps of its result: those that
    carry the signal, not those that gate it. If the layer returns several tensors, steps that lead to another
    of these steps are excluded.
    """
    roles: dict[int, tuple[tuple[str, int], ...]] = {}
    done: set[tuple[int, str]] = set()
    for step in graph.steps:
        for call, layer in step.calls:
            for name in [name for cls, name in _DECLARED.items() if isinstance(layer, cls)]:
                if (call, name) in done:
                    continue
                done.add((call, name))
                ends = [step] if step.is_weighted else []
                if call in graph.opened:
                    ends = _ends_within(graph, call)
                for end in ends:
                    roles[end.number] = (*roles.get(end.number, ()), (name, call))
    return roles


def _ends_within(graph: Graph, call: int) -> list[Step]:
    """Return the last weighted steps of the result of a layer call."""
    last = [step for tensor in graph.opened[call] for step in _last_weighted(graph, tensor)]
    ends = {s.number: s for s in last if any(number == call for number, _ in s.calls)}
    before = {n: _union(graph.ancestors[tensor] for tensor in step.inputs) for n, step in ends.items()}
    return [step for n, step in ends.items() if not any(before[n] >> other & 1 for other in ends)]


def residual_ends(graph: Graph) -> tuple[dict[int, int], int]:
    """Map each residual end to the index of its residual sum; also return how many residual sums there are.

    A residual end is the last weighted step of a residual branch. A sum is residual if one operand, the
    trunk, bypasses the other, the branch: the two have a common ancestor, which may be an input of the model,
    and from there the trunk has at most one weighted step (a projection) and the branch has more.
    """
    ancestors = graph.ancestors
    weighted = sum(1 << step.number for step in graph.steps if step.is_weighted)
    ends: dict[int, int] = {}
    number = 0
    for step in graph.steps:
        if step.kind != "Add" or len(set(step.inputs)) < 2:
            continue
        operands = list(dict.fromkeys(step.inputs))
        exclusive = [ancestors[a] & ~_union(ancestors[b] for b in operands if b != a) for a in operands]
        counts = [(steps & weighted).bit_count() for steps in exclusive]
        trunk = min(counts)
        most = 1 if len(operands) == 2 else 0
        if trunk > most or max(counts) <= trunk or not _have_common_origin(graph, operands):
            continue
        number += 1
        for operand, count in zip(operands, counts, strict=True):
            if count > trunk:
                for last in _last_weighted(graph, operand):
                    ends.setdefault(last.number, number)
    return ends, number


def _union(sets: Iterable[int]) -> int:
    """Return the union of sets that are given as bits."""
    return functools.reduce(operator.or_, sets, 0)


def _have_common_origin(graph: Graph, operands: list[int]) -> bool:
    """Return whether the operands of a sum come from one tensor, and none of them from constants alone."""
    if functools.reduce(operator.and_, (graph.ancestors[operand] for operand in operands)):
        return True
    # Two branches right after an input of the model have no step in common.
    return all(_reaches_inputs(graph, operand) for operand in operands)


def _reaches_inputs(graph: Graph, tensor: int) -> bool:
    tensors, seen = [tensor], {tensor}
    while tensors:
        tensor = tensors.pop()
        if tensor in graph.inputs:
            return True
        producer = graph.producer(tensor)
        new = [t for t in (producer.inputs if producer else ()) if t not in seen]
        seen.update(new)
        tensors += new
    return False


def _last_weighted(graph: Graph, tensor: int) -> list[Step]:
    """Return the weighted steps from which a tensor comes without another weighted step between.

    In a product, follow the signal and not its gate: the scale of the gate is not the scale of the product.
    """
    tensors, seen, steps = [tensor], {tensor}, []
    while tensors:
        producer = graph.producer(tensors.pop())
        if producer is None:
            continue
        if producer.is_weighted:
            steps.append(producer)
            continue
        operands = list(dict.fromkeys(producer.inputs))
        if len(operands) > 1 and (producer.kind == "Multiply" or producer.kind in CONTRACTIONS):
            operands = [t for t in operands if not _is_gating(graph, t)] or operands
        new = [t for t in operands if t not in seen]
        seen.update(new)
        tensors += new
    return steps


def _is_gating(graph: Graph, tensor: int) -> bool:
    """Return whether a softmax or a squashing activation lies between a tensor and its weights."""

    def is_gate_activation(step: Step) -> bool:
        if step.kind == "Softmax":
            return True
        activation = step.activation or step.applied_activation
        return activation is not None and (_squashes(activation) or activation.name == "softmax")

    # A gated signal is a signal again, so the search ends at products.
    return _walk_up(graph, tensor, is_gate_activation, until=lambda step: step.is_product) is not None


def is_gate(graph: Graph, step: Step) -> bool:
    """Return whether the result of a step is squashed and then multiplies another signal."""
    applied = step.applied_activation
    tensors = [(t, applied is not None and _squashes(applied)) for t in step.outputs]
    seen = set(step.outputs)
    while tensors:
        tensor, is_squashed = tensors.pop()
        consumers = graph.consumers(tensor)
        if is_squashed and any(c.is_product for c in consumers):
            return True
        after = activation_after(graph, tensor)
        if after and not is_squashed and _squashes(after[0]):
            following = [(after[1], True)]
        else:
            following = [(t, is_squashed) for c in consumers if c.is_pass_through for t in c.outputs]
        tensors += [(t, squashed) for t, squashed in following if t not in seen]
        seen.update(t for t, _ in following)
    return False


def _squashes(activation: Activation) -> bool:
    """Return whether an activation is flat far out on both sides."""
    if activation.function is None:
        return activation.name in _SQUASHING
    try:
        low, lower, high, higher = activation.function.function(np.array([-30.0, -60.0, 30.0, 60.0]))
    except Exception:
        return False
    return bool(abs(low - lower) < 0.1 and abs(high - higher) < 0.1 and low != high)


def attention_roles(graph: Graph) -> dict[int, tuple[str, ...]]:
    """Return the roles of the weighted steps around attentions: query, key, value, attention_output."""
    roles: dict[int, tuple[str, ...]] = {}

    def add(steps: Iterable[Step], name: str) -> None:
        for step in steps:
            roles[step.number] = (*roles.get(step.number, ()), name)

    def projections(tensor: int) -> list[Step]:
        return [step for step in _last_weighted(graph, tensor) if not step.is_lookup]

    for step in graph.steps:
        operands = step.inputs
        if step.kind in ATTENTIONS:
            for operand, name in zip(operands, ("query", "key", "value"), strict=False):
                add(projections(operand), name)
        elif _multiplies_signals(step) and len(operands) == 2:
            is_weights = [_comes_through_softmax(graph, operand) for operand in operands]
            if sum(is_weights) != 1:
                continue
            scores = _score_operands(graph, operands[is_weights.index(True)])
            if len(scores) != 2:
                # A mixture of experts: its router weighs experts, but compares no two signals.
                continue
            add(projections(operands[is_weights.index(False)]), "value")
            for operand, name in zip(scores, ("query", "key"), strict=False):
                add(projections(operand), name)
        else:
            continue
        add(_first_weighted(graph, step.outputs), "attention_output")
    return {number: tuple(dict.fromkeys(names)) for number, names in roles.items()}


def _multiplies_signals(step: Step) -> bool:
    """Return whether a step is a matrix product without a weight."""
    return step.kind in CONTRACTIONS and not step.is_weighted


def _comes_through_softmax(graph: Graph, tensor: int) -> bool:
    return _walk_up(graph, tensor, lambda step: step.kind == "Softmax") is not None


def _score_operands(graph: Graph, tensor: int) -> tuple[int, ...]:
    """Return the two tensors whose product is the scores behind attention weights; () without a product."""
    product = _walk_up(graph, tensor, _multiplies_signals)
    return product.inputs if product else ()


def _walk_up(
    graph: Graph,
    tensor: int,
    wanted: Callable[[Step], bool],
    until: Callable[[Step], bool] = lambda step: step.is_weighted,
) -> Step | None:
    """Return the nearest wanted step before a tensor, up to weighted steps and steps that meet `until`."""
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
    """Return the weighted steps that read a tensor through pass-through steps only."""
    tensors, seen, steps = list(outputs), set(outputs), []
    while tensors:
        for consumer in graph.consumers(tensors.pop()):
            if consumer.is_weighted:
                steps.append(consumer)
            elif consumer.is_pass_through and not consumer.is_merge and not consumer.is_normalization:
                new = [t for t in consumer.outputs if t not in seen]
                seen.update(new)
                tensors += new
    return steps
