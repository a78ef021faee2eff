"""Orthogonal kernels for every kind of weight: one matrix per gate or group, at the centre of a window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from keras_initx._theory import Activation, kernel_gain
from keras_initx.initializers.base import PACKAGE, fold_in
from keras_initx.initializers.fans import Geometry
from keras_initx.initializers.gain_scaled import GainScaled, Scale
from keras_initx.initializers.haar import haar

_CONVOLUTIONAL = ("convolution", "depthwise", "transposed_convolution", "fused_gates")


@dataclass(frozen=True)
class Layout:
    """The matrices from inputs to outputs that make up a weight.

    Attributes:
        count: The number of matrices: groups, gates, heads or channels.
        rows, columns: The number of inputs and outputs of each matrix.
        taps: The number of window positions that contain the matrix, by axis; () without a window.
    """

    count: int
    rows: int
    columns: int
    taps: tuple[int, ...] = ()


def layout_of(geometry: Geometry, shape: Sequence[int]) -> Layout:
    """Return how a weight of this kind and shape divides into matrices."""
    if geometry.kind == "einsum":
        shared = set(range(len(shape))) - set(geometry.input_axes) - set(geometry.output_axes)
        sizes = (shared, geometry.input_axes, geometry.output_axes)
        count, rows, columns = (math.prod(shape[axis] for axis in axes) for axes in sizes)
        return Layout(count, rows, columns)
    if geometry.kind not in _CONVOLUTIONAL:
        # A vector is one column. Keras's Orthogonal reads an unknown weight in the same way.
        columns = shape[-1] if len(shape) > 1 else 1
        return Layout(1, math.prod(shape) // columns, columns)
    taps = (1,) * (len(shape) - 2)
    inputs, outputs = shape[-2:]
    if geometry.kind == "depthwise":
        return Layout(inputs, 1, outputs, taps)
    if geometry.kind == "transposed_convolution":
        strides = geometry.strides * (len(taps) if len(geometry.strides) == 1 else 1)
        # Each phase of the stride needs a tap: a single tap would leave zeros between the inputs.
        taps = tuple(min(stride, size) for stride, size in zip(strides, shape, strict=False))
        return Layout(1, outputs, inputs, taps)
    parts = geometry.gates if geometry.kind == "fused_gates" else geometry.groups
    return Layout(parts, inputs, outputs // parts, taps)


def assemble(matrices: Any, geometry: Geometry, shape: Sequence[int]) -> Any:
    """Return the weight that `matrices` (count, rows, columns) make up, in the order of `layout_of`."""
    if geometry.kind == "einsum":
        shared = [a for a in range(len(shape)) if a not in geometry.input_axes + geometry.output_axes]
        order = [*shared, *geometry.input_axes, *geometry.output_axes]
        tensor = ops.reshape(matrices, [shape[axis] for axis in order])
        return ops.transpose(tensor, [order.index(axis) for axis in range(len(shape))])
    if geometry.kind not in _CONVOLUTIONAL:
        return ops.reshape(matrices, shape)
    if geometry.kind == "transposed_convolution":
        matrices = ops.transpose(matrices, (0, 2, 1))
    if geometry.kind != "depthwise":
        # Groups and gates are adjacent along the outputs.
        matrices = ops.transpose(matrices, (1, 0, 2))
    taps = layout_of(geometry, shape).taps
    tensor = ops.reshape(matrices, (*(1 for _ in taps), *shape[-2:]))
    if math.prod(taps) > 1:
        tensor = ops.tile(tensor, (*taps, 1, 1))
    # The last position of a causal window is the present. A matrix at the centre would delay the signal.
    before = [(size - tap) // (1 if geometry.causal else 2) for size, tap in zip(shape, taps, strict=False)]
    after = [size - tap - b for size, tap, b in zip(shape, taps, before, strict=False)]
    return ops.pad(tensor, [*zip(before, after, strict=True), (0, 0), (0, 0)]) if taps else tensor


@keras.saving.register_keras_serializable(package=PACKAGE)
class OrthogonalAuto(GainScaled):
    """Draw an orthogonal kernel times the square root of the exact gain of the layer's activation.

    W = sqrt(gain) Q with gain = 1 / E[phi(z)^2] and z ~ N(0, 1), where W is the kernel, phi the activation
    of the layer and z its pre-activation (a linear layer has gain 1). Q maps the inputs of the layer to its
    outputs. Its columns are orthonormal if the layer narrows, its rows if it widens, and Q is uniform (Haar)
    over all such matrices. With gain 1, and in convolutions with stride 1 and "same" padding, no input
    grows; no input shrinks unless Q narrows, and no gradient shrinks unless Q widens. A stride omits whole
    positions, and a transposed convolution repeats them.

    | kind of weight | what is orthogonal |
    | --- | --- |
    | dense | the matrix |
    | LSTM, GRU (input and recurrent kernels) | each gate's matrix; gain 1 |
    | convolution of any rank | each group's matrix, at the centre of the window (causal: at its end) |
    | transposed convolution | the matrix from inputs to outputs, once for each phase of the stride |
    | depthwise convolution | each channel's vector of outputs, at the centre |
    | einsum, attention | the matrix from summed to new axes; one for each index of a shared axis |
    | embedding | the columns, scaled so that entries have variance 1: a look-up sums nothing |
    | anything else | as in Keras: (all axes but the last) x (the last) |

    Args:
        mode: None keeps the norm, as above. "fan_in" scales Q so that entries have the mean square
            gain / fan_in, which holds the variance of the pre-activations even if the layer widens;
            "fan_out" and "fan_avg" scale by the other fans.
        seed, activation, gain: As in `HeAuto`.

    Raises:
        InitxError: An argument is not allowed, or the activation has no gain.

    Example: a linear layer keeps the norm of its input.

    >>> x = keras.random.normal((5, 64), seed=1)
    >>> y = keras.layers.Dense(256, kernel_initializer="orthogonal_auto")(x)
    >>> bool(abs(keras.ops.norm(y) / keras.ops.norm(x) - 1) < 1e-5)
    True

    References: Saxe et al. 2014 (arXiv 1312.6120), section 3; Xiao et al. 2018 (arXiv 1806.05393),
    algorithm 1, for the delta-orthogonal kernel; Stewart 1980 and Mezzadri 2007 (arXiv math-ph/0609050),
    section 5, for the draw.
    """

    def _rule(self, activation: Activation) -> tuple[float, str]:
        return kernel_gain(activation), "norm"

    def scale(self, shape: Sequence[int]) -> Scale:
        """Return the gain, mode and fans for `shape`, with the root mean square of the entries as `std`.

        Example: 4 orthonormal rows of 16 entries.

        >>> OrthogonalAuto(gain=1.0).scale((4, 16)).std
        0.25
        """
        scale = super().scale(shape)
        if scale.mode != "norm" or 0 in shape:
            return scale
        norm = self._norm(shape)
        return replace(scale, std=math.sqrt(scale.gain * norm / math.prod(shape)))

    def _gain_and_mode(self) -> tuple[float, str, str]:
        gain, mode, name = super()._gain_and_mode()
        if self.mode is None:
            # A look-up multiplies nothing, so only the size of its entries matters.
            mode = "fan_in" if self._layer_info.geometry.kind.endswith("lookup") else "norm"
        return gain, mode, name

    def _norm(self, shape: Sequence[int]) -> int:
        """Return the sum of the squares of all entries before the gain: 1 for each orthonormal vector."""
        layout = layout_of(self._layer_info.geometry, shape)
        return layout.count * min(layout.rows, layout.columns) * math.prod(layout.taps)

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        geometry = self._layer_info.geometry
        layout = layout_of(geometry, shape)
        factor = self.scale(shape).std * math.sqrt(math.prod(shape) / self._norm(shape))
        matrices = haar(layout.count, layout.rows, layout.columns, self._seed_of, dtype)
        return assemble(matrices * factor, geometry, shape)

    def _seed_of(self, draw: int) -> Any:
        return fold_in(self.seed, str(draw)) if isinstance(self.seed, int) else self.seed
