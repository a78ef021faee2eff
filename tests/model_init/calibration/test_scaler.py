"""A weight is scaled once, and only by an output that has a size."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import InitxError
from keras_initx._graph.inputs.noise import noise
from keras_initx._graph.trace import trace
from tests.support.arrays import array, rms
from tests.support.scaling import BATCH, scale

pytestmark = pytest.mark.check


def test_a_shared_layer_is_scaled_once():
    x = keras.Input((16,))
    shared = layers.Dense(16)
    model = keras.Model(x, shared(shared(x) * 5.0))
    scale(model)
    assert rms(array(noise(trace(model, batch=BATCH), BATCH, 2)) @ array(shared.kernel)) == pytest.approx(
        1, abs=0.05
    )


def test_an_existing_bias_is_not_scaled():
    x = keras.Input((16,))
    layer = layers.Dense(64, activation="tanh", bias_initializer="ones")
    model = keras.Model(x, layer(x))
    scale(model)
    other = array(noise(trace(model, batch=BATCH), BATCH, seed=2))
    assert np.all(array(layer.bias) == 1)
    assert rms(other @ array(layer.kernel)) == pytest.approx(1, abs=0.05)


def test_an_existing_bias_reaches_the_next_layer():
    x = keras.Input((16,))
    first = layers.Dense(64, bias_initializer=keras.initializers.Constant(3.0))
    second = layers.Dense(32)
    model = keras.Model(x, second(first(x)))
    scale(model)
    other = noise(trace(model, batch=BATCH), BATCH, seed=2)
    assert rms(array(model(other))) == pytest.approx(1, abs=0.05)


def behind_a_factor(factor):
    x = keras.Input((4,))
    scaled = layers.Rescaling(factor)(layers.Dense(4, name="first")(x))
    return keras.Model(x, layers.Dense(3, name="second")(scaled))


def test_the_error_names_an_output_that_is_not_finite():
    with pytest.raises(
        InitxError, match=r"^second/kernel: its output is not finite on noise, so it cannot be scaled"
    ):
        scale(behind_a_factor(np.inf))


def test_a_weight_that_reads_zeros_keeps_its_values():
    model = behind_a_factor(0.0)
    before = array(model.get_layer("second").kernel)
    tasks, _ = scale(model)
    assert np.array_equal(array(model.get_layer("second").kernel), before)
    assert tasks["first/kernel"].target == 1
    assert tasks["second/kernel"].target is None
    assert tasks["second/kernel"].left
