"""Analytic gains: `variance`, `he_auto` and `xavier_auto` for the activation that the graph shows."""

from keras_initx._graph import WeightContext
from keras_initx.initializers import Auto, GainScaled, HeAuto, XavierAuto
from keras_initx.model_init.methods.choice import Choice, Contexts


def variance(sites: Contexts) -> dict[int, Choice]:
    """Var[w] = gain / fan_in with the exact gain 1 / E[phi(z)^2] of the effective activation phi.

    References: He et al. 2015 (arXiv 1502.01852), section 2.2; Bingham & Miikkulainen 2021
    (arXiv 2109.08958), section 3.
    """
    return {number: _analytic("variance", Auto, site) for number, site in sites.items()}


def he_auto(sites: Contexts) -> dict[int, Choice]:
    """The initializer `he_auto` with the effective activation in place of the layer's own."""
    return {number: _analytic("he_auto", HeAuto, site) for number, site in sites.items()}


def xavier_auto(sites: Contexts) -> dict[int, Choice]:
    """The initializer `xavier_auto` with the effective activation in place of the layer's own."""
    return {number: _analytic("xavier_auto", XavierAuto, site) for number, site in sites.items()}


def _analytic(method: str, rule: type[GainScaled], site: WeightContext) -> Choice:
    reason = f"the gain of {site.activation.name}, which its result meets"
    return Choice(method, rule(activation=site.activation), target=None, reason=reason)
