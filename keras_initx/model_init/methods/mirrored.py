"""`mirrored`: units in pairs of opposite kernels, so that a chain starts as a linear map."""

from keras_initx._graph import WeightContext
from keras_initx._theory import evenness, odd_part
from keras_initx.model_init.methods.choice import (
    ChainRule,
    Choice,
    Contexts,
    chain_choice,
    choose_along_chains,
    out_of_scope,
)
from keras_initx.model_init.methods.edge import stable_variance

# Below this, the gradients of the two units of a pair are too similar for them ever to diverge.
_LEAST_EVEN = 0.001


def mirrored(contexts: Contexts) -> dict[int, Choice]:
    """Draw kernels w and -w for the two units of a pair, and rows v and -v for their outputs.

    The chain then computes with psi(z) = phi(z) - phi(-z), which is linear for ReLU, leaky ReLU, GELU, SiLU
    and softplus: orthogonal kernels keep every signal, every gradient and the angle between two inputs, at
    any depth and without a bias. If psi is not linear, pre-activations get the variance that `edge` would
    choose for psi. The units of a pair diverge in training only as far as phi is even, so odd activations
    are out of scope.

    References: Balduzzi et al. 2017 (arXiv 1702.08591), section 4.
    """
    return choose_along_chains(contexts, mirrored_choice, out_of_scope("mirrored"))


def mirrored_choice(context: WeightContext) -> Choice | None:
    """Return the choice for the weight before an activation; None if the activation is too close to odd."""
    psi = odd_part(context.activation) if context.pairable else None
    q = None if psi is None else stable_variance(psi, context.depth)
    if q is None or evenness(context.activation, q) < _LEAST_EVEN:
        return None
    reason = f"chain of {context.depth} with {context.activation.name}: opposite units make it odd at first"
    return chain_choice("mirrored", reason, ChainRule(variance=q, mirrored=True))
