"""Tensors as arrays."""

from typing import Any

import numpy as np
from keras import ops


def numpy(tensor: Any) -> Any:
    """Return a tensor as an array of the same type."""
    return ops.convert_to_numpy(tensor)


def array(tensor: Any) -> Any:
    """Return a tensor as a float64 array."""
    return np.asarray(numpy(tensor), dtype="float64")


def rms(values: Any) -> float:
    """Return the root mean square of an array."""
    return float(np.sqrt(np.mean(np.square(values))))
