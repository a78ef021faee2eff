"""`gpn`: lift each activation by a constant, so that signal and gradient keep their size."""

from keras_initx._graph import WeightContext
from keras_initx._theory import gpn_shift
from keras_initx.model_init.methods.choice import (
    ChainRule,
    Choice,
    Contexts,
    chain_choice,
    choose_along_chains,
    out_of_scope,
)


def gpn(contexts: Contexts) -> dict[int, Choice]:
    """Lift the activation phi to phi + d with E[(phi + d)^2] = E[phi'^2] at variance 1.

    The kernel after the activation is scaled to variance 1, and its bias is d x (its column sums). In a
    layer without a bias, the mean direction of the kernel is scaled by (mu + d) / mu instead, where mu is
    the mean of its inputs.

    References: Lu et al. 2020 (arXiv 2006.09011), theorem 1, by weights instead of activations.
    """
    return choose_along_chains(contexts, gpn_choice, out_of_scope("gpn"))


def gpn_choice(context: WeightContext) -> Choice | None:
    """Return the choice for the weight before an activation; None if the activation cannot be lifted."""
    shift = gpn_shift(context.activation)
    # The layer after the activation carries the shift.
    if shift is None or not context.summing:
        return None
    lifted = f"chain of {context.depth} with {context.activation.name}: lifted by {shift:.3g}"
    return chain_choice("gpn", f"{lifted} through the weights", ChainRule(shift=shift))
