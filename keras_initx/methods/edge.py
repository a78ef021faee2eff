"""`edge`: orthogonal kernels at the variance, by depth, at which neither direction grows nor shrinks."""

from keras_initx.methods.choice import Choice, Link, Sites, chained, scaled
from keras_initx.propagation import edge_variance
from keras_initx.roles import Site


def edge(sites: Sites) -> dict[int, Choice]:
    """Pre-activations of variance q, the one nearest to 1 with (L - 1) |log10 chi(q)| <= 0.2.

    chi(q) = q E[phi'(z)^2] / E[phi(z)^2], z ~ N(0, q), is what a layer multiplies the gradient's mean square
    with when the forward one is held at q; L is the depth of the chain. Where no q does that for an
    activation, and outside of chains, the pre-activations are scaled to variance 1.

    References: Schoenholz et al. 2017 (arXiv 1611.01232), section 3; Pennington et al. 2017
    (arXiv 1711.04735), section 3, for small q and orthogonal kernels.
    """
    return chained(sites, edge_link, scaled)


def edge_link(site: Site) -> Link | None:
    """The link of a step whose activation has such a variance."""
    q = edge_variance(site.activation, site.depth)
    if q is None:
        return None
    reason = f"chain of {site.depth} with {site.activation.name}: variance {q:.3g} keeps both directions"
    return Link("edge", q, reason=reason)
