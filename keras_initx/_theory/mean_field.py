"""What a deep plain network does to a signal and to its gradient, read from the moments of its activation."""

import functools
import math

import numpy as np
from scipy import optimize

from keras_initx._theory.activation import ROW_WISE, Activation
from keras_initx._theory.custom_activation import Probed
from keras_initx._theory.formulas import FORMULAS
from keras_initx._theory.moments import gaussian_moments
from keras_initx._theory.piecewise import Function
from keras_initx.errors import InitxError, is_number

# log10 of the variances that are searched: four steps to a decade, outwards from 1.
_STEP = 1 / 4
_LOWEST, _HIGHEST = -6.0, 2.0


def elementwise(activation: Activation) -> tuple[Function, tuple[float, ...]] | None:
    """The function behind an activation, from float64 array to array, with the kinks that are known of it.

    None for an activation of whole rows (softmax) and for a gate (glu), which no function of one z is.

    Example:

    >>> phi, kinks = elementwise(Activation("relu6"))
    >>> phi(np.array([-1.0, 2.0, 7.0])).tolist(), kinks
    ([0.0, 2.0, 6.0], (0, 6))
    """
    if activation.function is not None:
        return activation.function.function, ()
    if activation.name in ROW_WISE or activation.name == "glu":
        return None
    formula, kinks = FORMULAS[activation.name]
    given = dict(activation.parameters)
    return lambda z: formula(z, **given), kinks(**given)


def times(z: np.ndarray, values: np.ndarray, mean: float = 0.0) -> np.ndarray:
    """z (phi(z) - mean) in the precision of phi's values, from which the moments know how exact they are.

    Example:

    >>> times(np.ones(2), np.ones(2, dtype="float32"), mean=3.0)
    array([-2., -2.], dtype=float32)
    """
    return (z * (values - mean)).astype(values.dtype)


def chi(activation: Activation, var: float) -> float:
    """What a layer multiplies the mean square of the gradient by, where the forward signal is held.

    chi = var E[phi'(z)^2] / E[phi(z)^2], z ~ N(0, var)

    This is for square layers with zero-mean kernels and zero biases, whose variance keeps that of the
    pre-activations at var: sigma^2 = var / (fan_in E[phi(z)^2]), and a gradient is multiplied by
    fan_out sigma^2 E[phi'(z)^2]. At 1 both directions hold; L layers multiply the gradient by chi^L.

    Args:
        activation: An elementwise activation phi.
        var: The variance of its pre-activations, a positive number.

    Raises:
        InitxError: An activation of whole rows or a gate; one that is zero everywhere or whose moments
            do not exist; a var that is not positive.

    Example: ReLU holds the gradient at any variance, tanh lets it grow.

    >>> round(chi(Activation("relu"), 4.0), 6), round(chi(Activation("tanh"), 1.0), 3)
    (1.0, 1.178)

    References: Schoenholz et al. 2017 (arXiv 1611.01232), chi_1 of its gradients, for sigma_b = 0.
    """
    function_of(activation)
    moments = activation.moments(0.0, positive("var", var))
    if moments.second_moment == 0:
        raise InitxError("activation", activation.name, "a function that is not zero everywhere")
    return var * moments.slope_second_moment / moments.second_moment


def stability(activation: Activation, var: float) -> float:
    """How a layer passes on a relative error of the variance of its pre-activations.

    Q' = d log E[phi(z)^2] / d log var = (E[z^2 phi(z)^2] / (var E[phi(z)^2]) - 1) / 2, z ~ N(0, var)

    Up to 1 the variance var is a stable fixed point, above 1 every deviation from it grows by the layer.

    Args:
        activation: An elementwise activation phi.
        var: The variance of its pre-activations, a positive number.

    Raises:
        InitxError: As `chi` does.

    Example:

    >>> round(stability(Activation("gelu"), 1.0), 3), round(stability(Activation("relu"), 1.0), 6)
    (1.144, 1.0)

    References: Poole et al. 2016 (arXiv 1606.05340), equation 3, whose slope this is at a fixed point.
    """
    phi, kinks = function_of(activation)
    second = activation.moments(0.0, positive("var", var)).second_moment
    if second == 0:
        raise InitxError("activation", activation.name, "a function that is not zero everywhere")
    # Integrated by parts: so the slope of phi, which rounding spoils first, is not needed.
    product = gaussian_moments(lambda z: times(z, phi(z)), 0.0, var, kinks, activation.name)
    return (product.second_moment / (var * second) - 1) / 2


