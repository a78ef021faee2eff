"""The gates of a recurrent cell: what arrives at each of them, and the kernel scaled gate by gate."""

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.measuring import attribute, root_mean_square

# Time steps after which a recurrent state is taken to have settled.
SETTLED = 12


def gate_sizes(layer: keras.Layer, cell: keras.Layer, inputs: Any, steps: int) -> list[float]:
    """The root mean squares of a cell's pre-activations, gate by gate, at the last of some time steps."""
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
        states = layer.get_initial_state(inputs.shape[0])
        for time in range(min(steps, inputs.shape[1])):
            sizes.clear()
            _, states = cell(inputs[:, time], states)
    return sizes[:gates]


def scale_gates(kernel: keras.Variable, factors: list[float]) -> None:
    widths = np.repeat(factors, kernel.shape[-1] // len(factors))
    kernel.assign(kernel * ops.cast(ops.convert_to_tensor(widths), kernel.dtype))
