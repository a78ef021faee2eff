"""Recognize weights whose values were set on purpose: zeros, tiny values, and structures."""

import keras
import numpy as np

from keras_initx.initializers import is_overridden

# A scheme gives outputs about the size of the inputs. The residual ends of a GPT-2 of 48 blocks have 0.08.
_SMALL = 0.05
# Fewer values show no structure.
_FEWEST = 8
# A random draw of this many values repeats fewer than one in a hundred. A draw of millions repeats most.
_BLOCK = 2**16


def is_zero(variable: keras.Variable) -> bool:
    """Return whether a weight is all zeros, and no draw of `initialize` made it so."""
    return not is_overridden(variable) and not np.any(_values(variable))


def is_small(variable: keras.Variable, fan_in: float) -> bool:
    """Return whether a weight is far smaller than any variance scheme, but not by a draw of `initialize`.

    Its output then has less than a twentieth of the size of its input. Examples are the last layers of an
    actor and a critic, U(-0.003, 0.003) in Lillicrap et al. 2015 (arXiv 1509.02971, section 7), and the gate
    of gMLP.
    """
    if is_overridden(variable):
        return False
    return bool(np.sqrt(np.mean(np.square(_values(variable), dtype="float64")) * fan_in) < _SMALL)


def varies(bias: keras.Variable | None) -> bool:
    """Return whether a bias, such as a flattened identity, gives the units of its layer different outputs."""
    if bias is None or is_overridden(bias):
        return False
    values = _values(bias)
    return bool(np.isfinite(values).all() and np.ptp(values) > 0)


def is_structured(variable: keras.Variable) -> bool:
    """Return whether a weight repeats its values: an identity, a fixed filter, an ICNR kernel.

    A random draw in single precision repeats few values: it chooses among 2^23. Equal values throughout are
    no structure: all units would be alike. Pairs of opposite values along an axis are what `initialize` draws
    itself.
    """
    if is_overridden(variable) or keras.backend.standardize_dtype(variable.dtype) != "float32":
        return False
    values = _values(variable)
    # NaN equals nothing, but `np.unique` takes all of them for one value.
    if values.size < _FEWEST or not np.isfinite(values).all() or np.ptp(values) == 0:
        return False
    rows = np.reshape(values, (-1, values.shape[-1]))
    # Repetitions along the last axis show in some rows, all others in some columns.
    blocks = rows[: _BLOCK // rows.shape[1] + 1], rows[:_BLOCK, : _BLOCK // len(rows) + 1]
    return any(map(_repeats, blocks)) and not any(_has_pairs(values, axis) for axis in (-1, -2))


def _repeats(values: np.ndarray) -> bool:
    """Return whether each value that is not 0 occurs twice on average, or more often."""
    present = values[values != 0]
    return present.size > 0 and len(np.unique(present)) <= max(present.size // 2, 1)


def _has_pairs(values: np.ndarray, axis: int) -> bool:
    """Return whether each second slice along an axis is the negative of the one before it."""
    moved = np.moveaxis(values, axis, 0)
    half = len(moved) // 2
    return half > 0 and np.array_equal(moved[0 : 2 * half : 2], -moved[1 : 2 * half : 2])


def _values(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")))
