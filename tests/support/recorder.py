"""Measure pre-activations without code of the package: record the argument of each `layer.activation`."""

import keras
import numpy as np
from keras import ops

KINDS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.SeparableConv2D,
)


def pre_activations(model: keras.Model, x, training: bool = False) -> dict[str, float]:
    """Return the root mean square of each layer's pre-activations, by the layer's path."""
    sizes: dict[str, float] = {}
    mean_squares: dict[str, list[float]] = {}
    repeated = {
        inner.path
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.TimeDistributed)
        for inner in layer._flatten_layers()
    }
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, KINDS)]
    dropouts = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    rates = [layer.rate for layer in dropouts]
    states = [(v, ops.convert_to_numpy(v)) for v in model.non_trainable_variables]

    def recording(layer, activation):
        def record(z):
            values = np.asarray(ops.convert_to_numpy(z), dtype="float64")
            mean_squares.setdefault(layer.path, []).append(float(np.mean(values**2)))
            # TimeDistributed calls its layer once per time; of a shared layer only the first call counts.
            calls = mean_squares[layer.path] if layer.path in repeated else mean_squares[layer.path][:1]
            sizes[layer.path] = float(np.sqrt(np.mean(calls)))
            return activation(z)

        return record

    activations = [layer.activation for layer in layers]
    for layer, activation in zip(layers, activations, strict=True):
        layer.__dict__["activation"] = recording(layer, activation)
    for layer in dropouts:
        layer.rate = 0.0
    try:
        model(x, training=training)
    finally:
        for layer, activation in zip(layers, activations, strict=True):
            layer.__dict__["activation"] = activation
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate
        for variable, value in states:
            variable.assign(value)
    return sizes


def values(model: keras.Model) -> list[np.ndarray]:
    """Return copies of all variables of a model."""
    return [np.array(ops.convert_to_numpy(v), copy=True) for v in model.variables]


def same(before: list[np.ndarray], model: keras.Model) -> bool:
    """Return whether every variable of a model is bit by bit what it was."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(before, values(model), strict=True))
