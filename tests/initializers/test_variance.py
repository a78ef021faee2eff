"""Check the standard deviation against sqrt(gain / fan) worked out by hand, for every kind of layer.

All shapes have fan_in far from fan_out, so that a wrong fan cannot pass.
"""

import functools

import keras
import numpy as np
import pytest

import keras_initx
from tests.support.drawn import GELU, SIGMOID, TANH, drawn

pytestmark = pytest.mark.check

L = keras.layers


# (function from initializer to layer, input shape, weight, {initializer: variance}).
KINDS = {
    "dense relu": (
        lambda i: L.Dense(30, activation="relu", kernel_initializer=i),
        (None, 800),
        "kernel",
        {"he_auto": 2 / 800, "xavier_auto": 2 / 800, "auto": 2 / 800},
    ),
    "dense tanh": (
        lambda i: L.Dense(30, activation="tanh", kernel_initializer=i),
        (None, 800),
        "kernel",
        {"he_auto": 1 / 415, "xavier_auto": 1 / 415, "auto": TANH / 800},
    ),
    "dense sigmoid": (
        lambda i: L.Dense(900, activation="sigmoid", kernel_initializer=i),
        (None, 40),
        "kernel",
        {"he_auto": 1 / 470, "xavier_auto": 1 / 470, "auto": SIGMOID / 40},
    ),
    "dense softsign": (
        lambda i: L.Dense(900, activation="softsign", kernel_initializer=i),
        (None, 40),
        "kernel",
        {"he_auto": 1 / 470, "xavier_auto": 1 / 470, "auto": 5.46406222 / 40},
    ),
    "dense softmax": (
        lambda i: L.Dense(10, activation="softmax", kernel_initializer=i),
        (None, 800),
        "kernel",
        {"he_auto": 1 / 405, "xavier_auto": 1 / 405, "auto": 1 / 800},
    ),
    "dense selu": (
        lambda i: L.Dense(30, activation="selu", kernel_initializer=i),
        (None, 800),
        "kernel",
        {"he_auto": 1 / 800, "xavier_auto": 1 / 800, "auto": 1 / 800},
    ),
    "dense gelu": (
        lambda i: L.Dense(30, activation="gelu", kernel_initializer=i),
        (None, 800),
        "kernel",
        {"he_auto": GELU / 800, "xavier_auto": GELU / 800, "auto": GELU / 800},
    ),
    "dense linear": (
        lambda i: L.Dense(30, kernel_initializer=i),
        (None, 800),
        "kernel",
        {"he_auto": 2 / 800, "xavier_auto": 1 / 415, "auto": 1 / 800},
    ),
    "dense leaky layer": (
        lambda i: L.Dense(30, activation=L.LeakyReLU(negative_slope=0.5), kernel_initializer=i),
        (None, 800),
        "kernel",
        {"he_auto": 1.6 / 800, "xavier_auto": 1.6 / 800, "auto": 1.6 / 800},
    ),
    "dense lambda": (
        lambda i: L.Dense(30, activation=lambda x: 3 * keras.ops.relu(x), kernel_initializer=i),
        (None, 800),
        "kernel",
        {"he_auto": 2 / 9 / 800, "xavier_auto": 2 / 9 / 800, "auto": 2 / 9 / 800},
    ),
    "dense partial": (
        lambda i: L.Dense(
            30,
            activation=functools.partial(keras.activations.leaky_relu, negative_slope=1.0),
            kernel_initializer=i,
        ),
        (None, 800),
        "kernel",
        {"he_auto": 1 / 800, "xavier_auto": 1 / 800, "auto": 1 / 800},
    ),
    "conv1d": (
        lambda i: L.Conv1D(8, 7, activation="relu", kernel_initializer=i),
        (None, 30, 64),
        "kernel",
        {"he_auto": 2 / 448, "auto": 2 / 448},
    ),
    "conv2d": (
        lambda i: L.Conv2D(8, 3, kernel_initializer=i),
        (None, 9, 9, 64),
        "kernel",
        {"he_auto": 2 / 576, "xavier_auto": 2 / (576 + 72), "auto": 1 / 576},
    ),
    "conv2d strided": (
        lambda i: L.Conv2D(64, 3, strides=2, kernel_initializer=i),
        (None, 9, 9, 16),
        "kernel",
        # Through each window position an input reaches one output position in four: 64 x 9 / 4.
        {"he_auto": 2 / 144, "xavier_auto": 2 / (144 + 144), "auto": 1 / 144},
    ),
    "conv3d": (
        lambda i: L.Conv3D(4, (2, 3, 3), activation="gelu", kernel_initializer=i),
        (None, 6, 6, 6, 32),
        "kernel",
        {"he_auto": GELU / 576, "auto": GELU / 576},
    ),
    "grouped": (
        lambda i: L.Conv2D(16, 3, groups=4, kernel_initializer=i),
        (None, 9, 9, 128),
        "kernel",
        # 32 of 128 channels in, 4 of 16 filters out.
        {"he_auto": 2 / 288, "xavier_auto": 2 / (288 + 36), "auto": 1 / 288},
    ),
    "depthwise": (
        lambda i: L.DepthwiseConv2D(3, depth_multiplier=4, activation="relu", depthwise_initializer=i),
        (None, 9, 9, 64),
        "kernel",
        {"he_auto": 2 / 9, "xavier_auto": 2 / 9, "auto": 2 / 9},
    ),
    "depthwise linear": (
        lambda i: L.DepthwiseConv1D(5, depth_multiplier=6, depthwise_initializer=i),
        (None, 20, 100),
        "kernel",
        {"he_auto": 2 / 5, "xavier_auto": 2 / (5 + 30), "auto": 1 / 5},
    ),
    "separable, depthwise half": (
        lambda i: L.SeparableConv2D(16, 3, activation="relu", depthwise_initializer=i),
        (None, 9, 9, 128),
        "depthwise_kernel",
        {"he_auto": 1 / 9, "xavier_auto": 1 / 9, "auto": 1 / 9},
    ),
    "separable, pointwise half": (
        lambda i: L.SeparableConv2D(8, 3, depth_multiplier=2, activation="relu", pointwise_initializer=i),
        (None, 9, 9, 128),
        "pointwise_kernel",
        {"he_auto": 2 / 256, "xavier_auto": 2 / 256, "auto": 2 / 256},
    ),
    "transposed": (
        lambda i: L.Conv2DTranspose(8, 3, kernel_initializer=i),
        (None, 9, 9, 96),
        "kernel",
        {"he_auto": 2 / 864, "xavier_auto": 2 / (864 + 72), "auto": 1 / 864},
    ),
    "transposed strided": (
        lambda i: L.Conv2DTranspose(8, 4, strides=2, activation="relu", kernel_initializer=i),
        (None, 9, 9, 96),
        "kernel",
        {"he_auto": 2 / 384, "xavier_auto": 2 / 384, "auto": 2 / 384},
    ),
    "transposed 1d": (
        lambda i: L.Conv1DTranspose(4, 6, strides=3, activation="relu", kernel_initializer=i),
        (None, 9, 96),
        "kernel",
        {"he_auto": 2 / 192, "auto": 2 / 192},
    ),
    "transposed 3d": (
        lambda i: L.Conv3DTranspose(4, 2, strides=2, activation="relu", kernel_initializer=i),
        (None, 4, 4, 4, 96),
        "kernel",
        {"he_auto": 2 / 96, "auto": 2 / 96},
    ),
    "einsum": (
        lambda i: L.EinsumDense("abc,cde->abde", (None, 8, 40), kernel_initializer=i),
        (None, 5, 12),
        "kernel",
        {"he_auto": 2 / 12, "xavier_auto": 2 / (12 + 320), "auto": 1 / 12},
    ),
    "einsum per expert": (
        lambda i: L.EinsumDense("abc,bcd->abd", (6, 10), activation="relu", kernel_initializer=i),
        (None, 6, 150),
        "kernel",
        {"he_auto": 2 / 150, "auto": 2 / 150},
    ),
    "embedding": (
        lambda i: L.Embedding(1000, 32, embeddings_initializer=i),
        (None, 5),
        "embeddings",
        {"he_auto": 1.0, "xavier_auto": 1.0, "auto": 1.0},
    ),
    "simple rnn": (
        lambda i: L.SimpleRNNCell(20, activation="relu", kernel_initializer=i),
        (None, 300),
        "kernel",
        {"he_auto": 2 / 300, "xavier_auto": 2 / 300, "auto": 2 / 300},
    ),
    "simple rnn, recurrent": (
        lambda i: L.SimpleRNNCell(100, recurrent_initializer=i),
        (None, 3),
        "recurrent_kernel",
        {"he_auto": 1 / 100, "xavier_auto": 1 / 100, "auto": TANH / 100},
    ),
    "lstm": (
        lambda i: L.LSTMCell(100, kernel_initializer=i),
        (None, 30),
        "kernel",
        {"he_auto": 1 / 65, "xavier_auto": 1 / 65, "auto": 1 / 30},
    ),
    "lstm, recurrent": (
        lambda i: L.LSTMCell(64, recurrent_initializer=i),
        (None, 3),
        "recurrent_kernel",
        {"he_auto": 1 / 64, "xavier_auto": 1 / 64, "auto": 1 / 64},
    ),
    "gru": (
        lambda i: L.GRUCell(100, kernel_initializer=i),
        (None, 30),
        "kernel",
        {"he_auto": 1 / 65, "xavier_auto": 1 / 65, "auto": 1 / 30},
    ),
}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, v in KINDS.items() for n in v[3]])
def test_drawn_std(kind, name, assert_std):
    make, shape, weight, variances = KINDS[kind]
    assert_std(drawn(make(name), shape, weight), np.sqrt(variances[name]))


