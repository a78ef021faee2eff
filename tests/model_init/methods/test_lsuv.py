"""`lsuv`: unit variance on the data of the user."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from tests.support.arrays import array
from tests.support.batches import Batches
from tests.support.chains import chain

pytestmark = pytest.mark.check


class TestLsuv:
    data = np.random.default_rng(0).normal(3, 5, (64, 32)).astype("float32")

    def sources(self):
        data = self.data
        yield data
        yield Batches(data, 16)
        yield ((data[i : i + 8], np.zeros(8)) for i in range(0, 64, 8))
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            yield tf.data.Dataset.from_tensor_slices(data).batch(8)

    def test_every_source_gives_unit_variance_on_the_data(self):
        for source in self.sources():
            model = chain(5, "relu")
            initialize(model, "lsuv", data=source, seed=0)
            h = self.data
            for layer in model.layers:
                z = array(h) @ array(layer.kernel)
                assert np.sqrt(np.mean(z**2)) == pytest.approx(1, abs=1e-4)
                h = layer(h)


def test_lsuv_fills_the_window_of_a_convolution():
    model = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(2)])
    x = np.random.default_rng(0).standard_normal((64, 6, 6, 4)).astype("float32")
    initialize(model, "lsuv", data=x, seed=0)
    matrix = ops.convert_to_numpy(model.layers[0].kernel).reshape(36, 8)
    gram = matrix.T @ matrix
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(8), atol=1e-4)
