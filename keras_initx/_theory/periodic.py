"""Periodic activations, such as sin(30 z): measure the period, and the pre-activations that fit it."""

import functools
import math
from dataclasses import replace

import numpy as np

from keras_initx._theory.activation import Activation
from keras_initx._theory.custom_activation import CustomFunction
from keras_initx._theory.piecewise import Function

# Lengths of the intervals in which a period is looked for, shortest first, so that the first one found is the
# smallest. An interval shows periods of 1/128 to 1/2 of its length.
_INTERVALS = tuple(1e-3 * 4.0**n for n in range(11))
_SAMPLES = 1024
# Lags at which the function returns to itself are candidates; try this many in each interval.
_CANDIDATES = 4
# Irregular points within one period.
_POINTS = np.sin(np.arange(1, 65) ** 1.5) / 2
# How far apart the compared points lie, in periods: a wider distance shows the period more precisely.
_DISTANCES = (1, 8, 64)
_TRIALS = np.linspace(-1, 1, 33)
# The largest difference after 64 periods, relative to the standard deviation of the function.
_TOLERANCE = 0.01
# The squares of larger values overflow.
_UNBOUNDED = 1e100


def period(activation: Activation) -> float | None:
    """Return the smallest P > 0 with phi(z + P) = phi(z) for all z; None if phi is not periodic.

    The function itself is measured, so its name and its form do not matter. Periods between 1e-5 and 500 are
    found, to about five digits.

    Example:

    >>> from keras_initx._theory.activation import read_activation
    >>> round(period(read_activation(lambda z: np.sin(30 * z))) * 30 / math.pi, 4)
    2.0
    """
    # No activation that has a name is periodic.
    return None if activation.function is None else _period(activation.function)


def natural_std(activation: Activation) -> float:
    """Return the standard deviation of pre-activations that fits phi: P / (2 pi) for a period P, otherwise 1.

    sin(w0 z) with z of standard deviation 1 / w0 behaves as sin(u) with u of standard deviation 1. A larger
    z makes phi a hash: close inputs then have unrelated outputs.

    References: Sitzmann et al. 2020 (arXiv 2006.09661), section 3.2.
    """
    length = period(activation)
    # Five digits, so that sin(z) has exactly 1.
    return 1.0 if length is None else 1 / float(f"{2 * math.pi / length:.5g}")


def kernel_gain(activation: Activation) -> float:
    """Return s^2 / E[phi(z)^2], z ~ N(0, s^2), with the natural std s: the gain of a kernel between two phi.

    Raises:
        InitxError: As in `Activation.gain`.

    Example: the gain of sin(w0 z) is the gain of sin(z) divided by w0^2.

    >>> from keras_initx._theory.activation import read_activation
    >>> [round(kernel_gain(read_activation(lambda z: np.sin(w * z))) * w**2, 3) for w in (1, 30)]
    [2.313, 2.313]
    """
    variance = natural_std(activation) ** 2
    return activation.gain() if variance == 1 else variance / activation.moments(0.0, variance).second_moment


def siren_variance(activation: Activation, layers: int) -> float:
    """Return the variance of pre-activations u that SIREN's rule gives to a layer.

    The rule takes the inputs of each layer for psi at phases that are all equally likely, of mean square m,
    so kernels of n inputs have variance 1 / (n m). After the first layer, which spreads coordinates over
    several periods, the phases are equally likely, so u has variance v = 1. From then on, u ~ N(0, v) gives
    the next layer the variance E[psi(u)^2] / m. If that leaves the interval (1/4, 4), the result is 1.

    Args:
        activation: psi, with a period of 2 pi.
        layers: The number of layers before this one, at least 1.

    References: Sitzmann et al. 2020 (arXiv 2006.09661), appendix 1.4.

    Example: sin(u) leads to v = 1 - exp(-2 v) = 0.797.

    >>> from keras_initx._theory.activation import read_activation
    >>> sine = read_activation(lambda z: np.sin(z))
    >>> [round(siren_variance(sine, layers), 3) for layers in (1, 2, 3, 20)]
    [1.0, 0.865, 0.823, 0.797]
    """
    if activation.function is None:
        return 1.0
    phases = np.linspace(-math.pi, math.pi, _SAMPLES, endpoint=False)
    mean_square = float(np.mean(np.square(activation.function.function(phases))))
    variance = 1.0
    for _ in range(layers - 1):
        variance = activation.moments(0.0, variance).second_moment / mean_square
        if not 0.25 < variance < 4:
            return 1.0
    return variance


def in_natural_units(activation: Activation) -> Activation:
    """Return psi(u) = phi(s u) with the natural standard deviation s of phi, so that psi has s = 1."""
    scale = natural_std(activation)
    custom = activation.function
    if custom is None or scale == 1:
        return activation

    def psi(u: np.ndarray) -> np.ndarray:
        return custom.function(scale * u)

    values = custom.values + np.float64(scale).tobytes()
    return replace(activation, function=CustomFunction(values, psi))


@functools.lru_cache(maxsize=256)
def _period(custom: CustomFunction) -> float | None:
    for length in _INTERVALS:
        for candidate in _candidates(custom.function, length):
            found = _refined(custom.function, candidate, length / _SAMPLES)
            if found is not None:
                return found
    return None


def _candidates(phi: Function, length: float) -> list[float]:
    """Return the lags within an interval after which a function nearly returns to itself, shortest first."""
    # Off the centre, so that a symmetry of the function does not look like a period.
    values = _evaluated(phi, np.linspace(-0.4 * length, 0.6 * length, _SAMPLES, endpoint=False))
    if values is None or np.std(values) <= 1e-5 * np.max(np.abs(values)):
        return []
    half = _SAMPLES // 2
    lagged = np.lib.stride_tricks.sliding_window_view(values, half)
    differences = np.mean((lagged - values[:half]) ** 2, axis=1)
    highest = np.maximum.accumulate(differences)
    lags = [
        lag
        for lag in range(_SAMPLES // 128, half)
        if differences[lag] <= min(differences[lag - 1], differences[lag + 1])
        and differences[lag] < 0.05 * highest[lag]
    ]
    return [lag * length / _SAMPLES for lag in lags[:_CANDIDATES]]


def _refined(phi: Function, candidate: float, error: float) -> float | None:
    """Return the period near a candidate that is known up to `error`; None if there is none."""
    for distance in _DISTANCES:
        points = candidate * _POINTS
        trials = candidate + error * _TRIALS
        shifted = points + distance * trials[:, None]
        values = _evaluated(phi, np.concatenate([points, shifted.ravel()]))
        if values is None:
            return None
        start, after = values[: len(points)], values[len(points) :].reshape(shifted.shape)
        misses = np.mean((after - start) ** 2, axis=1)
        candidate = float(trials[np.argmin(misses)])
        error *= _TRIALS[1] - _TRIALS[0]
    return candidate if misses.min() <= (_TOLERANCE * np.std(start)) ** 2 else None


def _evaluated(phi: Function, z: np.ndarray) -> np.ndarray | None:
    """Return phi(z) as float64; None if a value is not finite, or too large for a bounded function."""
    values = np.asarray(phi(z), dtype="float64")
    return values if np.all(np.abs(values) < _UNBOUNDED) else None
