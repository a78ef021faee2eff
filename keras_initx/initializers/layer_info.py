"""Read from a layer the path and the geometry of a weight, and the activation that follows it."""

from dataclasses import dataclass
from typing import Any

import keras

from keras_initx._theory import LINEAR
from keras_initx.initializers import fans
from keras_initx.initializers.fans import Geometry

UNKNOWN = Geometry()

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


@dataclass(frozen=True)
class LayerInfo:
    """The facts about a weight that its layer knows.

    Attributes:
        path: The path of the layer and the name of the weight, such as "encoder/dense_1/kernel"; "" outside
            any layer.
        geometry: The kind of the weight, which determines its fans.
        activation: The activation that the layer applies to the weight's result, as the layer stores it. The
            initializer reads it only on demand, so that `gain=` also works with an unreadable activation.
        unit_gain: Whether the gain is 1 under every rule, because nothing rescales the result: a look-up, a
            gate (which multiplies), the depthwise half of a separable convolution.
    """

    path: str = ""
    geometry: Geometry = UNKNOWN
    activation: Any = LINEAR
    unit_gain: bool = False

    @property
    def weight(self) -> str:
        """The weight's own name, the last part of the path."""
        return self.path.rpartition("/")[2]


NO_LAYER = LayerInfo()


def layer_info(layer: keras.Layer, weight: str | None) -> LayerInfo:
    """Return the `LayerInfo` of the weight that `layer` is adding under the name `weight`.

    For a layer of an unknown class the fans follow from the shape, as in Keras, and the activation is the
    layer's `activation` attribute, if any.
    """
    weight = weight or ""
    path = f"{layer.path or layer.name}/{weight}"
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Embedding):
        return _embedding(layer, weight, path)
    if weight == "bias" and _gates(layer) == 4:
        return LayerInfo(path, Geometry("forget_bias", gates=4), activation)
    if not weight.endswith("kernel"):
        return LayerInfo(path, Geometry(), activation)
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, outputs = fans.einsum_axes(layer.equation)
        return LayerInfo(path, Geometry("einsum", input_axes=inputs, output_axes=outputs), activation)
    if isinstance(layer, _SEPARABLE) and weight == "depthwise_kernel":
        return LayerInfo(path, Geometry("depthwise", strides=_sizes(layer.strides)), LINEAR, unit_gain=True)
    if isinstance(layer, _DEPTHWISE):
        return LayerInfo(path, Geometry("depthwise", strides=_sizes(layer.strides)), activation)
    if isinstance(layer, _TRANSPOSED):
        return LayerInfo(path, Geometry("transposed_convolution", strides=_sizes(layer.strides)), activation)
    if isinstance(layer, _CONVOLUTIONS):
        causal = layer.padding == "causal"
        geometry = Geometry("convolution", layer.groups, _sizes(layer.strides), causal=causal)
        return LayerInfo(path, geometry, activation)
    if isinstance(layer, keras.layers.Dense):
        return LayerInfo(path, Geometry("dense"), activation)
    gates = _gates(layer)
    if gates > 1:
        # In a convolutional cell only the input kernel has strides, not the recurrent kernel.
        strides = _sizes(getattr(layer, "strides", 1)) if weight == "kernel" else (1,)
        return LayerInfo(
            path, Geometry("fused_gates", gates=gates, strides=strides), activation, unit_gain=True
        )
    return LayerInfo(path, Geometry(), activation)


def _embedding(layer: keras.layers.Embedding, weight: str, path: str) -> LayerInfo:
    if weight != "embeddings":
        # The untied output projection of a ReversibleEmbedding and a LoRA factor are ordinary matrices.
        return LayerInfo(path, Geometry("dense"), LINEAR)
    # Only ReversibleEmbedding can be tied. Older versions of Keras lack the class, so ask for the attribute.
    kind = "tied_lookup" if getattr(layer, "tie_weights", False) else "lookup"
    return LayerInfo(path, Geometry(kind), LINEAR, unit_gain=True)


def _gates(layer: keras.Layer) -> int:
    """Return the number of gates that a recurrent cell fuses into one kernel; 1 for every other layer."""
    if isinstance(layer, keras.layers.LSTMCell):
        return 4
    if isinstance(layer, keras.layers.GRUCell):
        return 3
    # Keras exports the ConvLSTM layers but not their cell. Recognize the cell by its attributes: filters and
    # a rank, as a convolution, and a recurrent activation, which only gated cells have.
    convolutional = hasattr(layer, "filters") and hasattr(layer, "rank")
    return 4 if convolutional and hasattr(layer, "recurrent_activation") else 1


def _sizes(strides: int | tuple[int, ...]) -> tuple[int, ...]:
    return (strides,) if isinstance(strides, int) else tuple(strides)
