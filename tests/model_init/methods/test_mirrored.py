"""`mirrored`: networks start linear."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import initialize
from tests.support.arrays import array
from tests.support.chains import convolutions, dense, spread


class TestMirrored:
    @pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "softplus"])
    @pytest.mark.parametrize("make", [dense, convolutions])
    def test_the_network_starts_linear(self, make, activation):
        model = make(8, activation)
        plan = initialize(model, "mirrored", seed=0)
        assert {row.method for row in plan.rows} == {"mirrored"}
        rng = np.random.default_rng(0)
        one, two = (rng.normal(size=(4, *model.input_shape[1:])).astype("float32") for _ in range(2))
        both = array(model(one + two))
        np.testing.assert_allclose(both, array(model(one)) + array(model(two)), atol=2e-4)
        assert np.abs(both).max() > 0.1

    def test_depth_200_holds(self):
        model = dense(200, "relu")
        initialize(model, "mirrored", seed=0)
        assert np.all(np.abs(spread(model, "relu")) < 0.05)

    def test_odd_widths(self):
        model = dense(6, "relu", width=33)
        initialize(model, "mirrored", seed=0)
        assert np.all(np.isfinite(array(model(np.ones((2, 33), "float32")))))

    @pytest.mark.parametrize("activation", ["tanh", "sigmoid", "hard_sigmoid"])
    def test_odd_activations_are_out_of_scope(self, activation):
        plan = initialize(dense(6, activation), "mirrored", seed=0)
        assert {row.method for row in plan.rows} == {"variance"}

    def test_depthwise_convolutions_have_no_pairs(self):
        x = h = keras.Input((8, 8, 4))
        for _ in range(6):
            h = layers.DepthwiseConv2D(3, padding="same", activation="relu")(h)
        plan = initialize(keras.Model(x, h), "mirrored", seed=0)
        assert {row.method for row in plan.rows} == {"variance"}
