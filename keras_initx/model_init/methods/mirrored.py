"""`mirrored`: units in pairs of opposite kernels, so that a chain starts as a linear map."""

from keras_initx._graph import WeightContext
from keras_initx._theory import evenness, odd_part
from keras_initx.model_init.methods.choice import (
    ChainRule,
    Choice,
    Contexts,
    choose_along_chains,
    out_of_scope,
)
from keras_initx.model_init.methods.edge import stable_variance

# Below, the gradients of two twins are too much alike for them ever to part.
_LEAST_EVEN = 0.001


def mirrored(sites: Contexts) -> dict[int, Choice]:
    """Kernels w and -w for the two units of a pair, rows v and -v for what they give.

    The chain then computes with psi(z) = phi(z) - phi(-z), which is linear for ReLU, leaky ReLU, GELU, SiLU
    and softplus: orthogonal kernels keep every signal, every gradient and the angle of two inputs, at any
    depth and without a bias. Where psi is not linear, pre-activations get the variance that `edge` would
    choose for it. Twins part in training as far as phi is even: odd activations are left to others.

    References: Balduzzi et al. 2017 (arXiv 1702.08591), section 4.
    """
    return choose_along_chains(sites, mirrored_link, out_of_scope("mirrored"))


def mirrored_link(site: WeightContext) -> ChainRule | None:
    """The link of a step whose activation is even enough."""
    psi = odd_part(site.activation) if site.pairable else None
    q = None if psi is None else stable_variance(psi, site.depth)
    if q is None or evenness(site.activation, q) < _LEAST_EVEN:
        return None
    reason = f"chain of {site.depth} with {site.activation.name}: opposite units make it odd at first"
    return ChainRule("mirrored", q, mirrored=True, reason=reason)
