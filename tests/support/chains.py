"""Deep plain networks, and how their signal changes with depth."""

import keras
import numpy as np
from keras import layers

from tests.support.arrays import array

WIDTH = 128


def dense(depth, activation, width=WIDTH, use_bias=True, classes=10):
    hidden = [layers.Dense(width, activation=activation, use_bias=use_bias) for _ in range(depth)]
    return keras.Sequential([keras.Input((width,)), *hidden, layers.Dense(classes, use_bias=use_bias)])


def convolutions(depth, activation, channels=16, size=7):
    hidden = [layers.Conv2D(channels, 3, padding="same", activation=activation) for _ in range(depth)]
    return keras.Sequential(
        [keras.Input((size, size, channels)), *hidden, layers.Flatten(), layers.Dense(10)]
    )


FORMULAS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (
        lambda z: 1 / (1 + np.exp(-z)),
        lambda z: np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))) ** 2,
    ),
}


def spread(model, activation, samples=64):
    """Return log10 of the last over the first mean square, for pre-activations and for their gradients."""
    phi, slope = FORMULAS[activation]
    rng = np.random.default_rng(5)
    h, forward = rng.normal(size=(samples, WIDTH)), []
    for layer in model.layers[:-1]:
        z = h @ array(layer.kernel) + (array(layer.bias) if layer.use_bias else 0)
        forward.append(z)
        h = phi(z)
    gradient, backward = rng.normal(size=(samples, 10)) @ array(model.layers[-1].kernel).T, []
    for number in reversed(range(len(forward))):
        gradient = gradient * slope(forward[number])
        backward.append(np.mean(gradient**2))
        gradient = gradient @ array(model.layers[number].kernel).T
    sizes = [np.mean(z**2) for z in forward]
    return np.log10(sizes[-1] / sizes[0]), np.log10(backward[-1] / backward[0])


def follow(*stack, shape):
    model = keras.Sequential([keras.Input(shape), *stack])
    x = np.random.default_rng(0).standard_normal((16, *shape)).astype("float32")
    return model, x


def chain(depth, activation, cls=layers.Dense):
    if cls is layers.Dense:
        hidden = [layers.Dense(32, activation=activation) for _ in range(depth - 1)]
        return keras.Sequential([keras.Input((32,)), *hidden, layers.Dense(4)])
    hidden = [layers.Conv2D(8, 3, padding="same", activation=activation) for _ in range(depth - 1)]
    return keras.Sequential([keras.Input((6, 6, 8)), *hidden, layers.Flatten(), layers.Dense(4)])
