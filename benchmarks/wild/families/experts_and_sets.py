"""A mixture of experts; models of sets and graphs: GCN, PointNet, Deep Sets."""

import keras
import numpy as np
from keras import layers, ops

from wild.data import ALPHABET, some_digits, some_text
from wild.registry import wild


def _comment(rng):
    """Draw pieces of source code; the class is whether they contain the character #, a quote, or neither."""
    text = some_text(rng, 32, 24)
    hashed, quoted = ((text == ord(c) - 31).any(axis=1) for c in '#"')
    return text, np.where(hashed, 1, np.where(quoted, 2, 0))


class Switch(layers.Layer):
    """Four experts of two layers; a router sends each token to one, and its probability scales the output."""

    def __init__(self, width, hidden, experts=4):
        super().__init__()
        self.width, self.hidden, self.experts = width, hidden, experts
        self.router = layers.Dense(experts, name="router")

    def build(self, shape):
        self.router.build(shape)
        inner, outer = (self.experts, self.width, self.hidden), (self.experts, self.hidden, self.width)
        glorot = keras.initializers.GlorotUniform
        self.first = self.add_weight(shape=inner, initializer=glorot(), name="first")
        self.second = self.add_weight(shape=outer, initializer=glorot(), name="second")

    def call(self, x):
        shares = ops.softmax(self.router(x))
        chosen = ops.one_hot(ops.argmax(shares, axis=-1), self.experts)
        load = ops.mean(chosen, axis=(0, 1)) * ops.mean(shares, axis=(0, 1))
        self.add_loss(0.01 * self.experts * ops.sum(load))
        h = ops.relu(ops.einsum("btd,edf->btef", x, self.first))
        out = ops.einsum("btef,efd->bted", h, self.second)
        return ops.sum(out * (chosen * shares)[..., None], axis=2)


@wild("mixture of experts", "Fedus 2022; keras.io text_classification_with_switch_transformer", _comment)
def mixture_of_experts():
    """Build the tutorial's transformer block with a switch in place of its feed-forward network."""
    inputs = keras.Input((24,), dtype="int32")
    places = layers.Embedding(24, 32)(ops.arange(24))
    x = layers.Embedding(ALPHABET, 32)(inputs) + places
    x = layers.LayerNormalization(epsilon=1e-6)(
        x + layers.Dropout(0.1)(layers.MultiHeadAttention(2, 32)(x, x))
    )
    x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(0.1)(Switch(32, 32)(x)))
    x = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(layers.GlobalAveragePooling1D()(x)))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def _communities(rng):
    """Draw graphs of 40 nodes in four communities, with noisy features; the class of each node."""
    y = rng.integers(0, 4, (8, 40))
    same = y[:, :, None] == y[:, None]
    upper = np.triu(rng.uniform(size=same.shape) < np.where(same, 0.3, 0.05), 1)
    a = (upper | upper.transpose(0, 2, 1)) + np.eye(40)
    scale = 1 / np.sqrt(a.sum(axis=2))
    x = np.eye(4)[y] @ np.random.default_rng(5).normal(size=(4, 16)) + rng.normal(0, 3, (8, 40, 16))
    a = a * scale[:, :, None] * scale[:, None]
    return [x.astype("float32"), a.astype("float32")], y


@wild("GCN", "Kipf & Welling 2017", _communities)
def gcn():
    """Build two graph convolutions with dropout and the paper's weight decay; A is an input."""
    x_in, a = keras.Input((40, 16)), keras.Input((40, 40))
    decay = keras.regularizers.L2(2.5e-4)
    x = layers.Dense(16, use_bias=False, kernel_regularizer=decay)(layers.Dropout(0.5)(x_in))
    x = layers.Dropout(0.5)(ops.relu(ops.matmul(a, x)))
    model = keras.Model([x_in, a], ops.softmax(ops.matmul(a, layers.Dense(4, use_bias=False)(x))))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def _solids(rng):
    """Draw 32 points on a ball, a cube, a cylinder or a cone, turned and scaled."""
    kinds, clouds = rng.integers(0, 4, 16), []
    for kind in kinds:
        p = rng.normal(size=(32, 3))
        if kind == 0:
            p /= np.linalg.norm(p, axis=1, keepdims=True)
        elif kind == 1:
            p /= abs(p).max(axis=1, keepdims=True)
        else:
            height = rng.uniform(-1, 1, (32, 1))
            p[:, :2] /= np.linalg.norm(p[:, :2], axis=1, keepdims=True)
            p = np.concatenate([p[:, :2] * (1 if kind == 2 else (1 - height) / 2), height], axis=1)
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        clouds.append(p @ turn * rng.uniform(0.7, 1.0) + rng.normal(0, 0.01, (32, 3)))
    return np.asarray(clouds, "float32"), kinds


def _conv(x, width):
    return layers.ReLU()(layers.BatchNormalization(momentum=0.0)(layers.Conv1D(width, 1)(x)))


def _dense(x, width):
    return layers.ReLU()(layers.BatchNormalization(momentum=0.0)(layers.Dense(width)(x)))


def _orthogonal_penalty(size):
    def penalty(x):
        x = ops.reshape(x, (-1, size, size))
        products = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        return ops.sum(0.001 * (products - ops.eye(size)) ** 2)

    return penalty


def _transformed(inputs, size):
    """Multiply with a matrix that a small network predicts; it starts as the identity."""
    x = _dense(layers.GlobalMaxPooling1D()(_conv(_conv(_conv(inputs, 16), 32), 64)), 32)
    matrix = layers.Dense(
        size * size,
        kernel_initializer="zeros",
        bias_initializer=lambda shape, dtype=None: ops.reshape(ops.eye(size, dtype=dtype), (-1,)),
        activity_regularizer=_orthogonal_penalty(size),
    )(x)
    return layers.Dot(axes=(2, 1))([inputs, layers.Reshape((size, size))(matrix)])


@wild("PointNet", "Qi 2017; keras.io/examples/vision/pointnet", _solids)
def pointnet():
    """Build the tutorial's network with two transforms whose kernels start at 0 and biases at identity."""
    inputs = keras.Input((32, 3))
    x = _conv(_conv(_transformed(inputs, 3), 16), 16)
    x = layers.GlobalMaxPooling1D()(_conv(_conv(_conv(_transformed(x, 16), 16), 32), 64))
    x = layers.Dropout(0.3)(_dense(layers.Dropout(0.3)(_dense(x, 32)), 16))
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def _digit_sum(rng):
    x, y = some_digits(rng, 32 * 6)
    return x.reshape(32, 6, 64), y.reshape(32, 6).sum(axis=1, keepdims=True).astype("float32")


@wild(
    "Deep Sets",
    "Zaheer 2017, sum of digits",
    _digit_sum,
    remark="the targets have a mean of 27, so the start with the larger outputs is ahead: with half its last "
    "kernel Keras's start ends at 5.5 as well, with twice its last kernel `initialize` ends at 3.7",
)
def deep_sets():
    """Build an encoder of each digit, a sum over the set, and a linear output: the sum of six digits."""
    inputs = keras.Input((6, 64))
    x = layers.Dense(30, activation="tanh")(layers.Dense(64, activation="tanh")(inputs))
    x = ops.sum(x, axis=1)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile(keras.optimizers.Adam(1e-3), "mae", jit_compile=False)
    return model
