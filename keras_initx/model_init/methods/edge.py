"""`edge`: orthogonal kernels at the variance, by depth, at which neither direction grows nor shrinks."""

import math

from keras_initx._graph import WeightContext
from keras_initx._theory import Activation, edge_variance, stability
from keras_initx.model_init.methods.choice import (
    ChainRule,
    Choice,
    Contexts,
    choose_along_chains,
    out_of_scope,
)

# Above, a chain is unstable; what float32 functions round is below.
_STABLE = 1.001
_BUDGETS = tuple(0.2 / 3**n for n in range(1, 12))


def edge(sites: Contexts) -> dict[int, Choice]:
    """Pre-activations of variance q, the one nearest to 1 with (L - 1) |log10 chi(q)| <= 0.2.

    chi(q) = q E[phi'(z)^2] / E[phi(z)^2], z ~ N(0, q), is what a layer multiplies the gradient's mean square
    with when the forward one is held at q; L is the depth of the chain. Where no q does that for an
    activation, and outside of chains, the pre-activations are scaled to variance 1.

    References: Schoenholz et al. 2017 (arXiv 1611.01232), section 3; Pennington et al. 2017
    (arXiv 1711.04735), section 3, for small q and orthogonal kernels.
    """
    return choose_along_chains(sites, edge_link, out_of_scope("edge"))


def edge_link(site: WeightContext) -> ChainRule | None:
    """The link of a step whose activation has such a variance."""
    q = stable_variance(site.activation, site.depth)
    if q is None:
        return None
    reason = f"chain of {site.depth} with {site.activation.name}: variance {q:.3g} keeps both directions"
    return ChainRule("edge", q, reason=reason)


def stable_variance(activation: Activation, depth: int) -> float | None:
    """The q of `edge`, smaller where samples larger than others would grow away from them.

    Q' = d log E[phi(z)^2] / d log q above 1 means that: the theory is of the mean, and finite networks have
    samples that differ. None where no q keeps (L - 1) log10 Q' under 0.2.
    """
    for budget in (0.2, *_BUDGETS):
        q = edge_variance(activation, depth, budget=budget)
        if q is None:
            return None
        growth = stability(activation, q)
        if growth <= _STABLE or (depth - 1) * math.log10(growth) <= 0.2:
            return q
    return None
