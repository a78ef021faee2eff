"""`edge`: orthogonal kernels at the variance where neither signal nor gradient grows or shrinks."""

import math

from keras_initx._graph import WeightContext
from keras_initx._theory import Activation, edge_variance, stability
from keras_initx.model_init.methods.choice import (
    ChainRule,
    Choice,
    Contexts,
    chain_choice,
    choose_along_chains,
    out_of_scope,
)

# A chain with a larger growth is unstable; the rounding of functions in float32 stays below it.
_STABLE = 1.001
_BUDGETS = tuple(0.2 / 3**n for n in range(1, 12))


def edge(contexts: Contexts) -> dict[int, Choice]:
    """Scale pre-activations to the variance q nearest to 1 with (L - 1) |log10 chi(q)| <= 0.2.

    chi(q) = q E[phi'(z)^2] / E[phi(z)^2], z ~ N(0, q), is the factor by which a layer multiplies the mean
    square of the gradient while the forward variance is held at q; L is the depth of the chain.
    Pre-activations are scaled to variance 1 outside of chains, and for activations without such a q.

    References: Schoenholz et al. 2017 (arXiv 1611.01232), section 3; Pennington et al. 2017
    (arXiv 1711.04735), section 3, for small q and orthogonal kernels.
    """
    return choose_along_chains(contexts, edge_choice, out_of_scope("edge"))


def edge_choice(context: WeightContext) -> Choice | None:
    """Return the choice for the weight before an activation; None if it has no stable variance."""
    q = stable_variance(context.activation, context.depth)
    if q is None:
        return None
    reason = (
        f"chain of {context.depth} with {context.activation.name}: variance {q:.3g} keeps signal and gradient"
    )
    return chain_choice("edge", reason, ChainRule(variance=q))


def stable_variance(activation: Activation, depth: int) -> float | None:
    """Return the q of `edge`, made smaller where the variances of different samples would drift apart.

    They drift apart if Q' = d log E[phi(z)^2] / d log q is above 1: the theory describes the mean, but the
    samples of a finite network differ. Return None if no q keeps (L - 1) log10 Q' <= 0.2.
    """
    for budget in (0.2, *_BUDGETS):
        q = edge_variance(activation, depth, budget=budget)
        if q is None:
            return None
        growth = stability(activation, q)
        if growth <= _STABLE or (depth - 1) * math.log10(growth) <= 0.2:
            return q
    return None
