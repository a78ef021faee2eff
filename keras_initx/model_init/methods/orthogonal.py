"""`orthogonal`: an orthogonal kernel times the gain of the activation that the graph shows."""

from keras_initx.initializers import OrthogonalAuto
from keras_initx.model_init.methods.choice import Choice, Contexts


def orthogonal(sites: Contexts) -> dict[int, Choice]:
    """W = sqrt(gain) Q, Q orthogonal, gain = 1 / E[phi(z)^2] of the effective activation phi.

    References: Saxe et al. 2014 (arXiv 1312.6120), section 3.
    """
    reason = "orthogonal, by the gain of the activation that its result meets"
    return {
        number: Choice("orthogonal", OrthogonalAuto(activation=site.activation), target=None, reason=reason)
        for number, site in sites.items()
    }
