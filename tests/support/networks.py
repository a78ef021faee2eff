"""Small networks, data for them, their signals computed in NumPy, and made-up signals of layers."""

from dataclasses import fields, replace

import keras
import numpy as np
from keras import layers, ops

from keras_initx.diagnostics import LayerSignal


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def dense(width=24, depth=3, activation="tanh", kernel="he_normal", classes=5, inputs=8, **options):
    hidden = [layers.Dense(width, activation, kernel_initializer=kernel, **options) for _ in range(depth)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(classes)])


def by_hand(model, x, y):
    """Return the pre-activations of a tanh network, and their gradients under the mean squared error."""
    zs, signal = [], x.astype("float64")
    weights = [[ops.convert_to_numpy(w).astype("float64") for w in layer.weights] for layer in model.layers]
    for n, (kernel, bias) in enumerate(weights):
        zs.append(signal @ kernel + bias)
        signal = np.tanh(zs[-1]) if n < len(weights) - 1 else zs[-1]
    gradients = [2 * (signal - y) / signal.size]
    for n in range(len(weights) - 1, 0, -1):
        gradients.insert(0, gradients[0] @ weights[n][0].T * (1 - np.tanh(zs[n - 1]) ** 2))
    return zs, gradients


def plain(depth=12, activation="relu", width=32):
    """Return a dense network with 16 inputs and 10 outputs."""
    hidden = [layers.Dense(width, activation=activation) for _ in range(depth - 1)]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(10)])


def layer_signals(*changes, count=4):
    """Return healthy layers with some figures changed."""
    signals = []
    for number in range(count):
        figures = {f.name: 1.0 for f in fields(LayerSignal)}
        figures |= {"number": number + 1, "path": f"dense_{number}", "kind": "Dense", "activation": "relu"}
        figures |= {"shape": (8, 16), "is_lookup": False, "ends_branch": False}
        figures |= {
            "is_output": False,
            "is_behind_zero": False,
            "is_idle": False,
            "reads_differences": False,
            "is_bypassed": False,
            "verdicts": (),
        }
        figures |= {
            "not_finite": 0.0,
            "gradient_not_finite": 0.0,
            "dead": 0.0,
            "saturated": 0.0,
            "periods": 0.0,
            "token_cosine": 0.0,
        }
        signals.append(LayerSignal(**figures))
    for number, change in changes:
        signals[number] = replace(signals[number], **change)
    return signals


def reset_generators(seed):
    """Restart all generators. Keras 3.12 does not restart its global one with `set_random_seed`."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
