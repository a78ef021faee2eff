"""Walk along the tensors of a graph: to the weights before or after a tensor, through gates and products."""

from collections.abc import Callable, Iterable

import keras
import numpy as np

from keras_initx._graph.call_recorder import is_keras_call
from keras_initx._graph.classify import ATTENTIONS, CONTRACTIONS, PRODUCTS
from keras_initx._graph.records import Graph, Step
from keras_initx._theory import Activation

# Activations that are flat on both sides.
_SQUASHING = frozenset({"sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign"})


def steps_before(
    graph: Graph, tensors: Iterable[int], until: Callable[[Step], bool] = lambda step: step.is_weighted
) -> list[Step]:
    """Return the steps before some tensors, nearest first, up to the steps that meet `until`.

    Tensors of integers and booleans are not followed: they choose and mask, but carry no signal.
    """
    pending, steps = list(tensors), []
    seen = set(pending)
    while pending:
        producer = graph.producer(pending.pop(0))
        if producer is None:
            continue
        steps.append(producer)
        if producer.is_weighted or until(producer):
            continue
        new = [t for t in dict.fromkeys(producer.signals) if t not in seen]
        seen.update(new)
        pending += new
    return list({step.number: step for step in steps}.values())


def last_weighted(graph: Graph, tensor: int) -> list[Step]:
    """Return the weighted steps from which a tensor comes without another weighted step between.

    In a product, follow the signal and not its gate: the scale of the gate is not the scale of the product.
    In an attention, follow the values, which it averages, and neither queries nor keys.
    """
    tensors, seen, steps = [tensor], {tensor}, []
    while tensors:
        producer = graph.producer(tensors.pop())
        if producer is None:
            continue
        if producer.is_weighted:
            steps.append(producer)
            continue
        value = attended_value(producer)
        operands = list(dict.fromkeys(producer.signals)) if value is None else [value]
        if len(operands) > 1 and (producer.kind in PRODUCTS or producer.kind in CONTRACTIONS):
            operands = [t for t in operands if not is_gating(graph, t)] or operands
        new = [t for t in operands if t not in seen]
        seen.update(new)
        tensors += new
    return steps


def attended_value(step: Step) -> int | None:
    """Return the number of the values that a step averages by attention; None for any other step."""
    if step.kind in ATTENTIONS:
        return step.inputs[2]
    is_attention = isinstance(step.operation, keras.layers.Attention) and is_keras_call(step.operation)
    return step.inputs[1] if is_attention else None


def first_weighted(graph: Graph, outputs: tuple[int, ...]) -> list[Step]:
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


def is_gating(graph: Graph, tensor: int) -> bool:
    """Return whether a softmax or a squashing activation lies on every path from the weights to a tensor."""
    nearest = steps_before(graph, [tensor], until=is_gate_activation)
    gates = [step for step in nearest if is_gate_activation(step)]
    return bool(gates) and not any(step.is_weighted for step in nearest if step not in gates)


def is_gate_activation(step: Step) -> bool:
    """Return whether a step is, or ends in, a softmax or a squashing activation."""
    activation = step.activation or step.applied_activation
    return is_softmax(step) or (activation is not None and squashes(activation))


def is_softmax(step: Step) -> bool:
    """Return whether a step is, or ends in, a softmax."""
    activation = step.activation or step.applied_activation
    return step.kind == "Softmax" or (activation is not None and activation.name == "softmax")


def squashes(activation: Activation) -> bool:
    """Return whether an activation is flat far out on both sides."""
    if activation.function is None:
        return activation.name in _SQUASHING
    try:
        values = activation.function.function(np.array([-30.0, -60.0, 30.0, 60.0]))
    except Exception:
        return False
    low, lower, high, higher = values
    # The difference of two infinite values would warn.
    is_finite = np.all(np.isfinite(values))
    return bool(is_finite and abs(low - lower) < 0.1 and abs(high - higher) < 0.1 and low != high)


def multiplies_signals(step: Step) -> bool:
    """Return whether a step is a matrix product without a weight."""
    return step.kind in CONTRACTIONS and not step.is_weighted
