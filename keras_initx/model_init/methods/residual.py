"""`residual`: the ends of residual branches are scaled down, so that depth does not grow their sum."""

from dataclasses import replace

from keras_initx._graph import WeightContext
from keras_initx.errors import InitxError
from keras_initx.model_init.methods.choice import Choice, Contexts, scaled


def residual(sites: Contexts) -> dict[int, Choice]:
    """Each residual branch ends with a kernel scaled by 1 / sqrt(R), R the number of residual sums.

    The branches then add up to the variance of one, however many there are. R is twice the number of
    blocks in a transformer.

    Raises:
        InitxError: A model without a residual sum that ends in a kernel.

    References: Radford et al. 2019 (GPT-2), section 2.3.
    """
    return _ended(sites, "residual", lambda site: site.residuals)


def residual_per_layer(sites: Contexts) -> dict[int, Choice]:
    """The l-th residual branch ends with a kernel scaled by 1 / sqrt(l).

    Every sum then adds the same share of variance, 1 / l, to what the l - 1 before it made.

    Raises:
        InitxError: A model without a residual sum that ends in a kernel.

    References: De & Smith 2020 (arXiv 2002.10444), section 3, for the growth that this undoes.
    """
    return _ended(sites, "residual_per_layer", lambda site: site.residual_number)


def _ended(sites: Contexts, method: str, sums: object) -> dict[int, Choice]:
    if not any("residual_end" in site.roles for site in sites.values()):
        received = "no kernel whose result is added to a signal that went around it"
        remedy = "Use method='auto', or declare a layer's role: @keras_initx.role('residual_end')."
        raise InitxError("method", method, f"a model with residual sums; this one has {received}", remedy)
    return {number: at_the_end(site, method, sums) for number, site in sites.items()}


def at_the_end(site: WeightContext, method: str = "residual", sums: object = None) -> Choice:
    """The choice of a step that may end a residual branch, by the number of sums that `sums` tells."""
    if "residual_end" not in site.roles:
        return scaled(site)
    count = max(sums(site) if callable(sums) else site.residuals, 1)
    factor = count**-0.5
    what = "the gain of its normalization" if site.normalized else "scaled by"
    reason = f"ends a residual branch: {what} 1 / sqrt({count}) = {factor:.3g}"
    return replace(scaled(site), method=method, factor=factor, reason=reason)
