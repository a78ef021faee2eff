"""Gradients that the recorder reduces, against gradients by the formula."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx.diagnostics import diagnose
from tests.support.networks import data


def narrow(kind):
    inputs = keras.Input((6, 1))
    if kind == "convolutions":
        return keras.Model(inputs, layers.Conv1D(1, 1)(layers.Conv1D(4, 1)(inputs)))
    if kind == "attention":
        return keras.Model(inputs, layers.MultiHeadAttention(1, key_dim=2)(inputs, inputs))
    h = layers.Conv2D(1, 1)(layers.Conv2D(4, 1)(layers.Reshape((6, 1, 1))(inputs)))
    return keras.Model(inputs, h)


class TestNarrowKernels:
    @pytest.mark.parametrize("kind", ["convolutions", "attention", "images"])
    def test_models_of_width_one(self, kind):
        report = diagnose(narrow(kind))
        assert report.healthy, report.summary()
        assert all(row.kernel_gradient > 0 for row in report.rows)

    def test_the_gradient_of_a_kernel_of_width_one(self):
        model, x, y = narrow("convolutions"), data(16, 6, 1), data(16, 6, 1, seed=1)
        report = diagnose(model, x, y, "mse")
        first, last = (ops.convert_to_numpy(layer.kernel)[0] for layer in model.layers[1:])
        hidden = x @ first
        error = 2 * (hidden @ last - y) / y.size
        expected = np.einsum("bti,bto->io", hidden, error)
        assert report.rows[-1].kernel_gradient == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-4)


def test_the_gradient_of_a_table_that_arrives_in_pieces():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(7, 2)])
    x, y = np.array([[0, 1, 1], [5, 1, 0]]), data(2, 3, 2)
    expected = np.zeros((7, 2))
    error = 2 * (ops.convert_to_numpy(model(x)) - y) / y.size
    np.add.at(expected, x, error)
    report = diagnose(model, x, y, "mse")
    assert report.rows[0].kernel_gradient == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-4)
