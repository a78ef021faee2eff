"""Find the ends of residual branches, and the gates outside the residual stream."""

import functools
import operator
from collections.abc import Iterator

from keras_initx._graph.classify import activation_after
from keras_initx._graph.records import Graph, Step, union
from keras_initx._graph.roles.walks import (
    first_weighted,
    is_gate_activation,
    is_gating,
    is_softmax,
    last_weighted,
    multiplies_signals,
    squashes,
    steps_before,
)


def residual_ends(graph: Graph) -> tuple[dict[int, int], list[int]]:
    """Map each residual end to the index of its residual sum, from 1; also return the steps of these sums.

    A residual end is the last weighted step of a residual branch. A sum, or a difference that a weighted step
    reads, is residual if one operand, the trunk, bypasses the other, the branch: the two have a common
    ancestor, which may be an input of the model, and from there the trunk has at most one weighted step (a
    projection) and the branch has more. Look-ups do not count: additive tables are no branch. Sums
    of attention scores and of gates are not residual sums, since the stream does not go through them.
    """
    ancestors = graph.ancestors
    weighted = sum(1 << step.number for step in graph.steps if step.is_weighted and not step.is_lookup)
    aside = _sums_of_gates(graph)
    ends: dict[int, int] = {}
    sums: list[int] = []
    for step in graph.steps:
        if not _adds_to_a_stream(graph, step) or step.number in aside:
            continue
        operands = list(dict.fromkeys(step.inputs))
        exclusive = [
            weighted & ancestors[a] & ~union(ancestors[b] for b in operands if b != a) for a in operands
        ]
        counts = [steps.bit_count() for steps in exclusive]
        trunk = min(counts)
        most = 1 if len(operands) == 2 else 0
        if trunk > most or max(counts) <= trunk or not _have_common_origin(graph, operands):
            continue
        if trunk and not any(_follow_each_other(graph, steps) for steps in exclusive):
            continue
        sums.append(step.number)
        for operand, count in zip(operands, counts, strict=True):
            if count > trunk:
                for last in last_weighted(graph, operand):
                    if not last.is_lookup:
                        ends.setdefault(last.number, len(sums))
    return ends, sums


def _adds_to_a_stream(graph: Graph, step: Step) -> bool:
    """Return whether a step adds two signals, or subtracts one before another weighted step reads the rest.

    N-BEATS subtracts the output of each block from its input. Any other difference measures a distance, such
    as that of a vector from its code.
    """
    if len(set(step.inputs)) < 2:
        return False
    return step.kind == "Add" or (step.kind == "Subtract" and bool(first_weighted(graph, step.outputs)))


def _follow_each_other(graph: Graph, steps: int) -> bool:
    """Return whether one of some steps (bits) depends on another; parallel steps are no branch."""
    numbers = [number for number in range(steps.bit_length()) if steps >> number & 1]
    return any(steps & union(graph.ancestors[t] for t in graph.steps[number].inputs) for number in numbers)


def _gates(graph: Graph) -> Iterator[tuple[Step, Step]]:
    """Return the products of a signal and a gate, each with the activation of its gate."""
    for step in graph.steps:
        if not (step.is_product or multiplies_signals(step)) or len(set(step.signals)) < 2:
            continue
        operands = list(dict.fromkeys(step.signals))
        gating = [t for t in operands if is_gating(graph, t)]
        # A squashed stream, such as the output of a tanh, does not gate its own gate.
        if any(any(s.is_weighted for s in steps_before(graph, [t])) for t in operands if t not in gating):
            for gate in steps_before(graph, gating, until=is_gate_activation):
                if is_gate_activation(gate):
                    yield step, gate


def _sums_of_gates(graph: Graph) -> set[int]:
    """Return the sums whose only use is a gate or an attention weight, by the numbers of their steps."""

    def ends(step: Step) -> bool:
        return multiplies_signals(step) or step.is_normalization

    inside: dict[int, Step] = {}
    for _, gate in _gates(graph):
        before = [] if gate.is_weighted else [gate, *steps_before(graph, gate.inputs, until=ends)]
        inside.update({step.number: step for step in before})
    readers = {n: [c for t in step.outputs for c in graph.consumers(t)] for n, step in inside.items()}
    return {n for n, s in inside.items() if s.kind == "Add" and all(r.number in inside for r in readers[n])}


def routers(graph: Graph) -> set[int]:
    """Return the weighted steps whose softmax weighs the results of experts."""
    found: set[int] = set()
    for _, gate in _gates(graph):
        if is_softmax(gate):
            compares = any(
                multiplies_signals(s) for s in steps_before(graph, gate.inputs, until=multiplies_signals)
            )
            last = [gate] if gate.is_weighted else [s for t in gate.inputs for s in last_weighted(graph, t)]
            found.update(step.number for step in last if not compares)
    return found


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


def is_gate(graph: Graph, step: Step) -> bool:
    """Return whether the result of a step is squashed and then multiplies another signal."""
    applied = step.applied_activation
    tensors = [(t, applied is not None and squashes(applied)) for t in step.outputs]
    seen = set(step.outputs)
    while tensors:
        tensor, is_squashed = tensors.pop()
        consumers = graph.consumers(tensor)
        if is_squashed and any(c.is_product for c in consumers):
            return True
        after = activation_after(graph, tensor)
        if after and not is_squashed and squashes(after[0]):
            following = [(after[1], True)]
        else:
            following = [(t, is_squashed) for c in consumers if c.is_pass_through for t in c.outputs]
        tensors += [(t, squashed) for t, squashed in following if t not in seen]
        seen.update(t for t, _ in following)
    return False
