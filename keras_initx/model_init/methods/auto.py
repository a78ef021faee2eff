"""`auto`: the method by the place of each weight, with its reason."""

from dataclasses import replace

from keras_initx._graph import WeightContext
from keras_initx._theory import evenness
from keras_initx.initializers import Auto
from keras_initx.model_init.methods.choice import ChainRule, Choice, Contexts, choose_along_chains, scaled
from keras_initx.model_init.methods.edge import edge_link
from keras_initx.model_init.methods.gpn import gpn_link
from keras_initx.model_init.methods.mirrored import mirrored_link
from keras_initx.model_init.methods.residual import at_the_end
from keras_initx.model_init.methods.shaped import shaped_link

# Chains of fewer weights differ by less than chance between methods (benchmarks/trainability.py: dense ones
# of 5 gain a little already, convolutions of 5 lose a little, of 20 gain a little).
DEEP, DEEP_CONVOLUTIONS = 5, 10
# Up to here kernels over the whole window train better than orthogonal ones at its centre, which alone keep
# the signal in deeper ones. Measured at 20 and 50.
_CENTRED = 40
# Beyond, units of a saturating activation are switches, through which little is learnt.
_SATURATED = 2.0
# Of less even ones (elu, selu) the twins part too slowly: `edge` trains better.
_EVEN = 0.15


def auto(sites: Contexts) -> dict[int, Choice]:
    """Deep plain chains by what their activation allows, ends of residual branches, everything else.

    | where | method |
    | --- | --- |
    | deep chains, an activation with an even part (relu, gelu, silu, mish, softplus) | `mirrored` |
    | deep chains, a smooth one through zero (tanh, selu, elu, softsign) | `edge` |
    | deep chains, sigmoid-like | `gpn` |
    | the end of a residual branch without a normalization | `residual` |
    | anything else | exact gain, scaled to variance 1 |

    Deep are chains of 5 weights or more, of convolutions 10. In convolutions of fewer than 40 the kernels
    fill the window; in deeper ones they are delta-orthogonal, and with `gpn`, whose bias the border would
    see without what it balances.
    """
    choices = choose_along_chains(sites, _link, _outside)
    return {number: _spread(sites[number], choice) for number, choice in choices.items()}


def _link(site: WeightContext) -> ChainRule | None:
    if site.depth < (DEEP_CONVOLUTIONS if site.convolves else DEEP):
        return None
    mirrored, edge = mirrored_link(site), edge_link(site)
    if mirrored is not None and evenness(site.activation, mirrored.variance) >= _EVEN:
        return mirrored
    if edge is not None and edge.variance <= _SATURATED:
        return edge
    return mirrored or gpn_link(site) or shaped_link(site)


def _spread(site: WeightContext, choice: Choice) -> Choice:
    if not site.convolves or site.depth >= _CENTRED or choice.method not in ("mirrored", "edge"):
        return choice
    return replace(choice, initializer=Auto("uniform", gain=1.0))


def _outside(site: WeightContext) -> Choice:
    if "residual_end" in site.roles and not site.normalized:
        return at_the_end(site)
    if site.normalized:
        return scaled(site, "a normalization follows: the scale matters for the rate of learning only")
    return scaled(site)
