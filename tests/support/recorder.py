"""Measures pre-activations without any code of ours: by what arrives at `layer.activation`."""

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
    """The root mean square of what arrives at each activation, by the path of its layer."""
    found: dict[str, float] = {}
    seen: dict[str, list[float]] = {}
    repeated = {
        x.path
        for y in model._flatten_layers()
        if isinstance(y, keras.layers.TimeDistributed)
        for x in y._flatten_layers()
    }
    layers = [x for x in model._flatten_layers() if isinstance(x, KINDS)]
    rates = [(x, x.rate) for x in model._flatten_layers() if isinstance(x, keras.layers.Dropout)]
    kept = [(v, ops.convert_to_numpy(v)) for v in model.non_trainable_variables]

    def recording(layer, activation):
        def record(z):
            values = np.asarray(ops.convert_to_numpy(z), dtype="float64")
            seen.setdefault(layer.path, []).append(float(np.mean(values**2)))
            # One call for each time; of a shared layer the first call is the one that counts.
            squares = seen[layer.path] if layer.path in repeated else seen[layer.path][:1]
            found[layer.path] = float(np.sqrt(np.mean(squares)))
            return activation(z)

        return record

    for layer in layers:
        layer.__dict__["activation"] = recording(layer, layer.activation)
    for layer, _ in rates:
        layer.rate = 0.0
    try:
        model(x, training=training)
    finally:
        for layer in layers:
            layer.__dict__["activation"] = layer.__dict__["activation"].__closure__[0].cell_contents
        for layer, rate in rates:
            layer.rate = rate
        for variable, value in kept:
            variable.assign(value)
    return found


def values(model: keras.Model) -> list[np.ndarray]:
    """All variables of a model, bit by bit."""
    return [np.array(ops.convert_to_numpy(v), copy=True) for v in model.variables]


def same(before: list[np.ndarray], model: keras.Model) -> bool:
    """Whether every variable of a model holds exactly what it held."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(before, values(model), strict=True))
