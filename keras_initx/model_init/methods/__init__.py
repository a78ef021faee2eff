"""The methods of `initialize`, by name."""

from collections.abc import Callable

from keras_initx.model_init.methods.auto import auto
from keras_initx.model_init.methods.choice import Choice, Contexts, scale_scores, share_sums, variance_choice
from keras_initx.model_init.methods.edge import edge
from keras_initx.model_init.methods.gpn import gpn
from keras_initx.model_init.methods.lsuv import lsuv
from keras_initx.model_init.methods.mirrored import mirrored
from keras_initx.model_init.methods.orthogonal import orthogonal
from keras_initx.model_init.methods.residual import residual, residual_per_layer
from keras_initx.model_init.methods.shaped import shaped
from keras_initx.model_init.methods.spectral import spectral
from keras_initx.model_init.methods.variance import he_auto, variance, xavier_auto

METHODS: dict[str, Callable[[Contexts], dict[int, Choice]]] = {
    "auto": auto,
    "variance": variance,
    "he_auto": he_auto,
    "xavier_auto": xavier_auto,
    "orthogonal": orthogonal,
    "spectral": spectral,
    "lsuv": lsuv,
    "residual": residual,
    "residual_per_layer": residual_per_layer,
    "edge": edge,
    "gpn": gpn,
    "shaped": shaped,
    "mirrored": mirrored,
}


def choose(method: str, contexts: Contexts) -> dict[int, Choice]:
    """Return the choices of a method for all weights of a model."""
    return share_sums(contexts, scale_scores(contexts, METHODS[method](contexts)))


__all__ = ["METHODS", "Choice", "Contexts", "choose", "variance_choice"]
