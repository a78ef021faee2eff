"""Scale the input kernels of recurrent cells, gate by gate."""

import contextlib
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import is_keras_call, own_weights, patched_attribute, zeros
from keras_initx.model_init.calibration.scaler import LayerCall, Scaler
from keras_initx.model_init.calibration.sequences import Sequences
from keras_initx.model_init.tasks import WeightTask

# Time steps after which a recurrent state counts as settled.
SETTLING_STEPS = 12


def scale_recurrent(scaler: Scaler, call: LayerCall, tasks: list[WeightTask]) -> list[WeightTask]:
    """Scale the input kernel of each cell of a recurrent layer; leave its other weights as drawn.

    No task is left: the returned list is empty.
    """
    layer, sequences = call.layer, Sequences.of_call(call)
    cells = getattr(layer.cell, "cells", [layer.cell])
    for number, cell in enumerate(cells):
        if number:
            sequences = _outputs(layer, cells[number - 1], sequences)
        kernel = next((task for task in tasks if task.variable is getattr(cell, "kernel", None)), None)
        for task in scaler.open_tasks(cell.weights):
            if task is not kernel:
                scaler.leave_as_drawn(task)
        if kernel is None or kernel.target is None:
            continue
        if _has_known_gates(cell):
            _scale_gates(scaler, layer, cell, kernel, sequences)
        else:
            _scale_input_part(scaler, kernel, sequences)
    return []


def _scale_gates(
    scaler: Scaler, layer: keras.Layer, cell: keras.Layer, task: WeightTask, sequences: Sequences
) -> None:
    """Scale the kernel of each gate so that the pre-activations of a settled state have the target."""
    target = float(task.target or 1)
    gates = input_rms(layer, cell, sequences) or [(0.0, 0.0)]
    rms = float(np.sqrt(np.mean(np.square([part for part, _ in gates]))))
    task.record(rms, max(error for _, error in gates), "gates of the cell")
    if not all(scaler.can_scale(task, part) for part, _ in gates):
        return
    aims = [target] * len(gates)
    _multiply_gates(task.variable, [aim / part for aim, (part, _) in zip(aims, gates, strict=True)])
    # The state adds its part to the pre-activations, so lower the input's part by as much.
    for _ in range(2):
        settled = settled_rms(layer, cell, sequences)
        states = [max(total**2 - part**2, 0.0) for total, part in settled]
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


def input_rms(layer: keras.Layer, cell: keras.Layer, sequences: Sequences) -> list[tuple[float, float]]:
    """Return for each gate the root mean square of the input's part over all times, and its error."""
    rows, samples = sequences.rows(cell.kernel.shape[-1])
    if not len(samples):
        return []
    gates, _ = _gate_squares(cell, rows, _initial_states(layer, cell, rows))
    return [rms_over_times(squares, samples) for squares in gates]


def settled_rms(layer: keras.Layer, cell: keras.Layer, sequences: Sequences) -> list[tuple[float, float]]:
    """Return for each gate the root mean squares of the sum and of the input's part in a settled state.

    A shorter sample is measured at its last time step.
    """
    ends = np.minimum(sequences.lengths, SETTLING_STEPS) - 1
    states = _initial_states(layer, cell, sequences.values[:, 0])
    sums = np.zeros((_gate_count(cell), 2))
    for time in range(max(ends) + 1):
        inputs = sequences.values[:, time]
        ending = np.flatnonzero(ends == time)
        if ending.size:
            rows = ops.take(inputs, ending, axis=0)
            parts, _ = _gate_squares(cell, rows, _initial_states(layer, cell, rows))
        totals, states = _gate_squares(cell, inputs, states)
        if ending.size:
            sums += [[np.sum(t[ending]), np.sum(p)] for t, p in zip(totals, parts, strict=True)]
    return [(float(total), float(part)) for total, part in np.sqrt(sums / np.sum(ends >= 0))]


def _outputs(layer: keras.Layer, cell: keras.Layer, sequences: Sequences) -> Sequences:
    """Return the outputs of a cell in a stack, for as many time steps as a state needs to settle."""
    states, outputs = _initial_states(layer, cell, sequences.values[:, 0]), []
    for time in range(min(SETTLING_STEPS, sequences.values.shape[1])):
        output, states = cell(sequences.values[:, time], states)
        outputs.append(output)
    return Sequences(ops.stack(outputs, axis=1), np.minimum(sequences.lengths, len(outputs)))


def _gate_squares(cell: keras.Layer, inputs: Any, states: Any) -> tuple[list[np.ndarray], Any]:
    """Return the mean squares of each gate's pre-activation without bias, by sample, and the new states."""
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
        _, states = cell(inputs, states)
    return gates[: _gate_count(cell)], states


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


def _gate_count(cell: keras.Layer) -> int:
    """Return the number of gates of one of Keras's cells."""
    return int(cell.kernel.shape[-1] // cell.recurrent_kernel.shape[-2])


def _initial_states(layer: keras.Layer, cell: keras.Layer, inputs: Any) -> Any:
    if cell is layer.cell:
        return layer.get_initial_state(inputs.shape[0])
    if hasattr(cell, "get_initial_state"):
        return cell.get_initial_state(inputs.shape[0])
    sizes = keras.tree.flatten(cell.state_size)
    return [ops.zeros((inputs.shape[0], size), dtype=inputs.dtype) for size in sizes]


def _has_known_gates(cell: keras.Layer) -> bool:
    """Return whether Keras computes the cell, so that the pre-activations of its gates can be read."""
    return is_keras_call(cell) and hasattr(cell, "recurrent_kernel") and hasattr(cell, "kernel")


def _multiply_gates(kernel: keras.Variable, factors: list[float]) -> None:
    """Multiply the columns of each gate by its factor."""
    columns = np.repeat(factors, kernel.shape[-1] // len(factors))
    kernel.assign(kernel * ops.cast(ops.convert_to_tensor(columns), kernel.dtype))