def edge_variance(activation: Activation, depth: int, budget: float = 0.2) -> float | None:
    """The variance of the pre-activations at which a network of this depth holds its gradient.

    (depth - 1) |log10 chi(q)| <= budget

    The q nearest to 1, in its logarithm, within [1e-6, 100] (to rounding, where it lies on the edge of
    the budget). Searched in steps of a factor 1.78: a narrower window, in which chi does not cross 1,
    can be missed.

    Args:
        activation: An elementwise activation phi.
        depth: The number of layers with this activation, at least 1.
        budget: What the gradient may grow or shrink by over all of them, in powers of ten.

    Returns:
        q, or None where there is none: for softmax and glu, and for functions that bend at every scale.

    Raises:
        InitxError: A depth that is no positive integer; a budget that is not positive.

    Example: a deeper network has to stay nearer to the linear part of tanh.

    >>> [round(edge_variance(Activation("tanh"), depth), 2) for depth in (5, 30, 100)]
    [0.7, 0.15, 0.07]

    References: Schoenholz et al. 2017 (arXiv 1611.01232), for chi = 1 as the edge of chaos.
    """
    _check(depth, budget)
    return _edge_variance(activation, activation.function, depth, float(budget))


# An Activation is equal to another of the same name, whatever their functions: those are keys of their own.
@functools.lru_cache(maxsize=512)
def _edge_variance(
    activation: Activation, function: Probed | None, depth: int, budget: float
) -> float | None:
    allowed = budget / (depth - 1) if depth > 1 else math.inf

    def drift(log_q: float) -> float:
        return _log10_chi(activation, function, float(10**log_q))

    start = drift(0.0)
    if abs(start) <= allowed:
        return 1.0
    found = []
    for step in range(1, round(max(-_LOWEST, _HIGHEST) / _STEP) + 1):
        for direction in (-1, 1):
            near, far = direction * (step - 1) * _STEP, direction * step * _STEP
            if not _LOWEST <= far <= _HIGHEST or math.isnan(drift(near)) or math.isnan(drift(far)):
                continue
            sign = math.copysign(1.0, drift(near))

            def excess(log_q: float, sign: float = sign) -> float:
                return sign * drift(log_q) - allowed

            # Not only a hit: a window narrower than the step shows as a change of the sign.
            if excess(far) <= 0:
                crossing = optimize.brentq(excess, near, far, xtol=1e-9) if excess(near) > 0 else near
                found.append(float(crossing))
        if found:
            return float(10 ** min(found, key=abs))
    return None


@functools.lru_cache(maxsize=4096)
def _log10_chi(activation: Activation, function: Probed | None, var: float) -> float:
    """NaN where chi does not exist, or where the activation is flat."""
    try:
        value = chi(activation, var)
    except InitxError:
        return math.nan
    return math.log10(value) if 0 < value < math.inf else math.nan


def gpn_shift(activation: Activation) -> float | None:
    """The constant to add to an activation so that one kernel variance holds signal and gradient.

    (E[phi(z)] + d)^2 + Var[phi(z)] = E[phi'(z)^2], z ~ N(0, 1)

    Then kernels of variance 1 / (fan_in E[phi'(z)^2]) hold both. The network stays as it is where d goes
    into the weights: d times the sums of the next kernel's columns is that layer's bias.

    Args:
        activation: An elementwise activation phi.

    Returns:
        The root d of least size (the positive one of two), or None where there is none (a step, whose
        gradient sees less than its variance), where a moment does not exist, and for softmax and glu.

    Example:

    >>> round(gpn_shift(Activation("tanh")), 4), round(gpn_shift(Activation("relu")), 4)
    (0.2648, 0.0)

    References: Lu, Gould & Ajanthan 2020 (arXiv 2006.09011), where phi itself is scaled and shifted.
    """
    if elementwise(activation) is None:
        return None
    try:
        moments = activation.moments()
    except InitxError:
        return None
    slope = moments.slope_second_moment
    rest = slope - moments.variance
    if not math.isfinite(slope) or slope == 0:
        return None
    if abs(rest) <= slope * max(1e-12, moments.error):
        rest = 0.0
    if rest < 0:
        return None
    root = math.sqrt(rest)
    return (-root if moments.mean < -1e-9 else root) - moments.mean


def function_of(activation: Activation) -> tuple[Function, tuple[float, ...]]:
    """The same as `elementwise`, or an `InitxError`."""
    known = elementwise(activation)
    if known is None:
        allowed = "an elementwise activation: this one acts on a whole row"
        raise InitxError("activation", activation.name, allowed)
    return known


def positive(name: str, value: float) -> float:
    """A positive number, or an `InitxError` that names the argument."""
    if not is_number(value) or not 0 < value < math.inf:
        raise InitxError(name, value, "a positive number")
    return float(value)


def _check(depth: int, budget: float) -> None:
    if not isinstance(depth, int | np.integer) or isinstance(depth, bool) or depth < 1:
        raise InitxError("depth", depth, "a positive integer, the number of layers with the activation")
    positive("budget", budget)
