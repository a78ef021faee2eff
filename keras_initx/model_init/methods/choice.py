"""The decision of a method for one weight, and how decisions combine along a plain chain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from keras_initx._graph import WeightContext
from keras_initx.initializers import Auto, LayerAware, OrthogonalAuto

Contexts = Mapping[int, WeightContext]


@dataclass(frozen=True)
class ChainRule:
    """The shift and scale that the weights around an activation of a chain give it.

    Attributes:
        variance: The variance of the activation's input, before `offset`.
        offset: The mean of the activation's input, added by the bias of the weight before it.
        shift: The constant that the weight after it adds to the activation's output; None subtracts the
            measured mean of that output.
        mirrored: Whether the activation's units come in pairs of opposite kernels.
    """

    variance: float = 1.0
    offset: float = 0.0
    shift: float | None = 0.0
    mirrored: bool = False


# Outside of chains: variance 1, no bias, no pairs.
_NO_RULE = ChainRule()


@dataclass(frozen=True)
class Choice:
    """How one weight is drawn and scaled.

    Attributes:
        method: The method that decided.
        initializer: Draws the kernel, or each half of a mirrored one.
        reason: The reason, for the plan.
        scales: Whether the weight is scaled to `target`; if not, it stays as drawn.
        before: The rule of the activation that the weight reads from.
        after: The rule of the activation that its result meets.
        factor: A last factor on the scaled kernel, such as 1 / sqrt(residual sums).
        spans: Whether the weight spreads coordinates over the periods of a periodic activation. It is then
            drawn for inputs of root mean square 1, and only scaled down, for larger ones.
    """

    method: str
    initializer: LayerAware
    reason: str = ""
    scales: bool = True
    before: ChainRule = _NO_RULE
    after: ChainRule = _NO_RULE
    factor: float = 1.0
    spans: bool = False

    @property
    def target(self) -> float | None:
        """The root mean square that the pre-activations are scaled to; None leaves the weight as drawn."""
        return self.after.variance**0.5 if self.scales else None


def variance_choice(context: WeightContext, reason: str = "") -> Choice:
    """Choose the exact gain of the effective activation, scaled to variance 1 on the weight's inputs."""
    # The pass rescales the kernel, so a known gain need not be computed. Uniform draws are several times
    # faster than normal ones.
    gain = {"gain": 1.0} if context.activation.function else {"activation": context.activation}
    return Choice("variance", Auto("uniform", **gain), reason or "scaled to variance 1 on its inputs")


def chain_choice(method: str, reason: str, after: ChainRule) -> Choice:
    """Choose an orthogonal kernel for the weight before an activation with the rule `after`."""
    return Choice(method, OrthogonalAuto(gain=1.0), reason, after=after)


def scale_scores(contexts: Contexts, choices: dict[int, Choice]) -> dict[int, Choice]:
    """Scale both sides of attention scores and of outputs that are products, so that they have variance 1."""
    return {number: _for_scores(choice, contexts[number]) for number, choice in choices.items()}


def _for_scores(choice: Choice, context: WeightContext) -> Choice:
    factor = context.score_factor
    if factor == 1 or not choice.scales:
        return choice
    reason = f"its attention does not scale the scores: by {factor:.3g}, so that they have variance 1"
    if not {"query", "key"}.intersection(context.roles):
        reason = f"the output is its product with another signal: by {factor:.3g}, so that it has variance 1"
    return replace(choice, factor=choice.factor * factor, reason=reason)


def share_sums(contexts: Contexts, choices: dict[int, Choice]) -> dict[int, Choice]:
    """Scale results that are added up by 1 / sqrt(their number): their sum has the variance of one."""
    return {number: _for_sum(choice, contexts[number]) for number, choice in choices.items()}


def _for_sum(choice: Choice, context: WeightContext) -> Choice:
    if context.addends == 1 or not choice.scales or context.normalized:
        return choice
    factor = context.addends**-0.5
    reason = f"{choice.reason}; one of {context.addends} results that are added up: by {factor:.3g}"
    return replace(choice, factor=choice.factor * factor, reason=reason)


def out_of_scope(method: str) -> Callable[[WeightContext], Choice]:
    """Return the choice for weights that a method for chains does not cover."""
    return lambda context: variance_choice(
        context, f"outside the scope of {method}: scaled to variance 1 on its inputs"
    )


def choose_along_chains(
    contexts: Contexts,
    choice_before: Callable[[WeightContext], Choice | None],
    otherwise: Callable[[WeightContext], Choice],
) -> dict[int, Choice]:
    """Choose every weight of a model by the rules of the activations before and after it.

    A weight gets its target and offset from the activation after it, and its shift from the activation
    before it. A rule holds only if both weights around the activation are drawn.

    Args:
        contexts: The weighted steps.
        choice_before: Returns the choice for the weight before an activation, with the rule of the
            activation as its `after`; None if the method does not cover that activation.
        otherwise: Returns the choice for a weight without a rule on either side.
    """
    following = {context.previous: context for context in contexts.values() if context.previous is not None}
    choices_before = {
        number: choice_before(_with_next(context, following[number]))
        for number, context in contexts.items()
        if number in following and context.drawn and following[number].drawn
    }
    choices = {}
    for number, context in contexts.items():
        choice = choices_before.get(number)
        previous = None if context.previous is None else choices_before.get(context.previous)
        if choice is None and previous is None:
            choice = otherwise(context)
        elif choice is None:
            assert previous is not None
            choice = replace(previous, before=previous.after, after=_NO_RULE)
        elif previous is not None:
            choice = replace(choice, before=previous.after)
        choices[number] = choice
    return choices


def _with_next(context: WeightContext, following: WeightContext) -> WeightContext:
    """Return the context as a rule needs it: the weight after the activation must follow the rule, too."""
    pairable = following.direct and context.pairable and following.pairable
    return replace(context, pairable=pairable, summing=following.direct and following.summing)
