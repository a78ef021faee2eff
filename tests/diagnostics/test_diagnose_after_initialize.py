"""After `initialize`, no finding recommends `initialize`, whatever the model and the scale of its inputs."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx.diagnostics import diagnose
from tests.support import zoo
from tests.support.networks import data

pytestmark = pytest.mark.one_backend


def dense(activation, depth=6, **options):
    hidden = [layers.Dense(16, activation, **options) for _ in range(depth)]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(2)])


def sequence(*body):
    return keras.Sequential([keras.Input((12, 4)), *body, layers.Dense(2)])


def residual(blocks=5):
    inputs = keras.Input((8,))
    x = layers.Dense(16)(inputs)
    for _ in range(blocks):
        x = x + layers.Dense(16)(layers.Dense(16, "relu")(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def attention(blocks=4):
    inputs = keras.Input((10, 16))
    h = inputs
    for _ in range(blocks):
        h = layers.MultiHeadAttention(2, 8)(h, h)
    return keras.Model(inputs, h)


def gated():
    inputs = keras.Input((8,))
    h = layers.Dense(16)(inputs) * layers.Dense(16, "sigmoid")(inputs)
    return keras.Model(inputs, layers.Dense(2)(h))


def stopped():
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(2)(ops.stop_gradient(layers.Dense(16, "tanh")(inputs))))


KINDS = {
    **{
        f"dense {name}": (lambda name=name: dense(name))
        for name in ("relu", "sigmoid", "tanh", "gelu", "selu")
    },
    "deep sigmoid": lambda: dense("sigmoid", 20),
    "zeros": lambda: dense("relu", kernel_initializer="zeros"),
    "frozen": lambda: dense("relu", trainable=False),
    "frozen and tiny": lambda: dense(
        "tanh", trainable=False, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-6)
    ),
    "softmax inside": lambda: dense("softmax"),
    "exponential": lambda: dense("exponential", 3),
    "convolutions": lambda: sequence(layers.Conv1D(8, 3, activation="relu"), layers.GlobalAveragePooling1D()),
    "width one": lambda: sequence(layers.Conv1D(1, 1), layers.LayerNormalization(), layers.Flatten()),
    "lstm": lambda: sequence(layers.LSTM(8, activation="relu")),
    "gru": lambda: sequence(layers.GRU(8)),
    "times": lambda: sequence(layers.TimeDistributed(layers.Dense(8, "relu")), layers.Flatten()),
    "residual": residual,
    "attention": attention,
    "gated": gated,
    "stopped": stopped,
    "subclassed": zoo.subclassed,
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_advice_to_initialize(kind):
    keras.utils.set_random_seed(3)
    model = KINDS[kind]()
    initialize(model, seed=0)
    shape = model.input_shape[1:] if kind != "subclassed" else (12,)
    # Near unit scale and far from it, with and without targets.
    for scale in (1, 1e4, 1e-9):
        x = (scale * data(8, *shape)).astype("float32")
        labelled = (100 + np.zeros(ops.shape(model(x)), "float32"), "mse") if scale > 1 else ()
        report = diagnose(model, x, *labelled)
        for finding in report.findings:
            text = finding.text.replace("initialize(model) has drawn these weights already", "")
            assert "initialize(" not in text, text
