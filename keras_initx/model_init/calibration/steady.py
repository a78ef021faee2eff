"""Keep the state of a recurrent cell steady: lower its recurrent weights until the state neither grows nor drifts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.model_init.calibration.sequences import Sequences
from keras_initx.model_init.calibration.unrolled import Course, Unrolled, as_list, initial_states, works
from keras_initx.model_init.tasks import WeightTask

# The state may become this much larger than after one step, and the distance of two neighbouring states
# may become this much larger than at first.
LIMIT = 10.0
# A state without a known end, of a stateful layer or with an unknown number of time steps, runs this long.
_LONG = 1000
# Noise has size 1, but a model's inputs may have another. A larger input switches gates fully on and off.
_INPUT_SIZES = (1.0, 10.0)
# Multiplications that may be spent on each longer run.
_BUDGET = 4e9
# The factors that are tried on the recurrent weights, by bisection.
_FACTORS = (1.0, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
# Rows of which the state after one step is measured.
_ROWS = 256


@dataclass
class SteadyCell:
    """A cell whose recurrent weights are lowered until its state is steady over the length of its sequences.

    Args:
        layer: The recurrent layer.
        cell: Its cell, or one cell of its stack.
        sequences: The inputs of the cell.
        gates: The number of gates; 0 if the cell is not one of Keras's.
        recurrent: The weights that may be lowered.
        on_data: Whether the inputs are the user's data, not noise.
    """

    layer: keras.Layer
    cell: keras.Layer
    sequences: Sequences
    gates: int
    recurrent: Sequence[WeightTask]
    on_data: bool

    def __post_init__(self) -> None:
        self.times = self._times()
        self._run = Unrolled(self.layer, self.cell, self.sequences, self.gates, self.times)
        floats = "float" in keras.backend.standardize_dtype(self.sequences.values.dtype)
        self._sizes = _INPUT_SIZES if floats else _INPUT_SIZES[:1]
        self._rows = self.sequences.rows(self.cell_width, _ROWS)[0]
        self.factor = 1.0
        self.growth = math.nan
        self.growth_at_first = math.nan

    @property
    def cell_width(self) -> int:
        """The width of the widest weight of the cell."""
        return max((int(v.shape[-1]) for v in self.cell.weights if v.shape), default=1)

    def _times(self) -> int:
        """Return the number of time steps for which the state has to hold."""
        times = int(self.sequences.values.shape[1])
        endless = getattr(self.layer, "stateful", False) or (not self.on_data and _unknown_length(self.layer))
        if not endless:
            return times
        work = 2 * works(self.layer, self.cell, self.sequences.values.shape)
        return max(times, int(min(_LONG, _BUDGET // work)))

    def hold(self) -> Course:
        """Lower the recurrent weights if the state grows, and return the course of the steady state."""
        self.growth, course = self._measure()
        if math.isnan(self.growth_at_first):
            self.growth_at_first = self.growth
        if self.growth <= LIMIT or not self.recurrent:
            return course
        before = self.factor
        # What grows without the recurrent weights is not theirs to hold.
        limit = max(LIMIT, 1.5 * self._growth_at(before * _FACTORS[-1]))
        low, high = 0, len(_FACTORS) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if self._growth_at(before * _FACTORS[middle]) <= limit:
                high = middle
            else:
                low = middle
        self._set(before * _FACTORS[high])
        self.growth, course = self._measure()
        return course

    def _growth_at(self, factor: float) -> float:
        self._set(factor)
        return self._measure()[0]

    def _set(self, factor: float) -> None:
        for task in self.recurrent:
            variable = task.variable
            variable.assign(variable * ops.cast(factor / self.factor, variable.dtype))
        self.factor = factor

    def _measure(self) -> tuple[float, Course]:
        """Return the largest growth over the sizes of the inputs, and the course at their own size."""
        courses = [self._run.run(size) for size in self._sizes]
        growths = [
            max(self._growth(course, size), course.drift())
            for course, size in zip(courses, self._sizes, strict=True)
        ]
        return max(growths), courses[0]

    def _growth(self, course: Course, size: float) -> float:
        """Return the largest size of each state relative to its size after one step."""
        sizes, first = course.state_sizes(), self._after_one_step(size)
        if not np.all(np.isfinite(sizes)):
            return math.inf
        grows = [float(np.max(s) / f) for s, f in zip(sizes.T, first, strict=True) if f > 0 and len(s)]
        return max(grows, default=0.0)

    def _after_one_step(self, size: float) -> list[float]:
        """Return the root mean square of the output and of each state after one step from their start."""
        rows = self._rows
        if not len(rows):
            return [0.0] * (1 + len(keras.tree.flatten(self.cell.state_size)))
        if size != 1:
            rows = rows * ops.cast(size, rows.dtype)
        output, states = self.cell(rows, initial_states(self.layer, self.cell, rows.shape[0]))
        floats = [s for s in keras.tree.flatten(as_list(states)) if _is_float(s)]
        return [_size(s) for s in (output, *floats)]


def _is_float(tensor: Any) -> bool:
    return "float" in keras.backend.standardize_dtype(tensor.dtype)


def _size(tensor: Any) -> float:
    values = np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")), dtype="float64")
    return float(np.sqrt(np.mean(np.square(values))))


def _unknown_length(layer: keras.Layer) -> bool:
    """Return whether the layer was built for any number of time steps."""
    shape = (layer.get_build_config() or {}).get("input_shape")
    if shape is None:
        return False
    shape = shape[0] if isinstance(shape[0], list | tuple) else shape
    return len(shape) > 1 and shape[1] is None
