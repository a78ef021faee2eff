"""Recommenders and embeddings: Wide & Deep, DLRM, two towers, tied autoencoder, siamese network, SimCLR."""

import math

import keras
import numpy as np
from keras import layers, ops

from wild.data import digits, some_digits
from wild.registry import wild

_SIZES = (20, 50, 100)


def _clicks(rng):
    """Draw four numbers, three categories and a click, from planted logistic weights and one cross."""
    planted = np.random.default_rng(3)
    effects = [planted.normal(0, 0.7, n) for n in _SIZES]
    weights, cross = planted.normal(0, 0.5, 4), planted.normal(0, 0.7, (_SIZES[0], _SIZES[1]))
    numbers = rng.normal(size=(128, 4))
    chosen = [rng.integers(0, n, 128) for n in _SIZES]
    logit = numbers @ weights + sum(e[c] for e, c in zip(effects, chosen, strict=True)) - 1
    logit += cross[chosen[0], chosen[1]]
    y = rng.uniform(size=128) < 1 / (1 + np.exp(-logit))
    categories = np.stack(chosen, axis=1).astype("int32")
    return [numbers.astype("float32"), categories], y[:, None].astype("float32")


@wild("Wide & Deep", "Cheng 2016; keras.io structured_data/wide_deep_cross_networks", _clicks)
def wide_and_deep():
    """Build a linear part on one-hot categories and a deep part on embeddings."""
    numbers, categories = keras.Input((4,)), keras.Input((3,), dtype="int32")
    columns = [categories[:, k] for k in range(3)]
    hot = [layers.Lambda(lambda c, n=n: ops.one_hot(c, n))(c) for n, c in zip(_SIZES, columns, strict=True)]
    wide = layers.BatchNormalization()(layers.Concatenate()([*hot, numbers]))
    tables = [layers.Embedding(n, int(math.sqrt(n)))(c) for n, c in zip(_SIZES, columns, strict=True)]
    deep = layers.Concatenate()([*tables, numbers])
    for width in (32, 32):
        deep = layers.ReLU()(layers.BatchNormalization()(layers.Dense(width)(deep)))
        deep = layers.Dropout(0.1)(deep)
    outputs = layers.Dense(1, activation="sigmoid")(layers.Concatenate()([wide, deep]))
    model = keras.Model([numbers, categories], outputs)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", jit_compile=False)
    return model


@wild("DLRM", "Naumov 2019", _clicks)
def dlrm():
    """Build both networks with the authors' normal kernels, uniform tables and dot products, for SGD."""

    def network(x, widths, last):
        for number, width in enumerate(widths):
            fan_in, activation = x.shape[-1], last if number == len(widths) - 1 else "relu"
            kernel = keras.initializers.RandomNormal(stddev=math.sqrt(2 / (fan_in + width)))
            bias = keras.initializers.RandomNormal(stddev=math.sqrt(1 / width))
            x = layers.Dense(width, activation, kernel_initializer=kernel, bias_initializer=bias)(x)
        return x

    def uniform(n):
        return keras.initializers.RandomUniform(-math.sqrt(1 / n), math.sqrt(1 / n))

    numbers, categories = keras.Input((4,)), keras.Input((3,), dtype="int32")
    bottom = network(numbers, (32, 16), "relu")
    tables = [layers.Embedding(n, 16, uniform(n))(categories[:, k]) for k, n in enumerate(_SIZES)]
    stacked = ops.stack([bottom, *tables], axis=1)
    products = ops.matmul(stacked, ops.transpose(stacked, (0, 2, 1)))
    pairs = [products[:, i, j][:, None] for i in range(4) for j in range(i)]
    outputs = network(ops.concatenate([bottom, *pairs], axis=1), (32, 16, 1), "sigmoid")
    model = keras.Model([numbers, categories], outputs)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", jit_compile=False)
    return model


def _purchases(rng):
    """Draw users and items that share one of ten tastes in nine of ten cases."""
    user = rng.integers(0, 40, 64)
    item = rng.integers(0, 6, 64) * 10 + np.where(
        rng.uniform(size=64) < 0.9, user % 10, rng.integers(0, 10, 64)
    )
    return [user.astype("int32"), item.astype("int32")], np.arange(64)


