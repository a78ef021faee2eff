"""Where a model is measured: at each weighted step, at the activation that its result meets, at attention."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._graph import (
    Graph,
    Step,
    WeightContext,
    activation_met,
    normalization_after,
    weight_contexts,
)
from keras_initx._theory import Activation

# What a bounded activation tends to, on the left and on the right.
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    # Its zeros are those of a ReLU: they count as dead where they are all.
    "relu6": (None, 6.0),
}


_OF_SHAPES = frozenset({"ZerosLike", "OnesLike", "FullLike"})
# More units than these say no more of the mean over them.
_PAIRS = 32


@dataclass(frozen=True)
class ProbePoint:
    """A weighted step, and what is measured of it.

    Attributes:
        site: Where it stands in the graph.
        kernel: Its kernel, the first where it has several.
        path: The path of its layer; of a call that is not the layer's first, with its number.
        own: Whether it applies an activation itself, so that what is measured arrives there.
        met: The number of the tensor that its activation returns; None where its result meets none.
        units, met_units: The axes of the units in the two.
        multiplies: Whether all that is measured is a product with its one kernel: no look-up, no recurrence.
        on_data: Whether it depends on inputs that differ between samples, as learned queries do not.
    """

    site: WeightContext
    kernel: keras.Variable
    path: str
    own: bool
    met: int | None
    units: int = -1
    met_units: int = -1
    multiplies: bool = True
    on_data: bool = True

    @property
    def activation(self) -> Activation:
        """The activation that its result meets."""
        return self.site.activation

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """What that tends to."""
        return BOUNDS.get(self.activation.name, (None, None))


def probe_points(graph: Graph, varying: Collection[int]) -> list[ProbePoint]:
    """The weighted steps, in the order of the computation.

    Args:
        graph: The model.
        varying: The numbers of the inputs that differ between samples.
    """
    found: list[ProbePoint] = []
    calls: dict[str, int] = {}
    dependent = _dependent(graph, varying)
    for number, site in weight_contexts(graph).items():
        step = graph.steps[number]
        if not step.outputs or not math.prod(n or 1 for n in step.shapes[0]):
            continue
        own = step.applied_activation is not None
        _, met = (None, step.outputs[0]) if own else activation_met(graph, step)
        calls[step.path] = calls.get(step.path, 0) + 1
        again = f" (call {calls[step.path]})" if calls[step.path] > 1 else ""
        axis = _units_axis(step)
        met_axis = axis if met is None or own else _same_axis(graph, step, met, axis)
        own_kernels = step.kernels
        multiplies = len(own_kernels) == 1 and "embedding" not in site.roles
        on_data = any(tensor in dependent for tensor in step.outputs)
        place = ProbePoint(
            site, own_kernels[0], step.path + again, own, met, axis, met_axis, multiplies, on_data
        )
        found.append(place)
    return found


def _dependent(graph: Graph, inputs: Collection[int]) -> set[int]:
    """The tensors that depend on some inputs by more than their shape."""
    found = set(inputs)
    for step in graph.steps:
        if step.kind not in _OF_SHAPES and found.intersection(step.inputs):
            found.update(step.outputs)
    return found


def _units_axis(step: Step) -> int:
    first = getattr(step.operation, "data_format", None) == "channels_first"
    return 1 if first and len(step.shapes[0]) > 2 else -1


def _same_axis(graph: Graph, step: Step, met: int, axis: int) -> int:
    producer = graph.producer(met)
    same = producer is not None and len(producer.shapes[0]) == len(step.shapes[0])
    return axis if same else -1


def normalized_moments(graph: Graph, number: int) -> list[tuple[float, float, float]]:
    """Of units behind the normalization after a step: gamma^2, and the mean and variance met there."""
    found = normalization_after(graph, graph.steps[number])
    layer = None if found is None else found.operation
    scale, shift = (_vector(getattr(layer, name, None)) for name in ("gamma", "beta"))
    gamma = np.ones(1) if scale is None else scale
    beta = np.zeros(1) if shift is None else shift
    pairs = np.unique(np.stack(np.broadcast_arrays(gamma, beta), axis=1), axis=0)
    if len(pairs) > _PAIRS:
        pairs = pairs[np.linspace(0, len(pairs) - 1, _PAIRS).astype(int)]
    # A unit that gamma closes has no variance, and no slope that counts.
    return [(float(g) ** 2, float(b), max(float(g) ** 2, 1e-12)) for g, b in pairs]


def _vector(variable: Any) -> np.ndarray | None:
    if variable is None:
        return None
    return np.asarray(keras.ops.convert_to_numpy(variable), dtype="float64").ravel()
