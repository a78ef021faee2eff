"""`orthogonal`: an orthogonal kernel times the gain of the activation that the graph shows."""

from keras_initx.initializers import OrthogonalAuto
from keras_initx.model_init.methods.choice import Choice, Contexts


def orthogonal(contexts: Contexts) -> dict[int, Choice]:
    """Draw W = sqrt(gain) Q, Q orthogonal, with gain = 1 / E[phi(z)^2] of the effective activation phi.

    References: Saxe et al. 2014 (arXiv 1312.6120), section 3.
    """
    reason = "orthogonal, by the gain of the activation that its result meets"
    return {
        number: Choice("orthogonal", OrthogonalAuto(activation=context.activation), reason, scales=False)
        for number, context in contexts.items()
    }
