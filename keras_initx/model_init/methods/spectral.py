"""`spectral`: kernels whose largest singular value is sqrt(fan_out / fan_in)."""

import math
from typing import Any

import keras

from keras_initx.initializers import Seeded, layout_of
from keras_initx.model_init.methods.choice import Choice, Contexts


def spectral(contexts: Contexts) -> dict[int, Choice]:
    """Draw kernels with ||W|| = sqrt(fan_out / fan_in), which learn features at any width.

    A Gaussian kernel of n inputs and m outputs and standard deviation s has the largest singular value
    s (sqrt(n) + sqrt(m)), so s = sqrt(m / n) / (sqrt(n) + sqrt(m)).

    References: Yang, Simon & Bernstein 2023 (arXiv 2310.17813), condition 1 and section 3.
    """
    reason = "largest singular value sqrt(fan_out / fan_in)"
    return {number: Choice("spectral", Spectral(), reason, scales=False) for number in contexts}


class Spectral(Seeded):
    """Gaussian entries whose matrix has the largest singular value sqrt(m / n), n inputs to m outputs."""

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        layout = layout_of(self._layer_info.geometry, shape)
        window = math.prod(shape) / (layout.count * layout.rows * layout.columns)
        inputs, outputs = layout.rows * window, layout.columns
        if self._layer_info.geometry.kind == "lookup":
            inputs = outputs = 1
        std = math.sqrt(outputs / inputs) / (math.sqrt(inputs) + math.sqrt(outputs))
        return keras.random.normal(shape, stddev=std, dtype=dtype, seed=self.seed)
