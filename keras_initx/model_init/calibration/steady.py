"""Lower the recurrent weights of a cell until its state is steady over the length of its sequences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.model_init.calibration.sequences import Sequences
from keras_initx.model_init.calibration.unrolled import (
    Course,
    Unrolled,
    as_list,
    initial_states,
    work_of_a_step,
)
from keras_initx.model_init.cells import has_known_gates, has_unbounded_state
from keras_initx.model_init.tasks import WeightTask

# The state may become this much larger than after one step, and the distance of two neighbouring states
# may become this much larger than at first.
LIMIT = 10.0
# A state without a known end, of a stateful layer or with an unknown number of time steps, runs this long.
_LONG = 1000
# The factors on the inputs for which the state has to hold. Training makes pre-activations grow, and the
# scale of a model's inputs is unknown without data. Larger inputs switch gates fully on and off.
_INPUT_FACTORS = (1.0, 10.0)
# Multiplications that a run may take; only the steps of an unbounded state are all run.
_BUDGET = 5e8
# Time steps after which the gates of a bounded state have settled.
_SETTLED = 12
# The factors that are tried on the recurrent weights, by bisection.
_FACTORS = (1.0, 0.994, 0.98, 0.95, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.05)
# Rows of which the state after one step is measured, and the multiplications that this may take.
_ROWS, _ONE_STEP = 256, 1e8


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
        self._work = work_of_a_step(self.layer, self.cell, self.sequences.values.shape)
        self.is_bounded = has_known_gates(self.cell) and not has_unbounded_state(self.cell)
        self.times = self._times()
        floats = "float" in keras.backend.standardize_dtype(self.sequences.values.dtype)
        self._factors = _INPUT_FACTORS if floats and not self.is_bounded else _INPUT_FACTORS[:1]
        self._run = Unrolled(
            self.layer,
            self.cell,
            self.sequences,
            self.gates,
            self.times,
            self._factors,
            twice=not self.is_bounded,
        )
        rows = int(min(max(_ONE_STEP // self._work, 1), _ROWS))
        self._rows = self.sequences.rows(self.cell_width, rows)[0]
        self.factor = 1.0
        self.growth = math.nan
        self.growth_at_first = 0.0

    @property
    def cell_width(self) -> int:
        """The width of the widest weight of the cell."""
        return max((int(v.shape[-1]) for v in self.cell.weights if v.shape), default=1)

    def _times(self) -> int:
        """Return the number of time steps for which the state has to hold."""
        times = int(self.sequences.values.shape[1])
        endless = getattr(self.layer, "stateful", False) or (not self.on_data and _unknown_length(self.layer))
        affordable = int(max(_BUDGET // (2 * self._work), _SETTLED))
        if self.is_bounded:
            # The activation holds the state, so it is enough that the gates settle.
            return min(times, affordable)
        return max(times, min(_LONG, affordable)) if endless else times

    def hold(self) -> Course:
        """Lower the recurrent weights if the state grows, and return the course of the steady state."""
        self.growth, course = self._measured()
        if self.growth <= LIMIT or not self.recurrent:
            return course
        self.growth_at_first = self.growth_at_first or self.growth
        before, low, high = self.factor, 0, len(_FACTORS) - 1
        self._set(before * _FACTORS[high])
        self.growth, course = self._measured()
        # What grows without the recurrent weights is not theirs to hold.
        limit = max(LIMIT, 1.5 * self.growth)
        while high - low > 1:
            middle = (low + high) // 2
            self._set(before * _FACTORS[middle])
            growth, course_there = self._measured()
            if growth <= limit:
                high, self.growth, course = middle, growth, course_there
            else:
                low = middle
        self._set(before * _FACTORS[high])
        return course

    def _set(self, factor: float) -> None:
        for task in self.recurrent:
            variable = task.variable
            variable.assign(variable * ops.cast(factor / self.factor, variable.dtype))
        self.factor = factor

    def _measured(self) -> tuple[float, Course]:
        """Return the largest growth over the factors, and the course of the inputs as they are."""
        courses = self._run.run()
        if self.is_bounded:
            return 1.0, courses[0]
        pairs = zip(courses, self._factors, strict=True)
        return max(max(self._growth(course, f), course.drift()) for course, f in pairs), courses[0]

    def _growth(self, course: Course, size: float) -> float:
        """Return the largest size of each state relative to its size after one step on inputs of any time.

        So growth and silence of the inputs themselves do not count.
        """
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
