"""The gates of a recurrent cell: what arrives at each of them, and the kernel scaled gate by gate."""

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import (
    carried_mask,
    first_argument,
    is_keras_call,
    mask_argument,
    own_weights,
    patched_attribute,
    zeros,
)

# Time steps after which a recurrent state is taken to have settled.
SETTLED = 12
# Samples and times that are enough to measure on, and the numbers that may be held for them at once.
_ROWS, _VALUES = 4096, 2**24


@dataclass(frozen=True)
class Sequences:
    """The inputs of a recurrent layer without their padding.

    A masked time leaves the state as it is, so that the other times can stand one after another.

    Attributes:
        values: (samples, times, ...), each sample's own times first.
        lengths: How many times each sample has.
    """

    values: Any
    lengths: np.ndarray

    @classmethod
    def of(cls, layer: keras.Layer, inputs: Any, mask: Any) -> "Sequences":
        """The sequences in the order in which the layer reads them, without what is masked."""
        if getattr(layer, "go_backwards", False):
            inputs = ops.flip(inputs, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        samples, times = inputs.shape[:2]
        if mask is None:
            return cls(inputs, np.full(samples, times))
        kept = np.asarray(ops.convert_to_numpy(mask), dtype=bool)
        order = np.argsort(~kept, axis=1, kind="stable")
        flat = ops.reshape(inputs, (samples * times, *inputs.shape[2:]))
        moved = ops.take(flat, (order + times * np.arange(samples)[:, None]).reshape(-1), axis=0)
        return cls(ops.reshape(moved, inputs.shape), kept.sum(axis=1))

    def rows(self, width: int) -> tuple[Any, np.ndarray]:
        """Times of all samples, by chance where they are many, with the sample of each.

        `width` is how many values the cell computes at each position of an image.
        """
        samples, times = self.values.shape[:2]
        found = np.flatnonzero(np.arange(times)[None] < self.lengths[:, None])
        size = math.prod(self.values.shape[2:-1]) * max(width, self.values.shape[-1])
        count = min(len(found), _ROWS, max(_VALUES // size, 1))
        # At even distances all would be the same time of each sample.
        found = np.sort(np.random.default_rng(0).choice(found, count, replace=False)) if count else found
        flat = ops.reshape(self.values, (samples * times, *self.values.shape[2:]))
        return ops.take(flat, found, axis=0), found // times


def mask_of(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The mask of a recurrent layer's call, (samples, times): the given one, or what its input carries."""
    mask = mask_argument(layer, args, kwargs)
    if mask is None:
        mask = carried_mask(first_argument(layer, args, kwargs))
    # Keras takes one with a last axis of 1, too.
    return mask if mask is None else ops.reshape(mask, mask.shape[:2])


def input_sizes(layer: keras.Layer, cell: keras.Layer, inputs: Sequences) -> list[tuple[float, float]]:
    """The root mean squares of what the input alone gives each gate, with their errors, over all times."""
    rows, samples = inputs.rows(cell.kernel.shape[-1])
    if not len(samples):
        return []
    squares, _ = _measured(cell, rows, _initial_states(layer, cell, rows))
    return [_size(values, samples) for values in squares]


def settled_sizes(layer: keras.Layer, cell: keras.Layer, inputs: Sequences) -> list[tuple[float, float]]:
    """For each gate the root mean squares of the whole sum, and of the input's part, once a state settled.

    A sample that is shorter is measured at its last time.
    """
    ends = np.minimum(inputs.lengths, SETTLED) - 1
    states = _initial_states(layer, cell, inputs.values[:, 0])
    sums = np.zeros((gates_of(cell), 2))
    for time in range(max(ends) + 1):
        now = inputs.values[:, time]
        here = np.flatnonzero(ends == time)
        if here.size:
            rows = ops.take(now, here, axis=0)
            alone, _ = _measured(cell, rows, _initial_states(layer, cell, rows))
        whole, states = _measured(cell, now, states)
        if here.size:
            sums += [[np.sum(w[here]), np.sum(a)] for w, a in zip(whole, alone, strict=True)]
    return [(float(w), float(a)) for w, a in np.sqrt(sums / np.sum(ends >= 0))]


def after(layer: keras.Layer, cell: keras.Layer, inputs: Sequences) -> Sequences:
    """What a cell of a stack hands to the next, for as many time steps as a state takes to settle."""
    states, results = _initial_states(layer, cell, inputs.values[:, 0]), []
    for time in range(min(SETTLED, inputs.values.shape[1])):
        result, states = cell(inputs.values[:, time], states)
        results.append(result)
    return Sequences(ops.stack(results, axis=1), np.minimum(inputs.lengths, len(results)))


def _measured(cell: keras.Layer, inputs: Any, states: Any) -> tuple[list[np.ndarray], Any]:
    """The mean square of what arrives at each gate without the bias, for each sample; and the new states."""
    squares: list[np.ndarray] = []

    def probe(activation: Any) -> Any:
        def measured(z: Any) -> Any:
            values = ops.square(ops.cast(z, "float32"))
            by_sample = ops.mean(ops.reshape(values, (values.shape[0], -1)), axis=1)
            squares.append(np.asarray(ops.convert_to_numpy(by_sample), dtype="float64"))
            return activation(z)

        return measured

    with contextlib.ExitStack() as stack:
        biases = [v for v in own_weights(cell) if v.name.endswith("bias")]
        stack.enter_context(keras.StatelessScope(zeros(biases)))
        for name in ("activation", "recurrent_activation"):
            if callable(getattr(cell, name, None)):
                stack.enter_context(patched_attribute(cell, name, probe(getattr(cell, name))))
        _, states = cell(inputs, states)
    return squares[: gates_of(cell)], states


def _size(squares: np.ndarray, samples: np.ndarray) -> tuple[float, float]:
    """The root mean square and its relative standard error; the times of one sample are not independent."""
    mean = float(np.mean(squares))
    _, number = np.unique(samples, return_inverse=True)
    counts = np.bincount(number)
    if len(counts) < 2 or not mean > 0:
        return math.sqrt(mean) if mean >= 0 else math.nan, 0.0
    # The mean counts a sample as often as it has times, and so does its error.
    off = np.bincount(number, weights=squares) - counts * mean
    error = math.sqrt(float(np.sum(off**2)) * len(counts) / (len(counts) - 1)) / len(squares)
    return math.sqrt(mean), error / (2 * mean)


def gates_of(cell: keras.Layer) -> int:
    """How many gates the kernels of one of Keras's cells have."""
    return int(cell.kernel.shape[-1] // cell.recurrent_kernel.shape[-2])


def _initial_states(layer: keras.Layer, cell: keras.Layer, inputs: Any) -> Any:
    if cell is layer.cell:
        return layer.get_initial_state(inputs.shape[0])
    if hasattr(cell, "get_initial_state"):
        return cell.get_initial_state(inputs.shape[0])
    sizes = keras.tree.flatten(cell.state_size)
    return [ops.zeros((inputs.shape[0], size), dtype=inputs.dtype) for size in sizes]


def is_known(cell: keras.Layer) -> bool:
    """Whether what arrives at the gates of a cell can be read: Keras wrote how it computes."""
    return is_keras_call(cell) and hasattr(cell, "recurrent_kernel") and hasattr(cell, "kernel")


def scale_gates(kernel: keras.Variable, factors: list[float]) -> None:
    """Multiplies the part of each gate."""
    widths = np.repeat(factors, kernel.shape[-1] // len(factors))
    kernel.assign(kernel * ops.cast(ops.convert_to_tensor(widths), kernel.dtype))
