"""`spectral`: the largest singular value is sqrt(fan_out / fan_in)."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import initialize
from tests.support.arrays import array

pytestmark = pytest.mark.check


def test_the_largest_singular_value():
    x = keras.Input((900,))
    layer = layers.Dense(400)
    initialize(keras.Model(x, layer(x)), "spectral", seed=0)
    largest = np.linalg.svd(array(layer.kernel), compute_uv=False)[0]
    assert largest == pytest.approx((400 / 900) ** 0.5, rel=0.05)
