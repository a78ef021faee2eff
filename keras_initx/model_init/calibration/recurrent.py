"""Scale the weights of recurrent cells: input kernels by gate, the others until the state is steady."""

import contextlib
import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import own_weights, patched_attribute, zeros
from keras_initx.model_init.calibration.scaler import LayerCall, Scaler
from keras_initx.model_init.calibration.sequences import Sequences
from keras_initx.model_init.calibration.steady import LIMIT, SteadyCell
from keras_initx.model_init.calibration.unrolled import initial_states, outputs_of, work_of_a_step
from keras_initx.model_init.cells import cells_of, gate_count, has_known_gates
from keras_initx.model_init.tasks import WeightTask

# Multiplications that one measurement of the input's part may take.
_WORK = 1e9


def scale_recurrent(scaler: Scaler, call: LayerCall, tasks: list[WeightTask]) -> list[WeightTask]:
    """Scale the input kernel of each cell of a recurrent layer, and lower weights that let the state grow.

    No task is left: the returned list is empty.
    """
    layer, sequences = call.layer, Sequences.of_call(call)
    cells = cells_of(layer)
    for number, cell in enumerate(cells):
        if number:
            sequences = outputs_of(layer, cells[number - 1], sequences)
        kernel = next((task for task in tasks if task.variable is getattr(cell, "kernel", None)), None)
        others = [task for task in scaler.open_tasks(cell.weights) if task is not kernel]
        for task in others:
            scaler.leave_as_drawn(task)
        if kernel is None and not others:
            continue
        recurrent = [task for task in others if task.status == "drawn" and not scaler.is_held(task)]
        known = has_known_gates(cell)
        steady = SteadyCell(
            layer, cell, sequences, gate_count(cell) if known else 0, recurrent, scaler.on_data
        )
        if kernel is not None and kernel.target is not None:
            if known:
                _scale_gates(scaler, steady, kernel)
            else:
                _scale_input_part(scaler, kernel, sequences)
        if not steady.is_bounded:
            steady.hold()
        _explain(steady, kernel or others[0])
    return []


def _scale_gates(scaler: Scaler, steady: SteadyCell, task: WeightTask) -> None:
    """Scale the kernel of each gate so that pre-activations of a settled state have the target."""
    target = float(task.target or 1)
    gates = input_rms(steady.layer, steady.cell, steady.sequences) or [(0.0, 0.0)]
    rms = float(np.sqrt(np.mean(np.square([part for part, _ in gates]))))
    task.record(rms, max(error for _, error in gates), "gates of the cell")
    if not all(scaler.can_scale(task, part) for part, _ in gates):
        return
    aims = [target] * len(gates)
    _multiply_gates(task.variable, [aim / part for aim, (part, _) in zip(aims, gates, strict=True)])
    late = [target] * len(gates)
    if scaler.on_data:
        late = [part for part, _ in input_rms(steady.layer, steady.cell, steady.sequences, late=True)]
    # The state adds its part to the pre-activations, so lower the input's part by as much.
    for _ in range(2):
        totals = steady.hold().late_gates()
        parts = [part * aim / target for part, aim in zip(late, aims, strict=True)]
        states = [max(total**2 - part**2, 0.0) for total, part in zip(totals, parts, strict=True)]
        lowered = [math.sqrt(max(target**2 - state, target**2 / 4)) for state in states]
        _multiply_gates(task.variable, [new / aim for new, aim in zip(lowered, aims, strict=True)])
        aims = lowered
    scaler.finish(task)


def _scale_input_part(scaler: Scaler, task: WeightTask, sequences: Sequences) -> None:
    """Scale the kernel of a user's cell by its product with the input, if its shape allows the product."""
    shape = sequences.values.shape
    if len(shape) == 3 and tuple(task.variable.shape)[:-1] == (shape[-1],):
        rows, _ = sequences.rows(task.variable.shape[-1])
        kernel = ops.convert_to_tensor(task.variable)
        if len(rows) or scaler.can_scale(task, 0.0):
            scaler.scale(task, ops.matmul(ops.cast(rows, kernel.dtype), kernel), "input's part")
        return
    # The cell may use its kernel in any way, so its output cannot be located.
    scaler.leave_as_drawn(task)


