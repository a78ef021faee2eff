"""Public functions that return the gain and the Gaussian moments of any activation."""

import math
from typing import Any

from keras_initx._theory.activation import read_activation
from keras_initx._theory.moments import ActivationMoments
from keras_initx.errors import InitxError, is_number

_MODES = ("forward", "backward")


def gain(activation: Any, mode: str = "forward") -> float:
    """Return the gain of an activation phi: the factor of a weight's variance that compensates for phi.

    forward = 1 / E[phi(z)^2], backward = 1 / E[phi'(z)^2], z ~ N(0, 1)

    A kernel of variance forward / fan_in keeps pre-activations at variance 1 from layer to layer; a kernel
    of variance backward / fan_out keeps their gradients. Both are gains of the variance, while
    `torch.nn.init.calculate_gain` returns a gain of the standard deviation: sqrt(2) for ReLU, where this
    function returns 2. An activation of whole rows (softmax, log_softmax, sparsemax) has gain 1 by
    convention.

    Args:
        activation: None (linear), a name, a function of `keras.activations`, an activation layer, a
            `functools.partial` of a function, or any elementwise callable.
        mode: "forward" or "backward".

    Raises:
        InitxError: An unknown name or mode; a function that is not elementwise, not finite, or zero (or
            flat) everywhere; a function whose moment does not exist.

    Example:

    >>> gain("relu"), round(gain("tanh"), 4), round(gain("tanh", mode="backward"), 4)
    (2.0, 2.5362, 2.1533)
    >>> import functools, keras
    >>> round(gain(functools.partial(keras.activations.gelu, approximate=True)), 6)
    2.351869
    >>> gain(keras.layers.LeakyReLU(negative_slope=0.5))
    1.6

    References: He et al. 2015 (arXiv 1502.01852), equations 10 and 14, for a general phi.
    """
    if mode not in _MODES:
        raise InitxError("mode", mode, "'forward' or 'backward'")
    return read_activation(activation).gain(mode)


def activation_moments(activation: Any, mean: float = 0.0, var: float = 1.0) -> ActivationMoments:
    """Return the moments of phi(z) and of its slope phi'(z) for a pre-activation z ~ N(mean, var).

    The integrals are computed in float64 between the kinks of phi, which are located automatically. A
    user's function that computes in float32 (as all do on JAX) limits the result to six
    digits, and to four or five in the slopes.

    Args:
        activation: As in `gain`.
        mean: The mean of the pre-activation.
        var: The variance of the pre-activation, a positive number.

    Returns:
        E[phi], E[phi^2], Var[phi], E[phi'], E[phi'^2] and an estimate of their error, as the attributes
        mean, second_moment, variance, slope_mean, slope_second_moment and error.

    Raises:
        InitxError: As in `gain`, or `mean` is not finite, or `var` is not positive.

    Example: ReLU of a pre-activation with standard deviation 2.

    >>> moments = activation_moments("relu", mean=0.0, var=4.0)
    >>> round(moments.second_moment, 6), round(moments.mean, 6), round(moments.slope_second_moment, 6)
    (2.0, 0.797885, 0.5)

    References: Poole et al. 2016 (arXiv 1606.05340), equations 3 and 5, for the two second moments.
    """
    for name, value in (("mean", mean), ("var", var)):
        if not is_number(value) or not math.isfinite(value):
            raise InitxError(name, value, "a finite number")
    if var <= 0:
        raise InitxError("var", var, "a finite number > 0")
    return read_activation(activation).moments(float(mean), float(var))
