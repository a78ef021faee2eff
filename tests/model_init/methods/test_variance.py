"""`variance`, `he_auto`, `xavier_auto`: the variance follows the activation that the graph shows."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import HeAuto, XavierAuto, initialize
from tests.support.arrays import array

pytestmark = pytest.mark.check


def normalized_model():
    x = keras.Input((300,))
    first = layers.Dense(200, name="first", use_bias=False)
    h = layers.ReLU()(layers.BatchNormalization()(first(x)))
    return keras.Model(x, layers.Dense(50, name="last", activation="tanh")(h))


@pytest.mark.parametrize(
    ("method", "first", "last"),
    [
        ("variance", (2 / 300), 2.5362 / 200),
        ("he_auto", HeAuto(activation="relu"), HeAuto(activation="tanh")),
        ("xavier_auto", XavierAuto(activation="relu"), XavierAuto(activation="tanh")),
    ],
)
def test_the_variance_follows_the_effective_activation(method, first, last):
    model = normalized_model()
    initialize(model, method, seed=0)
    for name, expected, size in (("first", first, (300, 200)), ("last", last, (200, 50))):
        variance = expected if isinstance(expected, float) else expected.scale(size).std ** 2
        kernel = array(model.get_layer(name).kernel)
        assert abs(kernel.std() / variance**0.5 - 1) < 5 / np.sqrt(2 * kernel.size)


def test_the_graph_corrects_string_initializers():
    x = keras.Input((100,))
    layer = layers.Dense(400, kernel_initializer="auto", use_bias=False)
    model = keras.Model(x, layers.Dense(2)(layers.ReLU()(layers.BatchNormalization()(layer(x)))))
    assert ops.convert_to_numpy(layer.kernel).var() == pytest.approx(1 / 100, rel=0.1)
    initialize(model, "variance", seed=0)
    assert ops.convert_to_numpy(layer.kernel).var() == pytest.approx(2 / 100, rel=0.1)
