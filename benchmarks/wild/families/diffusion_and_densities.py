"""Models of densities: a diffusion U-Net, RealNVP, MADE, and a mixture density network."""

import itertools
import math

import keras
import numpy as np
from keras import layers, ops

from wild.data import digits, moons, some_digits
from wild.registry import wild


def _noisy(rng):
    x, _ = some_digits(rng, 16)
    x = (x - digits()[0].mean()) / digits()[0].std()
    noise = rng.normal(size=x.shape).astype("float32")
    angle = rng.uniform(math.acos(0.95), math.acos(0.02), (16, 1, 1, 1)).astype("float32")
    return [np.cos(angle) * x + np.sin(angle) * noise, np.sin(angle) ** 2], noise


def _sinusoids(variance):
    speeds = 2 * math.pi * np.exp(np.linspace(0, math.log(1000.0), 8)).astype("float32")
    return ops.concatenate([ops.sin(speeds * variance), ops.cos(speeds * variance)], axis=3)


def _residual_block(x, width):
    skip = x if x.shape[-1] == width else layers.Conv2D(width, 1)(x)
    x = layers.BatchNormalization(center=False, scale=False)(x)
    x = layers.Conv2D(width, 3, padding="same", activation="swish")(x)
    return layers.Add()([layers.Conv2D(width, 3, padding="same")(x), skip])


@wild("diffusion U-Net", "Song 2021; keras.io/examples/generative/ddim", _noisy)
def diffusion():
    """Build the tutorial's network, whose last convolution is 0, for 8 x 8 images."""
    images, variances = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
    e = layers.UpSampling2D(8, interpolation="nearest")(layers.Lambda(_sinusoids)(variances))
    x = layers.Concatenate()([layers.Conv2D(16, 1)(images), e])
    skips = []
    for width in (16, 24):
        for _ in range(2):
            x = _residual_block(x, width)
            skips.append(x)
        x = layers.AveragePooling2D(2)(x)
    for _ in range(2):
        x = _residual_block(x, 32)
    for width in (24, 16):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        for _ in range(2):
            x = _residual_block(layers.Concatenate()([x, skips.pop()]), width)
    model = keras.Model([images, variances], layers.Conv2D(1, 1, kernel_initializer="zeros")(x))
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-4), "mae", jit_compile=False)
    return model


def _two_moons(rng):
    return moons(rng, 256), np.zeros((256, 1), "float32")


def nll(y, log_likelihood):
    """Return the mean negative log-likelihood."""
    return -ops.mean(log_likelihood)


@wild("RealNVP", "Dinh 2017; keras.io/examples/generative/real_nvp", _two_moons, measure="nll", in_nats=True)
def real_nvp():
    """Build six coupling layers with the tutorial's regularization; the output is the log-likelihood."""
    inputs = x = keras.Input((2,))
    log_det = 0.0

    def network(x, activation):
        for _ in range(4):
            x = layers.Dense(64, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01))(x)
        return layers.Dense(2, activation=activation, kernel_regularizer=keras.regularizers.L2(0.01))(x)

    for number in range(6):
        mask = np.array([number % 2, 1 - number % 2], "float32")
        kept = x * mask
        s, t = network(kept, "tanh") * (1 - mask), network(kept, "linear") * (1 - mask)
        x = (x - t) * ops.exp(-s) * (1 - mask) + kept
        log_det = log_det - ops.sum(s, axis=1, keepdims=True)
    gaussian = -0.5 * ops.sum(x**2, axis=1, keepdims=True) - math.log(2 * math.pi)
    model = keras.Model(inputs, gaussian + log_det)
    model.compile(keras.optimizers.Adam(1e-4), nll, metrics=[nll], jit_compile=False)
    return model


class MaskedDense(layers.Dense):
    """Dense layer whose kernel is multiplied by a mask."""

    def __init__(self, units, mask, **options):
        super().__init__(units, **options)
        self.mask = mask

    def call(self, x):
        return self.activation(ops.matmul(x, self.kernel * self.mask) + self.bias)


def _black_and_white(rng):
    x = (some_digits(rng, 64)[0].reshape(64, 64) > 0.5).astype("float32")
    return x, x


@wild("MADE", "Germain 2015", _black_and_white)
def made():
    """Build a masked autoencoder of two hidden layers: each pixel depends on the pixels before it."""
    degrees = [np.arange(64), np.arange(128) % 63, np.arange(128) % 63, np.arange(64) - 1]
    masks = [(a[:, None] <= b).astype("float32") for a, b in itertools.pairwise(degrees)]
    inputs = keras.Input((64,))
    x = MaskedDense(128, masks[0], activation="relu")(inputs)
    x = MaskedDense(128, masks[1], activation="relu")(x)
    model = keras.Model(inputs, MaskedDense(64, masks[2], activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", jit_compile=False)
    return model


def _inverse(rng):
    t = rng.uniform(0, 1, (128, 1))
    x = t + 0.3 * np.sin(2 * np.pi * t) + rng.uniform(-0.1, 0.1, (128, 1))
    return x.astype("float32"), t.astype("float32")


def _mixture_nll(y, out):
    logits, mean, log_std = ops.split(out, 3, axis=1)
    z = (y - mean) / ops.exp(log_std)
    parts = ops.log_softmax(logits) - log_std - 0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    return -ops.mean(ops.logsumexp(parts, axis=1))


@wild("mixture density", "Bishop 1994", _inverse, in_nats=True)
def mixture_density():
    """Build the network for the inverse of x + 0.3 sin(2 pi x): 20 tanh units, five Gaussians."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(20, activation="tanh"), layers.Dense(3 * 5)])
    model.compile(keras.optimizers.Adam(1e-2), _mixture_nll, jit_compile=False)
    return model
