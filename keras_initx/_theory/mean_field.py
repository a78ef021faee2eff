"""Mean-field theory: predict the signal and the gradient in a deep plain network from activation moments."""

import functools
import math

import numpy as np
from scipy import optimize

from keras_initx._theory.activation import ROW_WISE, Activation
from keras_initx._theory.custom_activation import CustomFunction
from keras_initx._theory.formulas import FORMULAS
from keras_initx._theory.moments import gaussian_moments
from keras_initx._theory.piecewise import Function
from keras_initx.errors import InitxError, is_number

# The search covers these log10 variances in four steps per decade, outwards from variance 1.
_STEP = 1 / 4
_LOWEST, _HIGHEST = -6.0, 2.0


def elementwise(activation: Activation) -> tuple[Function, tuple[float, ...]] | None:
    """Return an activation as a function from float64 array to array, with its known kinks.

    Returns None for an activation of whole rows (softmax) and for a gate (glu): neither is a function of a
    single z.

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
    parameters = dict(activation.parameters)
    return lambda z: formula(z, **parameters), kinks(**parameters)


def times(z: np.ndarray, values: np.ndarray, mean: float = 0.0) -> np.ndarray:
    """Return z (phi(z) - mean) in the dtype of phi's values, from which the moments infer their precision.

    Example:

    >>> times(np.ones(2), np.ones(2, dtype="float32"), mean=3.0)
    array([-2., -2.], dtype=float32)
    """
    return (z * (values - mean)).astype(values.dtype)


def chi(activation: Activation, var: float) -> float:
    """Return the factor by which a layer that holds the forward signal multiplies the mean square gradient.

    chi = var E[phi'(z)^2] / E[phi(z)^2], z ~ N(0, var)

    The formula holds for square layers with zero biases and zero-mean kernels of the variance
    sigma^2 = var / (fan_in E[phi(z)^2]), which keeps the variance of the pre-activations at var. A gradient
    is multiplied by fan_out sigma^2 E[phi'(z)^2]. At chi = 1 both directions are held; L layers multiply
    the gradient by chi^L.

    Args:
        activation: An elementwise activation phi.
        var: The variance of its pre-activations, a positive number.

    Raises:
        InitxError: The activation acts on whole rows, is a gate, is zero everywhere or has no moments;
            or `var` is not positive.

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
    """Return the factor by which a layer multiplies a small relative deviation of the variance from `var`.

    Q' = d log E[phi(z)^2] / d log var = (E[z^2 phi(z)^2] / (var E[phi(z)^2]) - 1) / 2, z ~ N(0, var)

    Up to 1 the variance is a stable fixed point; above 1 every deviation grows from layer to layer.

    Args:
        activation: An elementwise activation phi.
        var: The variance of its pre-activations, a positive number.

    Raises:
        InitxError: As in `chi`.

    Example:

    >>> round(stability(Activation("gelu"), 1.0), 3), round(stability(Activation("relu"), 1.0), 6)
    (1.144, 1.0)

    References: Poole et al. 2016 (arXiv 1606.05340), equation 3, whose slope this is at a fixed point.
    """
    phi, kinks = function_of(activation)
    second = activation.moments(0.0, positive("var", var)).second_moment
    if second == 0:
        raise InitxError("activation", activation.name, "a function that is not zero everywhere")
    # Integration by parts avoids the slope of phi, which rounding spoils first.
    product = gaussian_moments(lambda z: times(z, phi(z)), 0.0, var, kinks, activation.name)
    return (product.second_moment / (var * second) - 1) / 2


def edge_variance(activation: Activation, depth: int, budget: float = 0.2) -> float | None:
    """Return the pre-activation variance q at which a network of this depth holds its gradient.

    (depth - 1) |log10 chi(q)| <= budget

    q is the solution nearest to 1 on a logarithmic scale, within [1e-6, 100]; on the edge of the budget the
    condition holds up to rounding. The search moves in steps of a factor 1.78, so it can miss a narrower
    window in which chi does not cross 1.

    Args:
        activation: An elementwise activation phi.
        depth: The number of layers with this activation, at least 1.
        budget: The allowed growth or decay of the gradient over all layers, in powers of ten.

    Returns:
        q, or None if no variance qualifies: for softmax and glu, and for functions that bend at every scale.

    Raises:
        InitxError: `depth` is not an integer >= 1, or `budget` is not positive.

    Example: a deeper network has to stay closer to the linear part of tanh.

    >>> [round(edge_variance(Activation("tanh"), depth), 2) for depth in (5, 30, 100)]
    [0.7, 0.15, 0.07]

    References: Schoenholz et al. 2017 (arXiv 1611.01232), for chi = 1 as the edge of chaos.
    """
    _check(depth, budget)
    return _edge_variance(activation, activation.function, depth, float(budget))


# Activations of one name compare equal whatever their functions are, so the function is a separate cache key.
@functools.lru_cache(maxsize=512)
def _edge_variance(
    activation: Activation, function: CustomFunction | None, depth: int, budget: float
) -> float | None:
    allowed = budget / (depth - 1) if depth > 1 else math.inf

    def drift(log_q: float) -> float:
        return _log10_chi(activation, function, float(10**log_q))

    start = drift(0.0)
    if abs(start) <= allowed:
        return 1.0
    crossings: list[float] = []
    for step in range(1, round(max(-_LOWEST, _HIGHEST) / _STEP) + 1):
        for direction in (-1, 1):
            near, far = direction * (step - 1) * _STEP, direction * step * _STEP
            if not _LOWEST <= far <= _HIGHEST or math.isnan(drift(near)) or math.isnan(drift(far)):
                continue
            sign = math.copysign(1.0, drift(near))

            def excess(log_q: float, sign: float = sign) -> float:
                return sign * drift(log_q) - allowed

            # Compare signs instead of testing for |drift| <= allowed: a window that is narrower than the
            # step still shows as a change of sign.
            if excess(far) <= 0:
                crossing = optimize.brentq(excess, near, far, xtol=1e-9) if excess(near) > 0 else near
                crossings.append(float(crossing))
        if crossings:
            return float(10 ** min(crossings, key=abs))
    return None


@functools.lru_cache(maxsize=4096)
def _log10_chi(activation: Activation, function: CustomFunction | None, var: float) -> float:
    """Return log10 of chi; NaN if chi does not exist or the activation is flat."""
    try:
        value = chi(activation, var)
    except InitxError:
        return math.nan
    return math.log10(value) if 0 < value < math.inf else math.nan


def gpn_shift(activation: Activation) -> float | None:
    """Return the constant d to add to an activation so that one kernel variance holds signal and gradient.

    (E[phi(z)] + d)^2 + Var[phi(z)] = E[phi'(z)^2], z ~ N(0, 1)

    Kernels of variance 1 / (fan_in E[phi'(z)^2]) then hold both. The activation itself need not change:
    the bias of the next layer absorbs d as d times the column sums of its kernel.

    Args:
        activation: An elementwise activation phi.

    Returns:
        The root d of smallest size (the positive one of two), 0.0 if it is smaller than the error of the
        moments; or None: for softmax and glu, for a phi without moments, and if no root exists (a step,
        whose gradient sees less than its variance).

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
    error = max(1e-12, moments.error)
    if abs(rest) <= slope * error:
        rest = 0.0
    if rest < 0:
        return None
    root = math.sqrt(rest)
    shift = (-root if moments.mean < -1e-9 else root) - moments.mean
    # Below their error, the moments leave nothing of a shift but its sign, which depends on the processor.
    return shift if abs(shift) > error * math.sqrt(slope) else 0.0


def function_of(activation: Activation) -> tuple[Function, tuple[float, ...]]:
    """Return the same as `elementwise`, but raise an `InitxError` where that returns None."""
    phi_and_kinks = elementwise(activation)
    if phi_and_kinks is None:
        problem = f"`activation` {activation.name!r} acts on a whole row, not on a single z"
        remedy = "Pass an elementwise activation."
        raise InitxError("activation", activation.name, "an elementwise activation", remedy, problem)
    return phi_and_kinks


def positive(name: str, value: float) -> float:
    """Return a positive number as a float; raise an `InitxError` for anything else."""
    if not is_number(value) or not 0 < value < math.inf:
        raise InitxError(name, value, "a finite number > 0")
    return float(value)


def _check(depth: int, budget: float) -> None:
    if not isinstance(depth, int | np.integer) or isinstance(depth, bool) or depth < 1:
        raise InitxError("depth", depth, "an integer >= 1 (the number of layers with the activation)")
    positive("budget", budget)