def _explain(steady: SteadyCell, task: WeightTask) -> None:
    """Note in the plan by how much recurrent weights were lowered, or that the state cannot be held.

    Args:
        steady: The cell, after its last run.
        task: The weight whose row of the plan carries a remark on the cell.
    """
    if steady.factor < 1:
        for lowered in steady.recurrent:
            how = lowered.choice.method if lowered.choice.method == "orthogonal" else "drawn"
            growth = steady.growth_at_first
            grow = f"grow {growth:.2g} times" if math.isfinite(growth) else "overflow"
            state = f"the state would otherwise {grow} over {steady.times} steps"
            reason = f"{how}, times {steady.factor:.3g}: {state}"
            lowered.choice = replace(lowered.choice, reason=reason)
            lowered.left = lowered.left and reason
    if steady.growth > LIMIT:
        names = [v.path for v in _state_weights(steady.cell)] or [steady.cell.name]
        task.remark = (
            f"{', '.join(names)}: cannot promise a steady state, which grows {steady.growth:.2g} times over "
            f"{steady.times} steps"
        )


def _state_weights(cell: keras.Layer) -> list[keras.Variable]:
    """Return the weights of a cell that may act on its state."""
    kernel = getattr(cell, "kernel", None)
    return [v for v in cell.weights if v is not kernel and v.trainable and not v.name.endswith("bias")]


def input_rms(
    layer: keras.Layer, cell: keras.Layer, sequences: Sequences, late: bool = False
) -> list[tuple[float, float]]:
    """Return for each gate the root mean square of the input's part over time, and its error.

    Args:
        layer: The recurrent layer.
        cell: Its cell, or one cell of its stack.
        sequences: The inputs of the cell.
        late: Whether to measure only the second half of each sample's time steps.
    """
    work = work_of_a_step(layer, cell, sequences.values.shape)
    limit = int(min(max(_WORK // work, 16), 4096))
    rows, samples = sequences.rows(cell.kernel.shape[-1], limit, late)
    if not len(samples):
        return []
    gates = _gate_squares(cell, rows, initial_states(layer, cell, rows.shape[0]))
    return [rms_over_times(squares, samples) for squares in gates]


def _gate_squares(cell: keras.Layer, inputs: Any, states: Any) -> list[np.ndarray]:
    """Return the mean squares of each gate's pre-activation without bias, by sample."""
    gates: list[np.ndarray] = []

    def probed(activation: Any) -> Any:
        def probe(z: Any) -> Any:
            squares = ops.square(ops.cast(z, "float32"))
            per_sample = ops.mean(ops.reshape(squares, (squares.shape[0], -1)), axis=1)
            gates.append(np.asarray(ops.convert_to_numpy(per_sample), dtype="float64"))
            return activation(z)

        return probe

    with contextlib.ExitStack() as stack:
        biases = [v for v in own_weights(cell) if v.name.endswith("bias")]
        stack.enter_context(keras.StatelessScope(zeros(biases)))
        for name in ("activation", "recurrent_activation"):
            if callable(getattr(cell, name, None)):
                stack.enter_context(patched_attribute(cell, name, probed(getattr(cell, name))))
        cell(inputs, states)
    return gates[: gate_count(cell)]


def rms_over_times(squares: np.ndarray, samples: np.ndarray) -> tuple[float, float]:
    """Return the root mean square and its relative standard error.

    The time steps of one sample are not independent, so the error counts samples.

    Args:
        squares: The mean square of each row.
        samples: The number of the sample of each row.
    """
    mean = float(np.mean(squares))
    _, numbers = np.unique(samples, return_inverse=True)
    counts = np.bincount(numbers)
    if len(counts) < 2 or not mean > 0:
        return math.sqrt(mean) if mean >= 0 else math.nan, 0.0
    # The mean weights a sample by its number of time steps, so the error must do the same.
    deviations = np.bincount(numbers, weights=squares) - counts * mean
    error = math.sqrt(float(np.sum(deviations**2)) * len(counts) / (len(counts) - 1)) / len(squares)
    return math.sqrt(mean), error / (2 * mean)


def _multiply_gates(kernel: keras.Variable, factors: list[float]) -> None:
    """Multiply the columns of each gate by its factor."""
    columns = np.repeat(factors, kernel.shape[-1] // len(factors))
    kernel.assign(kernel * ops.cast(ops.convert_to_tensor(columns), kernel.dtype))
