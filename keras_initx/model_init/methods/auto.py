"""`auto`: choose the method of each weight by its context in the graph."""

from dataclasses import replace

from keras_initx._graph import WeightContext
from keras_initx._theory import evenness
from keras_initx.initializers import Auto
from keras_initx.model_init.methods.choice import Choice, Contexts, choose_along_chains, variance_choice
from keras_initx.model_init.methods.edge import edge_choice
from keras_initx.model_init.methods.gpn import gpn_choice
from keras_initx.model_init.methods.mirrored import mirrored_choice
from keras_initx.model_init.methods.residual import residual_end_choice
from keras_initx.model_init.methods.shaped import shaped_choice

# In shorter chains the methods differ by less than chance (benchmarks/trainability.py: dense chains of 5
# gain a little already, convolutions of 5 lose a little, convolutions of 20 gain a little).
DEEP, DEEP_CONVOLUTIONS = 5, 10
# Below this depth kernels that fill the window train better than delta-orthogonal ones. In deeper chains only
# delta-orthogonal kernels keep the signal. Measured at 20 and 50.
_CENTRED = 40
# Above this variance the units of a saturating activation are switches that pass little gradient.
_SATURATED = 2.0
# For less even activations (elu, selu) the two units of a pair diverge too slowly, and `edge` trains better.
_EVEN = 0.15


def auto(contexts: Contexts) -> dict[int, Choice]:
    """Choose by chain depth and activation, by residual branch, and by exact gain everywhere else.

    | where | method |
    | --- | --- |
    | deep chains, an activation with an even part (relu, gelu, silu, mish, softplus) | `mirrored` |
    | deep chains, a smooth activation through zero (tanh, selu, elu, softsign) | `edge` |
    | deep chains, a sigmoid-like activation | `gpn` |
    | the end of a residual branch without a normalization | `residual` |
    | anything else | exact gain, scaled to variance 1 |

    A chain is deep from 5 weights on, a chain of convolutions from 10 on. Kernels fill the window in chains
    of fewer than 40 convolutions. They are delta-orthogonal in deeper chains, and with `gpn`: its bias
    balances the mean of the inputs, which the zeros of the padding would lack at the border.
    """
    choices = choose_along_chains(contexts, _choice_before, _outside_of_chains)
    return {number: _fill_window(contexts[number], choice) for number, choice in choices.items()}


def _choice_before(context: WeightContext) -> Choice | None:
    if context.depth < (DEEP_CONVOLUTIONS if context.convolves else DEEP):
        return None
    mirrored, edge = mirrored_choice(context), edge_choice(context)
    if mirrored is not None and evenness(context.activation, mirrored.after.variance) >= _EVEN:
        return mirrored
    if edge is not None and edge.after.variance <= _SATURATED:
        return edge
    return mirrored or gpn_choice(context) or shaped_choice(context)


def _fill_window(context: WeightContext, choice: Choice) -> Choice:
    if not context.convolves or context.depth >= _CENTRED or choice.method not in ("mirrored", "edge"):
        return choice
    return replace(choice, initializer=Auto("uniform", gain=1.0))


def _outside_of_chains(context: WeightContext) -> Choice:
    if "residual_end" in context.roles and not context.normalized:
        return residual_end_choice(context)
    if context.normalized:
        return variance_choice(
            context, "a normalization follows: the scale only changes the effective learning rate"
        )
    return variance_choice(context)
