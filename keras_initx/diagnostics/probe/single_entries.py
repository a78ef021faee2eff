"""Find attentions and normalizations over a single entry, which return a constant and pass no gradient on."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import keras

from keras_initx._graph import Graph, Step, attended_value, ways_around
from keras_initx.diagnostics.probe.attention import AttentionStep


@dataclass(frozen=True)
class SingleEntries:
    """The steps of a model that reduce a single entry, and what lies behind them.

    Attributes:
        attentions: The paths of attentions over a single position: the softmax of one score is 1.
        normalizations: The paths of normalizations over a single entry: it minus its mean is 0.
        behind: The weighted steps whose every path to the output leads through the scores of such an
            attention, or through such a normalization. They get no gradient.
        is_cut: Whether no input of the model reaches the output around them.
    """

    attentions: tuple[str, ...]
    normalizations: tuple[str, ...]
    behind: Collection[int]
    is_cut: bool


def single_entries(graph: Graph, attention_steps: Collection[AttentionStep]) -> SingleEntries:
    """Return the steps of a graph, traced on concrete shapes, that reduce a single entry."""
    attentions = {a.number: a.path for a in attention_steps if a.shape[-1] == 1}
    normalizations = {step.number: step.path for step in graph.steps if _normalizes_one(step)}

    def passed(step: Step) -> Collection[int]:
        if step.number in normalizations:
            return ()
        if step.number in attentions:
            value = attended_value(step)
            return () if value is None else (value,)
        return step.inputs

    paths = [tuple(dict.fromkeys(found.values())) for found in (attentions, normalizations)]
    if not attentions and not normalizations:
        return SingleEntries((), (), (), False)
    behind, reached = ways_around(graph, passed)
    return SingleEntries(paths[0], paths[1], behind, not reached.intersection(graph.inputs))


def _normalizes_one(step: Step) -> bool:
    layer = step.operation
    shape = [n or 0 for n in step.shapes[0]] if step.shapes else []
    if isinstance(layer, keras.layers.LayerNormalization):
        axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        return math.prod(shape[axis] for axis in axes) == 1
    return isinstance(layer, keras.layers.GroupNormalization) and math.prod(shape[1:]) == layer.groups
