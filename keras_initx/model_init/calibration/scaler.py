"""The state of one scaling pass: which weights are open, and how a measured output scales a weight."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import first_argument
from keras_initx.errors import InitxError
from keras_initx.model_init.calibration.measure import root_mean_square
from keras_initx.model_init.tasks import ON_NEARLY_ZEROS, ON_ZEROS, WeightTask

# A signal is lost below the first share of the model's smallest input, or of 1, and noted below the second.
_LOST, _FAINT = 1e-6, 1e-3


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer on real tensors.

    Attributes:
        layer: The layer.
        args, kwargs: The arguments of the call.
        compute: Computes the outputs from `args` and `kwargs`, as the model does.
    """

    layer: keras.Layer
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    compute: Callable[[Any, Any], Any]

    def __call__(self) -> Any:
        """Return the outputs of the layer with its current weights."""
        return self.compute(self.args, self.kwargs)

    @property
    def inputs(self) -> Any:
        """The first argument of the call."""
        return first_argument(self.layer, self.args, self.kwargs)


class Scaler:
    """Scale each weight once, where it is first used, and record the measurements in its task.

    Args:
        tasks: The weights to scale.
        on_data: Whether the inputs are the user's data, not noise. Only error messages depend on it.
        held: Whether weights with several uses keep their size, and are only measured.

    Attributes:
        on_data: As passed.
        factors: The factor of each scaled weight by the id of its variable.
        failure: The error of an output that cannot be scaled. Keras may wrap the raised error.
    """

    def __init__(self, tasks: Iterable[WeightTask], on_data: bool, held: bool = False) -> None:
        self._tasks = {id(task.variable): task for task in tasks}
        self.on_data, self._held = on_data, held
        self._done: set[int] = set()
        self.factors: dict[int, float] = {}
        self._reads_zeros, self._unit = False, 1.0
        self.failure: InitxError | None = None

    def measure_inputs(self, inputs: Any) -> None:
        """Measure the inputs of the model: a signal far smaller than they are counts as lost."""
        floats = [
            v for v in keras.tree.flatten(inputs) if "float" in keras.backend.standardize_dtype(v.dtype)
        ]
        self._reads_zeros = bool(floats) and not any(np.any(ops.convert_to_numpy(v)) for v in floats)
        self._unit = min([1.0, *(size for v in floats if (size := root_mean_square(v)[0]) > 0)])

    def open_tasks(self, variables: Iterable[keras.Variable]) -> list[WeightTask]:
        """Return the tasks of those variables that are not done yet."""
        tasks = [self._tasks[id(variable)] for variable in variables if id(variable) in self._tasks]
        return [task for task in tasks if not self.is_done(task)]

    def shared_tasks(self, variables: Iterable[keras.Variable]) -> list[WeightTask]:
        """Return the tasks of those variables that several steps read."""
        tasks = [self._tasks[id(v)] for v in variables if id(v) in self._tasks]
        return [task for task in tasks if task.uses]

    def is_held(self, task: WeightTask) -> bool:
        """Return whether the weight keeps its size in this pass."""
        return self._held and task.is_shared

    def is_done(self, task: WeightTask) -> bool:
        """Return whether the weight was scaled, measured or left as drawn in this pass."""
        return id(task.variable) in self._done

    def finish(self, task: WeightTask) -> None:
        """Mark a task as done."""
        self._done.add(id(task.variable))

    def scale(self, task: WeightTask, output: Any, measured_at: str) -> float:
        """Measure an output of a weight, scale the weight to its target, and return the factor."""
        rms, error = root_mean_square(output)
        task.record(rms, error, measured_at)
        if task.target is None or self.is_held(task):
            self.finish(task)
            return 1.0
        if not self.can_scale(task, rms):
            return 1.0
        if task.choice.spans and rms <= task.target:
            self.leave_as_drawn(task, task.choice.reason)
            task.rms_after = rms
            return 1.0
        factor = task.target / rms
        self.multiply(task, factor)
        return factor

    def multiply(self, task: WeightTask, factor: float) -> None:
        """Multiply a weight by a factor."""
        variable = task.variable
        self.factors[id(variable)] = factor * self.factors.get(id(variable), 1.0)
        variable.assign(variable * ops.cast(factor, variable.dtype))
        self.finish(task)

    def leave_as_drawn(self, task: WeightTask, reason: str = "not measured: left as drawn") -> None:
        """Give up the target of a weight whose output cannot be measured."""
        if task.target is not None:
            task.target, task.left = None, reason
        self.finish(task)

    def can_scale(self, task: WeightTask, rms: float) -> bool:
        """Return whether a factor brings an output of this root mean square to the target of its weight.

        An output that is zero, or almost zero compared with the model's inputs, shows no scale: a gain, a
        look-up table or a kernel before it starts at zero, or frozen layers lose the signal. The weight is
        then scaled for inputs of root mean square 1.

        Raises:
            InitxError: If the output is not finite, or is all zeros because the data are.
        """
        is_lost = rms < _LOST * self._unit
        if math.isfinite(rms) and not is_lost:
            if rms < _FAINT * self._unit:
                task.remark = (
                    f"{task.path}: reads a root mean square of about {rms:.1g}, so its values are larger by "
                    f"{1 / rms:.1g} than usual: normalize what it reads"
                )
            return True
        if is_lost and not (rms == 0 and self._reads_zeros):
            target = task.target
            assert target is not None
            self.leave_as_drawn(task, ON_NEARLY_ZEROS if rms else ON_ZEROS)
            task.record(rms, 0.0, task.measured_at)
            self.multiply(task, target)
            return False
        received = "all zeros" if rms == 0 else "not finite"
        inputs = "this data" if self.on_data else "noise"
        way_out = "Check the input range" if self.on_data else "Pass data= if the model cannot read noise"
        self.failure = InitxError(
            task.path,
            received,
            "a weight with a finite output that is not zero",
            f"{way_out}, or exclude the weight with skip={task.path!r}.",
            f"{task.path}: its output is {received} on {inputs}, so it cannot be scaled",
        )
        raise self.failure
