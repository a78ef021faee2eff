"""`auto`: the method by the place of each weight, with its reason."""

from keras_initx.methods.choice import Choice, Link, Sites, chained, scaled
from keras_initx.methods.edge import edge_link
from keras_initx.methods.gpn import gpn_link
from keras_initx.methods.mirrored import mirrored_link
from keras_initx.methods.residual import at_the_end
from keras_initx.methods.shaped import shaped_link
from keras_initx.propagation import evenness
from keras_initx.sites import Site

# Chains of fewer weights differ by less than chance between methods (benchmarks/trainability.py).
DEEP = 5
# Beyond, units of a saturating activation are switches, through which little is learnt.
_SATURATED = 2.0
# Of less even ones (elu, selu) the twins part too slowly: `edge` trains better.
_EVEN = 0.15


def auto(sites: Sites) -> dict[int, Choice]:
    """Deep plain chains by what their activation allows, ends of residual branches, everything else.

    | where | method |
    | --- | --- |
    | chains of 5 weights or more, an activation with an even part (relu, gelu, silu, softplus) | `mirrored` |
    | chains of 5 or more, a smooth one through zero (tanh, selu, elu) | `edge` |
    | chains of 5 or more, sigmoid-like | `gpn` |
    | the end of a residual branch without a normalization | `residual` |
    | anything else | exact gain, scaled to variance 1 |
    """
    return chained(sites, _link, _outside)


def _link(site: Site) -> Link | None:
    if site.depth < DEEP:
        return None
    mirrored, edge = mirrored_link(site), edge_link(site)
    if mirrored is not None and evenness(site.activation, mirrored.variance) >= _EVEN:
        return mirrored
    if edge is not None and edge.variance <= _SATURATED:
        return edge
    return mirrored or gpn_link(site) or shaped_link(site)


def _outside(site: Site) -> Choice:
    if "residual_end" in site.roles and not site.normalized:
        return at_the_end(site)
    if site.normalized:
        return scaled(site, "a normalization follows: the scale matters for the rate of learning only")
    return scaled(site)
