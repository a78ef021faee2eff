"""Mirrored pairs: two units with opposite kernels, which together act as one unit with an odd activation."""

import math

import numpy as np

from keras_initx._theory.activation import Activation
from keras_initx._theory.custom_activation import CustomFunction
from keras_initx._theory.mean_field import elementwise, function_of, positive
from keras_initx.errors import InitxError

# Irregular, so that no two formulas agree on all of them.
_POINTS = np.sin(np.arange(1, 41) ** 1.5) * np.linspace(0.1, 9, 40)


def odd_part(activation: Activation) -> Activation | None:
    """Return psi(z) = phi(z) - phi(-z), the function of a mirrored pair of units, as an activation.

    Units come in pairs with kernels w and -w, and the next kernel has rows v and -v. A pair acts as one
    unit with the activation psi on half of the width, so `chi` and `edge_variance` of psi describe the
    mirrored network; both are 1 at any depth for relu, leaky_relu, gelu, silu and softplus.

    Args:
        activation: An elementwise activation phi.

    Returns:
        psi, or None for an activation of whole rows (softmax) and for glu.

    Example: a mirrored ReLU network starts out linear.

    >>> psi = odd_part(Activation("relu"))
    >>> psi.name, round(psi.moments(0.0, 2.0).second_moment, 6)
    ('relu(z) - relu(-z)', 2.0)

    References: Balduzzi et al. 2017 (arXiv 1702.08591), the "looks linear" initialization.
    """
    phi_and_kinks = elementwise(activation)
    if phi_and_kinks is None:
        return None
    phi, _ = phi_and_kinks

    def psi(z: np.ndarray) -> np.ndarray:
        # One call for both sides, because every call of a user's function is expensive.
        both = phi(np.concatenate([z, -z]))
        return both[: len(z)] - both[len(z) :]

    values = activation.function.values if activation.function else phi(_POINTS).tobytes()
    name = f"{activation.name}(z) - {activation.name}(-z)"
    return Activation(name, activation.parameters, CustomFunction(values, psi))


def evenness(activation: Activation, var: float = 1.0) -> float:
    """Return how differently the two units of a mirrored pair learn: 0 if they stay mirrored forever.

    E[(phi'(z) - phi'(-z))^2] / E[(phi'(z) + phi'(-z))^2], z ~ N(0, var)

    At 0 one half of the network remains the mirror image of the other half under any training. Mirrored
    pairs must therefore not be used with odd activations such as tanh, nor with sigmoid, whose slope is
    even too.

    Args:
        activation: An elementwise activation phi.
        var: The variance of its pre-activations, a positive number.

    Returns:
        The ratio; infinite for an even phi.

    Raises:
        InitxError: As in `chi`, or E[phi'(z)^2] does not exist.

    Example: two mirrored ReLUs never pass on a gradient together, two sigmoids always do.

    >>> round(evenness(Activation("relu")), 6), round(evenness(Activation("sigmoid")), 6)
    (1.0, 0.0)
    """
    function_of(activation)
    unit = activation.moments(0.0, positive("var", var))
    psi = odd_part(activation)
    assert psi is not None
    pair = psi.moments(0.0, var)
    if not math.isfinite(unit.slope_second_moment) or not math.isfinite(pair.slope_second_moment):
        allowed = f"a function whose E[phi'(z)^2] exists for z ~ N(0, {var:g})"
        raise InitxError("activation", activation.name, allowed)
    if pair.slope_second_moment == 0:
        return math.inf if unit.slope_second_moment else 0.0
    # The squares of sum and difference add up to 4 E[phi'^2]. So the difference, which may consist of
    # rounding error alone, need not be integrated.
    ratio = 4 * unit.slope_second_moment / pair.slope_second_moment - 1
    return 0.0 if ratio <= max(1e-9, 4 * (unit.error + pair.error)) else ratio
