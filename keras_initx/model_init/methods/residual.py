"""`residual`: scale down the ends of residual branches, so that their sum does not grow with depth."""

from collections.abc import Callable
from dataclasses import replace

from keras_initx._graph import WeightContext
from keras_initx.errors import InitxError
from keras_initx.model_init.methods.choice import Choice, Contexts, variance_choice


def residual(contexts: Contexts) -> dict[int, Choice]:
    """Scale the last kernel of each residual branch by 1 / sqrt(R), where R is the number of residual sums.

    The branches then add up to the variance of one, however many there are. R is twice the number of
    blocks in a transformer.

    Raises:
        InitxError: If the model has no residual sum that ends in a kernel.

    References: Radford et al. 2019 (GPT-2), section 2.3.
    """
    return _choose(contexts, "residual", lambda context: context.residuals)


def residual_per_layer(contexts: Contexts) -> dict[int, Choice]:
    """Scale the last kernel of the l-th residual branch by 1 / sqrt(l).

    Every sum then adds the same share of variance, 1 / l, to the result of the l - 1 sums before it.

    Raises:
        InitxError: If the model has no residual sum that ends in a kernel.

    References: De & Smith 2020 (arXiv 2002.10444), section 3, for the growth that this undoes.
    """
    return _choose(contexts, "residual_per_layer", lambda context: context.residual_number)


def residual_end_choice(
    context: WeightContext,
    method: str = "residual",
    count_sums: Callable[[WeightContext], int] = lambda context: context.residuals,
) -> Choice:
    """Return the choice for a weight; scale it by 1 / sqrt(number of sums) if it ends a residual branch."""
    if "residual_end" not in context.roles:
        return variance_choice(context)
    count = max(count_sums(context), 1)
    factor = count**-0.5
    what = "the gain of its normalization is" if context.normalized else "scaled by"
    reason = f"ends a residual branch: {what} 1 / sqrt({count}) = {factor:.3g}"
    return replace(variance_choice(context), method=method, factor=factor, reason=reason)


def _choose(contexts: Contexts, method: str, count_sums: Callable[[WeightContext], int]) -> dict[int, Choice]:
    if not any("residual_end" in context.roles for context in contexts.values()):
        raise InitxError(
            "method",
            method,
            "a method that fits the model",
            "Use method='auto', or declare the role of a layer: @keras_initx.role('residual_end').",
            f"`method={method!r}` needs residual sums, but no kernel of the model ends a residual branch",
        )
    return {number: residual_end_choice(context, method, count_sums) for number, context in contexts.items()}
