"""Recurrent cells: their kernels and gates, whether their state is bounded, and the choices that follow."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Graph, Step, is_keras_call, steps_before
from keras_initx.initializers import OrthogonalAuto
from keras_initx.model_init.methods import Choice

# Nothing bounds the state of a cell with an unbounded activation, such as a ReLU. Its pre-activations start
# this small, so that they can grow tenfold in training before they switch the gates.
_SMALL_STATE = 0.3
# An output layer of the usual gain returns the size of the state that it reads, whose mean it adds up. Larger
# ones are an offset of the outputs. Smaller ones leave so small a gradient to the cell that some starts find
# only the best constant.
_SMALL_OUTPUT = _SMALL_STATE
# An activation is unbounded if its values reach a hundredth of its inputs out here.
_FAR = 1e4


def cells_of(layer: keras.layers.RNN) -> list[Any]:
    """Return the cell of a recurrent layer, or all cells of its stack."""
    return list(getattr(layer.cell, "cells", [layer.cell]))


def has_known_gates(cell: Any) -> bool:
    """Return whether Keras computes the cell, so that the pre-activations of its gates can be read."""
    return is_keras_call(cell) and hasattr(cell, "recurrent_kernel") and hasattr(cell, "kernel")


def gate_count(cell: keras.Layer) -> int:
    """Return the number of gates of one of Keras's cells."""
    return int(cell.kernel.shape[-1] // cell.recurrent_kernel.shape[-2])


def has_unbounded_state(cell: Any) -> bool:
    """Return whether one of Keras's cells has an activation that grows without a bound on one side."""
    activation = getattr(cell, "activation", None)
    if not has_known_gates(cell) or not callable(activation):
        return False
    values = ops.convert_to_numpy(activation(ops.convert_to_tensor([-_FAR, _FAR], dtype="float32")))
    return not bool(np.max(np.abs(values)) < _FAR / 100)


def recurrent_choice(choice: Choice) -> Choice:
    """Make a recurrent kernel orthogonal, whatever the method: a state must neither grow nor die in it."""
    reason = "orthogonal: the state neither grows nor dies over time"
    return replace(
        choice, method="orthogonal", initializer=OrthogonalAuto(gain=1.0), scales=False, reason=reason
    )


def cell_choice(step: Step, variable: keras.Variable, choice: Choice) -> Choice:
    """Return the choice for a weight of a recurrent layer, from the choice for its step."""
    is_recurrent = variable.name.endswith("recurrent_kernel")
    attribute = "recurrent_kernel" if is_recurrent else "kernel"
    cell = next((c for c in cells_of(step.operation) if getattr(c, attribute, None) is variable), None)
    is_unbounded = cell is not None and has_unbounded_state(cell)
    if is_recurrent:
        choice = recurrent_choice(choice)
        reason = "orthogonal: it keeps the size of a state that nothing bounds"
        return replace(choice, reason=reason) if is_unbounded else choice
    if not choice.scales or not is_unbounded:
        return choice
    after = replace(choice.after, variance=choice.after.variance * _SMALL_STATE**2)
    reason = f"scaled to {_SMALL_STATE} of the usual size, because nothing bounds the state"
    return replace(choice, after=after, reason=reason)


def reads_unbounded_state(graph: Graph, step: Step) -> bool:
    """Return whether a step reads the state of an unbounded cell, with no normalization or weight between."""
    before = steps_before(graph, step.signals, until=lambda s: s.is_normalization)
    return any(s.is_recurrent and has_unbounded_state(cells_of(s.operation)[-1]) for s in before)


def small_output_choice(choice: Choice) -> Choice:
    """Return the choice for an output layer that reads an unbounded state."""
    reason = f"scaled to {_SMALL_OUTPUT} of the usual size, as the unbounded state that it reads"
    return replace(choice, factor=choice.factor * _SMALL_OUTPUT, reason=reason)
