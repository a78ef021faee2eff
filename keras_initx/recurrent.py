"""The gates of a recurrent cell: what arrives at each of them, and the kernel scaled gate by gate."""

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.measuring import attribute, root_mean_square

# Time steps after which a recurrent state is taken to have settled.
SETTLED = 12
# Samples and times that are enough to measure on.
_ROWS = 4096


def input_sizes(layer: keras.Layer, cell: keras.Layer, inputs: Any) -> list[tuple[float, float]]:
    """The root mean squares of what the input alone gives each gate, with their errors, over all times.

    Times at which a sample is all zero are padding, and do not count.
    """
    flat = ops.reshape(inputs, (-1, *inputs.shape[2:]))
    values = np.reshape(ops.convert_to_numpy(ops.cast(flat, "float32")), (flat.shape[0], -1))
    rows = np.flatnonzero(np.any(values != 0, axis=1))[:_ROWS]
    if not rows.size:
        return []
    states = _initial_states(layer, cell, ops.take(flat, rows, axis=0))
    return _measured(cell, ops.take(flat, rows, axis=0), states)[0]


def settled_sizes(layer: keras.Layer, cell: keras.Layer, inputs: Any) -> list[tuple[float, float]]:
    """For each gate the root mean squares of the whole sum, and of the input's part, once a state settled."""
    stop = min(SETTLED, inputs.shape[1])
    states = _initial_states(layer, cell, inputs)
    alone = _measured(cell, inputs[:, stop - 1], states)[0]
    for time in range(stop):
        whole, states = _measured(cell, inputs[:, time], states)
    return [(a[0], b[0]) for a, b in zip(whole, alone, strict=True)]


def _measured(cell: keras.Layer, inputs: Any, states: Any) -> tuple[list[tuple[float, float]], Any]:
    sizes: list[tuple[float, float]] = []

    def probe(activation: Any) -> Any:
        def measured(z: Any) -> Any:
            sizes.append(root_mean_square(z))
            return activation(z)

        return measured

    with contextlib.ExitStack() as stack:
        for name in ("activation", "recurrent_activation"):
            if callable(getattr(cell, name, None)):
                stack.enter_context(attribute(cell, name, probe(getattr(cell, name))))
        _, states = cell(inputs, states)
    return sizes[: gates_of(cell)], states


def gates_of(cell: keras.Layer) -> int:
    """How many gates the kernels of a cell have; 0 where they are not shaped as Keras shapes them."""
    kernel, recurrent = tuple(cell.kernel.shape), tuple(cell.recurrent_kernel.shape)
    if len(recurrent) != len(kernel) or not recurrent[-2] or kernel[-1] % recurrent[-2]:
        return 0
    return int(kernel[-1] // recurrent[-2])


def _initial_states(layer: keras.Layer, cell: keras.Layer, inputs: Any) -> Any:
    if cell is layer.cell:
        return layer.get_initial_state(inputs.shape[0])
    if hasattr(cell, "get_initial_state"):
        return cell.get_initial_state(inputs.shape[0])
    sizes = keras.tree.flatten(cell.state_size)
    return [ops.zeros((inputs.shape[0], size), dtype=inputs.dtype) for size in sizes]


def sequence(layer: keras.Layer, cell: keras.Layer, inputs: Any) -> Any:
    """What a cell of a stack hands to the next, for as many time steps as a state takes to settle."""
    states, results = _initial_states(layer, cell, inputs), []
    for time in range(min(SETTLED, inputs.shape[1])):
        result, states = cell(inputs[:, time], states)
        results.append(result)
    return ops.stack(results, axis=1)


def is_known(cell: keras.Layer) -> bool:
    """Whether what arrives at the gates of a cell can be read: it is named as Keras names it."""
    return hasattr(cell, "recurrent_kernel") and callable(getattr(cell, "activation", None))


def scale_gates(kernel: keras.Variable, factors: list[float]) -> None:
    widths = np.repeat(factors, kernel.shape[-1] // len(factors))
    kernel.assign(kernel * ops.cast(ops.convert_to_tensor(widths), kernel.dtype))
