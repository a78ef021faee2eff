"""`gpn`: a constant added to each activation through the weights, so that both directions keep their size."""

from keras_initx._graph import WeightContext
from keras_initx._theory import gpn_shift
from keras_initx.model_init.methods.choice import (
    ChainRule,
    Choice,
    Contexts,
    choose_along_chains,
    out_of_scope,
)


def gpn(sites: Contexts) -> dict[int, Choice]:
    """The activation phi is lifted to phi + d with E[(phi + d)^2] = E[phi'^2] at variance 1.

    The kernel after it is scaled to variance 1, and its bias is d x (its column sums); a layer without a
    bias has its kernel's mean direction scaled by (mu + d) / mu, mu the mean of its inputs.

    References: Lu et al. 2020 (arXiv 2006.09011), theorem 1, by weights instead of activations.
    """
    return choose_along_chains(sites, gpn_link, out_of_scope("gpn"))


def gpn_link(site: WeightContext) -> ChainRule | None:
    """The link of a step whose activation can be lifted so."""
    shift = gpn_shift(site.activation)
    # The layer after it has to carry the shift.
    if shift is None or not site.summing:
        return None
    reason = f"chain of {site.depth} with {site.activation.name}: lifted by {shift:.3g} through the weights"
    return ChainRule("gpn", 1.0, shift=shift, reason=reason)
