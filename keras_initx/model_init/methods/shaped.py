"""`shaped`: the deep kernel shaping transform of the activations, absorbed into kernels and biases."""

from keras_initx._graph import WeightContext
from keras_initx._theory import solve_dks
from keras_initx.errors import InitxError
from keras_initx.model_init.methods.choice import (
    ChainRule,
    Choice,
    Contexts,
    chain_choice,
    choose_along_chains,
    out_of_scope,
)


def shaped(contexts: Contexts) -> dict[int, Choice]:
    """Make the network compute as one with activations c (phi(a x + b) + d) and orthogonal kernels.

    The transform has mean 0, variance 1 and slope 1 in both directions, and C'(1) = 1.5^(1/L) for a chain
    of L weights: two inputs stay apart, and close inputs stay close. Kernels carry a of the activation after
    them and c of the activation before them, biases b + d x (column sums). Convolutions are
    delta-orthogonal: only the centre of the window is not zero, so that no border sees the padding. Gated
    and recurrent layers, layers without a bias and activations without a solution are out of scope: they are
    scaled to variance 1.

    References: Martens et al. 2021 (arXiv 2110.01765), sections 6 and 9, by weights instead of activations.
    """
    return choose_along_chains(contexts, shaped_choice, out_of_scope("shaped"))


def shaped_choice(context: WeightContext) -> Choice | None:
    """Return the choice for the weight before an activation; None without a solution or without biases."""
    if not context.biased or not context.summing:
        return None
    try:
        transform = solve_dks(context.activation, context.depth)
    except InitxError:
        return None
    reason = f"chain of {context.depth} with {context.activation.name}: shaped to keep two inputs apart"
    rule = ChainRule(transform.input_scale**2, transform.input_shift, transform.output_shift)
    return chain_choice("shaped", reason, rule)
