"""All layers at any depth, and the mean square of a weight."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx._weights.layers import all_layers, mean_square

pytestmark = pytest.mark.check


def test_sublayers_that_keras_does_not_list_are_found():
    attention, recurrent = layers.MultiHeadAttention(1, 2), layers.Bidirectional(layers.LSTM(2))
    x = keras.Input((3, 4))
    model = keras.Model(x, recurrent(attention(x, x)))
    found = all_layers(model)
    assert attention.query_dense in found
    assert recurrent.backward_layer.cell in found
    assert attention.query_dense not in model.layers


@pytest.mark.parametrize("values", [np.arange(6.0).reshape(2, 3), np.zeros((0, 2)), np.array(3.0)])
def test_the_mean_square_is_that_of_numpy(values):
    expected = np.mean(values**2) if values.size else 0.0
    assert mean_square(keras.Variable(values.astype("float32"))) == pytest.approx(expected)


def test_values_that_are_not_finite_show():
    assert not np.isfinite(mean_square(keras.Variable([1.0, np.inf])))