@wild("two towers", "Yi 2019; tensorflow.org/recommenders basic_retrieval", _purchases)
def two_towers():
    """Build an embedding and a dense layer on each side; every other item of a batch is a negative."""
    user, item = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    u = layers.Dense(32)(layers.Embedding(40, 32)(user))
    v = layers.Dense(32)(layers.Embedding(60, 32)(item))
    model = keras.Model([user, item], ops.matmul(u, ops.transpose(v)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adagrad(0.1), loss, jit_compile=False)
    return model


class Transposed(layers.Layer):
    """Dense layer with the transposed kernel of another one."""

    def __init__(self, dense, activation):
        super().__init__()
        self.dense, self.activation = dense, keras.activations.get(activation)

    def build(self, shape):
        self.bias = self.add_weight(shape=(self.dense.kernel.shape[0],), initializer="zeros", name="bias")

    def call(self, x):
        return self.activation(ops.matmul(x, ops.transpose(self.dense.kernel)) + self.bias)


def _flat(rng):
    x = some_digits(rng, 64)[0].reshape(64, 64)
    return x, x


@wild("tied autoencoder", "Hinton 2006; Géron, Hands-On Machine Learning", _flat)
def tied_autoencoder():
    """Build two SELU layers and the same kernels transposed, for SGD."""
    first = layers.Dense(48, activation="selu", kernel_initializer="lecun_normal")
    second = layers.Dense(16, activation="selu", kernel_initializer="lecun_normal")
    inputs = keras.Input((64,))
    x = Transposed(second, "selu")(second(first(inputs)))
    model = keras.Model(inputs, Transposed(first, "sigmoid")(x))
    model.compile(keras.optimizers.SGD(1.0), "binary_crossentropy", jit_compile=False)
    return model


def _pairs(rng):
    """Draw two digits, half of the time of one class; 1 if they differ."""
    x, y = digits()
    first = rng.integers(0, len(x), 32)
    second = [
        rng.choice(np.flatnonzero(y == y[n])) if rng.uniform() < 0.5 else rng.integers(0, len(x))
        for n in first
    ]
    zoomed = [x[n].repeat(2, axis=1).repeat(2, axis=2) for n in (first, second)]
    return zoomed, (y[first] != y[second])[:, None].astype("float32")


def _contrastive(y, distance):
    return ops.mean((1 - y) * distance**2 + y * ops.relu(1 - distance) ** 2)


@wild("siamese network", "Hadsell 2006; keras.io/examples/vision/siamese_contrastive", _pairs)
def siamese():
    """Build the tutorial's shared tanh network and its contrastive loss on a sigmoid of the distance."""
    image = keras.Input((16, 16, 1))
    x = layers.Conv2D(4, 5, activation="tanh")(layers.BatchNormalization()(image))
    x = layers.Conv2D(16, 5, activation="tanh")(layers.AveragePooling2D(2)(x))
    x = layers.BatchNormalization()(layers.Flatten()(layers.AveragePooling2D(2)(x)))
    tower = keras.Model(image, layers.Dense(10, activation="tanh")(x))
    a, b = keras.Input((16, 16, 1)), keras.Input((16, 16, 1))

    def distance(pair):
        return ops.sqrt(ops.maximum(ops.sum((pair[0] - pair[1]) ** 2, axis=1, keepdims=True), 1e-7))

    d = layers.BatchNormalization()(layers.Lambda(distance)([tower(a), tower(b)]))
    model = keras.Model([a, b], layers.Dense(1, activation="sigmoid")(d))
    model.compile(keras.optimizers.RMSprop(1e-3), _contrastive, jit_compile=False)
    return model


def _views(rng):
    """Draw digits, each in two views: shifted by up to a pixel, scaled, with noise."""
    x, _ = some_digits(rng, 48)
    views = []
    for _ in range(2):
        shifts = rng.integers(-1, 2, (48, 2))
        moved = np.stack([np.roll(image, shift, axis=(0, 1)) for image, shift in zip(x, shifts, strict=True)])
        views.append(moved * rng.uniform(0.7, 1.3, (48, 1, 1, 1)) + rng.normal(0, 0.1, x.shape))
    return [view.astype("float32") for view in views], np.zeros((48, 1), "float32")


def _nt_xent(y, z):
    a, b = z[:, 0], z[:, 1]
    both = ops.concatenate([a, b])
    size = ops.shape(a)[0]
    logits = ops.matmul(both, ops.transpose(both)) / 0.1 - 1e9 * ops.eye(2 * size)
    partner = (ops.arange(2 * size) + size) % (2 * size)
    return ops.mean(ops.sparse_categorical_crossentropy(partner, logits, from_logits=True))


@wild("SimCLR", "Chen 2020; keras.io/examples/vision/semisupervised_simclr", _views)
def simclr():
    """Build the tutorial's encoder and projection; the loss finds the other view among all of the batch."""
    image = keras.Input((8, 8, 1))
    x = image
    for _ in range(3):
        x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    tower = keras.Model(image, layers.Dense(32)(layers.Dense(32, activation="relu")(x)))
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    z = [layers.UnitNormalization()(tower(view)) for view in (a, b)]
    model = keras.Model([a, b], ops.stack(z, axis=1))
    model.compile(keras.optimizers.Adam(1e-3), _nt_xent, jit_compile=False)
    return model
