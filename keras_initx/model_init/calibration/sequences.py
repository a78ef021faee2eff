"""The inputs of a recurrent layer without their padding."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import carried_mask, mask_argument
from keras_initx.model_init.calibration.scaler import LayerCall

# Limits of one measurement: rows (one time step of one sample), and values held in memory at once.
_ROWS, _VALUES = 4096, 2**24


@dataclass(frozen=True)
class Sequences:
    """The inputs of a recurrent layer, with the masked time steps moved behind the others.

    A masked time step leaves the state as it is, so the remaining steps can follow each other directly.

    Attributes:
        values: (samples, times, ...), the unmasked time steps of each sample first.
        lengths: The number of unmasked time steps of each sample.
    """

    values: Any
    lengths: np.ndarray

    @classmethod
    def of_call(cls, call: LayerCall) -> "Sequences":
        """Return the inputs of a recurrent layer's call."""
        return cls.of(call.layer, call.inputs, mask_of(call))

    @classmethod
    def of(cls, layer: keras.Layer, inputs: Any, mask: Any) -> "Sequences":
        """Return the time steps in the order in which the layer reads them, without the masked steps."""
        if getattr(layer, "go_backwards", False):
            inputs = ops.flip(inputs, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        samples, times = inputs.shape[:2]
        if mask is None:
            return cls(inputs, np.full(samples, times))
        unmasked = np.asarray(ops.convert_to_numpy(mask), dtype=bool)
        order = np.argsort(~unmasked, axis=1, kind="stable")
        flat = ops.reshape(inputs, (samples * times, *inputs.shape[2:]))
        moved = ops.take(flat, (order + times * np.arange(samples)[:, None]).reshape(-1), axis=0)
        return cls(ops.reshape(moved, inputs.shape), unmasked.sum(axis=1))

    def rows(self, width: int, limit: int = _ROWS, late: bool = False) -> tuple[Any, np.ndarray]:
        """Return unmasked time steps of all samples, and the number of the sample of each.

        If there are too many to measure at once, they are a random subset.

        Args:
            width: The number of values that the cell computes at each position of an image.
            limit: The largest number of rows.
            late: Whether to take only steps in the second half of their sample.
        """
        samples, times = self.values.shape[:2]
        valid = np.arange(times)[None] < self.lengths[:, None]
        positions = np.flatnonzero(late_steps(valid) if late else valid)
        size = math.prod(self.values.shape[2:-1]) * max(width, self.values.shape[-1])
        count = min(len(positions), limit, max(_VALUES // size, 1))
        # At even distances all rows could be the same time step of each sample.
        positions = (
            np.sort(np.random.default_rng(0).choice(positions, count, replace=False)) if count else positions
        )
        flat = ops.reshape(self.values, (samples * times, *self.values.shape[2:]))
        return ops.take(flat, positions, axis=0), positions // times


def late_steps(valid: np.ndarray) -> np.ndarray:
    """Return which steps lie in the second half of their sample.

    Args:
        valid: Whether a time step belongs to its sample: (samples, times).
    """
    return valid & (np.arange(valid.shape[1])[None] >= valid.sum(axis=1, keepdims=True) // 2)


def mask_of(call: LayerCall) -> Any:
    """Return the mask of a recurrent layer's call, (samples, times): given, or carried by its input."""
    mask = mask_argument(call.layer, call.args, call.kwargs)
    if mask is None:
        mask = carried_mask(call.inputs)
    # Keras also accepts a mask with a last axis of 1.
    return mask if mask is None else ops.reshape(mask, mask.shape[:2])
