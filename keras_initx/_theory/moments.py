"""Compute the moments of an activation phi and of its derivative under a Gaussian pre-activation.

In float64, without Keras.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_initx._theory.piecewise import Function, Pieces, TooRough, pieces
from keras_initx.errors import InitxError

# Limits of the integral, in standard deviations. At 12 the Gaussian weight is 1e-32. Only a function that
# still counts there, such as exp(z) at a large variance, needs a wider limit. At 38 the weight underflows.
_REACHES = (12.0, 24.0, 38.0)
_FINE = np.polynomial.legendre.leggauss(24)
_COARSE = np.polynomial.legendre.leggauss(14)
# The largest relative error of a moment: as precise as functions that round to float32 allow.
_TOLERANCE = 1e-4

# An exponent this close to 1 cannot be distinguished from 1, where the integral diverges.
_DIVERGES = 0.98
# Above this relative rounding error, as in half precision, a slope is mostly rounding error.
_NO_SLOPE = 1e-5

PASS_GAIN = "Pass gain= to the initializer."


@dataclass(frozen=True)
class ActivationMoments:
    """The moments of an activation phi for z ~ N(mean, var).

    Attributes:
        mean: E[phi(z)].
        second_moment: E[phi(z)^2].
        slope_mean: E[phi'(z)], with the derivative that backpropagation uses: it does not see jumps.
        slope_second_moment: E[phi'(z)^2]; infinite if the integral diverges (sqrt(|z|)). Both slope
            moments are NaN if phi rounds to half precision, which drowns its slope.
        error: An estimate of the error of all moments, relative to the two second moments. It excludes
            features of phi that are narrower than 1/25 of a standard deviation and that are not passed
            as kinks: the integration can miss them.
    """

    mean: float
    second_moment: float
    slope_mean: float
    slope_second_moment: float
    error: float

    @property
    def variance(self) -> float:
        """Var[phi(z)]."""
        return max(self.second_moment - self.mean**2, 0.0)


def leaky_second_moment(slope: float) -> float:
    """Return E[phi^2] of the leaky rectifier: (1 + a^2) / 2 for the slope a of its negative side.

    He et al. 2015 (arXiv 1502.01852), section 2.2, equation 15; a = 0 is ReLU.
    """
    return (1 + slope**2) / 2


def gaussian_moments(
    phi: Function, mean: float = 0.0, var: float = 1.0, kinks: Sequence[float] = (), name: str = "activation"
) -> ActivationMoments:
    """Return the moments of phi(z) and phi'(z) for z ~ N(mean, var), by quadrature in float64.

    phi is split at its kinks and jumps, which a search finds. Between them the integrals are
    Gauss-Legendre sums of 24 nodes; their error is the difference from the sums of 14 nodes.

    Args:
        phi: The activation, elementwise: it maps an array to an array of the same shape.
        mean, var: The mean and the variance of the pre-activation; var must be positive.
        kinks: Points at which phi or its slope jumps, as far as they are known. They save time.
        name: The name of the activation in errors.

    Raises:
        InitxError: phi is not finite everywhere, is rough everywhere (random), or has no second moment.

    Example:

    >>> moments = gaussian_moments(np.tanh)
    >>> round(moments.second_moment, 6), round(moments.slope_second_moment, 6)
    (0.394294, 0.464403)
    """
    sd = math.sqrt(var)
    missing = f"a function whose E[phi(z)^2] exists for z ~ N({mean:g}, {var:g})"
    for reach in _REACHES:
        try:
            cut = pieces(phi, _edges(mean, sd, reach, kinks))
        except TooRough as rough:
            # Beyond the first limit phi need not be finite: it grows too fast for a moment to exist.
            reason = str(rough) if reach == _REACHES[0] else missing
            raise InitxError("activation", name, reason, PASS_GAIN) from None
        with np.errstate(all="ignore"):
            fine = _integrate(phi, cut, mean, sd, _FINE)
            coarse = _integrate(phi, cut, mean, sd, _COARSE)
            ends = phi(np.array([mean - reach * sd, mean + reach * sd])) * math.exp(-(reach**2) / 4)
            tail = float(np.max(np.square(ends)))
        if tail <= 1e-12 * fine[1]:
            break
    if not np.all(np.isfinite(fine)) or tail > 1e-9 * fine[1]:
        raise InitxError("activation", name, missing, PASS_GAIN)
    at_kinks, uncertain = _slopes_at_kinks(cut, mean, sd)
    fine[2:] += at_kinks
    coarse[2:] += at_kinks
    scale = np.array([math.sqrt(fine[1]), fine[1], math.sqrt(fine[3]), fine[3]])
    # The error of a moment that is 0 is absolute; the error of an infinite moment does not exist.
    finite = slice(4 if math.isfinite(fine[3]) else 2)
    errors = np.abs(fine[finite] - coarse[finite]) / np.where(scale > 0, scale, 1)[finite]
    if np.max(errors[:2]) > _TOLERANCE:
        raise InitxError("activation", name, missing, PASS_GAIN)
    uncertain = uncertain / fine[3] if fine[3] > 0 and math.isfinite(fine[3]) else 0.0
    # A kink below the rounding error of its surroundings is not recognized.
    unseen = cut.rounding * (1000 if cut.rounding > 1e-12 else 1)
    error = max(*errors.tolist(), uncertain, unseen)
    mean_phi, square, slope, slope_square = (float(moment) for moment in fine)
    if cut.rounding > _NO_SLOPE:
        slope = slope_square = math.nan
    return ActivationMoments(mean_phi, square, slope, slope_square, float(error))


def _edges(mean: float, sd: float, reach: float, kinks: Iterable[float]) -> list[float]:
    """Return the edges from which the search for pieces starts, dense around the mean and around 0."""
    low, high = mean - reach * sd, mean + reach * sd
    farthest = max(abs(low), abs(high))
    around_zero = [0.0, *(s * 2.0**k for k in range(max(1, math.frexp(farthest)[1])) for s in (-1, 1))]
    # Within two standard deviations 14 nodes integrate the Gaussian to the last digit.
    around_mean = (mean + sd * step for step in np.arange(-reach, reach + 1, 2))
    return [low, high, *(e for e in (*around_mean, *around_zero, *kinks) if low < e < high)]


def _integrate(
    phi: Function, cut: Pieces, mean: float, sd: float, rule: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return E of phi, phi^2, phi' and phi'^2, the last two without the neighbourhoods of kinks."""
    nodes, weights = rule
    half = ((cut.high - cut.low) / 2)[:, None]
    z = cut.low[:, None] + half * (1 + nodes)
    # Multiply by the root of the density before squaring: phi^2 alone could overflow.
    root = np.sqrt(half * weights / (sd * math.sqrt(2 * math.pi))) * np.exp(-np.square((z - mean) / sd) / 4)
    values = np.asarray(phi(z.ravel()), dtype="float64").reshape(z.shape) * root
    slopes = cut.derivative(nodes) * root
    parts = (values * root, np.square(values), slopes * root, np.square(slopes))
    return np.array([np.sum(part) for part in parts])


def _slopes_at_kinks(cut: Pieces, mean: float, sd: float) -> tuple[np.ndarray, float]:
    """Return the share of kink neighbourhoods in E phi' and E phi'^2, and the uncertainty of the latter.

    Towards a pole the squared slope grows like distance^-e, whose integral exists for e < 1.
    """
    added, uncertain = np.zeros(2), 0.0
    for side in cut.sides():
        z = (side.at - mean) / sd
        weight = side.width * math.exp(-(z**2) / 2) / (sd * math.sqrt(2 * math.pi))
        if weight == 0:
            continue
        added[0] += weight * side.slope / (1 - min(side.growth, 1) / 2)
        if side.growth > _DIVERGES:
            return np.array([added[0], math.inf]), 0.0
        added[1] += weight * side.slope**2 / (1 - side.growth)
        # The position of the kink within its neighbourhood is unknown.
        uncertain += weight * side.slope**2 / (1 - side.growth)
    return added, uncertain
