"""Recognize weights whose values were set on purpose: zeros, tiny values, and structures."""

import math

import keras
import numpy as np

from keras_initx._weights.layers import mean_square
from keras_initx.initializers import is_overridden

# A scheme gives outputs about the size of the inputs. The residual ends of a GPT-2 of 48 blocks have 0.08.
_SMALL = 0.05
# The habits are 0.01 and 0.02, whatever the number of inputs: the entries must be smaller too.
_USUAL = 0.006
# Schemes that scale by fans give outputs of at most sqrt(2) times the size of the inputs, and random draws
# of few values a little more.
LARGEST_SCALE = 2.0
# How many values of each dtype to look at, and which share of them must repeat. A random draw in single
# precision chooses among 2^23 values, so that it repeats fewer than one in a hundred of 2^16, but most of
# millions. In half precision it repeats a quarter of these.
_BLOCKS = {"float64": (2**16, 4), "float32": (2**16, 4), "float16": (2**12, 2), "bfloat16": (2**9, 2)}
# One repetition is no structure: the entries of a rotation of the plane are a, b, -b, a.
_FEWEST = 2


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
    return mean_square(variable) ** 0.5 < min(_USUAL, _SMALL / fan_in**0.5)


def own_scale(variable: keras.Variable, fan_in: float) -> float:
    """Return the size of a weight's output for inputs of size 1; NaN if `initialize` drew the weight."""
    if is_overridden(variable):
        return math.nan
    return math.sqrt(mean_square(variable) * fan_in)


def varies(bias: keras.Variable | None) -> bool:
    """Return whether a bias, such as a flattened identity, gives the units of its layer different outputs."""
    if bias is None or is_overridden(bias):
        return False
    values = _values(bias)
    return bool(np.isfinite(values).all() and np.ptp(values) > 0)


def is_given(variable: keras.Variable, initializer: object) -> bool:
    """Return whether a weight comes from `Constant(array)`, such as word vectors that were trained before."""
    if is_overridden(variable) or not isinstance(initializer, keras.initializers.Constant):
        return False
    value = np.asarray(keras.ops.convert_to_numpy(initializer.value))
    # One number for all entries would make all units alike.
    return value.shape == tuple(variable.shape) and bool(np.ptp(value))


def is_structured(variable: keras.Variable) -> bool:
    """Return whether a weight repeats its values: an identity, a fixed filter, an ICNR kernel.

    Zeros count as repetitions, as in a Sobel filter, but not the rows of a matrix that are all zeros, such as
    the padding of a table. Equal values throughout are no structure, since all units would be alike, unless
    they average the window of a single unit (a box filter). Pairs of opposite values along an axis are what
    `initialize` draws itself.
    """
    block, share = _BLOCKS.get(keras.backend.standardize_dtype(variable.dtype), (0, 1))
    if not block or is_overridden(variable) or len(variable.shape) < 2:
        return False
    values = _values(variable)
    # NaN equals nothing, but `np.unique` takes all of them for one value.
    if not values.size or not np.isfinite(values).all():
        return False
    if np.ptp(values) == 0:
        return _is_average(values)
    rows = np.reshape(values, (-1, values.shape[-1]))
    if values.ndim == 2:
        rows = rows[rows.any(axis=1)]
    # Repetitions along the last axis show in some rows, all others in some columns.
    blocks = rows[: block // rows.shape[1] + 1], rows[:block, : block // len(rows) + 1]
    repeats = any(_repeats(part.ravel()[: 2 * block], share) for part in blocks)
    return repeats and not any(_has_pairs(values, axis) for axis in (-1, -2))


def _repeats(values: np.ndarray, share: int) -> bool:
    """Return whether one in `share` values, and at least two, are zeros or repeat another."""
    distinct = len(np.unique(values[values != 0]))
    return 0 < distinct <= values.size - max(values.size // share, _FEWEST)


def _is_average(values: np.ndarray) -> bool:
    """Return whether equal values average a window, for a single unit or for each channel."""
    window = int(np.prod(values.shape[:-2]))
    return window > 1 and values.shape[-1] == 1 and bool(np.isclose(values.flat[0] * window, 1, rtol=1e-2))


def _has_pairs(values: np.ndarray, axis: int) -> bool:
    """Return whether each second slice along an axis is the negative of the one before it."""
    moved = np.moveaxis(values, axis, 0)
    half = len(moved) // 2
    return half > 0 and np.array_equal(moved[0 : 2 * half : 2], -moved[1 : 2 * half : 2])


def _values(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")))