# The number of inputs that one output sums, by hand, whatever the activation.
FAN_IN = {
    "dense tanh": 800,
    "dense gelu": 800,
    "conv2d": 576,
    "conv2d strided": 144,
    "grouped": 288,
    "depthwise": 9,
    "transposed strided": 384,
    "einsum": 12,
    "einsum per expert": 150,
    "embedding": 1,
    "lstm": 30,
    "gru": 30,
}


@pytest.mark.parametrize("kind", FAN_IN)
def test_lecun_is_one_over_fan_in(kind, assert_std):
    make, shape, weight, _ = KINDS[kind]
    assert_std(drawn(make("lecun_auto"), shape, weight), np.sqrt(1 / FAN_IN[kind]))
    # Another gain and distribution give He et al.'s scheme.
    assert_std(
        drawn(make(keras_initx.LecunAuto(gain=2.0, distribution="uniform")), shape, weight),
        np.sqrt(2 / FAN_IN[kind]),
    )


@pytest.mark.parametrize("activation", ["tanh", "relu", "selu"])
def test_auto_keeps_a_chain_at_variance_one(activation):
    layers = [L.Dense(512, activation=activation, kernel_initializer="auto") for _ in range(10)]
    noise = np.random.default_rng(0).standard_normal((512, 512)).astype("float32")
    # In the theory the input of a layer went through the same activation.
    x = keras.activations.get(activation)(noise)
    for layer in layers[:-1]:
        x = layer(x)
    layers[-1].activation = keras.activations.linear
    variance = np.mean(np.square(keras.ops.convert_to_numpy(layers[-1](x))))
    # The last layer is linear: its kernel has gain 1, so its output has the variance E[phi^2] = 1 / gain.
    gain = {"tanh": TANH, "relu": 2.0, "selu": 1.0}[activation]
    # The second moment of one draw fluctuates by about sqrt(5 L / n) for ReLU.
    assert variance * gain == pytest.approx(1, abs=0.5)


def test_scale_returns_the_parameters_of_the_draw():
    bound = keras_initx.HeAuto().bound_to(L.Dense(30, activation="tanh"), "kernel")
    scale = bound.scale((800, 30))
    assert (scale.gain, scale.mode, scale.activation) == (1.0, "fan_avg", "tanh")
    assert scale.std == pytest.approx(np.sqrt(1 / 415))
