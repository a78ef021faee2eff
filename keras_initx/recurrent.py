"""The gates of a recurrent cell: what arrives at each of them, and the kernel scaled gate by gate."""

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.measuring import attribute, root_mean_square

# Time steps after which a recurrent state is taken to have settled.
SETTLED = 12


def gate_sizes(layer: keras.Layer, cell: keras.Layer, inputs: Any, state: bool) -> list[float]:
    """The root mean squares of a cell's pre-activations, gate by gate, once its state has settled.

    With `state` of the sum that arrives there, without of the input's part alone, at the same time.
    """
    gates = cell.kernel.shape[-1] // cell.recurrent_kernel.shape[-2]
    sizes: list[float] = []

    def probe(activation: Any) -> Any:
        def measured(z: Any) -> Any:
            sizes.append(root_mean_square(z)[0])
            return activation(z)

        return measured

    with contextlib.ExitStack() as stack:
        for name in ("activation", "recurrent_activation"):
            if callable(getattr(cell, name, None)):
                stack.enter_context(attribute(cell, name, probe(getattr(cell, name))))
        states = _initial_states(layer, cell, inputs)
        stop = min(SETTLED, inputs.shape[1])
        for time in range(0 if state else stop - 1, stop):
            sizes.clear()
            _, states = cell(inputs[:, time], states)
    return sizes[:gates]


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
