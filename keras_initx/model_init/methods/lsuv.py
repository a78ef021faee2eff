"""`lsuv`: orthogonal kernels scaled to variance 1 on the user's data."""

from typing import Any

import keras

from keras_initx._graph import WeightContext
from keras_initx.initializers import LayerAware, OrthogonalAuto, Seeded
from keras_initx.model_init.methods.choice import Choice, Contexts


def lsuv(contexts: Contexts) -> dict[int, Choice]:
    """Choose layer-sequential unit variance: pre-activations have variance 1 on a batch of data.

    Kernels of convolutions are orthonormal over their whole window, as published.

    References: Mishkin & Matas 2016 (arXiv 1511.06422), algorithm 1.
    """
    reason = "orthogonal, scaled to variance 1 on the data"
    return {number: Choice("lsuv", _initializer(context), reason) for number, context in contexts.items()}


def _initializer(context: WeightContext) -> LayerAware:
    # Keras's initializer cuts kernels of transposed, separable and recurrent convolutions at the wrong axis.
    return WholeWindow() if context.convolves and context.summing else OrthogonalAuto(gain=1.0)


class WholeWindow(Seeded):
    """Keras's orthogonal kernel: the matrix from all inputs of the window to the outputs."""

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        return keras.initializers.Orthogonal(seed=self.seed)(shape, dtype=dtype)
