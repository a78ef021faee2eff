"""Mirrored pairs: two units with opposite kernels, which together are one unit with an odd activation."""

import math

import numpy as np

from keras_initx._theory.activation import Activation
from keras_initx._theory.custom_activation import Probed
from keras_initx._theory.mean_field import elementwise, function_of, positive
from keras_initx.errors import InitxError

# Irregular, so that no two formulas agree on all of them.
_POINTS = np.sin(np.arange(1, 41) ** 1.5) * np.linspace(0.1, 9, 40)


def odd_part(activation: Activation) -> Activation | None:
    """What a mirrored pair of units computes: psi(z) = phi(z) - phi(-z), as an activation of its own.

    Units come in pairs with kernels w and -w, and the next kernel has rows v and -v: together they are
    one unit with the activation psi on half of the width, so that `chi` and `edge_variance` of psi are
    those of the mirrored network; 1 at any depth for relu, leaky_relu, gelu, silu and softplus.

    Returns:
        psi, or None for an activation of whole rows (softmax) and for glu.

    Example: a mirrored ReLU network is linear at first.

    >>> psi = odd_part(Activation("relu"))
    >>> psi.name, round(psi.moments(0.0, 2.0).second_moment, 6)
    ('relu(z) - relu(-z)', 2.0)

    References: Balduzzi et al. 2017 (arXiv 1702.08591), the "looks linear" initialization.
    """
    known = elementwise(activation)
    if known is None:
        return None
    phi, _ = known

    def psi(z: np.ndarray) -> np.ndarray:
        # At once: a user's function costs by the call.
        both = phi(np.concatenate([z, -z]))
        return both[: len(z)] - both[len(z) :]

    values = activation.function.values if activation.function else phi(_POINTS).tobytes()
    name = f"{activation.name}(z) - {activation.name}(-z)"
    return Activation(name, activation.parameters, Probed(values, psi))


def evenness(activation: Activation, var: float = 1.0) -> float:
    """How differently the two units of a mirrored pair learn: 0 where they stay mirrored for ever.

    E[(phi'(z) - phi'(-z))^2] / E[(phi'(z) + phi'(-z))^2], z ~ N(0, var)

    At 0 half of the network is the mirror image of the other half, whatever it is trained on: mirrored
    pairs must not be used with tanh and its like, nor with sigmoid, whose slope is even too.

    Args:
        activation: An elementwise activation phi.
        var: The variance of its pre-activations, a positive number.

    Returns:
        The ratio; infinite for an even phi.

    Raises:
        InitxError: As `chi` does; a function whose E[phi'(z)^2] does not exist.

    Example: two ReLUs never pass on a gradient together, two sigmoids always do.

    >>> round(evenness(Activation("relu")), 6), round(evenness(Activation("sigmoid")), 6)
    (1.0, 0.0)
    """
    function_of(activation)
    own = activation.moments(0.0, positive("var", var))
    psi = odd_part(activation)
    assert psi is not None
    together = psi.moments(0.0, var)
    if not math.isfinite(own.slope_second_moment) or not math.isfinite(together.slope_second_moment):
        raise InitxError(
            "activation", activation.name, f"a function whose E[phi'(z)^2] exists, z ~ N(0, {var:g})"
        )
    if together.slope_second_moment == 0:
        return math.inf if own.slope_second_moment else 0.0
    # The squares of sum and difference add up to 4 E[phi'^2]. So the difference, which may be rounding
    # and nothing else, need not be integrated.
    ratio = 4 * own.slope_second_moment / together.slope_second_moment - 1
    return 0.0 if ratio <= max(1e-9, 4 * (own.error + together.error)) else ratio
