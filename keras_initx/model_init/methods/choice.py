"""What a method decides for a weight, and how the two ends of a chain's link come together in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from keras_initx._graph import WeightContext
from keras_initx.initializers import Auto, LayerAware, OrthogonalAuto

Contexts = Mapping[int, WeightContext]


@dataclass(frozen=True)
class Choice:
    """How the kernel of one weighted step is drawn and scaled.

    Attributes:
        method: The method that decided.
        initializer: Draws the kernel, or each half of a mirrored one.
        target: The root mean square that the pre-activations are scaled to; None leaves them as drawn.
        shift: What the bias adds to each input, through the kernel: bias = shift x (column sums). None
            takes minus the mean of the inputs.
        offset: What the bias adds after that.
        mirror_in, mirror_out: Whether the inputs, or the outputs, come in pairs of opposite kernels.
        factor: What the scaled kernel is multiplied with in the end.
        reason: Why, in words.
    """

    method: str
    initializer: LayerAware
    target: float | None = 1.0
    shift: float | None = 0.0
    offset: float = 0.0
    mirror_in: bool = False
    mirror_out: bool = False
    factor: float = 1.0
    reason: str = ""


@dataclass(frozen=True)
class ChainRule:
    """What a method makes of one activation of a chain, and of the weights before and after it.

    Attributes:
        method: The method.
        variance: The variance of the activation's input, before `offset`.
        offset: The mean of the activation's input.
        shift: What centres the activation's output, or lifts it; None measures its mean.
        mirrored: Whether the units before it come in pairs.
        reason: Why, in words.
    """

    method: str
    variance: float
    offset: float = 0.0
    shift: float | None = 0.0
    mirrored: bool = False
    reason: str = ""


def scaled(site: WeightContext, reason: str = "") -> Choice:
    """The exact gain of the effective activation, scaled to variance 1 where it stands."""
    # Only the variance counts here, and uniform values are drawn several times faster.
    of = {"gain": 1.0} if site.activation.function else {"activation": site.activation}
    return Choice(
        "variance", Auto("uniform", **of), reason=reason or "scaled to variance 1 on what it receives"
    )


def _with_next(site: WeightContext, following: WeightContext) -> WeightContext:
    """A site as a link sees it: what the layer after the activation can do with it is its own affair too."""
    direct = following.direct
    pairable = direct and site.pairable and following.pairable
    return replace(site, pairable=pairable, summing=direct and following.summing)


def out_of_scope(method: str) -> Callable[[WeightContext], Choice]:
    """The choice for steps that a method for chains has nothing to say to."""
    return lambda site: scaled(site, f"out of reach of {method}: scaled to variance 1 on what it receives")


def choose_along_chains(
    sites: Contexts,
    link_of: Callable[[WeightContext], ChainRule | None],
    other: Callable[[WeightContext], Choice],
) -> dict[int, Choice]:
    """Choices from links: a weight's target from the activation after it, its bias from the one before.

    Args:
        sites: The weighted steps.
        link_of: The link after a step; None where the method has nothing to say.
        other: The choice for steps at which no link ends or begins.
    """
    following = {site.previous: site for site in sites.values() if site.previous is not None}
    links = {
        number: link_of(_with_next(site, following[number]))
        for number, site in sites.items()
        if number in following and site.drawn and following[number].drawn
    }
    choices = {}
    for number, site in sites.items():
        after = links.get(number)
        before = None if site.previous is None else links.get(site.previous)
        if after is None and before is None:
            choices[number] = other(site)
            continue
        link = after or before
        assert link is not None
        choice = Choice(link.method, OrthogonalAuto(gain=1.0), reason=link.reason)
        if after is not None:
            choice = replace(
                choice, target=after.variance**0.5, offset=after.offset, mirror_out=after.mirrored
            )
        if before is not None:
            choice = replace(choice, shift=before.shift, mirror_in=before.mirrored)
        choices[number] = choice
    return choices
