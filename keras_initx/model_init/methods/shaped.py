"""`shaped`: the deep kernel shaping transform of the activations, absorbed into kernels and biases."""

from keras_initx._graph import WeightContext
from keras_initx._theory import solve_dks
from keras_initx.errors import InitxError
from keras_initx.model_init.methods.choice import (
    ChainRule,
    Choice,
    Contexts,
    choose_along_chains,
    out_of_scope,
)


def shaped(sites: Contexts) -> dict[int, Choice]:
    """The network computes as one with activations c (phi(a x + b) + d), whose kernels are orthogonal.

    The transform has mean 0, variance 1 and slope 1 in both, and C'(1) = 1.5^(1/L) for a chain of L: two
    inputs stay apart, and close ones stay close. Kernels carry a of the activation after them and c of the
    one before, biases b + d x (column sums). Convolutions are delta-orthogonal: only the centre of the
    window is not zero, so that no border sees the padding. Gated and recurrent layers, layers without a
    bias and activations without a solution are out of its reach, and scaled to variance 1.

    References: Martens et al. 2021 (arXiv 2110.01765), sections 6 and 9, by weights instead of activations.
    """
    return choose_along_chains(sites, shaped_link, out_of_scope("shaped"))


def shaped_link(site: WeightContext) -> ChainRule | None:
    """The link of a step whose activation has a solution, between layers with biases."""
    if not site.biased or not site.summing:
        return None
    try:
        found = solve_dks(site.activation, site.depth)
    except InitxError:
        return None
    reason = f"chain of {site.depth} with {site.activation.name}: shaped to keep two inputs apart"
    return ChainRule(
        "shaped", found.input_scale**2, offset=found.input_shift, shift=found.output_shift, reason=reason
    )
