"""The choices for weights around periodic activations, such as sin(30 z)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_initx._graph import Graph, WeightContext
from keras_initx._theory import in_natural_units, natural_std, period, siren_variance
from keras_initx._weights import LARGEST_SCALE, WeightIndex, declared
from keras_initx.initializers import Seeded
from keras_initx.model_init.methods import Choice, Contexts, choose, variance_choice
from keras_initx.model_init.multipliers import scale_on_inputs

# The methods whose first weight may spread coordinates over several periods: the others promise a variance.
_SPANNING = ("variance", "edge")
# Shorter chains follow SIREN's own rule, whose layers come to rest at u ~ N(0, 0.8). Each layer grows squared
# differences of the inputs by chi = 1.2; longer chains start at the edge of chaos, where chi is 1.
_LONG = 10
# Outputs need not start smaller than this; SIREN's have 1 / w0 = 1/30.
_SMALLEST_OUTPUT = 0.03
# A first weight that gives phases of this many times the size of the rule's was meant to.
_DELIBERATE = 4.0


def choose_by_period(method: str, contexts: Contexts) -> dict[int, Choice]:
    """Return the choices of a method, with variances in units of the period of each activation.

    A method sees sin(w0 z) as sin(u), and its standard deviation of u is divided by w0. The first weight
    spreads the inputs over several periods (`spanning_choice`), and the output starts small: it is a sum of
    waves of high frequency, which training would have to remove first.

    References: Sitzmann et al. 2020 (SIREN, arXiv 2006.09661), section 3.2 and appendix 1.
    """
    periodic = [n for n, context in contexts.items() if period(context.activation) is not None]
    if not periodic:
        return choose(method, contexts)
    units = {number: natural_std(context.activation) for number, context in contexts.items()}
    in_units = {n: replace(c, activation=in_natural_units(c.activation)) for n, c in contexts.items()}
    choices = choose(method, in_units)
    if method == "auto":
        short = [n for n in periodic if choices[n].method in _SPANNING and contexts[n].depth < _LONG]
        before = {n: sum(contexts[n].depends_on >> other & 1 for other in periodic) for n in short}
        choices.update({n: _as_siren(in_units[n], layers) for n, layers in before.items()})
    if not any(choice.scales for choice in choices.values()):
        # Analytic gains depend on the activation itself.
        return choose(method, contexts)
    first = {
        n: units[n]
        for n, choice in choices.items()
        if contexts[n].reads_inputs and choice.scales and choice.method in _SPANNING
    }
    for number, context in contexts.items():
        if units[number] != 1:
            scaled = _scaled(choices[number], context, units[number])
            choices[number] = replace(scaled, spans=number in first)
        elif "head" in context.roles:
            read = [std for n, std in first.items() if context.depends_on >> n & 1]
            choices[number] = output_of_waves(choices[number], min(read, default=1.0))
    return choices


def _as_siren(context: WeightContext, layers: int) -> Choice:
    """Choose the variance that SIREN's rule gives to a weight after `layers` periodic layers."""
    if not layers:
        return variance_choice(context)
    variance = siren_variance(context.activation, layers)
    choice = variance_choice(
        context, f"scaled to variance {variance:.3g} on its inputs, as SIREN's rule does"
    )
    return replace(choice, after=replace(choice.after, variance=variance))


def _scaled(choice: Choice, context: WeightContext, std: float) -> Choice:
    """Return a choice for pre-activations in units of 1 with units of `std` instead."""
    if context.normalized:
        reason = f"the gain of its normalization is {std:.3g}, for the period of its activation"
        return replace(choice, factor=choice.factor * std, reason=reason)
    reason = f"{choice.reason}, in units of {std:.3g} for the period of its activation"
    after = replace(choice.after, variance=choice.after.variance * std**2, offset=choice.after.offset * std)
    return replace(choice, after=after, reason=reason)


def output_of_waves(choice: Choice, std: float) -> Choice:
    """Return the choice for an output that sums waves that have this natural standard deviation."""
    factor = max(std, _SMALLEST_OUTPUT)
    if factor >= 1:
        return choice
    reason = f"sums waves of high frequency, so it starts small: {factor:.3g}"
    return replace(choice, factor=choice.factor * factor, reason=reason)


def spanning_choice(choice: Choice, fan_in: float) -> Choice:
    """Return the choice for the weight between coordinates and a periodic activation.

    w ~ U(-1 / n, 1 / n) for n coordinates within [-1, 1] gives w0 z a standard deviation of w0 / (3 sqrt(n)):
    7 for n = 2 and w0 = 30. The unchanged choice holds if it is wider: for w0 below sqrt(3 n).
    """
    variance = 1 / (3 * fan_in)
    if variance <= choice.after.variance:
        return replace(choice, spans=False)
    limit = 1 / fan_in
    reason = f"U({-limit:.3g}, {limit:.3g}): inputs within [-1, 1] span the periods of its activation"
    after = replace(choice.after, variance=variance)
    return replace(choice, initializer=Limited(limit), after=after, reason=reason)


def frequencies(
    graph: Graph, kernels: Sequence[tuple[WeightContext, keras.Variable]], index: WeightIndex
) -> dict[int, float]:
    """Return 1 / w0 for each weight with the frequencies of a factor w0, by the id of the variable.

    If a later weight declares the same initializer and is as large, the size is a habit and not a choice.
    """

    def scale(context: WeightContext, variable: keras.Variable) -> float:
        return scale_on_inputs(graph, graph.steps[context.step], variable, index.fans(variable).fan_in)

    found = {
        id(v): (v, std)
        for context, v in kernels
        if _may_be_frequency(context)
        and (std := _wave_std(context, scale(context, v), index.fans(v).fan_in)) is not None
    }
    later = [(context, v) for context, v in kernels if found and not context.reads_inputs]
    habits = {declared(v, index) for context, v in later if scale(context, v) > LARGEST_SCALE}
    return {number: std for number, (v, std) in found.items() if declared(v, index) not in habits}


def _may_be_frequency(context: WeightContext) -> bool:
    """Return whether nothing but the scale of a weight sets the phase of a periodic activation."""
    return context.reads_inputs and not context.normalized and period(context.activation) is not None


def _wave_std(context: WeightContext, scale: float, fan_in: float) -> float | None:
    """Return 1 / w0 for a weight with the frequencies of a factor w0, larger than any scheme's; else None.

    Examples are SIREN with the factor 30 inside its first kernel, random Fourier features with a trainable
    kernel, and the filters of a multiplicative filter network. w0 / sqrt(3 n) is the standard deviation of
    the phase that U(-w0 / n, w0 / n) gives n inputs of root mean square 1.

    Args:
        context: The context of the weight, before a periodic activation.
        scale: The root mean square of its output for inputs of root mean square 1.
        fan_in: The number n of its inputs.

    References: Tancik et al. 2020 (arXiv 2006.10739) for Fourier features; Fathony et al. 2021 (MFN, ICLR).
    """
    phase = scale / natural_std(context.activation)
    rule = max((3 * fan_in) ** -0.5 / natural_std(context.activation), 1.0)
    if not (scale > LARGEST_SCALE and phase > math.pi and phase >= _DELIBERATE * rule):
        return None
    return (3 * fan_in) ** -0.5 / phase


class Limited(Seeded):
    """Uniform values within +- a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        return keras.random.uniform(shape, -self.limit, self.limit, dtype=dtype, seed=self.seed)
