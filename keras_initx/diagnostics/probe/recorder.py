"""`GradientRecorder`: an optimizer that reduces gradients instead of applying them."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_initx.diagnostics.probe import reductions


class GradientRecorder(keras.optimizers.Optimizer):
    """An optimizer that stores a few numbers on each gradient, and changes no weight.

    Args:
        variables: The trainable variables.
        taps: The indices of variables whose gradient is reduced already: see `Probe`.
        scale: The factor that the loss was multiplied by.
        details: Whether to store a histogram of each gradient too.
        keep: Whether to keep the gradients themselves.

    Attributes:
        measures: Whether to reduce gradients; if not, they are only kept.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        taps: set[int],
        scale: float,
        details: bool,
        keep: bool = False,
    ) -> None:
        super().__init__(learning_rate=1.0, name="recorder")
        self.measures = True
        self._taps, self._scale, self._details, self._keep = taps, scale, details, keep
        self.build(variables)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create a small variable for the numbers of each gradient."""
        super().build(variables)
        plain, detailed = len(reductions.GRADIENT), len(reductions.GRADIENT) + 2 + reductions.BINS
        sizes = [detailed if self._details and n not in self._taps else plain for n in range(len(variables))]
        self.reduced = [
            self.add_variable((size,), initializer="zeros", dtype="float32", name="kept") for size in sizes
        ]
        self.kept = {
            n: self.add_variable(tuple(v.shape), initializer="zeros", dtype="float32", name="gradient")
            for n, v in enumerate(variables)
            if self._keep and n not in self._taps
        }

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Store the numbers of a gradient in place of an update."""
        # Some backends pass their own variable here, so look it up by index.
        number = self._get_variable_index(variable)
        if number not in self._taps:
            dense = ops.cast(_dense(gradient, variable), "float32") / self._scale
            if self._keep:
                self.assign(self.kept[number], dense)
            if not self.measures:
                return
            gradient = reductions.gradient(dense)
            if self._details:
                gradient = ops.concatenate([gradient, reductions.histogram(dense)])
        self.assign(self.reduced[number], gradient)


def _dense(gradient: Any, variable: Any) -> Any:
    """Return a gradient as one tensor. The gradient of a look-up table arrives in pieces."""
    # This class of TensorFlow is recognized by its name, since this package imports no backend. A dense
    # gradient is not added to zeros: TensorFlow's optimizer of graphs breaks that sum for kernels of width 1.
    if type(gradient).__name__ != "IndexedSlices":
        return gradient
    return ops.add(ops.zeros(variable.shape, dtype=gradient.dtype), gradient)
