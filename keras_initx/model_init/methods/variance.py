"""Analytic gains: `variance`, `he_auto` and `xavier_auto` for the activation that the graph shows."""

from keras_initx._graph import WeightContext
from keras_initx.initializers import Auto, GainScaled, HeAuto, XavierAuto
from keras_initx.model_init.methods.choice import Choice, Contexts


def variance(contexts: Contexts) -> dict[int, Choice]:
    """Draw with Var[w] = gain / fan_in and the exact gain 1 / E[phi(z)^2] of the effective activation phi.

    References: He et al. 2015 (arXiv 1502.01852), section 2.2; Bingham & Miikkulainen 2021
    (arXiv 2109.08958), section 3.
    """
    return {number: _analytic("variance", Auto, context) for number, context in contexts.items()}


def he_auto(contexts: Contexts) -> dict[int, Choice]:
    """Draw as the initializer `he_auto`, with the effective activation in place of the layer's own."""
    return {number: _analytic("he_auto", HeAuto, context) for number, context in contexts.items()}


def xavier_auto(contexts: Contexts) -> dict[int, Choice]:
    """Draw as the initializer `xavier_auto`, with the effective activation in place of the layer's own."""
    return {number: _analytic("xavier_auto", XavierAuto, context) for number, context in contexts.items()}


def _analytic(method: str, rule: type[GainScaled], context: WeightContext) -> Choice:
    reason = f"the gain of {context.activation.name}, the activation that its result meets"
    return Choice(method, rule(activation=context.activation), reason, scales=False)
