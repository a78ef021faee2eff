"""Each weighted step is measured with the normalization that follows it."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import stats

from keras_initx.diagnostics import diagnose
from tests.support.networks import data


def test_chi_behind_a_normalization_depends_on_gamma_and_beta():
    inputs = keras.Input((8,))
    norm = layers.BatchNormalization()
    model = keras.Model(inputs, layers.Dense(2)(layers.ReLU()(norm(layers.Dense(400)(inputs)))))
    x = data(64, 8)

    def chi():
        return diagnose(model, x).rows[0].chi

    row = diagnose(model, x).rows[0]
    plain = row.chi
    kernel = ops.convert_to_numpy(model.layers[1].kernel)
    # Half of a standard normal has a slope of 1.
    assert plain == pytest.approx(8 * np.mean(kernel**2) / row.std**2 / 2, rel=1e-3)
    norm.gamma.assign(3 * ops.ones(400))
    assert chi() == pytest.approx(9 * plain, rel=1e-3)
    norm.beta.assign(-9 * ops.ones(400))
    assert chi() == pytest.approx(9 * 2 * stats.norm.sf(3) * plain, rel=1e-2)
