"""The points at which a model is measured: each weighted step, and the activation that its result reaches."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._graph import (
    SHAPE_ONLY,
    Graph,
    Step,
    WeightContext,
    activation_met,
    normalization_after,
    weight_contexts,
)
from keras_initx._theory import Activation

# The limits that a bounded activation approaches, on the left and on the right.
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    # It is zero where a ReLU is: that counts as dead, if all entries are zero, and not as saturated.
    "relu6": (None, 6.0),
}


# More units than this hardly change the mean over them.
_MAX_UNITS = 32


@dataclass(frozen=True)
class ProbePoint:
    """A weighted step, and how to measure it.

    Attributes:
        context: The step's context in the graph.
        kernel: Its kernel; the first one if it has several.
        path: The path of its layer. Later calls of a shared layer have their number appended.
        applies_activation: Whether the layer applies an activation itself, so that its pre-activation is the
            input of that activation and not the layer's result.
        output: The number of the tensor that the activation returns; None if no activation follows.
        unit_axis: The axis of the units in the pre-activation.
        output_unit_axis: The axis of the units in the activation's output.
        is_product: Whether the pre-activation is a product with this kernel alone: the step is neither a
            look-up nor a recurrence.
        depends_on_data: Whether it depends on inputs that differ between samples. Learned queries do not.
    """

    context: WeightContext
    kernel: keras.Variable
    path: str
    applies_activation: bool
    output: int | None
    unit_axis: int = -1
    output_unit_axis: int = -1
    is_product: bool = True
    depends_on_data: bool = True

    @property
    def activation(self) -> Activation:
        """Return the activation that the step's result reaches."""
        return self.context.activation

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Return the limits of `activation`; None on an unbounded side."""
        return BOUNDS.get(self.activation.name, (None, None))


def probe_points(graph: Graph, varying: Collection[int]) -> list[ProbePoint]:
    """Return a point for each weighted step, in the order of computation.

    Args:
        graph: The traced model.
        varying: The numbers of the inputs that differ between samples.
    """
    points: list[ProbePoint] = []
    calls: dict[str, int] = {}
    dependent = _dependent(graph, varying)
    for number, context in weight_contexts(graph).items():
        step = graph.steps[number]
        if not step.outputs or not math.prod(n or 1 for n in step.shapes[0]):
            continue
        applies_activation = step.applied_activation is not None
        _, output = (None, step.outputs[0]) if applies_activation else activation_met(graph, step)
        calls[step.path] = calls.get(step.path, 0) + 1
        call = f" (call {calls[step.path]})" if calls[step.path] > 1 else ""
        axis = _unit_axis(step)
        step_kernels = step.kernels
        point = ProbePoint(
            context=context,
            kernel=step_kernels[0],
            path=step.path + call,
            applies_activation=applies_activation,
            output=output,
            unit_axis=axis,
            output_unit_axis=axis
            if output is None or applies_activation
            else _output_unit_axis(graph, step, output, axis),
            is_product=len(step_kernels) == 1 and "embedding" not in context.roles,
            depends_on_data=any(tensor in dependent for tensor in step.outputs),
        )
        points.append(point)
    return points


def _dependent(graph: Graph, inputs: Collection[int]) -> set[int]:
    """Return the tensors that depend on the values of some inputs, and not only on their shape."""
    dependent = set(inputs)
    for step in graph.steps:
        if step.kind not in SHAPE_ONLY and dependent.intersection(step.inputs):
            dependent.update(step.outputs)
    return dependent


def _unit_axis(step: Step) -> int:
    channels_first = getattr(step.operation, "data_format", None) == "channels_first"
    return 1 if channels_first and len(step.shapes[0]) > 2 else -1


def _output_unit_axis(graph: Graph, step: Step, output: int, axis: int) -> int:
    """Return the axis of the units in an activation's output: the step's own, unless the rank changed."""
    producer = graph.producer(output)
    has_same_rank = producer is not None and len(producer.shapes[0]) == len(step.shapes[0])
    return axis if has_same_rank else -1


def normalized_moments(graph: Graph, number: int) -> list[tuple[float, float, float]]:
    """Return gamma^2 and the mean and variance of units after the normalization that follows a step.

    Units with the same gamma and beta appear once; of many, a sample.
    """
    normalization = normalization_after(graph, graph.steps[number])
    layer = None if normalization is None else normalization.operation
    scale, shift = (_vector(getattr(layer, name, None)) for name in ("gamma", "beta"))
    gamma = np.ones(1) if scale is None else scale
    beta = np.zeros(1) if shift is None else shift
    units = np.unique(np.stack(np.broadcast_arrays(gamma, beta), axis=1), axis=0)
    if len(units) > _MAX_UNITS:
        units = units[np.linspace(0, len(units) - 1, _MAX_UNITS).astype(int)]
    # A unit that gamma closes has no variance, and a slope that does not count.
    return [(float(g) ** 2, float(b), max(float(g) ** 2, 1e-12)) for g, b in units]


def _vector(variable: Any) -> np.ndarray | None:
    if variable is None:
        return None
    return np.asarray(keras.ops.convert_to_numpy(variable), dtype="float64").ravel()
