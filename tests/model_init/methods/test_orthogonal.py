"""`orthogonal`: kernels are orthogonal, and causal ones see the present."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import initialize
from tests.support.arrays import array
from tests.support.chains import follow


@pytest.mark.parametrize("method", ["lsuv", "edge", "orthogonal"])
def test_causal_kernels_see_the_present(method):
    stack = [
        layers.Conv1D(16, 3, padding="causal", dilation_rate=2 ** (n % 6), activation="relu")
        for n in range(12)
    ]
    model, x = follow(*stack, shape=(64, 8))
    plan = initialize(model, method, data=x, seed=0)
    assert method == "orthogonal" or all(row.rms_after == pytest.approx(1) for row in plan.rows)
    # Each output sees the input of its own time, so the first output is not zero.
    assert np.any(array(model(x))[:, 0])


@pytest.mark.check
def test_the_columns_are_orthogonal_with_the_gain_of_the_activation():
    x = keras.Input((300,))
    layer = layers.Dense(200, use_bias=False)
    h = layers.ReLU()(layers.BatchNormalization()(layer(x)))
    initialize(keras.Model(x, layers.Dense(50)(h)), "orthogonal", seed=0)
    kernel = array(layer.kernel)
    np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(200), atol=1e-3)
